# SPDX-License-Identifier: Apache-2.0
"""Object identifiers as clients see them: a letter for the kind, then the octets in hexadecimal digits.

Obeys RFC 8474 §7 (objectid), §8.1 (never digits alone, never a dash first, never NIL, never two that differ by case only).
Must never know what the octets stand for.
"""

from __future__ import annotations

import re
from typing import Final

_MAILBOX: Final = b"M"
_EMAIL: Final = b"E"
_THREAD: Final = b"T"
_OBJECT_ID: Final = re.compile(rb"[A-Za-z0-9_-]{1,255}")
_HEX: Final = re.compile(rb"[0-9a-f]+")


def mailbox_id(octets: bytes) -> bytes:
    """Write a MAILBOXID."""
    return _MAILBOX + octets.hex().encode("ascii")


def email_id(octets: bytes) -> bytes:
    """Write an EMAILID."""
    return _EMAIL + octets.hex().encode("ascii")


def thread_id(octets: bytes) -> bytes:
    """Write a THREADID."""
    return _THREAD + octets.hex().encode("ascii")


def is_object_id(text: bytes) -> bool:
    """Tell whether `text` has the form of an object identifier, of whatever server."""
    return _OBJECT_ID.fullmatch(text) is not None


def read_email_id(text: bytes) -> bytes | None:
    """Read an EMAILID; None if it is none of ours, case included: identifiers are compared octet for octet."""
    return _read(_EMAIL, text)


def read_thread_id(text: bytes) -> bytes | None:
    """Read a THREADID; None if it is none of ours."""
    return _read(_THREAD, text)


def _read(kind: bytes, text: bytes) -> bytes | None:
    digits = text.removeprefix(kind)
    if digits == text or len(digits) % 2 or not _HEX.fullmatch(digits):
        return None
    return bytes.fromhex(digits.decode("ascii"))
