# SPDX-License-Identifier: Apache-2.0
"""Public keys of DKIM and ARC: their records in the DNS, and whether a signature is theirs.

Obeys RFC 6376 §3.6 (key records), §6.1.2 (getting them), RFC 8301 §3.2 (RSA sizes), RFC 8463 §3 and §4 (Ed25519).
Must never know messages or canonical forms.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from moatmail.core.limits.mailauth import KEY_RECORD_OCTETS, KEY_RECORDS_MAX, KEYS_CACHED, RSA_BITS_MAX, RSA_BITS_MIN, RSA_EXPONENT_BITS
from moatmail.core.ports.resolver import DNSError, Lookup, Resolver
from moatmail.mailauth.tags import TagError, Tags, compact, items

PublicKey = RSAPublicKey | Ed25519PublicKey

_PADDING: Final = PKCS1v15()
_DIGEST: Final = Prehashed(SHA256())


@dataclass(frozen=True, slots=True)
class Key:
    """One public key as its record gives it: `kind` is "rsa" or "ed25519", `bits` its size, `problem` why it counts for nothing (empty: it does).

    `testing` is flag y, `exact` flag s: the domain of `i=` must be `d=` itself.
    """

    kind: str
    public: PublicKey | None = None
    bits: int = 0
    testing: bool = False
    exact: bool = False
    problem: str = ""

    @property
    def is_weak(self) -> bool:
        """Tell whether a signature by this key counts for nothing because anybody could make one (RFC 8301 §3.2)."""
        return self.kind == "rsa" and self.bits < RSA_BITS_MIN

    def verify(self, signature: bytes, digest: bytes) -> bool:
        """Tell whether `signature` is this key's over the SHA-256 `digest`."""
        try:
            if isinstance(self.public, RSAPublicKey):
                self.public.verify(signature, digest, _PADDING, _DIGEST)  # RFC 8017 §8.2
            elif isinstance(self.public, Ed25519PublicKey):
                # RFC 8463 §3: plain Ed25519 over the hash, as if the hash were the message.
                self.public.verify(signature, digest)
            else:
                return False
        except (InvalidSignature, UnsupportedAlgorithm, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """What the DNS gave for one selector: the keys that its records hold; `lookup.answer` is None where no answer came."""

    lookup: Lookup
    keys: tuple[Key, ...] = ()

    @property
    def problem(self) -> str:
        """Say why there is no key at all; empty where there is one, whatever it is worth."""
        answer = self.lookup.answer
        if answer is None:
            return "key cannot be had now"
        if self.keys:
            return ""
        return "no key record" if not answer.records else "no key in the record"


def key_name(selector: str, domain: str) -> str:
    """Give the name where the key of a selector lies (RFC 6376 §3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


async def fetch_keys(resolver: Resolver, names: Iterable[str]) -> dict[str, KeyAnswer]:
    """Ask for the key records at `names`, each once, side by side; a lookup that fails is an answer too."""
    once = list(dict.fromkeys(names))
    if len(once) < 2:
        return {name: await _fetch(resolver, name) for name in once}
    return dict(zip(once, await asyncio.gather(*(_fetch(resolver, name) for name in once)), strict=True))


async def _fetch(resolver: Resolver, name: str) -> KeyAnswer:
    try:
        answer = await resolver.txt(name)
    except DNSError:
        return KeyAnswer(Lookup("TXT", name, None))
    # RFC 6376 §3.6.2.2: several records mean nothing certain; a text of something else beside the key does no harm.
    records = [record for record in answer.records if isinstance(record, bytes)][:KEY_RECORDS_MAX]
    found = tuple(parse_key(record) for record in records)
    usable = tuple(key for key in found if not key.problem)
    return KeyAnswer(Lookup("TXT", name, answer), usable or found)


def parse_key(record: bytes) -> Key:
    """Read a key record; what is wrong with it is told in `problem` (RFC 6376 §3.6.1)."""
    if len(record) > KEY_RECORD_OCTETS:
        return Key("", problem="key record too long")
    return _parse(record)


@lru_cache(maxsize=KEYS_CACHED)
def _parse(record: bytes) -> Key:
    try:
        tags = Tags(record)
        return _key(tags)
    except TagError as error:
        return Key("", problem=f"key record: {error}")


def _key(tags: Tags) -> Key:
    # RFC 6376 §3.6.1: v= comes first if it is there, and is DKIM1.
    if b"v" in tags.values and (next(iter(tags.values)) != b"v" or tags.values[b"v"] != b"DKIM1"):
        raise TagError("version is not DKIM1")
    kind = tags.get(b"k") or b"rsa"
    if kind not in _READERS:
        raise TagError("key type unknown")
    if b"h" in tags.values and b"sha256" not in items(tags.values[b"h"]):
        raise TagError("key is not for sha256")  # RFC 6376 §3.6.1, h=; RFC 8301 §3.1 leaves no other hash
    if b"s" in tags.values and not {b"*", b"email"}.intersection(items(tags.values[b"s"])):
        raise TagError("key is not for mail")
    if b"p" not in tags.values:
        raise TagError("tag p is missing")
    octets = compact(tags.values[b"p"])
    if not octets:
        raise TagError("key is revoked")  # RFC 6376 §3.6.1, p=
    flags = items(tags.get(b"t") or b"")
    public, bits = _READERS[kind](_base64(octets))
    return Key(kind.decode(), public, bits, testing=b"y" in flags, exact=b"s" in flags)


def _base64(octets: bytes) -> bytes:
    try:
        return base64.b64decode(octets, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TagError("key is not base64") from error


def _read_rsa(der: bytes) -> tuple[PublicKey, int]:
    try:
        # RFC 6376 §3.6.1 names RSAPublicKey, its examples and everybody's keys are SubjectPublicKeyInfo: both are read.
        public = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm, TypeError) as error:
        raise TagError("key cannot be read") from error
    if not isinstance(public, RSAPublicKey):
        raise TagError("key is not RSA")
    numbers = public.public_numbers()
    if public.key_size > RSA_BITS_MAX or numbers.e.bit_length() > RSA_EXPONENT_BITS:
        raise TagError("key too large")
    return public, public.key_size


def _read_ed25519(octets: bytes) -> tuple[PublicKey, int]:
    # RFC 8463 §4.2: the bare 32 octets, no SubjectPublicKeyInfo.
    try:
        return Ed25519PublicKey.from_public_bytes(octets), 256
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TagError("key cannot be read") from error


_READERS: Final = {b"rsa": _read_rsa, b"ed25519": _read_ed25519}
