# SPDX-License-Identifier: Apache-2.0
"""Canonical forms of header fields and bodies, and the hashes of a body while its octets arrive.

Obeys RFC 6376 §3.4 (simple, relaxed), §3.5 (`l=`), §3.7 (what is hashed), §5.4.2 (repeated names).
Must never know what a signature says or who made it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from moatmail.mailauth.tags import Tags
from moatmail.message.header import Header

CRLF: Final = b"\r\n"
_BLANK_LINES: Final = CRLF * 4096


class Canonicalization(StrEnum):
    """The two forms; each value is the word of `c=` (RFC 6376 §3.4)."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


def shrink(octets: bytes) -> bytes:
    """Give `octets` with each run of spaces and tabs as one space."""
    if b"\t" in octets:
        octets = octets.replace(b"\t", b" ")
    if b"  " not in octets:
        return octets
    # Split at pairs: a run leaves empty parts and at most one blank before what follows it. A third of the time of replacing again and again.
    first, *rest = octets.split(b"  ")
    rest = [part.lstrip(b" ") for part in rest]
    end = b"" if rest[-1] else b" "
    return b" ".join([first, *filter(None, rest)]) + end


def relaxed_value(value: bytes) -> bytes:
    """Give a field's raw value unfolded, its white space reduced (RFC 6376 §3.4.2)."""
    return shrink(value.replace(CRLF, b"")).strip(b" ")


# ---------------------------------------------------------------- header


