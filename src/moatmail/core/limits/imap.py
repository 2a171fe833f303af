# SPDX-License-Identifier: Apache-2.0
"""The limits of the IMAP door: what one session may make us hold, read or nest.

Obeys RFC 3501 §9, RFC 7888 §4 and RFC 2971 §3.3 where they name numbers; the rest answers attacks seen on other servers.
Must never know the engine that applies them.
"""

from __future__ import annotations

from typing import Final

# ---- before login: everybody may knock, so little is held ----
LINE_BEFORE_LOGIN: Final = 8 * 1024  # a line without its literals; RFC 2683 §3.2.1.5 asks for 8,000 octets and more
LITERALS_BEFORE_LOGIN: Final = 4 * 1024  # all literals of one command: a name and a password fit easily
SASL_RESPONSE: Final = 16 * 1024  # one base64 line of AUTHENTICATE; RFC 4954 §4 wants 12,288 for the same tokens
STATE_BEFORE_LOGIN: Final = 128 * 1024  # octets held for one session, pipelined input included
DISCARD_BEFORE_LOGIN: Final = 64 * 1024  # of an unwanted non-synchronising literal; more is a BYE (RFC 7888 §4)

# ---- after login ----
LINE: Final = 64 * 1024  # long UID sets of clients that synchronise; RFC 7162 §4 warns of lines beyond 8,000
LITERALS: Final = 64 * 1024  # all literals of one command but the messages of APPEND
INPUT: Final = 256 * 1024  # unread input held while a command is at work; beyond it the door stops reading
DISCARD: Final = 1024 * 1024  # as DISCARD_BEFORE_LOGIN
APPEND_SIZE: Final = 50 * 1024 * 1024  # one message; the door sets its own
APPEND_DISCARD_FACTOR: Final = 2  # an unwanted non-synchronising message up to so many times the limit is read and dropped

# ---- ID: RFC 2971 §3.3 allows 30 pairs of 30 and 1,024 octets, more than a line before login ----
ID_PAIRS: Final = 30
ID_FIELD: Final = 30
ID_VALUE: Final = 1024
ID_LINE: Final = 34 * 1024

# ---- shapes ----
TAG: Final = 64
NESTING: Final = 16  # parentheses in SEARCH
SEARCH_DEPTH: Final = 128  # NOT and OR one inside the other: clients join thirty addresses by a chain of OR
SEARCH_KEYS: Final = 512
FETCH_ITEMS: Final = 128
HEADER_FIELDS: Final = 128  # names in one HEADER.FIELDS list
PART_DEPTH: Final = 64  # numbers in one section, BODY[1.2.3]
SEQUENCE_RANGES: Final = 8192  # members of one sequence set, as ranges
LIST_PATTERNS: Final = 32
LIST_PATTERN: Final = 1024  # characters of a reference, and of a pattern
MAILBOX_NAME: Final = 2400  # octets as sent: 1,000 of UTF-8 (the longest name we keep) are up to 2,334 in modified UTF-7
KEYWORD: Final = 128  # octets of one keyword
KEYWORDS: Final = 64  # in one flag list
KEYWORD_OCTETS: Final = 4096  # of all of them, as many as a message may bear
ENABLE_NAMES: Final = 32
QUOTA_RESOURCES: Final = 16  # in one SETQUOTA
APPEND_MESSAGES: Final = 32  # in one MULTIAPPEND (RFC 3502); each waits, sealed, in up to 128 KiB of memory
NOTIFY_GROUPS: Final = 32  # event groups of one NOTIFY; more is NOTIFICATIONOVERFLOW (RFC 5465 §3.1)
NOTIFY_NAMES: Final = 512  # mailbox names in all of them
USERNAME: Final = 1024
BAD_COMMANDS: Final = 20  # in a row; then BYE
