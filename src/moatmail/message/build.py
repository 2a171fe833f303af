# SPDX-License-Identifier: Apache-2.0
"""Generated messages: header fields that cannot be forged by their values, and bodies in parts.

Obeys RFC 5322 §2.1.1, §2.2.3 (line length, folding), RFC 2047 §5, RFC 2045 §6.7, RFC 2046 §5.1 (multipart).
Must never know why a message is written or to whom it goes.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from moatmail.core.address import Address
from moatmail.core.limits.message import FOLD_AT, LINE_OCTETS_MAX
from moatmail.message.dates import format_date
from moatmail.message.encoded_word import encode_words

_NAME = re.compile(r"[!-9;-~]{1,77}\Z")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PHRASE_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+\Z")


class FieldValueError(ValueError):
    """A value would leave its header field: it holds CR, LF, NUL or another control, or a word that no line can hold."""


@dataclass(frozen=True, slots=True)
class Body:
    """A part to be sent: its Content-* fields, each with its CRLF, and its octets, encoded already."""

    fields: bytes
    octets: bytes


def text_field(name: str, text: str) -> bytes:
    """Give an unstructured field with its CRLF, folded, non-ASCII text as encoded words; FieldValueError (RFC 5322 §2.2.1, RFC 2047 §5)."""
    _check(name, text)
    # Text that looks like an encoded word would be decoded by readers, so it is encoded itself.
    if text.isascii() and "=?" not in text and max(map(len, text.split(" ")), default=0) <= FOLD_AT:
        return _folded(name, text.encode("ascii"))
    return _folded(name, b" ".join(encode_words(text)))


def structured_field(name: str, value: str) -> bytes:
    """Give a field whose value is written by us by its own grammar, in UTF-8, with its CRLF, folded at blanks; FieldValueError."""
    _check(name, value)
    return _folded(name, value.encode("utf-8"))


def address_field(name: str, addresses: Iterable[tuple[str, Address]]) -> bytes:
    """Give a field of (display name, address) pairs with its CRLF; FieldValueError (RFC 5322 §3.4, RFC 2047 §5 rule 3)."""
    entries: list[bytes] = []
    for display_name, address in addresses:
        _check(name, display_name)
        _check(name, str(address))
        spec = b"<%b>" % address.wire if display_name else address.wire
        entries.append(b" ".join((*_phrase(display_name), spec)))
    return _folded(name, b", ".join(entries))


def date_field(moment: float, offset: int = 0) -> bytes:
    """Give a Date field of epoch seconds, `offset` minutes east of UTC."""
    return structured_field("Date", format_date(moment, offset))


def message_id_field(local: str, domain: str) -> bytes:
    """Give a Message-ID field; `local` must be unique within `domain` and both of dot-atom characters; FieldValueError (RFC 5322 §3.6.4)."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", local) or not re.fullmatch(r"[A-Za-z0-9.-]+", domain):
        raise FieldValueError("a Message-ID is made of letters, digits, dots and hyphens")
    return structured_field("Message-ID", f"<{local}@{domain}>")


def text_body(text: str, kind: str = "text/plain") -> Body:
    """Give a text with line ends CRLF: as it is if it is short-lined ASCII, else as quoted-printable in UTF-8 (RFC 2045 §6)."""
    octets = "\r\n".join(text.splitlines()).encode("utf-8", "replace") + b"\r\n"
    charset = "us-ascii" if octets.isascii() else "utf-8"
    return encoded_body(octets, f"{kind}; charset={charset}")


def encoded_body(octets: bytes, content_type: str) -> Body:
    """Give octets of text lines as a part: 7bit where that is true, else quoted-printable; bare CR and LF become CRLF (RFC 2045 §2.7, §6.7)."""
    octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if octets.isascii() and b"\0" not in octets and max(map(len, octets.split(b"\n"))) <= LINE_OCTETS_MAX:
        encoding = "7bit"
    else:
        encoding = "quoted-printable"
        octets = binascii.b2a_qp(octets, istext=True)
    fields = structured_field("Content-Type", content_type) + structured_field("Content-Transfer-Encoding", encoding)
    return Body(fields, octets.replace(b"\n", b"\r\n"))


def multipart_body(subtype: str, bodies: Sequence[Body], parameters: str = "") -> Body:
    """Give parts as one multipart; the boundary is a hash of them, so that no part can hold it (RFC 2046 §5.1.1)."""
    digest = hashlib.sha256(b"\0".join([body.fields + body.octets for body in bodies])).hexdigest()[:32]
    boundary = f"=_{digest}"
    delimiter = b"--" + boundary.encode("ascii")
    octets = b"".join([b"%b\r\n%b\r\n%b\r\n" % (delimiter, body.fields, body.octets) for body in bodies])
    fields = structured_field("Content-Type", f'multipart/{subtype};{parameters} boundary="{boundary}"')
    return Body(fields, b"%b%b--\r\n" % (octets, delimiter))


def message(fields: Iterable[bytes], body: Body) -> bytes:
    """Give a whole message of ready fields and a body (RFC 2045 §4: MIME-Version is added)."""
    return b"%bMIME-Version: 1.0\r\n%b\r\n%b" % (b"".join(fields), body.fields, body.octets)


def _check(name: str, value: str) -> None:
    if _NAME.match(name) is None:
        raise FieldValueError("not a field name")
    # RFC 5322 §2.2: CR and LF would end the field, NUL and other controls have no place in it.
    if _FORBIDDEN.search(value) is not None:
        raise FieldValueError("control characters have no place in a header field")


def _phrase(display_name: str) -> list[bytes]:
    if not display_name:
        return []
    if not display_name.isascii() or "=?" in display_name:
        return encode_words(display_name)
    if _PHRASE_ATOMS.match(display_name) and display_name == display_name.strip():
        return [display_name.encode("ascii")]
    escaped = display_name.replace("\\", "\\\\").replace('"', '\\"')
    return [f'"{escaped}"'.encode("ascii")]


def _folded(name: str, value: bytes) -> bytes:
    """Fold a value at blanks so that lines keep to FOLD_AT where words allow it (RFC 5322 §2.2.3)."""
    head = name.encode("ascii") + b":"
    lines: list[bytes] = []
    line = head
    for word in value.split(b" "):
        if len(line) + 1 + len(word) > FOLD_AT and word and line not in (head, b""):
            lines.append(line)
            line = b""
        line += b" " + word
        if len(line) > LINE_OCTETS_MAX:
            raise FieldValueError("a word longer than a line")
    lines.append(line)
    return b"\r\n".join(lines) + b"\r\n"