class SignedHeader:
    """A header block as signatures hash it; canonical fields are made once, however many signatures name them."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.by_name: dict[bytes, list[int]] = {}
        self._relaxed: dict[int, bytes] = {}
        for at, name in enumerate(header.names):
            self.by_name.setdefault(name, []).append(at)

    def value(self, at: int) -> bytes:
        """Give the raw value of field `at` without the line end behind it."""
        _, start, end = self.header.spans[at]
        return self.header.block[start:end].removesuffix(b"\r")

    def relaxed(self, at: int) -> bytes:
        """Give field `at` in relaxed form with its line end (RFC 6376 §3.4.2)."""
        made = self._relaxed.get(at)
        if made is None:
            made = self._relaxed[at] = b"%b:%b\r\n" % (self.header.names[at], relaxed_value(self.value(at)))
        return made

    def simple(self, at: int) -> bytes:
        """Give field `at` as it stands with its line end (RFC 6376 §3.4.1)."""
        start, _, end = self.header.spans[at]
        return self.header.block[start:end].removesuffix(b"\r") + CRLF

    def select(self, names: Iterable[bytes], leave_out: int = -1) -> list[int]:
        """Give the places of the fields that `names` (lower case) mean, in that order; field `leave_out` is none of them."""
        # RFC 6376 §5.4.2: each mention takes the next field from the bottom, mentions beyond the first field mean nothing.
        left: dict[bytes, list[int]] = {}
        chosen: list[int] = []
        for name in names:
            places = left.get(name)
            if places is None:
                places = left[name] = [at for at in self.by_name.get(name, ()) if at != leave_out]
            if places:
                chosen.append(places.pop())
        return chosen

    def digest(self, names: Iterable[bytes], at: int, tags: Tags, form: Canonicalization) -> bytes:
        """Give the SHA-256 of the fields that `names` mean and of the signature field `at` without its signature (RFC 6376 §3.7)."""
        field = self.relaxed if form is Canonicalization.RELAXED else self.simple
        hashed = hashlib.sha256(b"".join([field(one) for one in self.select(names, at)]))
        hashed.update(self.unsigned(at, tags, form))
        return hashed.digest()

    def unsigned(self, at: int, tags: Tags, form: Canonicalization) -> bytes:
        """Give the signature field `at` with the value of `b=` deleted, and without a line end (RFC 6376 §3.7)."""
        value = tags.without(b"b")
        if form is Canonicalization.RELAXED:
            return b"%b:%b" % (self.header.names[at], relaxed_value(value))
        start, middle, _ = self.header.spans[at]
        return self.header.block[start:middle] + value


# ---------------------------------------------------------------- body


@dataclass(frozen=True, slots=True)
class BodyForm:
    """Which hash of a body is wanted: SHA-256 over its canonical form, whole or its first `length` octets (`l=`)."""

    form: Canonicalization
    length: int | None = None


class _RunningHash:
    """SHA-256 over octets in order, told at certain lengths and at the end."""

    def __init__(self, lengths: Iterable[int]) -> None:
        self._hash = hashlib.sha256()
        self._ahead = sorted(set(lengths), reverse=True)
        self.octets = 0
        self.at: dict[int | None, bytes] = {}
        self._take(0)

    def _take(self, octets: int) -> None:
        self.octets += octets
        while self._ahead and self._ahead[-1] == self.octets:
            self.at[self._ahead.pop()] = self._hash.digest()

    def update(self, data: bytes) -> None:
        view = memoryview(data)
        while self._ahead and self._ahead[-1] - self.octets < len(view):
            step = self._ahead[-1] - self.octets
            self._hash.update(view[:step])
            self._take(step)
            view = view[step:]
        self._hash.update(view)
        self._take(len(view))

    def finish(self) -> None:
        self.at[None] = self._hash.digest()


class _BodyStream:
    """One canonical form of a body, made as its octets come; empty lines are held back until something follows them."""

    def __init__(self, form: Canonicalization, lengths: Iterable[int]) -> None:
        self.hash = _RunningHash(lengths)
        self._relaxed = form is Canonicalization.RELAXED
        self._rest = b""
        self._line_ends = 0
        self._seen = False

    def feed(self, data: bytes) -> None:
        if not data:
            return
        self._seen = True
        if self._rest:
            data = self._rest + data
        if self._relaxed:
            # RFC 6376 §3.4.4: first the white space, then the empty lines that are left.
            data = shrink(data).replace(b" \r\n", CRLF)
        # What the next octets may still change waits: half a line end, a blank that may turn out to stand at a line's end.
        end = len(data) - data.endswith(b"\r")
        if self._relaxed and data.endswith(b" ", 0, end):
            end -= 1
        self._rest = data[end:]
        lines = _trailing_line_ends(data, end)
        if content := data[: end - 2 * lines]:
            self._line_feeds(self._line_ends)
            self._line_ends = 0
            self.hash.update(content)
        self._line_ends += lines

    def _line_feeds(self, count: int) -> None:
        while count > 0:
            step = min(count, 4096)
            self.hash.update(_BLANK_LINES[: 2 * step])
            count -= step

    def finish(self) -> None:
        # RFC 6376 §3.4.3 and §3.4.4: a body that does not end in CRLF gets one; of those at the end one stays ...
        if self._rest or (self._seen and not self._line_ends):
            self.feed(CRLF)
        # ... but an empty body is nothing in relaxed form and one CRLF in simple form.
        if self.hash.octets or not self._relaxed:
            self.hash.update(CRLF)
        self.hash.finish()


def _trailing_line_ends(data: bytes, end: int) -> int:
    """Give how many CRLF stand one behind the other before `end`."""
    if not data.endswith(CRLF, 0, end):
        return 0
    start = len(data[:end].rstrip(CRLF))
    # Where two CR or two LF meet the chain of CRLF is broken.
    start = max(start, data.rfind(b"\n\n", start, end) + 1, data.rfind(b"\r\r", start, end) + 1)
    return (end - start) // 2


class BodyHashes:
    """Every wanted hash of one body, made in one pass while its octets are fed; each canonical form is made once."""

    def __init__(self, wanted: Sequence[BodyForm]) -> None:
        self._streams = {
            form: _BodyStream(form, [one.length for one in wanted if one.form is form and one.length is not None]) for form in {one.form for one in wanted}
        }
        self._finished = False

    def feed(self, octets: bytes) -> None:
        """Take the next octets of the body."""
        for stream in self._streams.values():
            stream.feed(octets)

    def digest(self, wanted: BodyForm) -> bytes | None:
        """Give a hash that was asked for at the start, None if the canonical body is shorter than its length; the body ends here."""
        self._finish()
        return self._streams[wanted.form].hash.at.get(wanted.length)

    def octets(self, form: Canonicalization) -> int:
        """Give the length of the body in a form that was asked for at the start; the body ends here."""
        self._finish()
        return self._streams[form].hash.octets

    def _finish(self) -> None:
        if not self._finished:
            self._finished = True
            for stream in self._streams.values():
                stream.finish()


def hash_body(pieces: Iterable[bytes], form: Canonicalization) -> bytes:
    """Give the SHA-256 of a whole body in one form."""
    wanted = BodyForm(form)
    hashes = BodyHashes((wanted,))
    for piece in pieces:
        hashes.feed(piece)
    return hashes.digest(wanted)  # type: ignore[return-value]  # a hash without length is always there
