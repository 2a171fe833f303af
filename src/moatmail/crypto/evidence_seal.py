# SPDX-License-Identifier: Apache-2.0
"""Evidence of decisions: sealed under a key of the process that judged, which is covered for the queue's private half.

Obeys RFC 9180 (HPKE), RFC 5116 (AEAD).
Must never know what evidence says.

One HPKE for a key that serves for hours: a process that judges a thousand messages a second has no time for one each, and stores no
thousand octets of cover beside each. Whoever takes a process over can read what it judged since its key was made: it saw that anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from moatmail.core.errors import SealBrokenError
from moatmail.core.ports.sealer import Purpose
from moatmail.crypto.hybrid import KEY_ID_SIZE, PublicHalf, parse_public
from moatmail.crypto.queue_seal import QueueKeys
from moatmail.crypto.seal import SealKey, bind, new_key

_VERSION: Final = b"\x01"
_HEAD_SIZE: Final = 1 + KEY_ID_SIZE
_NO_OWNER: Final = 0


@dataclass(frozen=True, slots=True)
class EvidenceSealer:
    """A fresh key with its id and its cover for the queue."""

    id: bytes
    cover: bytes
    _key: SealKey = field(repr=False)

    def seal(self, object_id: bytes, evidence: bytes) -> bytes:
        """Seal the evidence of the decision over the content `object_id`."""
        return self._key.seal(Purpose.EVIDENCE, _NO_OWNER, object_id, evidence)


def new_sealer(public: bytes | PublicHalf, key_id: bytes) -> EvidenceSealer:
    """Make a key under `key_id` (16 octets); raise SealBrokenError for a damaged public half."""
    half = parse_public(public) if isinstance(public, bytes) else public
    key = new_key()
    cover = _VERSION + half.key_id + half.encrypt(key, bind(Purpose.EVIDENCE_KEY, _NO_OWNER, key_id))
    return EvidenceSealer(key_id, cover, SealKey(key))


def open_evidence(queue: QueueKeys, key_id: bytes, cover: bytes, object_id: bytes, sealed: bytes) -> bytes:
    """Give the evidence; raise SealBrokenError for anything but exactly that object."""
    half = queue.half
    if cover[:1] != _VERSION or cover[1:_HEAD_SIZE] != half.key_id:
        raise SealBrokenError(f"evidence key {key_id.hex()}: covered for another queue, or damaged")
    key = half.decrypt(memoryview(cover)[_HEAD_SIZE:], bind(Purpose.EVIDENCE_KEY, _NO_OWNER, key_id))
    return SealKey(key).open(Purpose.EVIDENCE, _NO_OWNER, object_id, sealed)
