# SPDX-License-Identifier: Apache-2.0
"""Spool entries: sealed to the queue by whoever fills it, opened by role `back` alone.

Obeys RFC 9180 (HPKE), RFC 5116 (AEAD).
Must never know schedules, routes or who receives.
"""

from __future__ import annotations

from typing import Final

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import crypto as limits
from moatmail.core.ports.sealer import Purpose
from moatmail.crypto.cover import MessageKeys
from moatmail.crypto.hybrid import KEY_ID_SIZE, PrivateHalf, PublicHalf, parse_public
from moatmail.crypto.seal import TAG_SIZE, SealKey, bind, new_key

_VERSION: Final = b"\x01"
_HEAD_SIZE: Final = 1 + KEY_ID_SIZE
_ENCAPSULATION_SIZE: Final = 1120
QUEUE_COVER_SIZE: Final = _HEAD_SIZE + _ENCAPSULATION_SIZE + 2 * limits.KEY_SIZE + TAG_SIZE
_NO_OWNER: Final = 0


class QueueKeys:
    """The queue's private half in clear, in role `back` alone; parsed when first used."""

    __slots__ = ("_half", "private")

    def __init__(self, private: bytes) -> None:
        """Keep the private half (96 octets)."""
        self.private = private
        self._half: PrivateHalf | None = None

    @property
    def half(self) -> PrivateHalf:
        """The private half, parsed; raise SealBrokenError if the octets are none."""
        if self._half is None:
            self._half = PrivateHalf(self.private)
        return self._half

    def __repr__(self) -> str:
        return "QueueKeys(...)"


class SealedEntry:
    """A spool entry as it is stored: `cover` (its keys, sealed to the queue), `envelope` and `prefix`, sealed under its entry key."""

    __slots__ = ("cover", "envelope", "prefix")

    def __init__(self, cover: bytes, envelope: bytes, prefix: bytes) -> None:
        """Keep the three sealed parts."""
        self.cover = cover
        self.envelope = envelope
        self.prefix = prefix


class OpenEntry:
    """A spool entry in clear: `content_key` opens its content, `entry_key` its other parts (a signature kept with it), `envelope` and `prefix` as given."""

    __slots__ = ("content_key", "entry_key", "envelope", "prefix")

    def __init__(self, keys: MessageKeys, envelope: bytes, prefix: bytes) -> None:
        """Keep the keys and the opened parts."""
        self.content_key = keys.content_key
        self.entry_key = keys.message_key
        self.envelope = envelope
        self.prefix = prefix

    def __repr__(self) -> str:
        return "OpenEntry(...)"


def seal_entry(public: bytes | PublicHalf, spool_id: bytes, content_key: bytes, envelope: bytes, prefix: bytes = b"") -> SealedEntry:
    """Seal a spool entry to the queue's public half: one HPKE for all of it (0.1 ms)."""
    entry_key = new_key()
    sealing = SealKey(entry_key)
    return SealedEntry(
        cover_to_queue(public, spool_id, MessageKeys(content_key, entry_key)),
        sealing.seal(Purpose.ENVELOPE, _NO_OWNER, spool_id, envelope),
        sealing.seal(Purpose.PREFIX, _NO_OWNER, spool_id, prefix),
    )


def open_entry(queue: QueueKeys, spool_id: bytes, entry: SealedEntry) -> OpenEntry:
    """Open a spool entry; raise SealBrokenError if any part is damaged or another entry's."""
    keys = open_queue_cover(queue, spool_id, entry.cover)
    sealing = SealKey(keys.message_key)
    return OpenEntry(
        keys,
        sealing.open(Purpose.ENVELOPE, _NO_OWNER, spool_id, entry.envelope),
        sealing.open(Purpose.PREFIX, _NO_OWNER, spool_id, entry.prefix),
    )


def cover_to_queue(public: bytes | PublicHalf, spool_id: bytes, keys: MessageKeys) -> bytes:
    """Cover the keys of a spool entry for the queue: 1,205 octets; raise SealBrokenError for a damaged public half."""
    half = parse_public(public) if isinstance(public, bytes) else public
    return _VERSION + half.key_id + half.encrypt(keys.content_key + keys.message_key, bind(Purpose.QUEUE_COVER, _NO_OWNER, spool_id))


def open_queue_cover(queue: QueueKeys, spool_id: bytes, cover: bytes) -> MessageKeys:
    """Give the keys of a spool entry; raise SealBrokenError for anything but this entry's cover."""
    half = queue.half
    if len(cover) != QUEUE_COVER_SIZE or cover[:1] != _VERSION or cover[1:_HEAD_SIZE] != half.key_id:
        raise SealBrokenError(f"spool entry {spool_id.hex()}: sealed to another queue, or damaged")
    plain = half.decrypt(memoryview(cover)[_HEAD_SIZE:], bind(Purpose.QUEUE_COVER, _NO_OWNER, spool_id))
    return MessageKeys(plain[: limits.KEY_SIZE], plain[limits.KEY_SIZE :])
