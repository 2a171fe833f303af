# SPDX-License-Identifier: Apache-2.0
"""Replies as octets, and those that the engine gives on its own.

Obeys RFC 5321 §4.2 (form), RFC 2034 §4 and RFC 3463 (enhanced status codes), RFC 4954 §6.
Must never know the state of a session.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from moatmail.core.limits.smtp import REPLY_LINE_MAX
from moatmail.core.status import Reply

OK: Final = Reply.of(250, "2.0.0", "ok")
BYE: Final = Reply.of(221, "2.0.0", "bye")
HELP: Final = Reply.of(214, "2.0.0", "see RFC 5321")
# RFC 5321 §3.5.3: neither confirmed nor denied.
NOT_VERIFIED: Final = Reply.of(252, "2.0.0", "send some mail, it will be tried")
NO_LISTS: Final = Reply.of(502, "5.5.1", "command not implemented")
START_INPUT: Final = Reply.of(354, "", "end data with CR LF . CR LF")

UNKNOWN: Final = Reply.of(500, "5.5.2", "command not recognized")
SEQUENCE: Final = Reply.of(503, "5.5.1", "bad sequence of commands")
NO_RECIPIENTS: Final = Reply.of(503, "5.5.1", "no valid recipients")
SYNTAX: Final = Reply.of(501, "5.5.4", "syntax error in parameters or arguments")
LONG_LINE: Final = Reply.of(500, "5.5.2", "line too long")
BARE_LINE: Final = Reply.of(500, "5.5.2", "lines end with CR LF")
EARLY_DATA: Final = Reply.of(503, "5.5.1", "octets came before the 354 reply")
FOREIGN: Final = Reply.of(500, "5.5.2", "this is a mail server")
OVERRUN: Final = Reply.of(552, "5.3.4", "message exceeds the fixed maximum size")
TOO_BIG: Final = Reply.of(552, "5.3.4", "declared size exceeds the fixed maximum size")
# RFC 5321 §4.5.3.1.10: 452, so that the rest comes in the next transaction.
TOO_MANY_RECIPIENTS: Final = Reply.of(452, "4.5.3", "too many recipients")

NO_TLS: Final = Reply.of(502, "5.5.1", "STARTTLS not available")
TLS_ACTIVE: Final = Reply.of(503, "5.5.1", "TLS already active")
NEEDS_TLS: Final = Reply.of(530, "5.7.0", "must issue a STARTTLS command first")
NEEDS_AUTH: Final = Reply.of(530, "5.7.0", "authentication required")
AUTH_NEEDS_TLS: Final = Reply.of(538, "5.7.11", "encryption required for authentication")
AUTH_NOT_HERE: Final = Reply.of(502, "5.5.1", "authentication not available here")
AUTH_DONE: Final = Reply.of(503, "5.5.1", "already authenticated")
AUTH_UNKNOWN: Final = Reply.of(504, "5.5.4", "mechanism not available")
AUTH_SYNTAX: Final = Reply.of(501, "5.5.2", "response is not what the mechanism takes")
# RFC 4954 §4: the client took it back; nothing was judged.
AUTH_CANCELLED: Final = Reply.of(501, "5.7.0", "authentication cancelled")

CLOSE_ERRORS: Final = Reply.of(421, "4.7.0", "too many errors, closing")
CLOSE_IDLE: Final = Reply.of(421, "4.7.0", "too many commands without mail, closing")
CLOSE_SMUGGLED: Final = Reply.of(421, "4.7.0", "too many messages with bare line ends, closing")
CLOSE_LOGINS: Final = Reply.of(421, "4.7.0", "too many failed logins, closing")
CLOSE_TRANSACTIONS: Final = Reply.of(421, "4.7.0", "too many transactions, reconnect")

_CONTROLS: Final = dict.fromkeys((*range(32), 127), "?")


def _render_lines(code: int, texts: list[bytes]) -> bytes:
    lines = [b"%d-%b\r\n" % (code, _shorten(text)) for text in texts[:-1]]
    lines.append(b"%d %b\r\n" % (code, _shorten(texts[-1])))
    return b"".join(lines)


def _shorten(text: bytes) -> bytes:
    # RFC 5321 §4.5.3.1.5: a reply line has 512 octets at most; code, separator and line end are six; no character is cut in two.
    room = REPLY_LINE_MAX - 6
    return text if len(text) <= room else text[:room].decode("utf-8", "ignore").encode("utf-8")


def render(reply: Reply, *, enhanced: bool = True) -> bytes:
    """Give the octets of a reply, the enhanced status on each line (RFC 2034 §4); controls in the text become question marks."""
    status = reply.status + " " if enhanced and reply.status else ""
    # A CR or LF in a text, however it came there, must not begin a reply of its own.
    return _render_lines(reply.code, [(status + line.translate(_CONTROLS)).encode("utf-8", "replace") for line in reply.lines or ("",)])


def render_challenge(text: bytes) -> bytes:
    """Give the 334 of a SASL exchange, whole: `text` is base64 (RFC 4954 §4)."""
    return b"334 %b\r\n" % text


def render_greeting(hostname: bytes, text: bytes) -> bytes:
    """Give the 220 that opens a session (RFC 5321 §4.3.1: no enhanced status)."""
    return b"220 %b %b\r\n" % (hostname, text)


def render_ehlo(greeting: bytes, keywords: Iterable[bytes]) -> bytes:
    """Give the answer to EHLO: the server's domain first, then a keyword a line (RFC 5321 §4.1.1.1)."""
    return _render_lines(250, [greeting, *keywords])
