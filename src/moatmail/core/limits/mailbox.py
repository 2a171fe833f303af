# SPDX-License-Identifier: Apache-2.0
"""Limits of keeping mail.

Obeys docs/security.md: where content lies.
Must never know settings.
"""

from __future__ import annotations

from typing import Final

from moatmail.core.limits.store import NUMBERS

MEMORY_MAX: Final = 256 * 1024
"""Content up to this size stays in memory while it arrives; more goes, sealed, to a temporary file."""

INLINE_MAX: Final = 128 * 1024
"""Sealed content up to this size lies in a row; larger content is a file of its own."""

UNCOMMITTED_COMMAND: Final = 2
"""Octets that the messages of one APPEND may have together, in messages of the largest size taken: all of them wait for the last (RFC 3502)."""

UNCOMMITTED_ACCOUNT: Final = 8
"""Octets announced by all sessions of an account in one process, and not committed yet, in the same measure."""

PAGE: Final = 500
"""Rows read at once on the loop (<= 0.5 ms)."""

VANISHED_BATCH: Final = 16_384
"""UIDs that went which are brought into order at once: some milliseconds, and all that is held of them, however many went."""

CHANGES: Final = 2000
"""Changed messages brought into the arrays, or told, at once: about a millisecond."""

SEARCH_SLICE: Final = 0.003
"""Seconds a search works before others get their turn: who waits for a timer or a peer waits two slices and a page, together under 10 ms."""

SEARCH_PAGE: Final = 100
"""Messages whose summaries are fetched at once by a search (about a millisecond)."""

SEARCH_ON_LOOP: Final = 64 * 1024
"""Octets of content whose text is looked through on the loop (some milliseconds); larger ones go to a thread."""

HEAL_SECONDS: Final = 30.0
"""How often who waits for changes looks for himself: a hint that was lost is made good."""

WAKE_SLICE: Final = 50
"""Mailboxes whose listeners are woken at once by that."""

GATHER_SECONDS: Final = 0.1
"""How long what is watched for NOTIFY waits for more of the same: many changes at once are one notification (RFC 5465 §9)."""

RESYNC_STEP: Final = 0.002
"""Seconds between two accounts that look anew because hints were lost: a listing is a slice of work."""

WATCHED_MAILBOXES: Final = 100_000
"""Mailboxes that one process watches for NOTIFY, about 400 octets each; then it is NOTIFICATIONOVERFLOW (RFC 5465 §5.8)."""

VIEW_UNUSED_SECONDS: Final = 60.0
"""How long the arrays of a mailbox are kept after their last use."""

KEYWORD_SETS: Final = 1000
"""Sets of keywords that a view holds beyond twice as many as there are messages with keywords."""

VIEW_PAGE: Final = NUMBERS
"""Messages loaded at once into the arrays of a mailbox: about a millisecond, and what the store gives at once: a shorter page is the last."""

VIEWS_KEPT: Final = 2_000_000
"""Messages whose arrays (14 octets each) a process keeps of accounts without a session, for as long as those of others."""

REWRAP_BATCH: Final = 100
"""Covers re-wrapped at once (0.1 ms each, in a thread)."""

REWRAP_PAUSE: Final = 0.02
"""Seconds between two such batches: readers and deliveries go first."""

REWRAP_EVERY: Final = 60.0
"""Seconds after which an open account's new covers are looked for."""

BATCH: Final = 500
"""Messages of one operation that changes flags: one slice of the writer's work."""

MOVED: Final = 250
"""Messages of one operation that moves or expunges: several rows of each are written."""

NAME_OCTETS: Final = 1000
"""Octets of a mailbox name (UTF-8)."""

NAME_LEVELS: Final = 32
"""Levels of a mailbox name: every one of them is a mailbox made on the way."""

LISTED: Final = 1000
"""Mailboxes looked at, or listed, without a turn for others."""

SEALED_NAMES: Final = 100
"""Names sealed without a turn for others (a hundredth of a millisecond each, and some)."""

MAILBOXES: Final = 5000
"""Mailboxes of one account."""

SUBSCRIPTIONS: Final = 5000
"""Subscribed names of one account."""

RECENT_MAILBOXES: Final = 100_000
"""Mailboxes of which one process remembers what it told as recent."""

SLICE_SECONDS: Final = 0.008
"""Longest slice of work on the loop before others get their turn."""

WHOLE_MAX: Final = 256 * 1024
"""Octets of content opened as a whole before the first of them leaves, so that damage is found in time; larger content is streamed."""

REPORT_WAIT_SECONDS: Final = 60.0
"""How long a report waits for others to be read before its sender is put off; one takes at worst a second."""

SORT_SLICE: Final = 2000
"""Messages sorted, or merged, without a look at the clock (one to two milliseconds)."""

THREAD_SLICE: Final = 200
"""Messages threaded without a look at the clock."""

THREAD_OCTETS: Final = 64 * 1024 * 1024
"""Octets of Message-IDs that one THREAD keeps in memory, each with what it costs besides."""

THREAD_ID_COST: Final = 200
"""Octets that a Message-ID costs beside its own."""

THREADS_BATCH: Final = 100
"""Messages of before that get their threads in one operation (their covers take 0.1 ms each, in a thread)."""

THREAD_WALK: Final = 64
"""Steps upwards for each message that looking for loops may cost; then what would have to be looked at is left unlinked."""

