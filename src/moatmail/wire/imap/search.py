# SPDX-License-Identifier: Apache-2.0
"""The keys of SEARCH as a tree of frozen values.

Obeys RFC 3501 §6.4.4, RFC 4731 §3.1 (RETURN), RFC 5032 (WITHIN), RFC 5182 §2 (SAVE), RFC 7162 §3.1.5 (MODSEQ),
RFC 8474 §6 (EMAILID, THREADID), RFC 8514 §4.3 (SAVEDATE) and RFC 9394 §3.1 (PARTIAL).
Must never know how a message is matched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum

from moatmail.wire.imap.sequence import SequenceSet


class SearchReturn(Enum):
    """Result options of the extended SEARCH (RFC 4731 §3.1, RFC 5182 §2, RFC 9394 §3.1); the value is the name on the wire."""

    MIN = b"MIN"
    MAX = b"MAX"
    ALL = b"ALL"
    COUNT = b"COUNT"
    PARTIAL = b"PARTIAL"
    SAVE = b"SAVE"


class Relation(Enum):
    """How a date key compares: only the day counts, times and zones do not (RFC 3501 §6.4.4)."""

    BEFORE = "before"
    ON = "on"
    SINCE = "since"


@dataclass(frozen=True, slots=True)
class Everything:
    """ALL, and SAVEDATESUPPORTED: every mailbox keeps save dates (RFC 8514 §4.3)."""


@dataclass(frozen=True, slots=True)
class And:
    """Every one of `keys` matches; at least one is given."""

    keys: tuple[SearchKey, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """OR."""

    left: SearchKey
    right: SearchKey


@dataclass(frozen=True, slots=True)
class Not:
    """NOT, and the UN... keys."""

    key: SearchKey


@dataclass(frozen=True, slots=True)
class HasFlag:
    """ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, RECENT: the bit of `flags`."""

    bit: int


@dataclass(frozen=True, slots=True)
class HasKeyword:
    """KEYWORD, as sent (compare without regard to case)."""

    keyword: bytes


@dataclass(frozen=True, slots=True)
class Numbers:
    """A set of message numbers."""

    sequence: SequenceSet


@dataclass(frozen=True, slots=True)
class Uids:
    """UID."""

    sequence: SequenceSet


@dataclass(frozen=True, slots=True)
class HeaderText:
    """BCC, CC, FROM, SUBJECT, TO and HEADER: `field` in small letters; an empty `text` asks only whether the field is there."""

    field: bytes
    text: str


@dataclass(frozen=True, slots=True)
class BodyText:
    """BODY."""

    text: str


@dataclass(frozen=True, slots=True)
class AnyText:
    """TEXT: header or body."""

    text: str


@dataclass(frozen=True, slots=True)
class Larger:
    """LARGER: RFC822.SIZE above `size`."""

    size: int


@dataclass(frozen=True, slots=True)
class Smaller:
    """SMALLER: RFC822.SIZE below `size`."""

    size: int


@dataclass(frozen=True, slots=True)
class Received:
    """BEFORE, ON, SINCE: by internal date."""

    relation: Relation
    day: date


@dataclass(frozen=True, slots=True)
class Saved:
    """SAVEDBEFORE, SAVEDON, SAVEDSINCE: by the date the message came into this mailbox (RFC 8514 §4.3)."""

    relation: Relation
    day: date


@dataclass(frozen=True, slots=True)
class EmailId:
    """EMAILID, as sent: no other spelling is the same (RFC 8474 §6)."""

    object_id: bytes


@dataclass(frozen=True, slots=True)
class ThreadId:
    """THREADID, as sent (RFC 8474 §6)."""

    object_id: bytes


@dataclass(frozen=True, slots=True)
class Older:
    """OLDER: `seconds` or more have passed since the internal date (RFC 5032 §3)."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Younger:
    """YOUNGER: at most `seconds` have passed since the internal date (RFC 5032 §3)."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Sent:
    """SENTBEFORE, SENTON, SENTSINCE: by the Date field."""

    relation: Relation
    day: date


@dataclass(frozen=True, slots=True)
class ModSeq:
    """MODSEQ: `value` or higher; the entry name of the extended form is checked and, as RFC 7162 §3.1.5 lets us, not kept apart."""

    value: int


SearchKey = (
    Everything
    | And
    | Or
    | Not
    | HasFlag
    | HasKeyword
    | Numbers
    | Uids
    | HeaderText
    | BodyText
    | AnyText
    | Larger
    | Smaller
    | Received
    | Saved
    | EmailId
    | ThreadId
    | Older
    | Younger
    | Sent
    | ModSeq
)


def leaves(key: SearchKey) -> Iterator[SearchKey]:
    """Give the keys of a tree that hold no others."""
    waiting = [key]
    while waiting:
        key = waiting.pop()
        match key:
            case And():
                waiting.extend(key.keys)
            case Or():
                waiting.extend((key.left, key.right))
            case Not():
                waiting.append(key.key)
            case _:
                yield key
