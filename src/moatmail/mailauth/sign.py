# SPDX-License-Identifier: Apache-2.0
"""Signing: keys and their DNS records, DKIM-Signature fields for a message, and the manner in which ARC fields are signed too.

Obeys RFC 6376 §3.5 and §5 (signing), §5.4.1 (which fields), §8.15 (oversigning), RFC 8301 §3 (RSA), RFC 8463 (Ed25519), RFC 8058 §4.
Must never know where keys are kept, nor send anything unsigned: what cannot be signed raises SigningError.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key

from moatmail.core.errors import TemporaryError
from moatmail.core.limits.mailauth import RSA_BITS_MAX, RSA_BITS_MIN, RSA_BITS_NEW, SIGNED_NAMES_MAX
from moatmail.mailauth.canonical import Canonicalization, SignedHeader, hash_body, relaxed_value
from moatmail.mailauth.dkim_key import key_name
from moatmail.mailauth.dkim_signature import domain_of, selector_of
from moatmail.mailauth.tags import TagError, Tags
from moatmail.message.header import Header

PrivateKey = RSAPrivateKey | Ed25519PrivateKey

OVERSIGNED: Final = (b"from", b"to", b"subject", b"date", b"reply-to")
"""Fields that are listed once more than they stand, so that one added on the way breaks the signature (RFC 6376 §8.15)."""

SIGNED_FIELDS: Final = (
    *OVERSIGNED,
    *(b"cc", b"sender", b"message-id", b"in-reply-to", b"references"),
    *(b"mime-version", b"content-type", b"content-transfer-encoding", b"content-disposition", b"content-id", b"content-language"),
    *(b"resent-from", b"resent-sender", b"resent-to", b"resent-cc", b"resent-date", b"resent-message-id"),
    # RFC 8058 §4: one-click unsubscribing counts only if signed.
    *(b"list-id", b"list-help", b"list-subscribe", b"list-unsubscribe", b"list-unsubscribe-post", b"list-post", b"list-owner", b"list-archive"),
    *(b"auto-submitted", b"importance", b"autocrypt", b"openpgp", b"tls-required"),
)
"""Fields that are listed as often as they stand (RFC 6376 §5.4.1): what readers and their programs act on, and nothing that changes on the way."""

_SIGNED: Final = frozenset(SIGNED_FIELDS)
_WIDTH: Final = 72  # octets of a line without the blank that continues it
_FOLD: Final = b"\r\n "  # not a tab: a verifier in use looks for the instance of an ARC field behind a space
_STRING: Final = 255  # RFC 1035 §3.3: octets of one character-string of a TXT record
_PADDING: Final = PKCS1v15()
_DIGEST: Final = Prehashed(SHA256())


class SigningError(TemporaryError):
    """The message cannot be signed as it is or with these keys: it waits, and the administrator is told (RFC 3463 §3.8: 4.7.5)."""

    status = "4.7.5"
    public = "message cannot be signed now"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key of `domain` under `selector` (both A-labels); `algorithm` as in `a=`; `bits` its size. It never shows itself."""

    domain: str
    selector: str
    algorithm: str
    bits: int
    private: PrivateKey = field(repr=False, compare=False)

    def sign(self, digest: bytes) -> bytes:
        """Sign a SHA-256 digest; raises SigningError."""
        try:
            if isinstance(self.private, RSAPrivateKey):
                return self.private.sign(digest, _PADDING, _DIGEST)
            return self.private.sign(digest)  # RFC 8463 §3: plain Ed25519 over the hash
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SigningError(f"key {self.selector} of {self.domain} does not sign: {error}") from error


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """The TXT record that publishes a key: its name, and its text whole."""

    name: str
    text: str

    @property
    def strings(self) -> tuple[str, ...]:
        """Give the text in pieces that fit a TXT record (RFC 1035 §3.3)."""
        return tuple(self.text[start : start + _STRING] for start in range(0, len(self.text), _STRING))

    @property
    def zone_line(self) -> str:
        """Give the record as a line of a zone file."""
        return " ".join([f"{self.name}. IN TXT", *(f'"{part}"' for part in self.strings)])


# ---------------------------------------------------------------- keys


