# SPDX-License-Identifier: Apache-2.0
"""Tag lists: what DKIM signatures, key records and ARC fields are written in.

Obeys RFC 6376 §3.2 (tag=value lists, folding, no tag twice) and RFC 8616 §3 (UTF-8 in values).
Must never know what a tag means.
"""

from __future__ import annotations

import re
from typing import Final

from moatmail.core.limits.mailauth import TAGS_MAX

FOLDING: Final = b" \t\r\n"
"""The octets of folding white space."""

# RFC 6376 §3.2: a tag's name is a letter, then letters, digits and underscores.
_NAME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9_]*+")
# RFC 6376 §3.2 with RFC 8616 §3: printable ASCII without the semicolon, octets of UTF-8, and folding inside the value.
_ALLOWED: Final = bytes([*FOLDING, *(octet for octet in range(0x21, 0x7F) if octet != 0x3B), *range(0x80, 0x100)])


class TagError(ValueError):
    """The octets are no tag list, or a value is not what its tag wants; the text says why."""


class Tags:
    """A tag list: values as they stand without white space at their ends, and where the values lie in `raw`, that white space included."""

    __slots__ = ("places", "raw", "values")

    def __init__(self, raw: bytes) -> None:
        """Read a list; raises TagError for any fault anywhere in it (RFC 6376 §6.1.1)."""
        self.raw = raw
        self.values: dict[bytes, bytes] = {}
        self.places: dict[bytes, tuple[int, int]] = {}
        specs = raw.split(b";")
        # RFC 6376 §3.2: one semicolon may end the list, none may stand alone.
        if not specs[-1].strip(FOLDING):
            specs.pop()
        if len(specs) > TAGS_MAX:
            raise TagError("too many tags")
        place = 0
        for spec in specs:
            self._add(spec, place)
            place += len(spec) + 1

    def _add(self, spec: bytes, place: int) -> None:
        head, equals, value = spec.partition(b"=")
        name = head.strip(FOLDING)
        if not equals or _NAME.fullmatch(name) is None:
            raise TagError("no tag list")
        if name in self.values:
            raise TagError(f"tag {name.decode()} stands twice")  # RFC 6376 §3.2
        if value.translate(None, _ALLOWED):
            raise TagError(f"tag {name.decode()} holds octets outside the grammar")
        self.values[name] = value.strip(FOLDING)
        self.places[name] = (place + len(head) + 1, place + len(spec))

    def get(self, name: bytes) -> bytes | None:
        """Give the value of `name`, or None."""
        return self.values.get(name)

    def require(self, name: bytes) -> bytes:
        """Give the value of `name`, not empty; TagError."""
        value = self.values.get(name)
        if value is None:
            raise TagError(f"tag {name.decode()} is missing")
        if not value:
            raise TagError(f"tag {name.decode()} is empty")
        return value

    def without(self, name: bytes) -> bytes:
        """Give the list as it stands with the value of `name` and the white space around it deleted (RFC 6376 §3.5, b=)."""
        start, end = self.places[name]
        return self.raw[:start] + self.raw[end:]


def compact(value: bytes) -> bytes:
    """Give a value without any folding white space (base64, domains)."""
    return value.translate(None, FOLDING)


def items(value: bytes) -> tuple[bytes, ...]:
    """Give the parts of a list with colons, white space around them dropped."""
    return tuple([part.strip(FOLDING) for part in value.split(b":")])
