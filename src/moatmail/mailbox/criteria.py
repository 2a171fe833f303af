# SPDX-License-Identifier: Apache-2.0
"""What a search asks of a message, as a tree of frozen values, and how two texts are compared.

Obeys RFC 3501 §6.4.4 (substrings, whatever the case), RFC 8514 §4.3 (save dates), Unicode UAX #15 (NFKC) and §3.13 (case folding).
Must never know the protocol that asks: IMAP and JMAP translate their own words into these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Final
from unicodedata import normalize

_PIECE: Final = 64 * 1024
_ASCII: Final = re.compile(r"[\0-\x7f]")
_SOFT_HYPHEN: Final = "\xad"


class Relation(Enum):
    """How a day compares with another."""

    BEFORE = "before"
    ON = "on"
    SINCE = "since"


@dataclass(frozen=True, slots=True)
class And:
    """Every one of `parts` matches; of none: every message."""

    parts: tuple[Criterion, ...] = ()


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of `parts` matches."""

    parts: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """`part` does not match; a message that cannot be opened matches neither."""

    part: Criterion


@dataclass(frozen=True, slots=True)
class Flag:
    """The message has this bit among its flags."""

    bit: int


@dataclass(frozen=True, slots=True)
class Keyword:
    """The message has this keyword, whatever the case."""

    keyword: bytes


@dataclass(frozen=True, slots=True)
class Uids:
    """The UID lies in one of these ranges (both ends included; sorted, disjoint)."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """The message has a mark: `marks` holds an octet for each message of the snapshot, 0 or 1; whoever asks has looked."""

    marks: bytes


@dataclass(frozen=True, slots=True)
class ModSeq:
    """The mod-sequence is `value` or higher."""

    value: int


@dataclass(frozen=True, slots=True)
class Larger:
    """The size in octets is above `size`."""

    size: int


@dataclass(frozen=True, slots=True)
class Smaller:
    """The size in octets is below `size`."""

    size: int


@dataclass(frozen=True, slots=True)
class Received:
    """The day of the internal date in UTC, time disregarded."""

    relation: Relation
    day: date


@dataclass(frozen=True, slots=True)
class Saved:
    """The day in UTC on which the message came into this mailbox, time disregarded (RFC 8514 §4.3)."""

    relation: Relation
    day: date


@dataclass(frozen=True, slots=True)
class ReceivedUntil:
    """The internal date is `moment` (epoch seconds) or before."""

    moment: float


@dataclass(frozen=True, slots=True)
class ReceivedFrom:
    """The internal date is `moment` (epoch seconds) or after."""

    moment: float


@dataclass(frozen=True, slots=True)
class Sent:
    """The day that the Date field names, in the zone it names; a message without a readable Date matches none."""

    relation: Relation
    day: date


@dataclass(frozen=True, slots=True)
class HeaderText:
    """A header field `name` (lower case) contains `text`; an empty text asks only whether the field is there.

    From, To, Cc, Bcc and Subject are those of the ENVELOPE: the first field, repeated address lists joined; addresses match as written and
    without their comments, quotes and blanks.
    """

    name: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Body:
    """A text part, or the header of an embedded message, contains `text`."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """The header or the body contains `text`."""

    text: str


Criterion = (
    And
    | Or
    | Not
    | Flag
    | Keyword
    | Uids
    | Marked
    | ModSeq
    | Larger
    | Smaller
    | Received
    | Saved
    | ReceivedUntil
    | ReceivedFrom
    | Sent
    | HeaderText
    | Body
    | Text
)


def fold(text: str) -> str:
    """Give the form in which texts are compared: NFKC, case folded, soft hyphens gone."""
    if text.isascii():
        return text.lower()
    if len(text) <= _PIECE:
        return _fold(text)
    # In pieces, so that a long text never holds the interpreter for long. No letter of ASCII joins what stands before it: there it may be cut.
    pieces: list[str] = []
    start = 0
    while (match := _ASCII.search(text, start + _PIECE)) is not None:
        pieces.append(_fold(text[start : match.start()]))
        start = match.start()
    pieces.append(_fold(text[start:]))
    return "".join(pieces)


def _fold(text: str) -> str:
    if _SOFT_HYPHEN in text:
        text = text.replace(_SOFT_HYPHEN, "")
    # Once more after folding: a folded letter may be one that composes.
    return normalize("NFKC", normalize("NFKC", text).casefold())
