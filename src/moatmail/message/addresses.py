# SPDX-License-Identifier: Apache-2.0
"""Address lists of header fields: mailboxes and groups, comments, quoted strings, obsolete forms, damage.

Obeys RFC 5322 §3.4 (addresses), §3.2.2 (comments), §4.4 (obsolete forms: routes, blanks around dots, empty members), RFC 6532 §3.2 (UTF-8).
Must never know which addresses exist. What an addr-spec *is* decides `core/address.parse_mailbox` alone, for every check of the house.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from moatmail.core.address import Address, AddressError, parse_mailbox
from moatmail.core.limits.message import ADDRESS_TOKENS_MAX, ADDRESSES_MAX, COMMENT_DEPTH_MAX
from moatmail.message.encoded_word import decode_words

# One token: blanks, quoted string, domain literal, a run of anything that is no special, or one special. Possessive: time is linear.
_TOKEN = re.compile(rb'[ \t]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|\[[^\]<>,]*+\]?|[^ \t"()\[<>,;:@]++|.', re.DOTALL)
# The mailbox as nearly all mail writes it, to the comma or the end; everything else goes token by token, with the same result.
_ATOMS = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\xff-]++"
_PLAIN = re.compile(rb'[ \t]*+(?:(?:"([^"\\]*+)"|(%b(?: %b)*+))? ?<(%b)@(%b)>|(%b)@(%b))[ \t]*+(?:,|\Z)' % ((_ATOMS,) * 6))
_WHOLE_QUOTED = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_COMMENT_MARK = re.compile(rb"[()\\]")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_SPACE = (b" ", b" ")
# RFC 5322 §3.2.3 (atext), §4.1 (dots in phrases), RFC 6532 §3.2 (non-ASCII); the octet of a stray bracket or backslash is none of them.
_PHRASE_OCTETS = b" \t.ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+/=?^_`{|}~-" + bytes(range(0x80, 0x100))

_Piece = tuple[bytes, bytes]  # as written, and what it says


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox: display name (or comment in its place) unquoted but not decoded, source route, and the halves of the addr-spec, unquoted.

    `localpart` and `domain` are raw octets even of damaged addresses; `domain` is None where no "@" was. `spec` is the addr-spec as written, without
    comments and blanks.
    """

    name: bytes | None
    route: bytes | None
    localpart: bytes
    domain: bytes | None
    spec: bytes

    @property
    def address(self) -> Address | None:
        """Give the address by the one parser of the house, or None if it is not valid there (RFC 5321 §4.1.2)."""
        try:
            return parse_mailbox(self.spec, utf8=True)
        except AddressError:
            return None

    @property
    def display_name(self) -> str:
        """Give the display name decoded (RFC 2047 §5)."""
        return decode_words(self.name or b"")


@dataclass(frozen=True, slots=True)
class Group:
    """A named group; `members` may be empty, as in ``undisclosed-recipients:;`` (RFC 5322 §3.4)."""

    name: bytes
    members: tuple[Mailbox, ...]


def parse_addresses(value: bytes) -> list[Mailbox | Group]:
    """Give the mailboxes and groups of an unfolded field value, in order, at most ADDRESSES_MAX; never raises (RFC 5322 §3.4)."""
    return _Reader(value).read()


@dataclass(frozen=True, slots=True)
class AddressList:
    """A list with how sure its reading is.

    `sound` is False where something fits no rule of RFC 5322 §3.4 or §4.4, or a bound was met: others may read other addresses there. `in_names` are
    addresses that stand, without quotes, where only a display name may stand.
    """

    entries: tuple[Mailbox | Group, ...]
    sound: bool
    in_names: tuple[Mailbox, ...] = ()


def read_addresses(value: bytes) -> AddressList:
    """Give the entries of an unfolded field value as `parse_addresses` does, and whether all of it was understood; never raises."""
    reader = _Reader(value)
    entries = tuple(reader.read())
    return AddressList(entries, not reader.damaged, tuple(reader.in_names))


def mailboxes(value: bytes) -> list[Mailbox]:
    """Give all mailboxes of an unfolded field value, those of groups among them."""
    found: list[Mailbox] = []
    for entry in parse_addresses(value):
        if isinstance(entry, Mailbox):
            found.append(entry)
        else:
            found.extend(entry.members)
    return found