def new_key(kind: str) -> bytes:
    """Make a private key, "rsa" (2048 bits, RFC 8301 §3.2) or "ed25519", as PEM without a password; RSA takes up to a second of CPU. ValueError."""
    makers: dict[str, Callable[[], PrivateKey]] = {"rsa": lambda: generate_private_key(65537, RSA_BITS_NEW), "ed25519": Ed25519PrivateKey.generate}
    if kind not in makers:
        raise ValueError(f"no type of key: {kind}")
    return makers[kind]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_signing_key(domain: str, selector: str, pem: bytes) -> SigningKey:
    """Read a private key; raises SigningError. Takes milliseconds for RSA (the key is checked): load once, sign often."""
    try:
        names = Tags(b"d=%b; s=%b" % (domain.encode(), selector.encode()))
        domain, selector = domain_of(names), selector_of(names)
        private = load_pem_private_key(pem, None)
    except (TagError, UnicodeEncodeError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningError(f"signing key {selector} of {domain} cannot be read: {error}") from error
    if isinstance(private, Ed25519PrivateKey):
        return SigningKey(domain, selector, "ed25519-sha256", 256, private)
    if not isinstance(private, RSAPrivateKey) or not RSA_BITS_MIN <= private.key_size <= RSA_BITS_MAX:
        raise SigningError(f"signing key {selector} of {domain} is neither Ed25519 nor RSA of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits")
    return SigningKey(domain, selector, "rsa-sha256", private.key_size, private)


def key_record(key: SigningKey, *, testing: bool = False) -> KeyRecord:
    """Give the DNS record that publishes `key` (RFC 6376 §3.6.1, RFC 8463 §4.2); `testing` adds flag y."""
    public = key.private.public_key()
    if isinstance(key.private, Ed25519PrivateKey):
        kind, octets = "ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        kind, octets = "rsa", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    flags = " t=y;" if testing else ""
    return KeyRecord(key_name(key.selector, key.domain), f"v=DKIM1; k={kind};{flags} p={base64.b64encode(octets).decode()}")


# ---------------------------------------------------------------- signatures


def sign(header: Header, body: Iterable[bytes], keys: Sequence[SigningKey], *, now: int, lifetime: int | None = None) -> bytes:
    """Give a DKIM-Signature field for each key, each with its line end, to be put on top of the header block.

    `body` in pieces, `now` in epoch seconds, `lifetime` in seconds makes `x=`. Raises SigningError: no key, not one From, too many fields.
    """
    if not keys:
        raise SigningError("no signing key")
    signed = SignedHeader(header)
    names = _names(signed)
    body_hash = base64.b64encode(hash_body(body, Canonicalization.RELAXED))
    fields = b"".join(signed.relaxed(at) for at in signed.select(names))
    made: list[bytes] = []
    for key in keys:
        tags = [(b"v", b"1"), *_tags(key), (b"c", b"relaxed/relaxed"), (b"t", b"%d" % now)]
        if lifetime is not None:
            tags.append((b"x", b"%d" % (now + lifetime)))
        tags += [(b"h", b":".join(names)), (b"bh", body_hash)]
        made.append(sign_field(key, b"DKIM-Signature", (tags, []), hashlib.sha256(fields)))
    return b"".join(made)


def fits_signature(names: Iterable[bytes]) -> bool:
    """Tell whether one signature can cover a header of fields with these names (lower case): more would be refused by `sign`."""
    return sum(name in _SIGNED for name in names) + len(OVERSIGNED) <= SIGNED_NAMES_MAX


def _tags(key: SigningKey) -> list[tuple[bytes, bytes]]:
    return [(b"a", key.algorithm.encode()), (b"d", key.domain.encode()), (b"s", key.selector.encode())]


def _names(header: SignedHeader) -> list[bytes]:
    authors = len(header.by_name.get(b"from", ()))
    if authors != 1:
        raise SigningError(f"message has {authors} From fields")  # RFC 5322 §3.6: exactly one
    names = [name for name in SIGNED_FIELDS for _ in header.by_name.get(name, ())]
    names = [*names, *OVERSIGNED]
    if len(names) > SIGNED_NAMES_MAX:
        raise SigningError("message has too many fields to sign")
    return names


TagPairs = list[tuple[bytes, bytes]]


def sign_field(key: SigningKey, name: bytes, tags: tuple[TagPairs, TagPairs], hashed: hashlib._Hash, width: int = _WIDTH) -> bytes:
    """Give a folded signature field with its line end: `tags` before and behind `b=`; `hashed` holds all that is signed before the field itself.

    The value of `b=` is broken into lines of `width` octets.
    """
    before = _folded(name + b":", tags[0]) + _FOLD + b"b="
    behind = _folded(b";", tags[1]).removesuffix(b";") if tags[1] else b""
    # RFC 6376 §3.7: the field itself comes last, its b= empty, without a line end.
    hashed.update(b"%b:%b" % (name.lower(), relaxed_value((before + behind)[len(name) + 1 :])))
    value = base64.b64encode(key.sign(hashed.digest()))
    first = width - len(b"b=")
    pieces = [value[:first], *(value[start : start + width] for start in range(first, len(value), width))]
    return before + _FOLD.join(pieces) + behind + b"\r\n"


def _folded(start: bytes, tags: TagPairs) -> bytes:
    """Write tags behind `start`, in lines where they can be broken: between tags, and in a list behind its colons."""
    text, column = start, len(start)
    for name, value in tags:
        tag = b"%b=%b;" % (name, value)
        if column > 1 and column + len(b" ") + len(tag) <= _WIDTH:
            text, column = text + b" " + tag, column + len(b" ") + len(tag)
            continue
        text, column = text + _FOLD, 0
        for piece in [tag] if len(tag) <= _WIDTH else _broken(tag):
            if column and column + len(piece) > _WIDTH:
                text, column = text + _FOLD, 0
            text, column = text + piece, column + len(piece)
    return text


def _broken(tag: bytes) -> list[bytes]:
    parts = tag.split(b":")
    return [*(part + b":" for part in parts[:-1]), parts[-1]]
