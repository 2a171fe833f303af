# SPDX-License-Identifier: Apache-2.0
"""Opaque random tokens, and keyed hashes that stand for words and correspondents.

Obeys RFC 7693 (BLAKE2).
Must never know what a token grants or a hash stands for.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import blake2b, sha256
from typing import Final

_TOKEN_SIZE: Final = 32


def new_token() -> str:
    """Make an opaque token of 256 random bits, 43 letters fit for a URL."""
    return secrets.token_urlsafe(_TOKEN_SIZE)


def token_hash(token: str) -> bytes:
    """Give what is stored of a token (32 octets): it has 256 random bits, so a plain hash cannot be reversed."""
    return sha256(token.encode()).digest()


def token_matches(token: str, stored: bytes) -> bool:
    """Tell whether a token is the one that was stored, in constant time."""
    return hmac.compare_digest(token_hash(token), stored)


def keyed_hash(key: bytes, kind: bytes, data: bytes, size: int = 16) -> bytes:
    """Give a keyed hash of `size` octets (1 to 64); `kind` (at most 16 octets) keeps uses of one key apart; raise ValueError for other lengths."""
    return blake2b(data, digest_size=size, key=key, person=kind).digest()


def keyed_hash64(key: bytes, kind: bytes, data: bytes) -> int:
    """Give a keyed hash of 64 bit as a signed number, as databases keep one."""
    return int.from_bytes(blake2b(data, digest_size=8, key=key, person=kind).digest(), "big", signed=True)
