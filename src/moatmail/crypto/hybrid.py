# SPDX-License-Identifier: Apache-2.0
"""The hybrid key pair (ML-KEM-768 and X25519) and HPKE to it: the raw forms of both halves, and sealing to one.

Obeys RFC 9180 (HPKE), FIPS 203 (ML-KEM), RFC 7748 (X25519).
Must never know what is sealed or for whom.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import crypto as limits

_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MLKEM_PUBLIC: Final = 1184
_MLKEM_SEED: Final = 64
_X25519_SIZE: Final = 32
PUBLIC_SIZE: Final = _MLKEM_PUBLIC + _X25519_SIZE
PRIVATE_SIZE: Final = _MLKEM_SEED + _X25519_SIZE
KEY_ID_SIZE: Final = 4


class PublicHalf:
    """A parsed public half: `raw` are its 1,216 octets (ML-KEM-768, then X25519), `key_id` its 4-octet fingerprint."""

    __slots__ = ("_key", "key_id", "raw")

    def __init__(self, raw: bytes) -> None:
        """Parse (28 µs); raise SealBrokenError if the octets are no public half. `parse_public` remembers."""
        if len(raw) != PUBLIC_SIZE:
            raise SealBrokenError(f"a public half has {PUBLIC_SIZE} octets, not {len(raw)}")
        try:
            mlkem = MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC])
            self._key = MLKEM768X25519PublicKey(mlkem, X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC:]))
        except ValueError as fault:
            raise SealBrokenError("a public half is damaged") from fault
        self.raw = raw
        self.key_id = sha256(raw).digest()[:KEY_ID_SIZE]

    def __repr__(self) -> str:
        return f"PublicHalf({self.key_id.hex()})"

    def encrypt(self, plain: bytes, info: bytes) -> bytes:
        """Seal to the holder of the private half: 1,120 octets of encapsulation, ciphertext, tag of 16 (RFC 9180 §6.1)."""
        return _SUITE.encrypt(plain, self._key, info=info)


@lru_cache(maxsize=limits.PARSED_PUBLIC_KEYS)
def parse_public(raw: bytes) -> PublicHalf:
    """Parse a public half, or remember it: a receiving process seals to the same accounts again and again."""
    return PublicHalf(raw)


class PrivateHalf:
    """A parsed private half; `raw` are its 96 octets (the seed of ML-KEM-768, then X25519)."""

    __slots__ = ("_key", "key_id", "public", "raw")

    def __init__(self, raw: bytes) -> None:
        """Parse (90 µs); raise SealBrokenError if the octets are no private half."""
        if len(raw) != PRIVATE_SIZE:
            raise SealBrokenError(f"a private half has {PRIVATE_SIZE} octets, not {len(raw)}")
        mlkem = MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED])
        x25519 = X25519PrivateKey.from_private_bytes(raw[_MLKEM_SEED:])
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.raw = raw
        self.public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        self.key_id = sha256(self.public).digest()[:KEY_ID_SIZE]

    @classmethod
    def generate(cls) -> PrivateHalf:
        """Make a fresh pair."""
        return cls(MLKEM768PrivateKey.generate().private_bytes_raw() + X25519PrivateKey.generate().private_bytes_raw())

    def __repr__(self) -> str:
        return f"PrivateHalf({self.key_id.hex()})"

    def decrypt(self, sealed: bytes | memoryview, info: bytes) -> bytes:
        """Open what was sealed to the public half with the same `info`; raise SealBrokenError otherwise."""
        try:
            return _SUITE.decrypt(sealed, self._key, info=info)
        except (InvalidTag, ValueError):
            # RFC 9180 §5.2 joins decapsulation and opening: both failures look alike.
            raise SealBrokenError("sealed to another key, damaged, or another object's") from None
