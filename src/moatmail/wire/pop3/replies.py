# SPDX-License-Identifier: Apache-2.0
"""Status lines and their texts.

Obeys RFC 1939 §3 (+OK and -ERR), RFC 2449 §8 (response codes), RFC 3206 (AUTH, SYS/TEMP, SYS/PERM), RFC 5034 §4 (challenges).
Must never know when a reply is due.
"""

from __future__ import annotations

from typing import Final

from moatmail.core.limits.pop3 import RESPONSE_LINE

AUTH: Final = b"AUTH"
IN_USE: Final = b"IN-USE"
TEMPORARY: Final = b"SYS/TEMP"
PERMANENT: Final = b"SYS/PERM"

UNKNOWN: Final = b"unknown command"
NOT_NOW: Final = b"not in this state"
SYNTAX: Final = b"the arguments do not fit the command"
NEEDS_TLS: Final = b"not without TLS, use STLS first"
NO_TLS: Final = b"TLS is not available here"
TLS_ACTIVE: Final = b"TLS is active already"
NO_USER: Final = b"USER first"
NO_MECHANISM: Final = b"no such mechanism"
NOT_BASE64: Final = b"this is not base64"
MISFIT: Final = b"the response does not fit the mechanism"
CANCELLED: Final = b"login cancelled"
LONG_LINE: Final = b"line too long, closing"
BARE_LINE: Final = b"a line ends with CR LF, closing"
FOREIGN: Final = b"this is POP3, closing"
TOO_MANY_ERRORS: Final = b"too many errors, closing"
TOO_MANY_LOGINS: Final = b"too many failed logins, closing"


def positive(text: bytes) -> bytes:
    """Render +OK."""
    return _line(b"+OK ", text)


def negative(text: bytes, code: bytes = b"") -> bytes:
    """Render -ERR, with a response code if there is one."""
    return _line(b"-ERR [%b] " % code if code else b"-ERR ", text)


def challenge(encoded: bytes) -> bytes:
    """Render a challenge (RFC 5034 §4: a plus, a blank, base64)."""
    return b"+ %b\r\n" % encoded


def _line(head: bytes, text: bytes) -> bytes:
    # RFC 2449 §4: one line of at most 512 octets, whatever an error of ours says.
    line = head + b" ".join(text.split())
    return line[:RESPONSE_LINE].rstrip() + b"\r\n"
