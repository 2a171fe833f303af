# SPDX-License-Identifier: Apache-2.0
"""A mailbox in memory for searches, and the plain way to search it: everything opened, nothing remembered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from moatmail.core.errors import SealBrokenError
from moatmail.mailbox.criteria import (
    And,
    Body,
    Criterion,
    Flag,
    HeaderText,
    Keyword,
    Larger,
    ModSeq,
    Not,
    Or,
    Received,
    Relation,
    Sent,
    Smaller,
    Text,
    Uids,
    fold,
)
from moatmail.mailbox.search_columns import Settled, Snapshot
from moatmail.message.addresses import mailboxes
from moatmail.message.dates import parse_date
from moatmail.message.encoded_word import decode_words
from moatmail.message.header import Header
from moatmail.message.structure import StructureParser
from moatmail.message.summary import Summary, build
from moatmail.message.text import body_texts, header_text
from moatmail.store.queries import MessageRow

ENVELOPE = (b"from", b"to", b"cc", b"bcc", b"subject")


@dataclass
class Mail:
    """One message of the shelf; `broken` names what does not open: "" or "summary" or "content"; `gone`: in the view, not in the store."""

    octets: bytes
    flags: int = 0
    keywords: tuple[bytes, ...] = ()
    received: datetime = datetime(2026, 3, 5, 12, tzinfo=UTC)
    modseq: int = 1
    broken: str = ""
    gone: bool = False
    uid: int = 0

    @property
    def summary(self) -> Summary:
        parser = StructureParser()
        parser.feed(self.octets)
        return build(parser.finish())

    def header(self) -> bytes:
        return self.octets[: self.summary.root.body_start]

    def read(self, start: int, length: int) -> Iterator[bytes]:
        # In small pieces, as a content comes chunk by chunk.
        for place in range(start, start + length, 7):
            yield self.octets[place : min(place + 7, start + length)]

    @property
    def size(self) -> int:
        return len(self.octets)


@dataclass
class Shelf:
    """Mail in order; the first has UID `first`, then by `step`."""

    mail: Sequence[Mail]
    first: int = 3
    step: int = 2
    page: int = 4
    opened: list[str] = field(default_factory=list)
    told: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for place, one in enumerate(self.mail):
            one.uid = self.first + self.step * place

    def snapshot(self) -> Snapshot:
        return Snapshot(
            [one.uid for one in self.mail],
            bytes(one.flags for one in self.mail),
            [one.modseq for one in self.mail],
            {one.uid: one.keywords for one in self.mail if one.keywords} | {1: (b"stranger",)},
        )

    def _by_uid(self, uid: int) -> Mail:
        return next(one for one in self.mail if one.uid == uid)

    # ---- the port of the search ----

    async def sizes(self, after: int) -> Sequence[tuple[int, int, float, float]]:
        self.opened.append("sizes")
        rows = [(one.uid, one.size, one.received.timestamp(), 0.0) for one in self.mail if not one.gone and one.uid > after]
        return rows[: self.page]

    async def rows(self, uids: Sequence[int]) -> Sequence[MessageRow]:
        assert list(uids) == sorted(uids)
        return [MessageRow(one.uid, b"", b"", b"", b"", b"", one.size, one.received.timestamp(), 0.0) for one in self.mail if one.uid in uids and not one.gone]

    async def summaries(self, uids: Sequence[int]) -> Sequence[MessageRow]:
        return await self.rows(uids)

    def summary(self, row: MessageRow) -> Summary:
        self.opened.append(f"summary {row.uid}")
        one = self._by_uid(row.uid)
        if one.broken == "summary":
            raise SealBrokenError("flipped")
        return one.summary

    async def content(self, row: MessageRow) -> Mail:
        self.opened.append(f"content {row.uid}")
        one = self._by_uid(row.uid)
        if one.broken == "content":
            raise SealBrokenError("flipped")
        return one

    async def settle(self, criterion: Criterion, uids: Sequence[int], places: Sequence[int], pause: object) -> dict[Criterion, Settled]:
        return {}

    def tell_broken(self, row: MessageRow, error: Exception) -> None:
        assert isinstance(error, SealBrokenError)
        self.told.append(row.uid)


# ---- the plain way ----


def plain_search(criterion: Criterion, shelf: Shelf) -> list[int]:
    """Give the places that match, by opening every message whole."""
    return [place for place, one in enumerate(shelf.mail) if plain_match(criterion, one) is True]


def plain_match(criterion: Criterion, one: Mail) -> bool | None:  # noqa: PLR0911  a line for each kind
    """Tell whether a message matches; None where that hangs on what cannot be read (Kleene's logic)."""
    match criterion:
        case And(parts):
            return _kleene([plain_match(part, one) for part in parts], decisive=False)
        case Or(parts):
            return _kleene([plain_match(part, one) for part in parts], decisive=True)
        case Not(part):
            found = plain_match(part, one)
            return None if found is None else not found
        case Flag(bit):
            return one.flags & bit != 0
        case Keyword(keyword):
            return keyword.lower() in [word.lower() for word in one.keywords]
        case Uids(ranges):
            return any(low <= one.uid <= high for low, high in ranges)
        case ModSeq(value):
            return one.modseq >= value
    if one.gone:
        return None
    match criterion:
        case Larger(size):
            return one.size > size
        case Smaller(size):
            return one.size < size
        case Received(relation, day):
            return _related(one.received.astimezone(UTC).date(), relation, day)
    return _in_text(criterion, one)


def _kleene(answers: list[bool | None], *, decisive: bool) -> bool | None:
    if decisive in answers:
        return decisive
    return None if None in answers else not decisive


def _in_text(criterion: Criterion, one: Mail) -> bool | None:  # noqa: PLR0911  a line for each kind
    if one.broken == "summary":
        return None
    header = Header(one.header())
    match criterion:
        case Sent(relation, day):
            moment = parse_date(header.joined(b"date") or b"")
            return moment is not None and _related(_day(moment[0] + 60 * moment[1]), relation, day)
        case HeaderText(name, "") if name in ENVELOPE and decode_words(header.joined(name) or b""):
            return True
        case HeaderText(name, text) if text and name in ENVELOPE:
            return fold(text) in fold(_envelope_text(header, name))
    if one.broken:
        return None
    match criterion:
        case HeaderText(name, text):
            values = [fold(decode_words(value)) for value in header.all(name)]
            return any(fold(text) in value for value in values)
        case Text(text) | Body(text):
            texts = list(body_texts(one.summary.root, one.read))
            if isinstance(criterion, Text):
                texts.append(header_text(header.block))
            return any(fold(text) in fold(found) for found in texts)
    raise AssertionError(criterion)


def _envelope_text(header: Header, name: bytes) -> str:
    raw = decode_words(header.joined(name) or b"")
    if name == b"subject":
        return raw
    plain = [
        f"{box.display_name} <{box.localpart.decode('utf-8', 'replace')}@{(box.domain or b'').decode('utf-8', 'replace')}>" for box in mailboxes(raw.encode())
    ]
    return "\n".join((raw, *plain))


def _day(moment: int) -> date:
    return date.fromordinal(moment // 86_400 + date(1970, 1, 1).toordinal())


def _related(one: date, relation: Relation, other: date) -> bool:
    return {Relation.BEFORE: one < other, Relation.ON: one == other, Relation.SINCE: one >= other}[relation]
