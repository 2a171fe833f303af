# SPDX-License-Identifier: Apache-2.0
"""The header of an internationalized message as a reader without UTF8=ACCEPT can bear it: ASCII throughout, made for the eye.

Obeys RFC 6858 §2 (the surrogate message), RFC 2047 §5 (encoded words), RFC 2231 §4 (parameters), RFC 2606 §2 (.invalid).
Must never know who reads, or touch what is stored: it gives another block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from moatmail.core.address import Address
from moatmail.message.addresses import Group, Mailbox, parse_addresses
from moatmail.message.build import FieldValueError, address_field, structured_field, text_field
from moatmail.message.encoded_word import decode_words, encode_words
from moatmail.message.header import Header, unfold
from moatmail.message.parameters import parse_parameters

NOBODY: Final = Address("invalid", "internationalized-address.invalid")
"""What stands for an address that the reader could not answer to; RFC 2606 §2 keeps it from ever being anybody's."""

_ADDRESSES: Final = frozenset(
    prefix + name for prefix in (b"", b"resent-") for name in (b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc")
)  # fmt: skip
_TEXTS: Final = frozenset((b"subject", b"comments", b"keywords", b"content-description", b"thread-topic"))
_PARAMETERS: Final = frozenset((b"content-type", b"content-disposition"))
_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$&+-.^_`{|}~")


def surrogate(header: Header) -> bytes | None:
    """Give the block for a reader without UTF-8, with its closing empty line; None where the block is ASCII as it is."""
    if header.block.isascii():
        return None
    made: list[bytes] = []
    for name, (start, value, end) in zip(header.names, header.spans, strict=True):
        field = header.block[start : end + 1]
        if not field.isascii():
            field = _rewritten(field[: value - start - 1].strip().decode("ascii"), name, unfold(header.block[value:end]))
        made.append(field if not field or field.endswith(b"\n") else field + b"\r\n")
    return b"".join(made) + b"\r\n"


def _rewritten(written: str, name: bytes, value: bytes) -> bytes:
    """Give one field without its raw octets, or nothing where none of it can be kept."""
    rewrite = _REWRITERS.get(name) or (_text if name in _TEXTS or name.startswith(b"x-") else _nothing)
    try:
        return rewrite(written, value)
    except FieldValueError:
        return b""


def _nothing(written: str, value: bytes) -> bytes:
    # RFC 6858 §2.4: a field whose grammar has no place for it is left out; the reader sees less, never something else.
    del written, value
    return b""


def _text(written: str, value: bytes) -> bytes:
    return text_field(written, decode_words(value))


def _addresses(written: str, value: bytes) -> bytes:
    entries: list[str] = []
    for one in parse_addresses(value):
        if isinstance(one, Group):
            members = ", ".join(_mailbox(member) for member in one.members)
            entries.append(f"{_words(decode_words(one.name))}: {members};")
        else:
            entries.append(_mailbox(one))
    return structured_field(written, ", ".join(entries))


def _mailbox(one: Mailbox) -> str:
    """Give a mailbox in ASCII: its own address where that is ASCII, else nobody's, with all that was written as the name."""
    name = one.display_name
    if one.spec.isascii():
        return f"{_words(name)} <{one.spec.decode('ascii')}>" if name else one.spec.decode("ascii")
    # RFC 6858 §2.1: the reader sees who it is; an answer to it goes nowhere instead of to somebody else.
    shown = one.spec.decode("utf-8", "replace")
    return address_field("X", [(f"{name} <{shown}>" if name else shown, NOBODY)]).decode("ascii")[2:].replace("\r\n", "").strip()


def _words(text: str) -> str:
    """Give a phrase: encoded words where it is not ASCII, else a quoted string."""
    if text.isascii() and "=?" not in text:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return b" ".join(encode_words(text)).decode("ascii")


def _with_parameters(written: str, value: bytes) -> bytes:
    head = value.split(b";", 1)[0].strip()
    if not head.isascii():
        return b""
    pieces = [head.decode("ascii"), *(_parameter(name, octets) for name, octets in parse_parameters(value[len(head) :]) if name.isascii())]
    return structured_field(written, "; ".join(pieces))


def _parameter(name: bytes, octets: bytes) -> str:
    label = name.decode("ascii")
    if octets.isascii():
        text = octets.decode("ascii").replace("\\", "\\\\").replace('"', '\\"')
        return f'{label}="{text}"' if not label.endswith("*") else f"{label}={text}"
    # RFC 2231 §4: the value keeps its meaning, so an attachment keeps its name.
    encoded = "".join(chr(octet) if octet in _PLAIN else f"%{octet:02X}" for octet in octets)
    return f"{label.rstrip('*')}*=UTF-8''{encoded}"


_REWRITERS: Final[dict[bytes, Callable[[str, bytes], bytes]]] = {
    **dict.fromkeys(_ADDRESSES, _addresses),
    **dict.fromkeys(_PARAMETERS, _with_parameters),
}
