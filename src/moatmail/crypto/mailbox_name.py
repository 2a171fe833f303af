# SPDX-License-Identifier: Apache-2.0
"""Mailbox names at rest: sealed under the account's mailbox key, found by a keyed tag.

Obeys RFC 2104 (HMAC).
Must never know which names are special or how clients spell them.
"""

from __future__ import annotations

import hmac
from typing import Final

from moatmail.core.ports.sealer import Purpose
from moatmail.core.ports.vault import SealedName
from moatmail.crypto.seal import SealKey

TAG_SIZE: Final = 16


def tag(key: SealKey, account: int, name: bytes) -> bytes:
    """Give the tag (16 octets) that equal names of one account share: it makes names unique and found without opening all of them."""
    return hmac.digest(key.subkey(Purpose.MAILBOX_TAG), account.to_bytes(8, "big") + name, "sha256")[:TAG_SIZE]


def seal_name(key: SealKey, account: int, mailbox_object_id: bytes, name: bytes) -> SealedName:
    """Seal a name for the mailbox row with these 16 random octets."""
    return SealedName(key.seal(Purpose.MAILBOX_NAME, account, mailbox_object_id, name), tag(key, account, name))


def open_name(key: SealKey, account: int, mailbox_object_id: bytes, sealed: bytes) -> bytes:
    """Give the name; raise SealBrokenError for anything but that row's name."""
    return key.open(Purpose.MAILBOX_NAME, account, mailbox_object_id, sealed)
