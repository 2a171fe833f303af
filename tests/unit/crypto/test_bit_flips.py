# SPDX-License-Identifier: Apache-2.0
"""R11: one bit flipped at 1,000 seeded places over every kind of sealed object; each is detected, none is served."""

from __future__ import annotations

import random
from collections.abc import Callable

from moatmail.core.errors import SealBrokenError
from moatmail.crypto import content_seal, cover, queue_seal, seal
from moatmail.crypto.content_seal import ContentOpener
from moatmail.crypto.cover import MessageKeys
from moatmail.crypto.queue_seal import QueueKeys
from moatmail.crypto.seal import Purpose
from moatmail.crypto.vault import Vault

ID = bytes(range(16))
PLACES = 1000


def _kinds(chance: random.Random) -> dict[str, tuple[bytes, Callable[[bytes], object]]]:
    vault, key = Vault(chance.randbytes(32)), chance.randbytes(32)
    account = vault.new_account(7)
    keys, opened = MessageKeys(key, key), vault.open_account(7, account.wrapped)
    queue = vault.new_queue_keys()
    private = QueueKeys(vault.open_queue_keys(queue.wrapped))
    content_key, blob = content_seal.seal_content(ID, b"Subject: x\r\n\r\n", [chance.randbytes(150_000), b"text " * 9000])

    def whole(octets: bytes) -> bytes:
        opener = ContentOpener(octets, ID, content_key)
        return opener.read(0, opener.size)

    kinds: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        "content": (blob, whole),
        "cover to the public half": (cover.cover_to_public(account.public, 7, ID, keys), lambda octets: cover.open_cover(opened, 7, ID, octets)),
        "cover by a delivery key": (cover.DeliveryKey(account.public, 7).cover(ID, keys), lambda octets: cover.open_cover(opened, 7, ID, octets)),
        "cover with the mailbox key": (cover.cover_with_mailbox_key(opened.sealing, 7, ID, keys), lambda octets: cover.open_cover(opened, 7, ID, octets)),
        "queue cover": (queue_seal.cover_to_queue(queue.public, ID, keys), lambda octets: queue_seal.open_queue_cover(private, ID, octets)),
        "account keys": (account.wrapped, lambda octets: vault.open_account(7, octets)),
        "queue keys": (queue.wrapped, vault.open_queue_keys),
        "mailbox name": (vault.seal_name(key, 7, ID, b"INBOX").sealed, lambda octets: vault.open_name(key, 7, ID, octets)),
    }
    for purpose in (Purpose.PREFIX, Purpose.SUMMARY, Purpose.WORDS, Purpose.ENVELOPE, Purpose.EVIDENCE, Purpose.SETTING):
        sealed = seal.seal(key, purpose, 7, ID, b"text to seal " * chance.randrange(1, 100))
        kinds[purpose.name] = (sealed, lambda octets, purpose=purpose: seal.open_sealed(key, purpose, 7, ID, octets))  # type: ignore[misc]
    return kinds


def test_a_thousand_flipped_bits_over_every_kind_of_object_are_all_detected() -> None:
    chance = random.Random(11)
    kinds = list(_kinds(chance).items())
    served: list[str] = []
    for place in range(PLACES):
        kind, (sealed, opening) = kinds[place % len(kinds)]
        bit = chance.randrange(len(sealed) * 8)
        damaged = bytearray(sealed)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        try:
            opening(bytes(damaged))
        except SealBrokenError:
            continue
        served.append(f"{kind}, bit {bit}")
    assert served == []


def test_unharmed_objects_of_every_kind_open() -> None:
    for sealed, opening in _kinds(random.Random(11)).values():
        opening(sealed)
