# SPDX-License-Identifier: Apache-2.0
"""The octets that one recipient sees in front of the shared content, or in place of its header block.

Obeys RFC 5321 §4.4 (Return-Path at final delivery), RFC 6858 §2 (a surrogate header for readers without UTF-8).
Must never know where it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from moatmail.message.downgrade import surrogate
from moatmail.message.header import Header
from moatmail.message.structure import Structure, StructureParser

# No header begins with NUL, so the first octet tells the two forms apart.
_REPLACES = b"\0"


@dataclass(frozen=True, slots=True)
class Prefix:
    """What stands in front: `octets`, and whether they replace the content's own header block."""

    octets: bytes
    replaces: bool = False

    def encode(self) -> bytes:
        """Give the form that is sealed; empty where nothing stands in front."""
        return _REPLACES + self.octets if self.replaces else self.octets

    @classmethod
    def decode(cls, plain: bytes) -> Prefix:
        """Read the form that was sealed."""
        return cls(plain[1:], replaces=True) if plain.startswith(_REPLACES) else cls(plain)


def for_reader(fields: bytes, header: bytes) -> Prefix:
    """Give the prefix of `fields` in front of `header` (the stored block), or the surrogate of both where they are not ASCII (RFC 6858 §2)."""
    made = surrogate(Header(fields + header))
    return Prefix(fields) if made is None else Prefix(made, replaces=True)


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
