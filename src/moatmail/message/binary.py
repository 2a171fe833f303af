# SPDX-License-Identifier: Apache-2.0
"""Makes a message with binary parts one that every reader and every way can carry: those parts in base64.

Obeys RFC 3516 §4.4 (what APPEND may do to binary content), RFC 2045 §6.1, §6.4 and §6.8.
Must never know where the message goes.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Final

from moatmail.message.structure import Part, StructureParser

_LINE: Final = 57  # octets that make a line of 76 characters (RFC 2045 §6.8)
_FIELD: Final = re.compile(rb"^content-transfer-encoding[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+", re.IGNORECASE | re.MULTILINE)
_NUL: Final = b"\0"
_PLAIN: Final = frozenset((b"", b"7bit", b"8bit", b"binary"))


def without_binary(octets: bytes) -> bytes | None:
    """Give the message with its binary parts, and those that hold NUL, in base64; None where a NUL stands elsewhere or within an encoding.

    Other octets stay as they are. Linear; meant for messages that fit into memory.
    """
    if _NUL not in octets and b"binary" not in octets.lower():
        return octets
    parser = StructureParser()
    parser.feed(octets)
    made: list[bytes] = []
    at = 0
    for start, end, text in _edits(octets, parser.finish().root):
        made += (octets[at:start], text)
        at = end
    made.append(octets[at:])
    result = b"".join(made)
    return None if _NUL in result else result


def _edits(octets: bytes, root: Part) -> Iterator[tuple[int, int, bytes]]:
    """Give what to put in place of which octets, in rising order, without recursion."""
    stack = [root]
    while stack:
        part = stack.pop()
        stack.extend(reversed(part.children))
        leaf = not part.children
        spoilt = leaf and part.encoding in _PLAIN and _NUL in octets[part.body_start : part.body_end]
        if part.encoding != b"binary" and not spoilt:
            continue
        # RFC 2045 §6.4: what holds other parts is not encoded as a whole; with its parts its own binary goes.
        yield _header(octets, part, b"base64" if leaf else b"8bit")
        if leaf:
            yield part.body_start, part.body_end, _base64(octets[part.body_start : part.body_end])


def _header(octets: bytes, part: Part, encoding: bytes) -> tuple[int, int, bytes]:
    field = b"Content-Transfer-Encoding: %b\r\n" % encoding
    found = _FIELD.search(octets, part.header_start, part.body_start)
    if found is not None:
        return found.start(), found.end(), field
    return part.header_start, part.header_start, field


def _base64(body: bytes) -> bytes:
    return b"".join([binascii.b2a_base64(body[start : start + _LINE], newline=False) + b"\r\n" for start in range(0, len(body), _LINE)])
