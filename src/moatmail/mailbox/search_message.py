# SPDX-License-Identifier: Apache-2.0
"""The second look of a search: one message, opened as far as the question needs.

Obeys RFC 3501 §6.4.4.
Must never know where a message is kept: it is handed summary and content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from enum import IntEnum
from operator import eq, ge, lt
from typing import Any, Final, Protocol

from moatmail.mailbox.criteria import (
    And,
    Body,
    Criterion,
    HeaderText,
    Larger,
    Not,
    Or,
    Received,
    ReceivedFrom,
    ReceivedUntil,
    Relation,
    Saved,
    Sent,
    Smaller,
    Text,
    fold,
)
from moatmail.mailbox.search_columns import Columns
from moatmail.message.addresses import mailboxes
from moatmail.message.encoded_word import decode_words
from moatmail.message.header import Header
from moatmail.message.summary import Summary
from moatmail.message.text import body_texts, header_text

_DAY: Final = 86_400
_EPOCH: Final = date(1970, 1, 1).toordinal()
_COMPARE: Final = {Relation.BEFORE: lt, Relation.ON: eq, Relation.SINCE: ge}
_SUMMARY_TEXTS: Final[dict[bytes, str]] = {b"from": "from_text", b"to": "to_text", b"cc": "cc_text", b"bcc": "bcc_text", b"subject": "subject"}
# Where one of these stands, an address may be written otherwise than its addr-spec reads.
_DRESSING: Final = re.compile(r'[("\\ ]')


class Level(IntEnum):
    """How far a message has been opened; each step costs about ten times the one before."""

    NUMBERS = 0
    SIZES = 1
    SUMMARY = 2
    HEADER = 3
    TEXT = 4


class Content(Protocol):
    """The content of one message as clients see it; reading raises SealBrokenError where it does not open."""

    def header(self) -> bytes:
        """Give the header block, prefix included."""
        ...

    def read(self, start: int, length: int) -> Iterable[bytes]:
        """Give octets in pieces."""
        ...


class Candidate:
    """One message under examination: what is known of it so far, and texts folded once."""

    __slots__ = (
        "_bodies",
        "_folded",
        "_header",
        "_header_text",
        "_more",
        "content",
        "level",
        "place",
        "received_at",
        "received_day",
        "saved_day",
        "sent_day",
        "size",
        "summary",
    )

    def __init__(self, place: int, size: int, received_at: float, saved_at: float) -> None:
        """Begin with what a page of sizes tells."""
        self.place = place
        self.size = size
        self.received_at = received_at
        self.received_day = int(received_at // _DAY)
        self.saved_day = int(saved_at // _DAY)
        self.level = Level.SIZES
        self.summary: Summary | None = None
        self.sent_day: int | None = None
        self.content: Content | None = None
        self._folded: dict[bytes, str] = {}
        self._header: Header | None = None
        self._header_text: str | None = None
        self._bodies: list[str] = []
        self._more: Iterator[str] | None = None

    def open_summary(self, summary: Summary) -> None:
        """Add the summary."""
        self.summary = summary
        self.level = Level.SUMMARY
        if summary.sent_at is not None:
            # RFC 3501 §6.4.4: the date as written; neither its time nor its zone moves it to another day.
            self.sent_day = (summary.sent_at + (summary.sent_zone or 0) * 60) // _DAY

    def open_header(self, content: Content) -> None:
        """Add the header block."""
        self.content = content
        self._header = Header(content.header())
        self.level = Level.HEADER

    def summary_text(self, name: bytes) -> str:
        """Give a field of the envelope, folded; for addresses what they read like undressed on lines below."""
        text = self._folded.get(name)
        if text is None:
            text = self._folded[name] = summary_text(self.summary, name) if self.summary is not None else ""
        return text

    def shows(self, name: bytes) -> bool:
        """Tell whether the summary shows such a field; one that is there but blank it does not show."""
        return name in _SUMMARY_TEXTS and bool(getattr(self.summary, _SUMMARY_TEXTS[name]))

    def header_values(self, name: bytes) -> list[str]:
        """Give the values of a field, folded; none before the header is open."""
        return [] if self._header is None else [fold(decode_words(value)) for value in self._header.all(name)]

    def has_field(self, name: bytes) -> bool:
        """Tell whether the header holds the field."""
        return self._header is not None and name in self._header.names

    def header_contains(self, text: str) -> bool:
        """Tell whether the header as text contains `text`."""
        if self._header_text is None:
            self._header_text = fold(header_text(self._header.block)) if self._header is not None else ""
        return text in self._header_text

    def body_contains(self, text: str) -> bool:
        """Tell whether a text of the body contains `text`; texts are decoded one by one and kept for further questions."""
        if any(text in body for body in self._bodies):
            return True
        if self._more is None and self.summary is not None and self.content is not None:
            self._more = body_texts(self.summary.root, self.content.read)
        for body in self._more or ():
            self._bodies.append(fold(body))
            if text in self._bodies[-1]:
                return True
        return False


def summary_text(summary: Summary, name: bytes) -> str:
    """Give From, To, Cc, Bcc or Subject (a name in lower case), folded, as texts are looked for in it."""
    raw: str = getattr(summary, _SUMMARY_TEXTS[name])
    return fold(raw if name == b"subject" else _with_plain_addresses(raw))


def _with_plain_addresses(text: str) -> str:
    """Give an address list as written and, where it carries comments, quotes or blanks, once more without them."""
    if _DRESSING.search(text) is None:
        return text
    plain = [f"{one.display_name} <{_octets(one.localpart)}@{_octets(one.domain or b'')}>" for one in mailboxes(text.encode("utf-8", "replace"))]
    return "\n".join((text, *plain))


def _octets(part: bytes) -> str:
    return part.decode("utf-8", "replace")


# ---- the question as a function of a candidate: True, False, or None while it is not opened far enough ----

Test = Callable[[Candidate], bool | None]


def build_test(criterion: Criterion, columns: Columns) -> Test:
    """Give the question as one function; numbers are looked up in the columns."""
    column = columns.column(criterion)
    if column is not None:
        return lambda candidate: column[candidate.place] == 1
    test = _BUILDERS[type(criterion)](criterion, columns)
    known = columns.known(criterion)
    return test if known is None else _knowing(known, test)


def _knowing(known: tuple[bytes, bytes], test: Test) -> Test:
    """Answer from what is known without opening, where it is."""
    true, false = known

    def answer(candidate: Candidate) -> bool | None:
        if true[candidate.place]:
            return True
        return False if false[candidate.place] else test(candidate)

    return answer


def asks_sizes(criterion: Criterion) -> bool:
    """Tell whether the size or the internal date is asked for."""
    if isinstance(criterion, And | Or):
        return any(map(asks_sizes, criterion.parts))
    if isinstance(criterion, Not):
        return asks_sizes(criterion.part)
    return isinstance(criterion, Larger | Smaller | Received | Saved | ReceivedUntil | ReceivedFrom)


def _and(criterion: And, columns: Columns) -> Test:
    return _joined([build_test(part, columns) for part in criterion.parts], decisive=False)


def _or(criterion: Or, columns: Columns) -> Test:
    return _joined([build_test(part, columns) for part in criterion.parts], decisive=True)


def _joined(tests: list[Test], *, decisive: bool) -> Test:
    """Join tests: one answer of `decisive` decides, all others of its contrary decide too, else it stays open."""

    def test(candidate: Candidate) -> bool | None:
        answer: bool | None = not decisive
        for part in tests:
            found = part(candidate)
            if found is decisive:
                return decisive
            if found is None:
                answer = None
        return answer

    return test


def _not(criterion: Not, columns: Columns) -> Test:
    inner = build_test(criterion.part, columns)

    def test(candidate: Candidate) -> bool | None:
        found = inner(candidate)
        return None if found is None else not found

    return test


def _larger(criterion: Larger, _columns: Columns) -> Test:
    return lambda candidate: candidate.size > criterion.size


def _smaller(criterion: Smaller, _columns: Columns) -> Test:
    return lambda candidate: candidate.size < criterion.size


def _received(criterion: Received, _columns: Columns) -> Test:
    compare, day = _COMPARE[criterion.relation], criterion.day.toordinal() - _EPOCH
    return lambda candidate: compare(candidate.received_day, day)


def _saved(criterion: Saved, _columns: Columns) -> Test:
    compare, day = _COMPARE[criterion.relation], criterion.day.toordinal() - _EPOCH
    return lambda candidate: compare(candidate.saved_day, day)


def _received_until(criterion: ReceivedUntil, _columns: Columns) -> Test:
    return lambda candidate: candidate.received_at <= criterion.moment


def _received_from(criterion: ReceivedFrom, _columns: Columns) -> Test:
    return lambda candidate: candidate.received_at >= criterion.moment


def _sent(criterion: Sent, _columns: Columns) -> Test:
    compare, day = _COMPARE[criterion.relation], criterion.day.toordinal() - _EPOCH

    def test(candidate: Candidate) -> bool | None:
        if candidate.level < Level.SUMMARY:
            return None
        return candidate.sent_day is not None and compare(candidate.sent_day, day)

    return test


def _header_field(criterion: HeaderText, _columns: Columns) -> Test:
    name, text = criterion.name, fold(criterion.text)
    if criterion.text and name in _SUMMARY_TEXTS:
        return lambda candidate: None if candidate.level < Level.SUMMARY else text in candidate.summary_text(name)

    def test(candidate: Candidate) -> bool | None:
        if candidate.level < Level.HEADER:
            return True if not text and candidate.level is Level.SUMMARY and candidate.shows(name) else None
        if not text:
            return candidate.has_field(name)
        return any(text in value for value in candidate.header_values(name))

    return test


def _body(criterion: Body, _columns: Columns) -> Test:
    text = fold(criterion.text)
    return lambda candidate: None if candidate.level < Level.TEXT else candidate.body_contains(text)


def _text(criterion: Text, _columns: Columns) -> Test:
    text = fold(criterion.text)

    def test(candidate: Candidate) -> bool | None:
        if candidate.level < Level.HEADER:
            return None
        if candidate.header_contains(text):
            return True
        return None if candidate.level < Level.TEXT else candidate.body_contains(text)

    return test


_BUILDERS: Final[dict[type[Any], Callable[[Any, Columns], Test]]] = {
    And: _and,
    Or: _or,
    Not: _not,
    Larger: _larger,
    Smaller: _smaller,
    Received: _received,
    Saved: _saved,
    ReceivedUntil: _received_until,
    ReceivedFrom: _received_from,
    Sent: _sent,
    HeaderText: _header_field,
    Body: _body,
    Text: _text,
}
