# SPDX-License-Identifier: Apache-2.0
"""The limits of the doors: what one session may cost those beside it.

Obeys RFC 9051 §6.2.2 (failed logins), docs/flow.md (a slice of work on the loop is at most 10 ms).
Must never know settings.
"""

from __future__ import annotations

from typing import Final

# ---- IMAP ----
FAILED_LOGINS: Final = 3  # of one session; then BYE: who guesses has to connect anew
WRITE_OCTETS: Final = 32 * 1024  # of answers gathered before they leave: bounds what a session holds of a long FETCH
RESPONSE_OCTETS: Final = 512 * 1024  # of one message's FETCH response held until all of it is known to open; beyond it leaves as it is made
FLAG_ROWS: Final = 4000  # rows of FETCH (FLAGS) rendered at once: about a millisecond
NUMBERS: Final = 2000  # message numbers of an answer rendered at once: about a millisecond
FLAG_OCTETS: Final = 1024 * 1024  # of keywords in them, at most
SLICE: Final = 10_000  # numbers looked at once where one costs less than a tenth of a microsecond
PAGE: Final = 100  # messages read at once for what is in their rows or summaries
LISTED_ROWS: Final = 64  # messages of a list rendered at once from a listing: a hundred microseconds, and at most 256 KiB of header fields
CONTENT_PAGE: Final = 50  # messages read at once whose content is asked for
VANISHED: Final = 500
"""Ranges of UIDs told as gone in one line: some KiB."""

IDLE_PUSHES: Final = 500  # changed messages told in one go while others wait
IDLE_WORD_SECONDS: Final = 270.0  # of silence during IDLE, then a word: networks of telephones forget a connection after five minutes and more
PROGRESS_EVERY: Final = 10.0  # seconds between two notices of how far a long command came (RFC 9585 §4: not so often that they are the work)
CLIENT_WORD: Final = 40  # characters kept of each thing that a client says of itself (ID): for the log
BINARY_APPEND: Final = 4 * 1024 * 1024  # octets of a message announced as binary (RFC 3516): it is held whole to be made one without binary parts
PIECE: Final = 64 * 1024  # octets of it that are scanned and sealed at once
NOTIFY_WATCHED: Final = 2000  # mailboxes whose messages one session watches; more is NOTIFICATIONOVERFLOW (RFC 5465 §3.1)
NOTIFY_DUE: Final = 2000  # mailboxes, and as many names, that a session has to be told of: who reads so slowly is told of the overflow instead (§5.8)
NOTIFY_OWN: Final = 100  # mailboxes of which a session's own changes are remembered until they are seen: only to spare it its own news
OWN_MODSEQS: Final = 1000  # own changes remembered while nothing of the selected mailbox is told; beyond, they are told like others' later

# ---- POP3 ----
MAILDROP_ROWS: Final = 2000  # lines of LIST and UIDL rendered at once: about a millisecond
MAILDROP_GRACE: Final = 5.0  # seconds of silence left to a session while the server goes down: a client at work reaches its QUIT
