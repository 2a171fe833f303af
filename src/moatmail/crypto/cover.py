# SPDX-License-Identifier: Apache-2.0
"""Covers: the two keys of a message for one recipient, under the account's public half (0x01, and 0x03 by a key that several share) or its mailbox key (0x02).

Obeys RFC 9180 (HPKE), RFC 5116 (AEAD).
Must never know the content of a message.
"""

from __future__ import annotations

from os import urandom
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import crypto as limits
from moatmail.core.ports.sealer import Purpose
from moatmail.crypto.hybrid import KEY_ID_SIZE, PrivateHalf, PublicHalf, parse_public
from moatmail.crypto.seal import NONCE_SIZE, TAG_SIZE, SealKey, bind, new_key

AccountPublic = PublicHalf
"""An account's public half, parsed."""

TO_PUBLIC: Final = b"\x01"
TO_MAILBOX_KEY: Final = b"\x02"
TO_DELIVERY_KEY: Final = b"\x03"
_HEAD_SIZE: Final = 1 + KEY_ID_SIZE
_KEYS_SIZE: Final = 2 * limits.KEY_SIZE
_ENCAPSULATION_SIZE: Final = 1120
COVER_TO_PUBLIC_SIZE: Final = _HEAD_SIZE + _ENCAPSULATION_SIZE + _KEYS_SIZE + TAG_SIZE
COVER_WITH_MAILBOX_KEY_SIZE: Final = _HEAD_SIZE + NONCE_SIZE + _KEYS_SIZE + TAG_SIZE
_DELIVERY_END: Final = _HEAD_SIZE + _ENCAPSULATION_SIZE + limits.KEY_SIZE + TAG_SIZE
COVER_WITH_DELIVERY_KEY_SIZE: Final = _DELIVERY_END + NONCE_SIZE + _KEYS_SIZE + TAG_SIZE


class MessageKeys:
    """The two keys under one cover: `content_key`, shared by all recipients of a content, and `message_key`, of this recipient alone."""

    __slots__ = ("content_key", "message_key")

    def __init__(self, content_key: bytes, message_key: bytes) -> None:
        """Take two keys of 32 octets; raise ValueError for other lengths."""
        if len(content_key) != limits.KEY_SIZE or len(message_key) != limits.KEY_SIZE:
            raise ValueError(f"both keys have {limits.KEY_SIZE} octets")
        self.content_key = content_key
        self.message_key = message_key

    @classmethod
    def for_content(cls, content_key: bytes) -> MessageKeys:
        """Pair a content's key with a fresh message key."""
        return cls(content_key, new_key())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MessageKeys):
            return NotImplemented
        return self.content_key == other.content_key and self.message_key == other.message_key

    __hash__ = None  # type: ignore[assignment]  # keys belong in no set or cache

    def __repr__(self) -> str:
        return "MessageKeys(...)"


class AccountKeys:
    """An account's keys in clear, in memory only: `public` (1,216 octets), `private` (96), `mailbox_key` (32)."""

    __slots__ = ("_delivered", "_half", "mailbox_key", "private", "public", "sealing")

    def __init__(self, public: bytes, private: bytes, mailbox_key: bytes) -> None:
        """Keep the three; the private half is parsed when a cover 0x01 first needs it."""
        self.public = public
        self.private = private
        self.mailbox_key = mailbox_key
        self.sealing = SealKey(mailbox_key)
        self._half: PrivateHalf | None = None
        self._delivered: dict[tuple[int, bytes], AESGCM] = {}

    @property
    def half(self) -> PrivateHalf:
        """The private half, parsed; raise SealBrokenError if it does not belong to the public one."""
        if self._half is None:
            half = PrivateHalf(self.private)
            if half.public != self.public:
                raise SealBrokenError("the private half of an account does not belong to its public half")
            self._half = half
        return self._half

    def delivery_cipher(self, account: int, sealed: bytes) -> AESGCM:
        """Give the cipher of a delivery key from its sealed form, remembered: messages delivered in one minute share it; raise SealBrokenError."""
        known = self._delivered.get((account, sealed))
        if known is None:
            known, _ = SealKey(self.half.decrypt(sealed, bind(Purpose.DELIVERY_KEY, account, b""))).cipher(Purpose.COVER)
            if len(self._delivered) >= limits.OPENED_DELIVERY_KEYS:
                self._delivered = {}
            self._delivered[account, sealed] = known
        return known

    def __repr__(self) -> str:
        return "AccountKeys(...)"


def new_account_keys() -> AccountKeys:
    """Make a fresh key pair and mailbox key."""
    half = PrivateHalf.generate()
    return AccountKeys(half.public, half.raw, new_key())


def cover_to_public(public: bytes | AccountPublic, account: int, message_id: bytes, keys: MessageKeys) -> bytes:
    """Cover the keys for an account whose mailbox key the writer does not hold: 1,205 octets, 0.1 ms; raise SealBrokenError for a damaged public half."""
    half = parse_public(public) if isinstance(public, bytes) else public
    # HPKE takes no associated data here: what binds the cover to its row goes into `info` (RFC 9180 §8.1).
    return TO_PUBLIC + half.key_id + half.encrypt(keys.content_key + keys.message_key, bind(Purpose.COVER, account, message_id))


