# SPDX-License-Identifier: Apache-2.0
"""Known answers of the sealed formats: `python -m tests.vectors.seal.generate NAME` writes NAME.json, once for each version of a format.

A file that was released is never written again: later versions must open it as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

from moatmail.core.limits import crypto as limits
from moatmail.crypto import content_seal, cover, evidence_seal, queue_seal, seal
from moatmail.crypto.cover import AccountKeys, MessageKeys
from moatmail.crypto.hybrid import PrivateHalf
from moatmail.crypto.seal import Purpose, SealKey
from moatmail.crypto.vault import Vault

FOLDER = Path(__file__).parent
ACCOUNT = 7


def fixed(label: str, size: int = 32) -> bytes:
    """Give octets anyone can make again: SHA-256 of label and counter."""
    return b"".join(sha256(f"{label} {count}".encode()).digest() for count in range(-(-size // 32)))[:size]


@contextmanager
def fixed_chance() -> Iterator[None]:
    """Fix the nonces and content keys: only here, by replacing the private functions that give them."""
    with ExitStack() as stack:
        for module in (seal, cover):
            stack.enter_context(patch.object(module, "_fresh_nonce", lambda: fixed("nonce", 12)))
        stack.enter_context(patch.object(content_seal, "_fresh_content_key", lambda: fixed("content key")))
        yield


def account_keys() -> AccountKeys:
    """Give the account of the known answers."""
    half = PrivateHalf(fixed("private half", 96))
    return AccountKeys(half.public, half.raw, fixed("mailbox key"))


MESSAGE_ID = fixed("message id", 16)
MESSAGE_KEYS = MessageKeys(fixed("content key"), fixed("message key"))
INCOMPRESSIBLE = fixed("body", 2 * limits.CHUNK_SIZE + 100)


def objects() -> list[dict[str, str]]:
    """Seal one small object of each purpose, and a compressed one."""
    plains = {purpose.name: f"plain text of {purpose.name}".encode() for purpose in Purpose}
    rows = [
        {"purpose": name, "plain": plain.hex(), "sealed": seal.seal(fixed("key"), Purpose[name], ACCOUNT, MESSAGE_ID, plain).hex()}
        for name, plain in plains.items()
    ]
    text = b"the eagle lands at dawn " * 40
    return [
        *rows,
        {"purpose": "WORDS", "plain": text.hex(), "sealed": seal.seal(fixed("key"), Purpose.WORDS, ACCOUNT, MESSAGE_ID, text).hex(), "packed": "yes"},
    ]


def contents() -> list[dict[str, str]]:
    """Seal contents: without a body, small and compressed, and of three raw chunks (told by its hash)."""
    header = b"From: <a@example.test>\r\n\r\n"
    rows = []
    for name, body in [("header only", b""), ("small", b"the eagle lands at dawn\r\n" * 40)]:
        _, blob = content_seal.seal_content(MESSAGE_ID, header, [body])
        rows.append({"name": name, "header": header.hex(), "body": body.hex(), "blob": blob.hex()})
    _, blob = content_seal.seal_content(MESSAGE_ID, header, [INCOMPRESSIBLE])
    return [
        *rows,
        {"name": "three raw chunks", "header": header.hex(), "body_sha256": sha256(INCOMPRESSIBLE).hexdigest(), "blob_sha256": sha256(blob).hexdigest()},
    ]


def covers() -> dict[str, str]:
    """Cover the keys in all ways; the encapsulations of 0x01 and 0x03 cannot be fixed, so these are only ever opened."""
    keys = account_keys()
    return {
        "public_sha256": sha256(keys.public).hexdigest(),
        "to_public": cover.cover_to_public(keys.public, ACCOUNT, MESSAGE_ID, MESSAGE_KEYS).hex(),
        "by_delivery_key": cover.DeliveryKey(keys.public, ACCOUNT).cover(MESSAGE_ID, MESSAGE_KEYS).hex(),
        "with_mailbox_key": cover.cover_with_mailbox_key(keys.mailbox_key, ACCOUNT, MESSAGE_ID, MESSAGE_KEYS).hex(),
    }


def queue() -> dict[str, str]:
    """Seal a spool entry."""
    keys = account_keys()
    sealing = SealKey(MESSAGE_KEYS.message_key)
    return {
        "cover": queue_seal.cover_to_queue(keys.public, MESSAGE_ID, MESSAGE_KEYS).hex(),
        "envelope": sealing.seal(Purpose.ENVELOPE, 0, MESSAGE_ID, b"envelope").hex(),
        "prefix": sealing.seal(Purpose.PREFIX, 0, MESSAGE_ID, b"prefix").hex(),
    }


def vault() -> dict[str, str]:
    """Wrap and derive under a master key."""
    held, keys = Vault(fixed("master key")), account_keys()
    name = held.seal_name(keys.mailbox_key, ACCOUNT, MESSAGE_ID, b"INBOX")
    return {
        "fingerprint": held.fingerprint,
        "database_key": held.database_key().hex(),
        "hash_key_words": held.hash_key("words").hex(),
        "account": held.wrap(Purpose.ACCOUNT_KEY, ACCOUNT, b"", keys.private + keys.mailbox_key).hex(),
        "queue": held.wrap(Purpose.QUEUE_KEY, 0, b"queue", keys.private).hex(),
        "credential": held.seal_credential(ACCOUNT, b"1", b"secret").hex(),
        "name": name.sealed.hex(),
        "tag": name.tag.hex(),
    }


def evidence() -> dict[str, str]:
    """Seal evidence under a process's key; the cover's encapsulation cannot be fixed, so it is only ever opened."""
    sealer = evidence_seal.new_sealer(account_keys().public, fixed("evidence key id", 16))
    return {"cover": sealer.cover.hex(), "sealed": sealer.seal(MESSAGE_ID, b"evidence").hex()}


PARTS: dict[str, Callable[[], Any]] = {"objects": objects, "contents": contents, "covers": covers, "queue": queue, "vault": vault, "evidence": evidence}


def make() -> dict[str, Any]:
    """Make every part with fixed chance."""
    with fixed_chance():
        return {name: part() for name, part in PARTS.items()}


if __name__ == "__main__":
    target = FOLDER / f"{sys.argv[1]}.json"
    if target.exists():
        sys.exit(f"{target.name} was released: known answers are never written again")
    target.write_text(json.dumps(make(), indent=1) + "\n")
