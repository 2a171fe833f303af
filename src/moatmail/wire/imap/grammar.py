# SPDX-License-Identifier: Apache-2.0
"""The tokens of a command: a cursor over its lines and literals, and the primitive productions.

Obeys RFC 3501 §9 (formal syntax) with what clients really send: octets over 127 in quoted strings are let in; RFC 9755 §3 and RFC 9051 §9 (UTF-8).
Must never know a command.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from moatmail.core.errors import PermanentError, RemoteProtocolError
from moatmail.core.limits import imap as limits
from moatmail.wire.imap import mailbox_name
from moatmail.wire.imap.flags import SYSTEM_FLAGS, FlagList
from moatmail.wire.imap.moment import ZonedMoment, parse_date_time
from moatmail.wire.imap.sequence import PartialRange, SequenceSet
from moatmail.wire.imap.sequence import parse as parse_sequence

NUMBER_63: Final = (1 << 63) - 1  # RFC 9051 §9: number64; RFC 7162 §7: mod-sequences
# RFC 3501 §9. Each class is matched as one run: linear, nothing to go back to.
_TAG: Final = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\+]+")
_ATOM: Final = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_ASTRING: Final = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+")
_SEQUENCE: Final = re.compile(rb"[0-9:*,$]+")
_DIGITS: Final = re.compile(rb"[0-9]+")
MARKER: Final = re.compile(rb"\{[0-9]+\+?\}")  # RFC 3501 §9, RFC 7888 §8: announces a literal at the end of a line
_FORBIDDEN_QUOTED: Final = re.compile(rb"[\x00\r\n]")


class BadSyntaxError(RemoteProtocolError):
    """The command is not in the grammar: tagged BAD with `text`."""

    def __init__(self, text: bytes, code: bytes = b"") -> None:
        """Keep what is told to the client."""
        super().__init__(text.decode("ascii", "replace"))
        self.text = text
        self.code = code


class CommandRefusedError(PermanentError):
    """The command is well formed but asks for what cannot be: tagged NO with `code` and `text`."""

    def __init__(self, text: bytes, code: bytes = b"") -> None:
        """Keep what is told to the client."""
        super().__init__(text.decode("ascii", "replace"))
        self.text = text
        self.code = code


class SearchRefusedError(CommandRefusedError):
    """As above, of a SEARCH that was to save its result: what was saved before is void (RFC 5182 §2.1)."""


class LiteralPendingError(Exception):
    """The grammar arrived at a literal that was announced but not read yet."""


class Cursor:
    """A place in a command: `parts` are text, literal, text, literal, ... text; a text before a literal ends with its ``{n}``."""

    __slots__ = ("_index", "_parts", "position", "qresync", "text", "uid_only", "utf8", "utf8_accept")

    def __init__(self, parts: list[bytes], position: int = 0) -> None:
        """Start at octet `position` of the first text."""
        self._parts = parts
        self._index = 0
        self.text = parts[0]
        self.position = position
        self.utf8 = False  # names and quoted strings are in UTF-8 (RFC 9051 §5.1, RFC 9755 §3)
        self.utf8_accept = False  # that by UTF8=ACCEPT: searches name no charset any more (RFC 9755 §3)
        self.uid_only = False  # message numbers are refused (RFC 9586 §3)
        self.qresync = False  # what needs QRESYNC may be asked for (RFC 7162 §3.2.3)

    # ---- single octets ----

    def at(self, octets: bytes) -> bool:
        """Tell whether `octets` come next."""
        return self.text.startswith(octets, self.position)

    def take(self, octets: bytes) -> bool:
        """Step over `octets` if they come next."""
        if not self.text.startswith(octets, self.position):
            return False
        self.position += len(octets)
        return True

    def expect(self, octets: bytes, where: bytes) -> None:
        """Step over `octets` or fail."""
        if not self.take(octets):
            fail(b"expected '%b' %b" % (octets, where))

    def space(self, what: bytes) -> None:
        """Step over the one space before `what`, which has to follow."""
        if not self.take(b" "):
            fail(b"expected a space and %b" % what)

    @property
    def at_end(self) -> bool:
        """Tell whether the command is read to its end."""
        return self.position == len(self.text) and self._index == len(self._parts) - 1

    def end(self) -> None:
        """Fail unless the command ends here."""
        if not self.at_end:
            fail(b"unexpected text after the command")

    # ---- words ----

    def run(self, pattern: re.Pattern[bytes], what: bytes) -> bytes:
        """Take the run of octets that `pattern` matches here."""
        match = pattern.match(self.text, self.position)
        if match is None:
            fail(b"expected %b" % what)
        self.position = match.end()
        return match.group()

    def atom(self, what: bytes) -> bytes:
        """Take an atom."""
        return self.run(_ATOM, what)

    def word(self, what: bytes) -> bytes:
        """Take an atom in capitals: a keyword of the protocol."""
        return self.run(_ATOM, what).upper()

    def tag(self) -> bytes:
        """Take a tag (RFC 3501 §9)."""
        tag = self.run(_TAG, b"a tag")
        if len(tag) > limits.TAG:
            fail(b"the tag is too long")
        return tag

    def number(self, what: bytes, maximum: int = NUMBER_63) -> int:
        """Take a number from 0 to `maximum`."""
        digits = self.run(_DIGITS, what)
        if len(digits) > 19 or int(digits) > maximum:
            fail(b"%b is too large" % what)
        return int(digits)

    def positive(self, what: bytes, maximum: int = NUMBER_63) -> int:
        """Take a number from 1 to `maximum`."""
        number = self.number(what, maximum)
        if number == 0:
            fail(b"%b must not be 0" % what)
        return number

    # ---- strings ----

    def string(self, what: bytes) -> bytes:
        """Take a quoted string or a literal."""
        if self.at(b'"'):
            return self._quoted(what)
        return self._literal(what)

    def astring(self, what: bytes) -> bytes:
        """Take an atom (``]`` allowed) or a string."""
        if self.at(b'"'):
            return self._quoted(what)
        if self.at(b"{"):
            return self._literal(what)
        return self.run(_ASTRING, what)

    def nstring(self, what: bytes) -> bytes | None:
        """Take a string or NIL."""
        if self.text[self.position : self.position + 3].upper() == b"NIL":
            self.position += 3
            return None
        return self.string(what)

    @property
    def at_literal(self) -> bool:
        """Tell whether a literal begins here, read or not."""
        return self.at(b"{")

    def _quoted(self, what: bytes) -> bytes:
        text, start = self.text, self.position + 1
        end = text.find(b'"', start)
        escape = text.find(b"\\", start, end if end >= 0 else len(text))
        if escape >= 0:
            return self._quoted_with_escapes(what)
        if end < 0:
            fail(b"%b: the quoted string does not end" % what)
        self.position = end + 1
        return self._clean(text[start:end], what)

    def _quoted_with_escapes(self, what: bytes) -> bytes:
        text, start = self.text, self.position + 1
        out: list[bytes] = []
        quote = text.find(b'"', start)
        escape = text.find(b"\\", start)
        while 0 <= escape < quote:
            # RFC 3501 §9: only the quote and the backslash are escaped; others are let in as themselves.
            out += (text[start:escape], text[escape + 1 : escape + 2])
            start = escape + 2
            escape = text.find(b"\\", start)
            if quote < start:
                quote = text.find(b'"', start)
        if quote < 0:
            fail(b"%b: the quoted string does not end" % what)
        out.append(text[start:quote])
        self.position = quote + 1
        return self._clean(b"".join(out), what)

    def _clean(self, octets: bytes, what: bytes) -> bytes:
        if _FORBIDDEN_QUOTED.search(octets):
            fail(b"%b holds an octet that a quoted string cannot" % what)
        if self.utf8 and not octets.isascii():
            _demand_utf8(octets, what)
        return octets

    def _literal(self, what: bytes) -> bytes:
        marker = MARKER.match(self.text, self.position)
        if marker is None or marker.end() != len(self.text):
            fail(b"expected %b" % what)
        if self._index + 1 >= len(self._parts):
            raise LiteralPendingError
        literal = self._parts[self._index + 1]
        self._index += 2
        self.text = self._parts[self._index]
        self.position = 0
        if b"\0" in literal:
            fail(b"%b holds a NUL" % what)  # RFC 3501 §9: CHAR8
        return literal

    # ---- productions several commands share ----

    def mailbox(self) -> str:
        """Take a mailbox name; one that can name nothing is a NO, not a BAD: the syntax is right."""
        name = mailbox_name.read_name(self.astring(b"a mailbox name"), utf8=self.utf8)
        if name is None:
            raise CommandRefusedError(b"this is no valid mailbox name", b"CANNOT")
        return name

    def sequence(self) -> SequenceSet:
        """Take a sequence set; number 0 is an error (RFC 3501 §9, seq-number)."""
        sequence = parse_sequence(self.run(_SEQUENCE, b"a sequence set"))
        if sequence is None:
            fail(b"this is no sequence set, or it is too long")
        return sequence

    def partial_range(self) -> PartialRange:
        """Take two places of one sign (RFC 9394 §4): ``500:1`` is the same as ``1:500``."""
        sign = -1 if self.take(b"-") else 1
        one = self.positive(b"a place", 0xFFFFFFFF)
        self.expect(b":-" if sign < 0 else b":", b"between places")
        other = self.positive(b"a place", 0xFFFFFFFF)
        return PartialRange(sign * one, sign * other)

    def flag_list(self) -> FlagList:
        """Take a parenthesised flag list (RFC 3501 §9, flag-list)."""
        self.expect(b"(", b"before flags")
        return self._flags(b")")

    def flags(self) -> FlagList:
        """Take flags with or without parentheses, as STORE allows."""
        return self._flags(b")") if self.take(b"(") else self._flags(b"")

    def _flags(self, closing: bytes) -> FlagList:
        bits, octets, keywords, seen = 0, 0, [], set()
        if closing and self.take(closing):
            return FlagList()
        while True:
            bit, keyword = self._flag()
            bits |= bit
            if keyword and (folded := keyword.upper()) not in seen:
                seen.add(folded)
                keywords.append(keyword)
                octets += len(keyword) + 1
                if len(keywords) > limits.KEYWORDS or octets > limits.KEYWORD_OCTETS:
                    raise CommandRefusedError(b"too many keywords", b"LIMIT")
            if self.take(b" "):
                continue
            if closing:
                self.expect(closing, b"after flags")
            return FlagList(bits, tuple(keywords))

    def _flag(self) -> tuple[int, bytes]:
        if not self.take(b"\\"):
            keyword = self.run(_ATOM, b"a flag")
            if len(keyword) > limits.KEYWORD:
                raise CommandRefusedError(b"the keyword is too long", b"LIMIT")
            return 0, keyword
        name = b"\\" + self.word(b"a flag")
        if name == b"\\RECENT":
            return 0, b""  # RFC 3501 §2.3.2: clients cannot alter it; some send back what they were told
        if name not in SYSTEM_FLAGS:
            fail(b"there is no such system flag")
        return SYSTEM_FLAGS[name], b""

    def date_time(self) -> ZonedMoment:
        """Take a quoted date-time (RFC 3501 §9)."""
        moment = parse_date_time(self._quoted(b"a date-time"))
        if moment is None:
            fail(b"this is no date-time")
        return moment


def demand_uid() -> NoReturn:
    """Refuse message numbers of a client that gave them up (RFC 9586 §3.1)."""
    raise BadSyntaxError(b"message numbers are not used here", b"UIDREQUIRED")


def fail(text: bytes) -> NoReturn:
    """Give up on the command."""
    raise BadSyntaxError(text)


def _demand_utf8(octets: bytes, what: bytes) -> None:
    try:
        octets.decode()
    except UnicodeDecodeError:
        fail(b"%b is not in UTF-8" % what)  # RFC 9755 §3: BAD
