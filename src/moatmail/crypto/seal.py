# SPDX-License-Identifier: Apache-2.0
"""Sealed small objects: version octet, key id, nonce, ciphertext, bound to purpose, owner and object id.

Obeys RFC 5116 (AEAD), RFC 5869 (HKDF).
Must never know where a sealed object lies or who asks for it.
"""

from __future__ import annotations

from os import urandom
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import crypto as limits
from moatmail.core.ports.sealer import Purpose
from moatmail.crypto.compression import Octets, pack, unpack

__all__ = ["KEY_ID_SIZE", "Purpose", "SealKey", "bind", "derive", "new_id", "new_key", "open_sealed", "seal"]

VERSION: Final = b"\x01"
KEY_ID_SIZE: Final = 4
NONCE_SIZE: Final = 12
TAG_SIZE: Final = 16
_HEAD_SIZE: Final = 1 + KEY_ID_SIZE
_BODY: Final = _HEAD_SIZE + NONCE_SIZE
_SHORTEST: Final = _HEAD_SIZE + NONCE_SIZE + 1 + TAG_SIZE
_RAW: Final = b"\x00"
_ZSTD: Final = b"\x01"
_INFO: Final = b"moatmail seal 1 "
_SHA256: Final = SHA256()


def new_key() -> bytes:
    """Make a fresh AES-256 key (32 octets) from the operating system's generator."""
    return urandom(limits.KEY_SIZE)


def new_id(now_ms: int) -> bytes:
    """Make an object id of 16 octets: 6 of time (Unix milliseconds, big-endian, so that rows are inserted in order), 10 random."""
    return now_ms.to_bytes(6, "big") + urandom(10)


def derive(key: bytes, info: bytes, size: int) -> bytes:
    """Derive `size` octets for one use from a key of 32 uniformly random octets; raise ValueError for a key of another length."""
    if len(key) != limits.KEY_SIZE:
        raise ValueError(f"a key has {limits.KEY_SIZE} octets, not {len(key)}")
    # RFC 5869 §3.3: a uniformly random key needs no extract step.
    return HKDFExpand(_SHA256, size, _INFO + info).derive(key)


def bind(purpose: Purpose, owner: int, object_id: bytes) -> bytes:
    """Give the associated data of an object: purpose (4 octets), owner (8, big-endian), object id (the rest), so no two objects share one."""
    return purpose + owner.to_bytes(8, "big") + object_id  # a purpose is its octets


def _fresh_nonce() -> bytes:
    """Give 96 random bits: at 2^32 objects per key the risk of a repeat is below 2^-32 (NIST SP 800-38D §8.3)."""
    return urandom(NONCE_SIZE)


class SealKey:
    """A key that seals and opens objects of any purpose, and keeps what it derived: for keys used more than once."""

    __slots__ = ("_derived", "_key")

    def __init__(self, key: bytes) -> None:
        """Take a key of 32 octets; raise ValueError for another length."""
        if len(key) != limits.KEY_SIZE:
            raise ValueError(f"a key has {limits.KEY_SIZE} octets, not {len(key)}")
        self._key = key
        self._derived: dict[Purpose, tuple[AESGCM, bytes]] = {}

    def __repr__(self) -> str:
        return "SealKey(...)"

    def cipher(self, purpose: Purpose) -> tuple[AESGCM, bytes]:
        """Give the cipher of one purpose and the id (4 octets) of its key."""
        known = self._derived.get(purpose)
        if known is None:
            # One key per purpose: an object of one kind never opens as another, even with equal associated data.
            secret = derive(self._key, purpose.value, limits.KEY_SIZE + KEY_ID_SIZE)
            known = self._derived[purpose] = AESGCM(secret[: limits.KEY_SIZE]), secret[limits.KEY_SIZE :]
        return known

    def subkey(self, purpose: Purpose, name: bytes = b"") -> bytes:
        """Derive a key of 32 octets for a use outside this format (a database, keyed hashes)."""
        return derive(self._key, b"subkey " + purpose.value + name, limits.KEY_SIZE)

    def seal(self, purpose: Purpose, owner: int, object_id: bytes, plain: Octets, *, thoroughly: bool = False) -> bytes:
        """Seal `plain`, compressed where that is smaller, and `thoroughly` where time does not count."""
        cipher, key_id = self.cipher(purpose)
        packed = pack(plain, thoroughly=thoroughly)
        framed = b"".join((_RAW, plain)) if packed is None else _ZSTD + packed
        nonce = _fresh_nonce()
        return b"".join((VERSION, key_id, nonce, cipher.encrypt(nonce, framed, bind(purpose, owner, object_id))))

    def holds(self, purpose: Purpose, sealed: bytes) -> bool:
        """Tell whether the object says it was sealed under this key, without opening it."""
        return sealed[1:_HEAD_SIZE] == self.cipher(purpose)[1]

    def open(self, purpose: Purpose, owner: int, object_id: bytes, sealed: bytes) -> bytes:
        """Give what was sealed; raise SealBrokenError for anything but exactly that object under this key."""
        cipher, key_id = self.cipher(purpose)
        return _open(cipher, key_id, purpose, owner, object_id, sealed)


def _open(cipher: AESGCM, key_id: bytes, purpose: Purpose, owner: int, object_id: bytes, sealed: bytes) -> bytes:
    if len(sealed) < _SHORTEST or sealed[:1] != VERSION:
        raise SealBrokenError(f"{purpose.name} {object_id.hex()}: no sealed object of a version we know")
    if sealed[1:_HEAD_SIZE] != key_id:
        raise SealBrokenError(f"{purpose.name} {object_id.hex()}: sealed under another key")
    try:
        framed = cipher.decrypt(sealed[_HEAD_SIZE:_BODY], sealed[_BODY:], bind(purpose, owner, object_id))
    except InvalidTag:
        raise SealBrokenError(f"{purpose.name} {object_id.hex()}: damaged, or another object's") from None
    framing = framed[:1]
    if framing == _ZSTD:
        return unpack(memoryview(framed)[1:], limits.OBJECT_PLAIN_MAX)
    if framing == _RAW:
        return framed[1:]
    raise SealBrokenError(f"{purpose.name} {object_id.hex()}: framing of a version we do not know")


def seal(key: bytes, purpose: Purpose, owner: int, object_id: bytes, plain: bytes) -> bytes:
    """Seal `plain` under a key of 32 octets used once or a few times; see SealKey."""
    return SealKey(key).seal(purpose, owner, object_id, plain)


def open_sealed(key: bytes, purpose: Purpose, owner: int, object_id: bytes, sealed: bytes) -> bytes:
    """Open an object under a key of 32 octets used once; raise SealBrokenError for anything but exactly that object."""
    # As a SealKey does, without what it keeps: a list of ten thousand messages opens as many keys once.
    secret = derive(key, purpose, limits.KEY_SIZE + KEY_ID_SIZE)
    return _open(AESGCM(secret[: limits.KEY_SIZE]), secret[limits.KEY_SIZE :], purpose, owner, object_id, sealed)
