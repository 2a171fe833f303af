# SPDX-License-Identifier: Apache-2.0
"""Limits of addresses, SMTP sessions and SMTP replies, each with its source.

Obeys RFC 5321 §4.5.3 (sizes and limits), RFC 1870, RFC 3030, RFC 3461, RFC 6531.
Must never know a setting: these are the bounds and the defaults that settings start from.
"""

from __future__ import annotations

from typing import Final

# RFC 5321 §4.5.3.1.1 wants 64 octets taken at least; SRS and VERP local-parts in the field are longer.
LOCALPART_MAX: Final = 128
# RFC 5321 §4.5.3.1.2: octets of a domain name.
DOMAIN_MAX: Final = 255
# RFC 1035 §2.3.4: octets of one label.
LABEL_MAX: Final = 63
# RFC 5321 §4.5.3.1.3 with our longer local-part: octets between the angle brackets, source route included.
PATH_MAX: Final = 512

# RFC 5321 §4.5.3.1.4 wants 512 octets and extensions add to it; hardening: 8 KiB before login.
COMMAND_LINE_MAX: Final = 8192
# RFC 4954 §4: AUTH with an initial response; our bound of a SASL response plus the command in front of it.
AUTH_LINE_MAX: Final = 16_384 + 64
# RFC 5321 §4.5.3.1.5: octets of one reply line that we write, CRLF included.
REPLY_LINE_MAX: Final = 512
# RFC 5321 §4.5.3.1.8 wants at least 100 recipients taken.
RECIPIENTS_MAX: Final = 100
# Header block, octets: kept in memory as chunk 0 of the sealed content.
HEADER_MAX: Final = 256 * 1024
# RFC 5321 §4.5.3.1.6 wants 1,000 octets taken; long lines of big senders are kept unchanged up to this bound.
TEXT_LINE_MAX: Final = 1024 * 1024
# RFC 1870 §6.1: octets of a message when no setting says otherwise.
MESSAGE_MAX: Final = 50 * 1024 * 1024
# A message that was refused for its size is read on to its end, but not for ever: then the connection ends.
OVERRUN_MAX: Final = 16 * 1024 * 1024
# RFC 1870 §3: a size has at most 20 digits; the same for BDAT.
SIZE_DIGITS_MAX: Final = 20
# RFC 3461 §4.4: octets of ENVID before decoding; §4.2 of ORCPT.
ENVID_MAX: Final = 100
ORCPT_MAX: Final = 500
# Parameters of one MAIL or RCPT command: six are known.
PARAMETERS_MAX: Final = 16

# Wrong commands of one session before 421.
ERRORS_MAX: Final = 10
# Reverse-paths and recipients of one session that were refused for good before 421: above it somebody guesses names.
REFUSALS_MAX: Final = 50
# Commands of one session since the last message that move no mail (NOOP, RSET, VRFY, EHLO ...).
IDLE_COMMANDS_MAX: Final = 100
# Messages of one session that held bare CR, LF or NUL before it is closed.
SMUGGLED_MAX: Final = 3
# Failed logins of one session before 421.
AUTH_FAILURES_MAX: Final = 3
# Transactions of one session before 421.
TRANSACTIONS_MAX: Final = 10_000
# Octets that wait while the application thinks: above the first number reading pauses, the second is never passed.
INPUT_PAUSE: Final = 64 * 1024
INPUT_MAX: Final = 4 * 1024 * 1024

# Replies of a remote server: octets of one line, lines and octets of one reply, octets unread.
REMOTE_REPLY_LINE_MAX: Final = 2048
REMOTE_REPLY_LINES_MAX: Final = 100
REMOTE_REPLY_MAX: Final = 32 * 1024
REMOTE_INPUT_MAX: Final = 256 * 1024
