# SPDX-License-Identifier: Apache-2.0
"""The content of a message as it comes: its end, its dots, and what is wrong with it, in a few passes over each piece.

Obeys RFC 5321 §4.5.2 (transparency), §4.1.1.4 (only CR LF . CR LF ends it), §2.3.8 (no bare CR or LF), RFC 1870 §6.3.
Must never know the session around it, MIME or the meaning of a header field.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

from moatmail.core.limits.smtp import HEADER_MAX, MESSAGE_MAX, TEXT_LINE_MAX
from moatmail.wire.buffer import Buffer
from moatmail.wire.smtp.events import Fault

_DOT: Final = b"\r\n."
_END: Final = b"\r\n.\r\n"
# What the end of a piece may be the beginning of, the longest first.
_BEGINNINGS: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")
_HEADER_END: Final = b"\r\n\r\n"
# Which fault is told when there are several: the dangerous one, then the one that sending again cannot mend.
_RANK: Final = (Fault.BARE, Fault.OVERSIZE, Fault.LONG_HEADER, Fault.LONG_LINE)


@dataclass(frozen=True, slots=True)
class ContentLimits:
    """Octets of the whole, of the header block and of one line without its end; a line of 0 is any line.

    `bare_newlines`: bare CR and LF are let through for the application to make CR LF of them; the header then is the application's to measure.
    """

    size: int = MESSAGE_MAX
    header: int = HEADER_MAX
    line: int = TEXT_LINE_MAX
    bare_newlines: bool = False


class DotReader:
    """Finds the end of DATA and takes the stuffed dots away; keeps at most four octets back."""

    __slots__ = ("_held", "_lead")

    def __init__(self) -> None:
        # RFC 5321 §4.1.1.4: the CR LF of the DATA command is the first one of the end, so a lone dot may come at once.
        self._held = b"\r\n"
        self._lead = 2

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Give the octets of the content, and what follows its end or None while it goes on."""
        data = self._held + data
        dot = data.find(_DOT)
        # Most messages have no stuffed dot: their first dot after CR LF is the end, found in one pass.
        end = dot if dot < 0 or data.startswith(_END, dot) else data.find(_END, dot + 1)
        stop = end + 2 if end >= 0 else len(data) - self._keep(data)
        piece = data[self._lead : stop] if dot < 0 or dot == end else self._unstuff(data[:stop])
        self._lead = max(self._lead - stop, 0)
        return piece, None if end < 0 else data[end + len(_END) :]

    def _keep(self, data: bytes) -> int:
        self._held = next((one for one in _BEGINNINGS if data.endswith(one)), b"")
        return len(self._held)

    def _unstuff(self, data: bytes) -> bytes:
        # RFC 5321 §4.5.2: the first dot of a line goes when other octets follow it.
        return data.replace(_DOT, b"\r\n")[self._lead :]


class ContentCheck:
    """Judges the content while it comes: `size` so far; faults are found wherever pieces are cut."""

    __slots__ = ("_faults", "_header", "_in_header", "_limits", "_line", "_newlines", "_tail", "size")

    def __init__(self, limits: ContentLimits) -> None:
        self.size = 0
        self._limits = limits
        self._faults: set[Fault] = set()
        # Counts kinds of line ends in C, a CR at the end of a piece included: four times as fast as counting CR, LF and CR LF.
        self._newlines = io.IncrementalNewlineDecoder(None, translate=False)
        # The CR LF in front of the content: a message may begin with the blank line.
        self._tail = b"\r\n"
        self._in_header = True
        self._header = 0
        self._line = 0

    @property
    def sound(self) -> bool:
        """Tell whether nothing was found yet."""
        return not self._faults

    def take(self, piece: bytes) -> None:
        """Judge the next piece."""
        self.size += len(piece)
        if self.size > self._limits.size:
            self._faults.add(Fault.OVERSIZE)
        if Fault.BARE not in self._faults:
            if not self._limits.bare_newlines:
                self._newlines.decode(piece.decode("latin-1"))
            if b"\0" in piece or self._has_bare():
                self._faults.add(Fault.BARE)
        if self._in_header and not self._limits.bare_newlines:
            self._measure_header(piece)
        if self._limits.line:
            self._measure_line(piece)

    def finish(self) -> Fault | None:
        """Give the weightiest fault of the whole content."""
        self._newlines.decode("", final=True)
        if self._has_bare():
            self._faults.add(Fault.BARE)
        return next((fault for fault in _RANK if fault in self._faults), None)

    def _has_bare(self) -> bool:
        return self._newlines.newlines not in {None, "\r\n"}

    def _measure_header(self, piece: bytes) -> None:
        data = self._tail + piece
        end = data.find(_HEADER_END)
        if end < 0:
            # The next blank line cannot begin before the last three octets.
            self._tail = data[-3:]
            self._header += len(data) - len(self._tail)
        else:
            self._header += end
            self._in_header = False
        if self._header > self._limits.header:
            self._faults.add(Fault.LONG_HEADER)
            self._in_header = False

    def _measure_line(self, piece: bytes) -> None:
        if self._line + len(piece) > self._limits.line + 1 and Fault.LONG_LINE not in self._faults:
            self._search_long_line(piece, self._limits.line + 2)
        last = piece.rfind(b"\n")
        self._line = len(piece) - last - 1 if last >= 0 else self._line + len(piece)

    def _search_long_line(self, piece: bytes, reach: int) -> None:
        begin = -self._line
        # Two steps are longer than the longest line, so there are few: the last LF within reach begins the next step.
        while len(piece) - begin >= reach:
            last = piece.rfind(b"\n", max(begin, 0), begin + reach)
            if last < 0:
                self._faults.add(Fault.LONG_LINE)
                return
            begin = last + 1


class Reception:
    """The content on its way, by DATA or by BDAT, in any cut of the octets."""

    __slots__ = ("_check", "_dots", "_left", "last")

    def __init__(self, limits: ContentLimits) -> None:
        self._check = ContentCheck(limits)
        self._dots: DotReader | None = None
        self._left = 0
        self.last = False

    @property
    def size(self) -> int:
        """Give the octets of content so far."""
        return self._check.size

    @property
    def sound(self) -> bool:
        """Tell whether no fault was found yet."""
        return self._check.sound

    @property
    def chunk_is_whole(self) -> bool:
        """Tell whether no octet of the chunk is missing: `read` may be called without any."""
        return not self._left

    def expect_dots(self) -> None:
        """Expect content up to CR LF . CR LF."""
        self._dots = DotReader()

    def expect_chunk(self, size: int, *, last: bool) -> None:
        """Expect a chunk of `size` octets (RFC 3030 §2)."""
        self._left, self.last = size, last

    def read(self, buffer: Buffer) -> tuple[bytes, bool]:
        """Take what there is: octets of content, and whether the end, or the end of the chunk, was among them."""
        if self._dots is not None:
            piece, rest = self._dots.feed(buffer.take_all())
            if rest:
                buffer.feed(rest)
            self._check.take(piece)
            return piece, rest is not None
        piece = buffer.take(self._left)
        self._left -= len(piece)
        self._check.take(piece)
        return piece, not self._left

    def finish(self) -> Fault | None:
        """Give the weightiest fault of the whole content."""
        return self._check.finish()