THREAD_DEPTH: Final = 2000
"""Steps upwards of one such look: with all references of a message a slice of work."""

WORD_CHARACTERS: Final = 128
"""Characters of a word of the search index; longer ones (texts without blanks, links) are kept in pieces that overlap: a signature's line is whole."""

WORD_OVERLAP: Final = 32
"""Characters that two pieces of a long word share; words that are kept already were cut so, and a text of one character more is found by one look."""

WORDS_OCTETS: Final = 1024 * 1024
"""Octets of the words of one body that are kept; a body with more is searched by opening it."""

WORDS_MAX: Final = 100_000
"""Distinct words of one message that are gathered: about as many as those octets hold."""

SEGMENT_MESSAGES: Final = 1_000
"""Messages whose words are merged into one segment of the search index."""

SEGMENT_OCTETS: Final = 8 * 1024 * 1024
"""Octets of words after which a segment takes no further message: one look through a vocabulary is two milliseconds at most."""

SEGMENT_POSTINGS: Final = 16_384
"""Postings of a part that are kept beside its vocabulary; more are sealed apart, and opened only where a word was found."""

INDEX_CACHE: Final = 48 * 1024 * 1024
"""Octets of open parts of segments that a process keeps, of all accounts together."""

INDEX_CACHED_PART: Final = 1024 * 1024
"""Octets of a part that is kept open; bodies have larger ones, and are looked into less often."""

INDEX_ON_LOOP: Final = 384 * 1024
"""Octets of a sealed part that is opened on the loop (a millisecond and a half); larger ones go to a thread."""

FACTS_WORTH: Final = 500
"""Messages asked about from which on sizes and dates are read from segments: fewer are one page of rows."""

INDEX_WORTH: Final = 16
"""Messages of one segment from which on its body's part is opened: it costs as much as looking into so many messages."""

INDEX_MERGE: Final = 256
"""Messages in no segment from which on a round merges them: fewer are looked at one by one (some milliseconds)."""

INDEX_MERGED: Final = 16
"""Messages merged in one slice of work (three milliseconds)."""

INDEX_MERGED_OCTETS: Final = 32 * 1024
"""Octets of their sealed words after which a slice takes no further message."""

INDEX_REST: Final = 1.0
"""How many times as long as a slice of work in the background takes its rest is: readers have half of the time at least."""

THIN_AHEAD: Final = 7 * 86_400.0
"""Seconds before a message is erased from which on its segment is made anew without it, and without all else that was expunged: once in weeks."""

THIN_EVERY: Final = 3600.0
"""Seconds after which an open account's segments are looked through for that again."""

INDEX_REST_MAX: Final = 0.25
"""Seconds after which it goes on at the latest: what nobody waits for is done all the same."""

INDEX_BATCH: Final = 64
"""Messages of the tail that are read at once (two milliseconds), and whose missing words are made between two writings."""

INDEX_BATCH_OCTETS: Final = 4 * 1024 * 1024
"""Octets of words after which a writing takes no further message: a frame of the store has room for eight times as much."""

WORDS_DELIVERED: Final = 4 * 1024 * 1024
"""Octets of words that go with one delivery, of all its recipients; beyond them each makes his own when he looks."""

INDEX_TAIL_READ: Final = 32 * 1024 * 1024
"""Octets of a tail, as they are counted for keeping it, after which a search reads no further: the rest is opened one by one."""

INDEX_TAIL: Final = 4_000
"""Messages in no segment whose words are looked at in one search; more wait to be merged only while a mailbox of before is indexed."""

INDEX_WORDS: Final = 2_000
"""Words found in a vocabulary between two turns of others (two milliseconds)."""

INDEX_SLICE: Final = 5_000
"""Places of a mailbox that are learnt between two turns of others."""

INDEX_TAIL_KEPT: Final = 512
"""Messages of an account's tail whose words are kept for the next search."""

INDEX_TAIL_OCTETS: Final = 6 * 1024 * 1024
"""Octets of a tail that is kept."""

INDEX_TAIL_COST: Final = 500
"""Octets that one of them costs beside its words."""

INDEX_TAILS: Final = 32 * 1024 * 1024
"""Octets of the tails that a process keeps, of all accounts together."""

INDEX_TAIL_SLICE: Final = 64
"""Messages of the tail between two looks at the clock."""

NEEDLES: Final = 8
"""Pieces of one sought text that are looked for in the search index; whatever has them all is opened and looked at."""

LISTING_OCTETS: Final = 4 * 1024 * 1024
"""Octets of one listing: a thousand usual messages have a third of it."""

LISTING_ON_LOOP: Final = 192 * 1024
"""Sealed octets of a listing that are opened at once (half a millisecond); larger ones are opened in a thread."""

LISTING_SEGMENTS: Final = 4
"""Segments whose listings a command keeps open; a page of messages that lies in more of them is read message by message."""

LISTING_FROM: Final = 256
"""Messages asked for at once from which listings are worth opening (a listing costs as much as 200 summaries)."""

KNOWN_MESSAGES: Final = 2000
"""Messages whose rows and summaries are kept of one account: what its sessions look at, not a mailbox that somebody reads whole."""

KNOWN_OCTETS: Final = 16 * 1024 * 1024
"""Octets that all accounts of a process keep so."""
