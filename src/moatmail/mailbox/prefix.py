# SPDX-License-Identifier: Apache-2.0
"""The octets that one recipient sees in front of the shared content, or in place of its header block.

Obeys RFC 5321 §4.4 (Return-Path at final delivery), RFC 6858 §2 (a surrogate header for readers without UTF-8).
Must never know where it is kept.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

from moatmail.message import summary
from moatmail.message.downgrade import surrogate
from moatmail.message.header import Header
from moatmail.message.structure import Structure, StructureParser
from moatmail.message.summary import Summary

# No header begins with NUL, so the first octets tell the forms apart.
_REPLACES: Final = b"\0"
_REPLACES_KEEPING_FIELDS: Final = b"\0\0"
_SIZE: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Prefix:
    """What stands in front: `octets`, and whether they replace the content's own header block.

    Where they do, `fields` stand in front of that block for readers of UTF-8; None where they were not kept: then all see the same.
    """

    octets: bytes
    replaces: bool = False
    fields: bytes | None = None

    def encode(self) -> bytes:
        """Give the form that is sealed; empty where nothing stands in front."""
        if not self.replaces:
            return self.octets
        if self.fields is None:
            return _REPLACES + self.octets
        return _REPLACES_KEEPING_FIELDS + _SIZE.pack(len(self.fields)) + self.fields + self.octets

    @classmethod
    def decode(cls, plain: bytes) -> Prefix:
        """Read the form that was sealed."""
        if not plain.startswith(_REPLACES):
            return cls(plain)
        if not plain.startswith(_REPLACES_KEEPING_FIELDS):
            return cls(plain[1:], replaces=True)
        start = len(_REPLACES_KEEPING_FIELDS) + _SIZE.size
        end = start + _SIZE.unpack_from(plain, len(_REPLACES_KEEPING_FIELDS))[0]
        return cls(plain[end:], replaces=True, fields=plain[start:end])

    def for_utf8(self) -> Prefix:
        """Give what stands in front of the real header for who reads UTF-8 (RFC 9755 §3, RFC 9051 appendix E)."""
        return self if self.fields is None else Prefix(self.fields)


def for_reader(fields: bytes, header: bytes) -> Prefix:
    """Give the prefix of `fields` in front of `header` (the stored block), or the surrogate of both where they are not ASCII (RFC 6858 §2)."""
    made = surrogate(Header(fields + header))
    return Prefix(fields) if made is None else Prefix(made, replaces=True, fields=fields)


def summarize(prefix: Prefix, structure: Structure, moved: int) -> Summary:
    """Give the summary of a message behind its prefix; `moved`: by how many octets the stored header is longer than the one `structure` was read of."""
    shift = len(prefix.octets) + moved
    if not prefix.replaces:
        return summary.build(structure, shift=shift)
    shown, shown_shift = structure_behind(prefix, structure), len(prefix.octets) - structure.header_size
    if prefix.fields is None:
        return summary.build(shown, shift=shown_shift)
    return summary.build_with_surrogate(structure, shown, shift=len(prefix.fields) + moved, shown_shift=shown_shift)


def structure_behind(prefix: Prefix, structure: Structure) -> Structure:
    """Give `structure` with what the surrogate header says in place of the received one's; the parts stay where they are."""
    if not prefix.replaces:
        return structure
    parser = StructureParser()
    parser.feed(prefix.octets)
    made = parser.finish()
    root = replace(
        structure.root,
        envelope=made.root.envelope,
        parameters=made.root.parameters,
        description=made.root.description,
        disposition_parameters=made.root.disposition_parameters,
    )
    return replace(structure, header=made.header, root=root)
