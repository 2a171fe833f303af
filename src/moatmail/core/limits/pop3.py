# SPDX-License-Identifier: Apache-2.0
"""The limits of the POP3 door: what one session may make us hold, read or answer.

Obeys RFC 2449 §4 (lines), RFC 5034 §4 (SASL responses are not bound by them).
Must never know the engine that applies them.
"""

from __future__ import annotations

from typing import Final

# RFC 2449 §4: 255 octets are what a client may count on; more is taken, so that a password as long as IMAP's gets in by PASS too.
LINE: Final = 8 * 1024
# RFC 2449 §4: 512 octets with CR LF, of the first line of a response.
RESPONSE_LINE: Final = 510
# Unread octets held: a whole SASL response and what one read brings beside it. With OUTPUT_PAUSE under the 128 KiB of a session before login.
INPUT_MAX: Final = 64 * 1024
# Octets of answers gathered before they have to leave, so that a pipelined burst of CAPA costs its sender's patience and not our memory.
OUTPUT_PAUSE: Final = 32 * 1024
# RFC 1939 §3 names no bound: digits of a message number or a count of lines that are read; more is NUMBER_MAX, larger than anything.
NUMBER_DIGITS: Final = 18
NUMBER_MAX: Final = 10**NUMBER_DIGITS
# Refused commands in a row before the session ends.
ERRORS: Final = 20
