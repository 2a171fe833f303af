# SPDX-License-Identifier: Apache-2.0
"""The items of FETCH: attributes, and sections of the content.

Obeys RFC 3501 §6.4.5, RFC 3516 (BINARY), RFC 7162 §3.1.4 (MODSEQ), RFC 8474 §5.3 (EMAILID, THREADID), RFC 8514 §4.2 (SAVEDATE) and RFC 8970 (PREVIEW).
Must never know a message.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Attribute(Enum):
    """What is known of a message without opening its content; the value is its name on the wire."""

    UID = b"UID"
    FLAGS = b"FLAGS"
    INTERNALDATE = b"INTERNALDATE"
    RFC822_SIZE = b"RFC822.SIZE"
    ENVELOPE = b"ENVELOPE"
    BODY = b"BODY"
    BODYSTRUCTURE = b"BODYSTRUCTURE"
    MODSEQ = b"MODSEQ"
    PREVIEW = b"PREVIEW"
    EMAILID = b"EMAILID"
    THREADID = b"THREADID"
    SAVEDATE = b"SAVEDATE"


class Section(Enum):
    """Which text of a part is meant (RFC 3501 §6.4.5)."""

    ALL = b""
    HEADER = b"HEADER"
    HEADER_FIELDS = b"HEADER.FIELDS"
    HEADER_FIELDS_NOT = b"HEADER.FIELDS.NOT"
    TEXT = b"TEXT"
    MIME = b"MIME"


@dataclass(frozen=True, slots=True)
class BodySection:
    r"""``BODY[part.section (fields)]<origin.length>``, also the old names RFC822, RFC822.HEADER and RFC822.TEXT.

    `label` is the name the answer bears, origin included. `part` are the part numbers, empty for the whole message. `fields` as sent.
    `origin` is None for the whole section, else at most `length` octets from there. `peek`: do not set \Seen.
    """

    label: bytes
    part: tuple[int, ...] = ()
    section: Section = Section.ALL
    fields: tuple[bytes, ...] = ()
    origin: int | None = None
    length: int | None = None
    peek: bool = False


@dataclass(frozen=True, slots=True)
class BinarySection:
    r"""``BINARY[part]<origin.length>`` and ``BINARY.SIZE[part]``: a part with its transfer encoding undone (RFC 3516 §4.2, RFC 9051 §6.4.5).

    As in `BodySection`; `origin` and `length` count decoded octets. `size_only`: their number alone.
    """

    label: bytes
    part: tuple[int, ...] = ()
    origin: int | None = None
    length: int | None = None
    peek: bool = False
    size_only: bool = False


FetchItem = Attribute | BodySection | BinarySection

# RFC 3501 §6.4.5: a macro stands alone.
FAST: Final = (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.RFC822_SIZE)
MACROS: Final[dict[bytes, tuple[FetchItem, ...]]] = {
    b"FAST": FAST,
    b"ALL": (*FAST, Attribute.ENVELOPE),
    b"FULL": (*FAST, Attribute.ENVELOPE, Attribute.BODY),
}
# RFC 3501 §6.4.5: RFC822.HEADER does not set \Seen, the other two do.
OLD_NAMES: Final[dict[bytes, BodySection]] = {
    b"RFC822": BodySection(b"RFC822"),
    b"RFC822.HEADER": BodySection(b"RFC822.HEADER", section=Section.HEADER, peek=True),
    b"RFC822.TEXT": BodySection(b"RFC822.TEXT", section=Section.TEXT),
}
ATTRIBUTES: Final[dict[bytes, Attribute]] = {attribute.value: attribute for attribute in Attribute}
SECTIONS: Final[dict[bytes, Section]] = {section.value: section for section in Section}
