# SPDX-License-Identifier: Apache-2.0
"""The limits of the store: sizes of rows and frames, times of repetition, room kept on the disk.

Obeys RFC 5321 §4.5.3.1 (what must at least be admitted) and §6.1 (a predictable shortage must not lose mail).
Must never know settings: these are the ceilings that no setting lifts.
"""

from __future__ import annotations

from typing import Final

# ---- content ----
INLINE_CONTENT: Final = 128 * 1024  # octets of sealed content that lie in a row; more is a file of its own, which costs syncs of its own
ORPHAN_AGE: Final = 24 * 3600.0  # seconds a content file without a row may be young: its sender may still be at work

# ---- flags ----
KEYWORDS: Final = 128  # on one message: each change of its flags writes them all anew, in the one process that writes for everybody
KEYWORD_OCTETS: Final = 4096  # of all of them, with the blanks between: they are counted to no quota, and one STORE may give them to a whole mailbox

# ---- channel ----
FRAME: Final = 32 * 1024 * 1024  # octets of one request or answer: 100 recipients with the largest summaries that the message room makes
UNANSWERED: Final = 8 * 1024 * 1024  # octets of one peer's requests at work; beyond it the store stops reading from it
REPEAT_FOR: Final = 2.0  # seconds in which a caller whose channel broke sends its operation again
REPEAT_EVERY: Final = 0.02  # seconds between two tries to reach the store
OPERATION_KEPT: Final = 600.0  # seconds an operation's id is remembered, so that its repetition answers instead of acting twice
PRUNE_EVERY: Final = 60.0  # seconds between two prunings of those ids
PEER_ANCESTORS: Final = 16  # processes looked at upwards from an unknown peer

# ---- writer ----
BATCH_OPERATIONS: Final = 64  # operations of one transaction: a slice of work of some 10 ms
BATCH_OCTETS: Final = 4 * 1024 * 1024  # octets of content in one transaction
LONG_ROWS: Final = 500  # rows an operation may change on the loop (some 10 ms); one that cannot be cut and has more is done in the thread of the commits
ERASE_OCTETS: Final = 4 * 1024 * 1024  # octets erased in one transaction: they are overwritten, through the log
FREE_OCTETS: Final = 16 * 1024 * 1024  # kept free on the disk: under it nothing that grows is taken, so that reading and deleting go on

# ---- recoverable mail ----
RECOVERABLE_MESSAGES: Final = 500_000  # messages of an account that can be brought back, however small: their rows take 2 GB
RECOVERABLE_ROOM: Final = 0.125  # part of the bound that is made free at once when it is passed

# ---- what vanished ----
VANISHED_KEPT: Final = 10_000  # UIDs that went from a mailbox and are remembered with their modseq (RFC 7162 §3.2.1.1): a quarter of a megabyte
VANISHED_SLACK: Final = 1_000  # more than that before the oldest are forgotten: as many at once, a millisecond or two

# ---- databases ----
PAGE_SIZE: Final = (
    8192  # octets of a SQLCipher page; an accept touches 15: 16384 doubles its CPU when mail comes singly, 4096 costs large contents a third more
)
WRITER_CACHE: Final = 8 * 1024  # KiB of pages the writing connection keeps
READER_CACHE: Final = 2 * 1024  # KiB of pages a reading connection keeps
BUSY_TIMEOUT: Final = 5.0  # seconds to wait for a lock that another program holds (backup)
WAL_KEPT: Final = 16 * 1024 * 1024  # octets of write-ahead log left on disk after a checkpoint
WAL_PAGES: Final = 2048  # pages (16 MiB) after which the log is moved into the database
WAL_PAGES_AT_MOST: Final = 6144  # pages (48 MiB) after which a commit does it itself, whatever the wait

# ---- search index ----
SEGMENT_MESSAGES: Final = 2000  # messages of one segment: what erasing one of them puts back into the tail
SEGMENT_OCTETS: Final = 16 * 1024 * 1024  # octets of all its parts: they travel in one frame, and are overwritten when one message is erased
SEGMENTS_DROPPED: Final = 8  # segments dropped in one operation

# ---- threads ----
THREAD_DIGEST: Final = 16  # octets of one digest that ties a message to others
THREAD_LINKS: Final = 8  # digests of one message: a row each, whatever its header says (RFC 5322 §3.6.4 lets References grow without bound)
THREAD_HEIRS: Final = 32  # messages of a thread, the newest, that are asked what of an erased one they mention too

# ---- answers ----
ROWS: Final = 500  # rows of one page: under 0.5 ms on the loop
UID_GAP: Final = 8  # UIDs between two asked ones that are cheaper to read over than to ask around
NUMBERS: Final = 2000  # rows of two numbers in one page: a millisecond or two on the loop
INDEX_OCTETS: Final = 4 * 1024 * 1024  # octets of words or segments in one answer, one row of any size at least
ADDRESSES: Final = 1000  # localparts of one look-up

# ---- bus ----
BUS_PEERS: Final = 256  # receivers of hints
BUS_HINTS: Final = 512  # hints in one datagram (18 octets each)

# ---- queue ----
CLAIM: Final = 500  # entries of one claim

# ---- keys handed out ----
OPENED_ACCOUNTS: Final = 1200  # accounts opened by one role in a minute that nobody used for a day; beyond it somebody should look
OPENING_USED: Final = 86400.0  # seconds for which an account counts as used: who reads mail comes back within a day
OPENED_WITHOUT_LOGIN: Final = 10  # accounts opened by one role in a minute for which it asked no login before; a store that was away explains a few
OPENING_LOGIN: Final = 300.0  # seconds between the two: passwords of a thousand who reconnect are hashed one after another, and people type
OPENINGS_SILENT: Final = 600.0  # seconds after the store's start in which nothing is told: who used what before is not known yet
OPENINGS_KNOWN: Final = 200_000  # accounts remembered for that: some 20 MB
KEYS_TOLD: Final = 20_000  # answers with signing keys remembered as told of in the journal
KEYS_TOLD_EVERY: Final = 3600.0  # seconds after which the same keys for the same role are told of again

# ---- soft state ----
SOFT_DELAY: Final = 0.2  # seconds soft state may wait for company: written one by one it costs a message half as much CPU again
SOFT_BATCH: Final = 256  # decisions after which it waits no longer: 1 MiB
DECISIONS_KEPT: Final = 30 * 86400.0  # seconds a decision may be asked about; what its filters learned from it is no reason to keep more

# ---- reports of others ----
REPORTS_A_DAY: Final = 10_000  # reports taken in a day; more is no reporter but somebody who fills the disk (500 domains with 20 reporters each)
REPORTS_KEPT: Final = 400 * 86400.0  # seconds a report is kept: a year, to compare with the same month of the last
