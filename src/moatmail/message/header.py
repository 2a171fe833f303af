# SPDX-License-Identifier: Apache-2.0
"""A header block as raw octets with an index of its fields.

Obeys RFC 5322 §2.2 (fields, folding) and §4.5.3 (blanks before the colon); tolerates lines that are no field.
Must never know what a field means: addresses, dates and parameters have their own files.
"""

from __future__ import annotations

import re
from itertools import islice

from moatmail.core.limits.message import FIELD_OCTETS_MAX

# RFC 5322 §2.2: a name is printable US-ASCII without colon; §4.5.3: blanks may stand before the colon. A line that does not fit (an mbox
# separator, RFC 4155; text without a colon) is skipped with its continuation lines. All quantifiers are possessive, so time is linear.
_FIELD = re.compile(rb"^([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)", re.MULTILINE)
_LIST_FIELDS = frozenset((b"to", b"cc", b"bcc", b"reply-to"))


class Header:
    """The fields of `block`, in order: `names` (lower case) and `spans` (start of the field, start and end of its raw value, in octets of the block).

    With `most` the first so many fields alone.
    """

    __slots__ = ("block", "names", "spans")

    def __init__(self, block: bytes, most: int | None = None) -> None:
        matches = list(_FIELD.finditer(block) if most is None else islice(_FIELD.finditer(block), most))
        self.block = block
        self.names = [match[1].lower() for match in matches]
        self.spans = [(match.start(), *match.span(2)) for match in matches]

    def raw(self, name: bytes) -> bytes | None:
        """Give the raw value of the first field `name` (lower case), or None."""
        try:
            _, start, end = self.spans[self.names.index(name)]
        except ValueError:
            return None
        return self.block[start:end]

    def first(self, name: bytes) -> bytes | None:
        """Give the unfolded value of the first field `name` (lower case), or None."""
        value = self.raw(name)
        return None if value is None else unfold(value)

    def all(self, name: bytes) -> list[bytes]:
        """Give the unfolded values of all fields `name` (lower case), in order."""
        return [unfold(self.block[start:end]) for known, (_, start, end) in zip(self.names, self.spans, strict=True) if known == name]

    def count(self, name: bytes) -> int:
        """Give how many fields `name` (lower case) there are."""
        return self.names.count(name)

    def joined(self, name: bytes) -> bytes | None:
        """Give the unfolded value of `name`, at most FIELD_OCTETS_MAX octets; repeated address lists are joined (RFC 5322 §4.5.3)."""
        value = self.first(name)
        if value is not None and name in _LIST_FIELDS and self.count(name) > 1:
            value = b", ".join(self.all(name))
        return None if value is None else value[:FIELD_OCTETS_MAX]

    def select(self, names: frozenset[bytes]) -> bytes:
        """Give the fields of these names (lower case) as they stand, then an empty line (RFC 3501 §6.4.5 HEADER.FIELDS)."""
        return b"".join([octets for _name, octets in self.fields(names)]) + b"\r\n"

    def fields(self, names: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
        """Give the fields of these names (lower case) as they stand, each with its name, in their order; every one ends with its line."""
        block = self.block
        return [(name, _ended(block[start : end + 1])) for name, (start, _, end) in zip(self.names, self.spans, strict=True) if name in names]

    def without(self, names: frozenset[bytes]) -> bytes:
        """Give the block as it stands without the fields of these names (lower case), their folded lines included (RFC 3501 §6.4.5 HEADER.FIELDS.NOT)."""
        pieces: list[bytes] = []
        position = 0
        for name, (start, _, end) in zip(self.names, self.spans, strict=True):
            if name in names:
                pieces.append(self.block[position:start])
                position = end + 1
        pieces.append(self.block[position:])
        return b"".join(pieces)


def _ended(field: bytes) -> bytes:
    return field if field.endswith(b"\n") else field + b"\r\n"


def unfold(value: bytes) -> bytes:
    """Give a field value on one line, without blanks at its ends and without stray CR, LF and NUL (RFC 5322 §2.2.3)."""
    return value.translate(None, b"\r\n\0").strip(b" \t")
