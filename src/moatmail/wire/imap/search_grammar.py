# SPDX-License-Identifier: Apache-2.0
"""The arguments of SEARCH: result options, charset, and the tree of keys, built without recursion.

Obeys RFC 3501 §6.4.4 and §9 (search), RFC 4731 §3.1, RFC 5032 §5, RFC 5182 §5, RFC 7162 §3.1.5, RFC 8474 §7, RFC 8514 §5,
RFC 9394 §4.
Must never know how a message is matched.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final

from moatmail.core.limits import imap as limits
from moatmail.wire.imap import flags
from moatmail.wire.imap.grammar import CommandRefusedError, Cursor, demand_uid, fail
from moatmail.wire.imap.moment import parse_date
from moatmail.wire.imap.object_id import is_object_id
from moatmail.wire.imap.search import (
    And,
    AnyText,
    BodyText,
    EmailId,
    Everything,
    HasFlag,
    HasKeyword,
    HeaderText,
    Larger,
    ModSeq,
    Not,
    Numbers,
    Older,
    Or,
    Received,
    Relation,
    Saved,
    SearchKey,
    SearchReturn,
    Sent,
    Smaller,
    ThreadId,
    Uids,
    Younger,
)
from moatmail.wire.imap.sequence import SAVED, PartialRange

# RFC 3501 §6.4.4: US-ASCII must, UTF-8 should be; more would only hide what a client sends.
CHARSETS: Final = {b"US-ASCII": "ascii", b"ASCII": "ascii", b"UTF-8": "utf-8", b"UTF8": "utf-8"}
_RETURNS: Final = {option.value: option for option in SearchReturn}
_ENTRY_TYPES: Final = frozenset((b"ALL", b"PRIV", b"SHARED"))  # RFC 7162 §7, entry-type-req

_CONSTANT_KEYS: Final[dict[bytes, SearchKey]] = {
    b"ALL": Everything(),
    b"SAVEDATESUPPORTED": Everything(),
    b"ANSWERED": HasFlag(flags.ANSWERED),
    b"DELETED": HasFlag(flags.DELETED),
    b"DRAFT": HasFlag(flags.DRAFT),
    b"FLAGGED": HasFlag(flags.FLAGGED),
    b"SEEN": HasFlag(flags.SEEN),
    b"RECENT": HasFlag(flags.RECENT),
    b"UNANSWERED": Not(HasFlag(flags.ANSWERED)),
    b"UNDELETED": Not(HasFlag(flags.DELETED)),
    b"UNDRAFT": Not(HasFlag(flags.DRAFT)),
    b"UNFLAGGED": Not(HasFlag(flags.FLAGGED)),
    b"UNSEEN": Not(HasFlag(flags.SEEN)),
    b"OLD": Not(HasFlag(flags.RECENT)),
    b"NEW": And((HasFlag(flags.RECENT), Not(HasFlag(flags.SEEN)))),
}


class _Frame:
    """An unfinished key: a list of keys (`wanted` 0) that ends with a parenthesis or the command, NOT (1) or OR (2)."""

    __slots__ = ("keys", "wanted")

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.keys: list[SearchKey] = []


class SearchParser:
    """Reads one search program; afterwards `modseq` tells whether a MODSEQ key was among the keys, `partial` the range of PARTIAL."""

    def __init__(self, cursor: Cursor) -> None:
        """Read from `cursor`, which stands behind the space after SEARCH."""
        self._cursor = cursor
        self._charset = "utf-8"
        self._count = 0
        self.modseq = False
        self.partial: PartialRange | None = None

    def returns(self, following: bytes = b"a search key") -> frozenset[SearchReturn] | None:
        """Take ``RETURN (...)`` and the space behind it; an empty list means ALL (RFC 4731 §3.1)."""
        cursor = self._cursor
        if cursor.text[cursor.position : cursor.position + 8].upper() != b"RETURN (":
            return None
        cursor.position += 8
        options: set[SearchReturn] = set()
        while not cursor.take(b")"):
            option = _RETURNS.get(cursor.word(b"a result option"))
            if option is None:
                fail(b"unknown result option")
            if option is SearchReturn.PARTIAL:
                self._partial(options)
            options.add(option)
            if not cursor.at(b")"):
                cursor.space(b"a result option")
        cursor.space(following)
        if {SearchReturn.PARTIAL, SearchReturn.ALL} <= options:
            fail(b"PARTIAL and ALL exclude each other")  # RFC 9394 §3.1
        return frozenset(options or (SearchReturn.ALL,))

    def _partial(self, options: set[SearchReturn]) -> None:
        if SearchReturn.PARTIAL in options:
            fail(b"PARTIAL may be given once")  # RFC 9394 §3.1
        self._cursor.space(b"a range")
        self.partial = self._cursor.partial_range()

    def charset(self) -> None:
        """Take ``CHARSET name`` and the space behind it."""
        cursor = self._cursor
        if cursor.text[cursor.position : cursor.position + 8].upper() == b"CHARSET ":
            if cursor.utf8_accept:
                fail(b"no charset is named after ENABLE UTF8=ACCEPT")  # RFC 9755 §3: everything is in UTF-8
            cursor.position += 8
            self.charset_name()

    def charset_name(self) -> None:
        """Take the name of a charset and the space behind it: SORT and THREAD have it without a word before (RFC 5256 §3)."""
        codec = CHARSETS.get(self._cursor.astring(b"a charset").upper())
        if self._cursor.utf8_accept and codec != "utf-8":
            fail(b"the charset is UTF-8 after ENABLE UTF8=ACCEPT")  # RFC 9755 §3; SORT and THREAD have to name one (RFC 5256 §3)
        if codec is None:
            # RFC 3501 §6.4.4: the code lists what we do understand.
            raise CommandRefusedError(b"this charset is not supported", b"BADCHARSET (US-ASCII UTF-8)")
        self._charset = codec
        self._cursor.space(b"a search key")

    def program(self) -> SearchKey:
        """Take all keys to the end of the command."""
        cursor = self._cursor
        frames = [_Frame(0)]
        depth = 0
        while True:
            if cursor.take(b"("):
                depth += 1
                self._push(frames, 0, too_deep=depth > limits.NESTING)
                continue
            word = self._key_start()
            if word in (b"NOT", b"OR"):
                self._push(frames, 1 if word == b"NOT" else 2, too_deep=len(frames) > limits.SEARCH_DEPTH)
                cursor.space(b"a search key")
                continue
            _reduce(frames, self._key(word))
            while cursor.take(b")"):
                depth -= 1
                self._close(frames, depth)
            if cursor.at_end:
                return self._finish(frames)
            cursor.space(b"a search key")

    @staticmethod
    def _push(frames: list[_Frame], wanted: int, *, too_deep: bool) -> None:
        if too_deep:
            raise CommandRefusedError(b"the search keys are nested too deeply", b"LIMIT")
        frames.append(_Frame(wanted))

    @staticmethod
    def _close(frames: list[_Frame], depth: int) -> None:
        if depth < 0 or frames[-1].wanted:
            fail(b"unexpected ')' among search keys")
        _reduce(frames, _joined(frames.pop().keys))

    @staticmethod
    def _finish(frames: list[_Frame]) -> SearchKey:
        if len(frames) != 1:
            fail(b"the search keys end too early")
        return _joined(frames[0].keys)

    # ---- single keys ----

    def _key_start(self) -> bytes:
        """Take the word a key begins with; empty before a sequence set."""
        self._count += 1
        if self._count > limits.SEARCH_KEYS:
            raise CommandRefusedError(b"too many search keys", b"LIMIT")
        following = self._cursor.text[self._cursor.position : self._cursor.position + 1]
        if following.isdigit() or following in (b"*", SAVED):
            return b""
        return self._cursor.word(b"a search key")

    def _key(self, word: bytes) -> SearchKey:
        if not word:
            sequence = self._cursor.sequence()
            if self._cursor.uid_only and sequence.ranges:
                demand_uid()
            return Numbers(sequence)
        constant = _CONSTANT_KEYS.get(word)
        if constant is not None:
            return constant
        reader = _READERS.get(word)
        if reader is None:
            fail(b"unknown search key")
        self._cursor.space(b"the argument of a search key")
        return reader(self)

    def text(self) -> str:
        """Take a text to look for, decoded from the charset."""
        octets = self._cursor.astring(b"a text to search for")
        try:
            return octets.decode(self._charset)
        except UnicodeDecodeError:
            fail(b"the text is not in the charset")

    def day(self) -> date:
        """Take a date, quoted or not (RFC 3501 §9)."""
        day = parse_date(self._cursor.astring(b"a date"))
        if day is None:
            fail(b"this is no date")
        return day

    def header(self) -> SearchKey:
        """Take the arguments of HEADER."""
        field = self._cursor.astring(b"a header field name").lower()
        self._cursor.space(b"a text to search for")
        return HeaderText(field, self.text())

    def keyword(self) -> SearchKey:
        """Take the argument of KEYWORD."""
        keyword = self._cursor.atom(b"a keyword")
        return HasKeyword(keyword)

    def size(self) -> int:
        """Take a number of octets."""
        return self._cursor.number(b"the size")

    def interval(self) -> int:
        """Take a number of seconds (RFC 5032 §5: nz-number)."""
        return self._cursor.positive(b"the interval", 0xFFFFFFFF)

    def object_id(self) -> bytes:
        """Take an object identifier."""
        text = self._cursor.astring(b"an object identifier")
        if not is_object_id(text):
            fail(b"this is no object identifier")
        return text

    def uids(self) -> SearchKey:
        """Take the argument of UID."""
        return Uids(self._cursor.sequence())

    def mod_sequence(self) -> SearchKey:
        """Take the arguments of MODSEQ, with or without entry name and type (RFC 7162 §3.1.5)."""
        cursor = self._cursor
        self.modseq = True
        if cursor.at(b'"'):
            if not cursor.string(b"an entry name").lower().startswith(b"/flags/"):
                fail(b"this is no entry name of a flag")
            cursor.space(b"an entry type")
            if cursor.word(b"an entry type") not in _ENTRY_TYPES:
                fail(b"unknown entry type")
            cursor.space(b"a mod-sequence")
        return ModSeq(cursor.number(b"the mod-sequence"))


def _joined(keys: list[SearchKey]) -> SearchKey:
    return keys[0] if len(keys) == 1 else And(tuple(keys))


def _reduce(frames: list[_Frame], key: SearchKey) -> None:
    """Hand a finished key to the frame above, which it may finish in turn."""
    while True:
        frame = frames[-1]
        frame.keys.append(key)
        if len(frame.keys) != frame.wanted:
            return
        frames.pop()
        key = Not(frame.keys[0]) if frame.wanted == 1 else Or(frame.keys[0], frame.keys[1])


def _field_reader(field: bytes) -> Callable[[SearchParser], SearchKey]:
    return lambda parser: HeaderText(field, parser.text())


_READERS: Final[dict[bytes, Callable[[SearchParser], SearchKey]]] = {
    b"BCC": _field_reader(b"bcc"),
    b"CC": _field_reader(b"cc"),
    b"FROM": _field_reader(b"from"),
    b"SUBJECT": _field_reader(b"subject"),
    b"TO": _field_reader(b"to"),
    b"HEADER": SearchParser.header,
    b"BODY": lambda parser: BodyText(parser.text()),
    b"TEXT": lambda parser: AnyText(parser.text()),
    b"KEYWORD": SearchParser.keyword,
    b"UNKEYWORD": lambda parser: Not(parser.keyword()),
    b"LARGER": lambda parser: Larger(parser.size()),
    b"SMALLER": lambda parser: Smaller(parser.size()),
    b"BEFORE": lambda parser: Received(Relation.BEFORE, parser.day()),
    b"ON": lambda parser: Received(Relation.ON, parser.day()),
    b"SINCE": lambda parser: Received(Relation.SINCE, parser.day()),
    b"SAVEDBEFORE": lambda parser: Saved(Relation.BEFORE, parser.day()),
    b"SAVEDON": lambda parser: Saved(Relation.ON, parser.day()),
    b"SAVEDSINCE": lambda parser: Saved(Relation.SINCE, parser.day()),
    b"EMAILID": lambda parser: EmailId(parser.object_id()),
    b"THREADID": lambda parser: ThreadId(parser.object_id()),
    b"OLDER": lambda parser: Older(parser.interval()),
    b"YOUNGER": lambda parser: Younger(parser.interval()),
    b"SENTBEFORE": lambda parser: Sent(Relation.BEFORE, parser.day()),
    b"SENTON": lambda parser: Sent(Relation.ON, parser.day()),
    b"SENTSINCE": lambda parser: Sent(Relation.SINCE, parser.day()),
    b"UID": SearchParser.uids,
    b"MODSEQ": SearchParser.mod_sequence,
}
