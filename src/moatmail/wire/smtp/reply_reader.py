# SPDX-License-Identifier: Apache-2.0
"""Replies of a remote server, read with bounded memory, and what its EHLO offers.

Obeys RFC 5321 §4.2 and §4.1.1.1, RFC 2034 §4 and RFC 3463 (enhanced status codes), RFC 1870 §3.
Must never know which command a reply answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from moatmail.core.errors import RemoteProtocolError
from moatmail.core.limits.smtp import REMOTE_REPLY_LINE_MAX, REMOTE_REPLY_LINES_MAX, REMOTE_REPLY_MAX, SIZE_DIGITS_MAX
from moatmail.core.status import Reply
from moatmail.wire.buffer import Buffer

# RFC 5321 §4.2: code, then a hyphen, a space or nothing.
_LINE: Final = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*+))?+", re.DOTALL)
_STATUS: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?: |$)", re.ASCII)
_CONTROLS: Final = dict.fromkeys((*range(32), 127), "?")


class ReplyReader:
    """Gathers lines into replies; a reply over its limits, or of lines that contradict each other, is a RemoteProtocolError."""

    __slots__ = ("_code", "_lines", "_size")

    def __init__(self) -> None:
        self._code = 0
        self._lines: list[str] = []
        self._size = 0

    def read(self, buffer: Buffer) -> Reply | None:
        """Give the next whole reply, None when lines are missing; RemoteProtocolError."""
        while (line := buffer.line(REMOTE_REPLY_LINE_MAX)) is not None:
            if self._take(line):
                reply = _reply(self._code, self._lines)
                self._code, self._lines, self._size = 0, [], 0
                return reply
        return None

    @property
    def within(self) -> bool:
        """Tell whether a reply has begun and is not whole."""
        return bool(self._lines)

    def _take(self, line: bytes) -> bool:
        match = _LINE.fullmatch(line)
        if match is None:
            raise RemoteProtocolError("reply line without a code")
        code = int(match[1])
        self._size += len(line)
        if len(self._lines) >= REMOTE_REPLY_LINES_MAX or self._size > REMOTE_REPLY_MAX:
            raise RemoteProtocolError("reply over the limit")
        if self._code not in {0, code}:
            # RFC 5321 §4.2.1: every line has the same code, or two replies have run into one.
            raise RemoteProtocolError("reply lines with different codes")
        self._code = code
        self._lines.append((match[3] or b"").decode("utf-8", "replace").translate(_CONTROLS))
        return match[2] != b"-"


def _reply(code: int, lines: list[str]) -> Reply:
    match = _STATUS.match(lines[0])
    if match is None or match[1] != str(code)[0]:
        return Reply(code, "", tuple(lines))
    status = match[0].rstrip()
    # RFC 2034 §4: the status stands on each line of the reply.
    return Reply(code, status, tuple(line.removeprefix(status).lstrip(" ") for line in lines))


@dataclass(frozen=True, slots=True)
class Extensions:
    """What a server offers: `keywords` in capitals with their arguments, empty after HELO; `max_size` octets, None if not told."""

    keywords: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords

    @property
    def max_size(self) -> int | None:
        """Give the octets the server takes at most; 0 is no limit (RFC 1870 §3)."""
        words = self.keywords.get("SIZE", ())
        if not words or not (words[0].isascii() and words[0].isdigit()) or len(words[0]) > SIZE_DIGITS_MAX:
            return None
        return int(words[0]) or None

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """Give the SASL mechanisms in the server's order (RFC 4954 §3)."""
        return self.keywords.get("AUTH", ())


def parse_extensions(reply: Reply) -> Extensions:
    """Read the lines behind the first one of an answer to EHLO (RFC 5321 §4.1.1.1)."""
    keywords: dict[str, tuple[str, ...]] = {}
    for line in reply.lines[1:]:
        # Old servers wrote AUTH=PLAIN beside AUTH PLAIN.
        words = line.upper().replace("AUTH=", "AUTH ", 1).split()
        if words:
            keywords[words[0]] = keywords.get(words[0], ()) + tuple(words[1:])
    return Extensions(keywords)
