# SPDX-License-Identifier: Apache-2.0
"""Octets as IMAP strings: quoted, literal, nstring and astring, ready for the wire.

Obeys RFC 3501 §4.3 and §9 (string, nstring, astring), RFC 9051 §4.3 and §9, RFC 9755 §3 (UTF-8 in quotes).
Must never know what the octets mean, nor which answer they go into.
"""

from __future__ import annotations

from moatmail.core.limits.message import QUOTED_MAX

NIL = b"NIL"

# RFC 3501 §9: an ASTRING-CHAR is any CHAR but controls, SP, ( ) { % * " and \; "]" is allowed, "+" too.
_ASTRING_CHARS = bytes(c for c in range(0x21, 0x7F) if c not in b'(){%*"\\')


def is_quotable(value: bytes) -> bool:
    """Tell whether `value` may be a quoted string: 7-bit, no CR, LF or NUL, not too long (RFC 3501 §9)."""
    return len(value) <= QUOTED_MAX and value.isascii() and b"\r" not in value and b"\n" not in value and b"\0" not in value


def quoted(value: bytes) -> bytes:
    r"""Give `value` as a quoted string, `"` and `\` escaped; ValueError if it cannot be one (RFC 3501 §9)."""
    if not is_quotable(value):
        message = "these octets cannot be an IMAP quoted string"
        raise ValueError(message)
    return _quote(value)


def literal(value: bytes) -> bytes:
    """Give `value` as a synchronising literal, octet for octet (RFC 3501 §4.3); NULs are the caller's concern."""
    return b"{%d}\r\n%b" % (len(value), value)


def string(value: bytes) -> bytes:
    """Give `value` quoted where the grammar allows it, else as a literal without its NULs."""
    if is_quotable(value):
        return _quote(value)
    # RFC 3501 §9: CHAR8 of a literal excludes NUL, so a string that is not message content must not carry any.
    return literal(value.replace(b"\0", b""))


def string_utf8(value: bytes) -> bytes:
    """Give `value` quoted if it is UTF-8, for who accepts that in quotes (RFC 9051 §9, RFC 9755 §3: QUOTED-CHAR); else as `string` does."""
    if value.isascii() or len(value) > QUOTED_MAX or b"\r" in value or b"\n" in value or b"\0" in value or not _is_utf8(value):
        return string(value)
    return _quote(value)


def nstring(value: bytes | None) -> bytes:
    """Give `value` as a string, or NIL for None; the empty string stays a string (RFC 3501 §4.5)."""
    return NIL if value is None else string(value)


def astring(value: bytes) -> bytes:
    """Give `value` bare if every octet is an ASTRING-CHAR, else as a string (RFC 3501 §9)."""
    # A bare NIL would be read as the atom, so the three letters travel quoted.
    if value and not value.translate(None, _ASTRING_CHARS) and value.upper() != NIL:
        return value
    return string(value)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _quote(value: bytes) -> bytes:
    if b"\\" in value or b'"' in value:
        value = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"%b"' % value