class DeliveryKey:
    """A fresh key, sealed to an account's public half once, that covers several messages of that account (0x03); whoever holds it opens just those.

    Every cover carries the sealed key, so each row still opens by itself. `covers` counts those made.
    """

    __slots__ = ("_account", "_cipher", "_head", "covers")

    def __init__(self, public: bytes | AccountPublic, account: int) -> None:
        """Make the key (0.1 ms); raise SealBrokenError for a damaged public half."""
        half = parse_public(public) if isinstance(public, bytes) else public
        key = new_key()
        self._account = account
        self._cipher, _ = SealKey(key).cipher(Purpose.COVER)
        self._head = TO_DELIVERY_KEY + half.key_id + half.encrypt(key, bind(Purpose.DELIVERY_KEY, account, b""))
        self.covers = 0

    def cover(self, message_id: bytes, keys: MessageKeys) -> bytes:
        """Cover the keys of a message: 1,265 octets, 3 µs."""
        self.covers += 1
        nonce = _fresh_nonce()
        sealed = self._cipher.encrypt(nonce, keys.content_key + keys.message_key, bind(Purpose.COVER, self._account, message_id))
        return b"".join((self._head, nonce, sealed))

    def __repr__(self) -> str:
        return "DeliveryKey(...)"


def cover_with_mailbox_key(mailbox_key: bytes | SealKey, account: int, message_id: bytes, keys: MessageKeys) -> bytes:
    """Cover the keys with the account's mailbox key: 97 octets, a few µs."""
    sealing = SealKey(mailbox_key) if isinstance(mailbox_key, bytes) else mailbox_key
    cipher, key_id = sealing.cipher(Purpose.COVER)
    nonce = _fresh_nonce()
    return b"".join((TO_MAILBOX_KEY, key_id, nonce, cipher.encrypt(nonce, keys.content_key + keys.message_key, bind(Purpose.COVER, account, message_id))))


def open_cover(account_keys: AccountKeys, account: int, message_id: bytes, cover: bytes) -> MessageKeys:
    """Give the two keys of a message, from any cover; raise SealBrokenError for anything but this message's cover."""
    kind = cover[:1]
    if kind == TO_MAILBOX_KEY:
        plain = _open_with_mailbox_key(account_keys.sealing, account, message_id, cover)
    elif kind == TO_PUBLIC:
        plain = _open_with_private_half(account_keys.half, account, message_id, cover)
    elif kind == TO_DELIVERY_KEY:
        plain = _open_with_delivery_key(account_keys, account, message_id, cover)
    else:
        raise SealBrokenError(f"message {message_id.hex()}: no cover of a kind we know")
    return MessageKeys(plain[: limits.KEY_SIZE], plain[limits.KEY_SIZE :])


def needs_rewrap(cover: bytes) -> bool:
    """Tell whether a cover was written by a process that did not hold the mailbox key (0x01, 0x03)."""
    return cover[:1] in {TO_PUBLIC, TO_DELIVERY_KEY}


def rewrap(account_keys: AccountKeys, account: int, message_id: bytes, cover: bytes) -> bytes:
    """Turn a cover 0x01 or 0x03 into 0x02 (up to 0.1 ms each: cut batches into slices); raise SealBrokenError for anything but this message's cover."""
    return cover_with_mailbox_key(account_keys.sealing, account, message_id, open_cover(account_keys, account, message_id, cover))


def _fresh_nonce() -> bytes:
    """Give 96 random bits: a mailbox key covers far fewer than 2^32 messages (NIST SP 800-38D §8.3)."""
    return urandom(NONCE_SIZE)


def _open_with_mailbox_key(sealing: SealKey, account: int, message_id: bytes, cover: bytes) -> bytes:
    cipher, key_id = sealing.cipher(Purpose.COVER)
    if len(cover) != COVER_WITH_MAILBOX_KEY_SIZE or cover[1:_HEAD_SIZE] != key_id:
        raise SealBrokenError(f"message {message_id.hex()}: cover of another account, or damaged")
    try:
        return cipher.decrypt(cover[_HEAD_SIZE : _HEAD_SIZE + NONCE_SIZE], cover[_HEAD_SIZE + NONCE_SIZE :], bind(Purpose.COVER, account, message_id))
    except InvalidTag:
        raise SealBrokenError(f"message {message_id.hex()}: cover damaged, or another message's") from None


def _open_with_private_half(half: PrivateHalf, account: int, message_id: bytes, cover: bytes) -> bytes:
    if len(cover) != COVER_TO_PUBLIC_SIZE or cover[1:_HEAD_SIZE] != half.key_id:
        raise SealBrokenError(f"message {message_id.hex()}: cover of another account, or damaged")
    return half.decrypt(memoryview(cover)[_HEAD_SIZE:], bind(Purpose.COVER, account, message_id))


def _open_with_delivery_key(account_keys: AccountKeys, account: int, message_id: bytes, cover: bytes) -> bytes:
    if len(cover) != COVER_WITH_DELIVERY_KEY_SIZE or cover[1:_HEAD_SIZE] != account_keys.half.key_id:
        raise SealBrokenError(f"message {message_id.hex()}: cover of another account, or damaged")
    cipher = account_keys.delivery_cipher(account, cover[_HEAD_SIZE:_DELIVERY_END])
    at = _DELIVERY_END + NONCE_SIZE
    try:
        return cipher.decrypt(cover[_DELIVERY_END:at], cover[at:], bind(Purpose.COVER, account, message_id))
    except InvalidTag:
        raise SealBrokenError(f"message {message_id.hex()}: cover damaged, or another message's") from None
