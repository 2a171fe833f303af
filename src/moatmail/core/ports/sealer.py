# SPDX-License-Identifier: Apache-2.0
"""Port Sealer: what a sealed object is for, and the two verbs to seal and to open one.

Obeys no RFC; the formats are told in docs/security.md.
Must never know how an object is sealed.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class Purpose(bytes, Enum):
    """What a sealed object is: four octets that enter its key and its associated data, so that no object passes for another kind."""

    CONTENT = b"cont"
    PREFIX = b"pref"
    SUMMARY = b"summ"
    WORDS = b"word"
    SEGMENT = b"segm"
    COVER = b"covr"
    MAILBOX_NAME = b"name"
    MAILBOX_TAG = b"ntag"
    QUEUE_COVER = b"qcov"
    ENVELOPE = b"envl"
    ACTIONS = b"actn"
    SIGNATURE = b"sign"
    EVIDENCE = b"evid"
    CREDENTIAL = b"cred"
    ACCOUNT_KEY = b"akey"
    DATABASE_KEY = b"dkey"
    QUEUE_KEY = b"qkey"
    HASH_KEY = b"hkey"
    SIGNING_KEY = b"dkim"
    TLS_KEY = b"tlsk"
    SETTING = b"sett"
    EVIDENCE_KEY = b"ekey"
    DELIVERY_KEY = b"dlvk"


class Sealer(Protocol):
    """Seal and open small objects under a key of 32 octets; the module `crypto.seal` is one."""

    def seal(self, key: bytes, purpose: Purpose, owner: int, object_id: bytes, plain: bytes) -> bytes:
        """Seal `plain`, bound to purpose, owner (account id, 0 for none) and object id."""
        ...

    def open_sealed(self, key: bytes, purpose: Purpose, owner: int, object_id: bytes, sealed: bytes) -> bytes:
        """Give what was sealed; raise SealBrokenError for anything but exactly that object."""
        ...

    def new_id(self, now_ms: int) -> bytes:
        """Make an id of 16 octets for an object made at `now_ms` (Unix time in milliseconds)."""
        ...