class _Reader:
    """One pass over the tokens of one list; groups do not nest, so there is nothing to recurse into."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._entries: list[Mailbox | Group] = []
        self._members: list[Mailbox] | None = None  # of the open group
        self._group_name = b""
        self._count = 0
        self.damaged = False
        self.in_names: list[Mailbox] = []
        self._clear()

    def _clear(self) -> None:
        self._phrase: list[_Piece] = []
        self._angle: list[_Piece] | None = None
        self._after: list[_Piece] = []
        self._in_angle = False
        self._route: bytes | None = None
        self._comment: bytes | None = None

    def read(self) -> list[Mailbox | Group]:
        value, position = self._value, 0
        length = len(value)
        tokens = 0
        fresh = True  # whether an entry may begin here
        while position < length and self._count < ADDRESSES_MAX:
            plain = _PLAIN.match(value, position) if fresh else None
            if plain is not None:
                self._add(_plain_mailbox(plain))
                position = plain.end()
                continue
            match = _TOKEN.match(value, position)
            tokens += 1
            if match is None or tokens > ADDRESS_TOKENS_MAX:
                break
            position = self._take(match[0], match.end())
            fresh = match[0] == b"," and not self._in_angle
        # What is left unread, an angle bracket or a group that never closes: nobody knows what a reader makes of it.
        self.damaged |= position < length or self._in_angle or self._members is not None
        self._flush()
        self._end_group()
        return self._entries

    def _take(self, token: bytes, end: int) -> int:
        """Take one token that ends at `end`; give where the next one begins."""
        special = _SPECIALS.get(token)
        if special is not None:
            special(self, token)
        elif token == b"(":
            return self._read_comment(end)
        else:
            self._word(token)
        return end

    # ---- tokens ---------------------------------------------------------------------------------------------------

    def _word(self, token: bytes) -> None:
        first = token[0]
        if first in b" \t":
            piece = _SPACE
        elif first == 0x22:
            inside = token[1:-1] if len(token) > 1 and token.endswith(b'"') else token[1:]
            piece = (token, _ESCAPED.sub(rb"\1", inside) if b"\\" in inside else inside)
            self.damaged |= _WHOLE_QUOTED.fullmatch(token) is None
        else:
            piece = (token, token)
        self._put(piece)

    def _put(self, piece: _Piece) -> None:
        if self._in_angle and self._angle is not None:
            if self._angle or piece is not _SPACE:  # RFC 5322 §4.4 obs-route: blanks may stand in front of it, so they are no part of it
                self._angle.append(piece)
        elif self._angle is None:
            self._phrase.append(piece)
        else:
            # Words after the ">" belong to nobody, unless another "<" shows that a comma was forgotten.
            self._after.append(piece)
            self.damaged |= piece is not _SPACE

    def _open_angle(self, _token: bytes) -> None:
        self.damaged |= self._angle is not None
        if self._in_angle:
            return
        if self._angle is not None:
            after = self._after
            self._flush()
            self._phrase = after
        self._angle, self._in_angle = [], True

    def _close_angle(self, _token: bytes) -> None:
        self.damaged |= not self._in_angle
        self._in_angle = False

    def _comma(self, token: bytes) -> None:
        # RFC 5322 §4.4 obs-route: commas stand between the domains of a source route.
        if self._in_angle and self._angle and self._angle[0][0] == b"@" and self._route is None and b":" in self._value:
            self._put((token, token))
            return
        self.damaged |= self._in_angle
        self._flush()

    def _colon(self, token: bytes) -> None:
        if self._in_angle and self._angle and self._angle[0][0] == b"@":
            self._route = b"".join(raw for raw, _ in self._angle if raw != b" ")
            self._angle = []
        elif self._angle is None and self._members is None and (b"@", b"@") not in self._phrase:
            self._group_name, self._members = _phrase_text(self._phrase), []
            self._clear()
        else:
            self._put((token, token))

    def _semicolon(self, _token: bytes) -> None:
        self.damaged |= self._in_angle or self._members is None
        self._flush()
        self._end_group()

    def _at(self, token: bytes) -> None:
        self._put((token, token))

    def _read_comment(self, position: int) -> int:
        """Skip the comment that began before `position`, remembering the first one's text; give where it ends (RFC 5322 §3.2.2)."""
        value, start, depth = self._value, position, 1
        while depth and (match := _COMMENT_MARK.search(value, position)) is not None:
            position = match.end()
            mark = match[0]
            if mark == b"\\":
                position += 1
            elif mark == b"(":
                depth = min(depth + 1, COMMENT_DEPTH_MAX)
            else:
                depth -= 1
        if depth:
            position = len(value) + 1
            self.damaged = True
        if self._comment is None:
            inside = value[start : position - 1]
            self._comment = (_ESCAPED.sub(rb"\1", inside) if b"\\" in inside else inside).strip(b" \t") or None
        # RFC 5322 §3.2.2: a comment counts as a blank where blanks may stand.
        self._put(_SPACE)
        return position

    # ---- entries --------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """End the entry that is being read; an empty one is none (RFC 5322 §4.4 obs-addr-list)."""
        phrase, angle = self._phrase, self._angle
        pieces = phrase if angle is None else angle
        if angle is not None or any(piece is not _SPACE for piece in phrase):
            # Without angle brackets the comment is the old place of the name (RFC 5322 §3.4).
            name = (_phrase_text(phrase) if angle is not None else b"") or self._comment
            if angle is not None:
                self._look_at_name(phrase)
            # RFC 5322 §4.4 obs-domain: blanks and comments stand around dots; between two words some readers end the domain there.
            at = _last_at(pieces)
            self.damaged |= at >= 0 and _SPACE in _without_blanks(pieces[at + 1 :])
            self._add(_mailbox(name, self._route, pieces))
        self._clear()

    def _look_at_name(self, phrase: list[_Piece]) -> None:
        # RFC 5322 §3.2.5 and §4.1: a phrase is made of atoms, dots and quoted strings; "@" in it makes an address for some readers.
        bare = [raw for raw, _ in phrase if not raw.startswith(b'"')]
        if b"@" in bare:
            self.in_names.append(_mailbox(None, None, phrase))
        self.damaged |= any(raw.translate(None, _PHRASE_OCTETS) for raw in bare if raw != b"@")

    def _add(self, mailbox: Mailbox) -> None:
        self._count += 1
        if self._members is not None:
            self._members.append(mailbox)
        else:
            self._entries.append(mailbox)

    def _end_group(self) -> None:
        if self._members is not None:
            self._entries.append(Group(self._group_name, tuple(self._members)))
            self._members = None
            self._count += 1


