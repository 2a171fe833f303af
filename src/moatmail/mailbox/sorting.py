# SPDX-License-Identifier: Apache-2.0
"""Messages in another order than that of their numbers, from rows and summaries alone, in slices.

Obeys RFC 5256 §3 (keys of SORT), RFC 5957 §3 (display names), RFC 5051 §2 (how texts compare).
Must never know the protocol that asks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from heapq import merge
from typing import Any, Final
from unicodedata import normalize

from moatmail.core.limits import mailbox as limits
from moatmail.mailbox.search import UNREADABLE, Reader, Slices
from moatmail.message import envelope
from moatmail.message.encoded_word import decode_words
from moatmail.message.summary import Summary


class SortBy(Enum):
    """What messages are ordered by (RFC 5256 §3, RFC 5957 §3)."""

    ARRIVAL = "arrival"
    CC = "cc"
    DATE = "date"
    FROM = "from"
    SIZE = "size"
    SUBJECT = "subject"
    TO = "to"
    DISPLAY_FROM = "display from"
    DISPLAY_TO = "display to"


@dataclass(frozen=True, slots=True)
class Order:
    """One key of an order."""

    by: SortBy
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """One message: its place in the snapshot, what its row says, and its summary, None where it is not needed or does not open."""

    place: int
    size: int
    received_at: float
    summary: Summary | None = None

    @property
    def sent_at(self) -> float:
        """Give the moment of the Date field, or that of arrival where there is none (RFC 5256 §2.2)."""
        sent = self.summary.sent_at if self.summary is not None else None
        return self.received_at if sent is None else float(sent)


_FROM_ROWS: Final = frozenset((SortBy.ARRIVAL, SortBy.SIZE))


async def sort(program: Sequence[Order], uids: Sequence[int], places: Sequence[int], reader: Reader, slices: Slices) -> list[int]:
    """Give `places` (rising) in the order of `program`; equal ones stay in the order of their numbers, those that are gone are left out."""
    makers = [_VALUES[order.by] for order in program]
    columns: list[dict[int, Any]] = [{} for _ in program]
    ordered: list[int] = []
    async for subject in each(uids, places, reader, slices, summaries=not _FROM_ROWS.issuperset([order.by for order in program])):
        ordered.append(subject.place)
        for maker, column in zip(makers, columns, strict=True):
            column[subject.place] = maker(subject)
    # The last key first: sorting is stable, so what an earlier key leaves equal keeps the order of the later ones.
    for order, column in zip(reversed(program), reversed(columns), strict=True):
        ordered = await in_slices(ordered, column.__getitem__, slices, reverse=order.reverse)
    return ordered


async def each(uids: Sequence[int], places: Sequence[int], reader: Reader, slices: Slices, *, summaries: bool) -> AsyncIterator[Subject]:
    """Give each message of `places` (rising) that is still there, page by page."""
    if not summaries:
        async for one in _by_rows(uids, places, reader, slices):
            yield one
        return
    for start in range(0, len(places), limits.SEARCH_PAGE):
        page = places[start : start + limits.SEARCH_PAGE]
        rows = {row.uid: row for row in await reader.summaries([uids[place] for place in page])}
        for place in page:
            row = rows.get(uids[place])
            slices.progress += 1
            if row is None:
                continue
            summary: Summary | None = None
            try:
                summary = reader.summary(row)
            except UNREADABLE as error:
                reader.tell_broken(row, error)
            yield Subject(place, row.size, row.received_at, summary)
            await slices.pause()


async def _by_rows(uids: Sequence[int], places: Sequence[int], reader: Reader, slices: Slices) -> AsyncIterator[Subject]:
    at = 0
    while at < len(places) and (page := await reader.sizes(uids[places[at]] - 1)):
        known = {uid: (size, received_at) for uid, size, received_at, _saved_at in page}
        while at < len(places) and uids[places[at]] <= page[-1][0]:
            facts = known.get(uids[places[at]])
            if facts is not None:
                yield Subject(places[at], *facts)
            at += 1
        await slices.pause()


async def in_slices(items: list[int], key: Callable[[int], Any], slices: Slices, *, reverse: bool = False) -> list[int]:
    """Sort as `sorted` does, in parts that are merged: no part holds the loop."""
    size = limits.SORT_SLICE
    parts: list[list[int]] = []
    for start in range(0, len(items), size):
        parts.append(sorted(items[start : start + size], key=key, reverse=reverse))
        await slices.pause()
    if len(parts) < 2:
        return parts[0] if parts else []
    ordered: list[int] = []
    for item in merge(*parts, key=key, reverse=reverse):
        ordered.append(item)
        if len(ordered) % size == 0:
            await slices.pause()
    return ordered


# ---------------------------------------------------------------- what is compared


class _Casemap(dict[int, str]):
    """Maps each character to its title case, decomposed, as it is first met (RFC 5051 §2)."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        title = character.title()
        mapped = self[code] = normalize("NFKD", title if len(title) == 1 else character)
        return mapped


_CASEMAP: Final = _Casemap()


def casemap(text: str) -> str:
    """Give the form in which texts are ordered and found equal: i;unicode-casemap (RFC 5051 §2)."""
    return text.upper() if text.isascii() else text.translate(_CASEMAP)


def _subject(subject: Subject) -> str:
    return casemap(subject.summary.base_subject) if subject.summary is not None else ""


def _address(field: int) -> Callable[[Subject], str]:
    def value(subject: Subject) -> str:
        # RFC 5256 §3: the mailbox name of the first address; of a group its name, as the ENVELOPE has it.
        first = envelope.first_address(subject.summary.envelope, field) if subject.summary is not None else None
        return "" if first is None else casemap(first.mailbox.decode("utf-8", "replace"))

    return value


def _display(field: int) -> Callable[[Subject], str]:
    def value(subject: Subject) -> str:
        first = envelope.first_address(subject.summary.envelope, field) if subject.summary is not None else None
        if first is None:
            return ""
        # RFC 5957 §3: without a display name the address; a group has its name only.
        name = decode_words(first.name) if first.name else _plain(first)
        return casemap(name)

    return value


def _plain(first: envelope.FirstAddress) -> str:
    octets = first.mailbox if not first.host else first.mailbox + b"@" + first.host
    return decode_words(octets) if first.host is None else octets.decode("utf-8", "replace")


_VALUES: Final[dict[SortBy, Callable[[Subject], Any]]] = {
    SortBy.ARRIVAL: lambda subject: subject.received_at,
    SortBy.SIZE: lambda subject: subject.size,
    SortBy.DATE: lambda subject: subject.sent_at,
    SortBy.SUBJECT: _subject,
    SortBy.FROM: _address(envelope.FROM),
    SortBy.TO: _address(envelope.TO),
    SortBy.CC: _address(envelope.CC),
    SortBy.DISPLAY_FROM: _display(envelope.FROM),
    SortBy.DISPLAY_TO: _display(envelope.TO),
}