_SPECIALS = {
    b"<": _Reader._open_angle,  # noqa: SLF001 - the table of the class's own tokens
    b">": _Reader._close_angle,  # noqa: SLF001
    b",": _Reader._comma,  # noqa: SLF001
    b":": _Reader._colon,  # noqa: SLF001
    b";": _Reader._semicolon,  # noqa: SLF001
    b"@": _Reader._at,  # noqa: SLF001
}


def _plain_mailbox(match: re.Match[bytes]) -> Mailbox:
    quoted, phrase, localpart, domain, bare_localpart, bare_domain = match.groups()
    if localpart is None:
        localpart, domain = bare_localpart, bare_domain
    name = phrase if quoted is None else quoted.strip(b" \t")
    return Mailbox(name or None, None, localpart, domain, b"%b@%b" % (localpart, domain))


def _phrase_text(pieces: list[_Piece]) -> bytes:
    return b"".join([text for _, text in pieces]).strip(b" \t")


def _mailbox(name: bytes | None, route: bytes | None, pieces: list[_Piece]) -> Mailbox:
    """Split an addr-spec at its last "@": a damaged one keeps the others in its local part, where no check will accept them."""
    at = _last_at(pieces)
    local = _without_blanks(pieces[:at] if at >= 0 else pieces)
    localpart = b"".join([text for _, text in local])
    spec = b"".join([raw for raw, _ in local])
    if at < 0:
        return Mailbox(name, route, localpart, None, spec)
    domain = b"".join([raw for raw, _ in pieces[at + 1 :] if raw != b" "])
    return Mailbox(name, route, localpart, domain, spec + b"@" + domain)


def _last_at(pieces: list[_Piece]) -> int:
    """Give the place of the last "@", -1 where there is none."""
    at = len(pieces) - 1
    while at >= 0 and pieces[at][0] != b"@":
        at -= 1
    return at


def _without_blanks(pieces: list[_Piece]) -> list[_Piece]:
    """Drop blanks at the ends and around dots (RFC 5322 §4.4 obs-local-part); keep those between words, which are damage to be seen."""
    kept: list[_Piece] = []
    for place, piece in enumerate(pieces):
        if piece is _SPACE:
            after = pieces[place + 1][0] if place + 1 < len(pieces) else b"."
            before = kept[-1][0] if kept else b"."
            if before.endswith((b".", b" ")) or after.startswith((b".", b" ")):
                continue
        kept.append(piece)
    return kept
