# SPDX-License-Identifier: Apache-2.0
"""Covers of both kinds, re-wrapping, the queue's entries and the keyring."""

from __future__ import annotations

import random
from collections.abc import Callable
from os import urandom

import pytest

from moatmail.core.errors import NotPermittedError, SealBrokenError
from moatmail.core.limits import crypto as limits
from moatmail.crypto import cover, hybrid, queue_seal
from moatmail.crypto.cover import AccountKeys, MessageKeys
from moatmail.crypto.hybrid import PrivateHalf
from moatmail.crypto.keyring import Keyring
from moatmail.crypto.queue_seal import QueueKeys, SealedEntry

ID = bytes(range(16))
OTHER_ID = bytes(range(1, 17))
ALICE = cover.new_account_keys()
BOB = cover.new_account_keys()
KEYS = MessageKeys(urandom(32), urandom(32))
QUEUE = PrivateHalf.generate()
Make = Callable[[AccountKeys, int, bytes], bytes]


def _to_public(keys: AccountKeys, account: int, message_id: bytes) -> bytes:
    return cover.cover_to_public(keys.public, account, message_id, KEYS)


def _with_mailbox_key(keys: AccountKeys, account: int, message_id: bytes) -> bytes:
    return cover.cover_with_mailbox_key(keys.mailbox_key, account, message_id, KEYS)


def _by_delivery_key(keys: AccountKeys, account: int, message_id: bytes) -> bytes:
    return cover.DeliveryKey(keys.public, account).cover(message_id, KEYS)


KINDS = {"0x01, to the public half": _to_public, "0x02, with the mailbox key": _with_mailbox_key, "0x03, by a delivery key": _by_delivery_key}
ALL = pytest.mark.parametrize("make", KINDS.values(), ids=list(KINDS))


@ALL
def test_a_cover_opens_to_its_two_keys(make: Make) -> None:
    assert cover.open_cover(ALICE, 7, ID, make(ALICE, 7, ID)) == KEYS


def test_covers_have_their_kind_and_size() -> None:
    to_public, with_key = _to_public(ALICE, 7, ID), _with_mailbox_key(ALICE, 7, ID)
    assert (to_public[0], len(to_public)) == (1, cover.COVER_TO_PUBLIC_SIZE) == (1, 1205)
    assert (with_key[0], len(with_key)) == (2, cover.COVER_WITH_MAILBOX_KEY_SIZE) == (2, 97)
    by_delivery = _by_delivery_key(ALICE, 7, ID)
    assert (by_delivery[0], len(by_delivery)) == (3, cover.COVER_WITH_DELIVERY_KEY_SIZE) == (3, 1265)
    assert cover.needs_rewrap(to_public)
    assert cover.needs_rewrap(by_delivery)
    assert not cover.needs_rewrap(with_key)


@pytest.mark.parametrize("make", [_to_public, _by_delivery_key], ids=["0x01", "0x03"])
def test_rewrapping_turns_what_strangers_covered_into_the_second_kind_with_the_same_keys(make: Make) -> None:
    rewrapped = cover.rewrap(ALICE, 7, ID, make(ALICE, 7, ID))
    assert rewrapped[0] == 2
    assert cover.open_cover(ALICE, 7, ID, rewrapped) == KEYS


def test_covers_by_one_delivery_key_open_each_by_itself_and_not_in_each_others_place() -> None:
    key = cover.DeliveryKey(ALICE.public, 7)
    other = MessageKeys(urandom(32), urandom(32))
    one, two = key.cover(ID, KEYS), key.cover(OTHER_ID, other)
    fresh = AccountKeys(ALICE.public, ALICE.private, ALICE.mailbox_key)
    assert cover.open_cover(fresh, 7, OTHER_ID, two) == other
    assert cover.open_cover(fresh, 7, ID, one) == KEYS  # by what is remembered now
    for message_id, swapped in [(OTHER_ID, one), (ID, two)]:
        with pytest.raises(SealBrokenError):
            cover.open_cover(fresh, 7, message_id, swapped)
    # The sealed key of one with the keys of another: under one key the octets are the same, under two they do not fit.
    stranger = cover.DeliveryKey(ALICE.public, 7).cover(ID, KEYS)
    with pytest.raises(SealBrokenError):
        cover.open_cover(fresh, 7, ID, stranger[:-92] + one[-92:])


def test_what_is_remembered_of_delivery_keys_serves_no_other_account() -> None:
    sealed = _by_delivery_key(ALICE, 7, ID)
    assert cover.open_cover(ALICE, 7, ID, sealed) == KEYS
    with pytest.raises(SealBrokenError):
        cover.open_cover(ALICE, 8, ID, sealed)


def test_the_memory_of_opened_delivery_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OPENED_DELIVERY_KEYS", 3)
    fresh = AccountKeys(ALICE.public, ALICE.private, ALICE.mailbox_key)
    for _ in range(8):
        assert cover.open_cover(fresh, 7, ID, _by_delivery_key(ALICE, 7, ID)) == KEYS
        assert len(fresh._delivered) <= 3


@ALL
def test_a_cover_of_another_row_account_or_key_does_not_open(make: Make) -> None:
    sealed = make(ALICE, 7, ID)
    for keys, account, message_id in [(BOB, 7, ID), (ALICE, 8, ID), (ALICE, 7, OTHER_ID)]:
        with pytest.raises(SealBrokenError):
            cover.open_cover(keys, account, message_id, sealed)


@ALL
def test_a_flipped_bit_a_cut_and_an_added_octet_are_detected(make: Make) -> None:
    sealed = make(ALICE, 7, ID)
    chance = random.Random(11)
    octets = (
        range(len(sealed)) if len(sealed) < 200 else [*range(40), *(chance.randrange(len(sealed)) for _ in range(160)), *range(len(sealed) - 20, len(sealed))]
    )
    for octet in octets:
        damaged = bytearray(sealed)
        damaged[octet] ^= 1 << chance.randrange(8)
        with pytest.raises(SealBrokenError):
            cover.open_cover(ALICE, 7, ID, bytes(damaged))
    for wrong in (b"", sealed[:1], sealed[:60], sealed[:-1], sealed + b"\x00"):
        with pytest.raises(SealBrokenError):
            cover.open_cover(ALICE, 7, ID, wrong)


def test_a_second_half_of_a_pair_that_does_not_belong_is_refused() -> None:
    mixed = AccountKeys(BOB.public, ALICE.private, ALICE.mailbox_key)
    for sealed_to in (ALICE, BOB):
        with pytest.raises(SealBrokenError):
            cover.open_cover(mixed, 7, ID, _to_public(sealed_to, 7, ID))


@pytest.mark.parametrize("octets", [b"", bytes(1215), bytes(1217), b"\xff" * 1216], ids=["none", "too few", "too many", "values out of range"])
def test_a_damaged_public_half_seals_nothing(octets: bytes) -> None:
    with pytest.raises(SealBrokenError):
        cover.cover_to_public(octets, 7, ID, KEYS)


@pytest.mark.parametrize("octets", [b"", bytes(95), bytes(97)])
def test_a_private_half_of_another_length_is_refused(octets: bytes) -> None:
    with pytest.raises(SealBrokenError):
        PrivateHalf(octets)


def test_a_public_half_is_parsed_once_and_the_memory_of_them_is_bounded() -> None:
    assert hybrid.parse_public(ALICE.public) is hybrid.parse_public(bytes(bytearray(ALICE.public)))
    assert hybrid.parse_public.cache_info().maxsize == limits.PARSED_PUBLIC_KEYS


def test_whoever_seals_to_an_account_opens_nothing() -> None:
    stranger = AccountKeys(ALICE.public, BOB.private, BOB.mailbox_key)
    with pytest.raises(SealBrokenError):
        cover.open_cover(stranger, 7, ID, _to_public(ALICE, 7, ID))


def test_message_keys_are_two_keys_of_thirty_two_octets() -> None:
    made = MessageKeys.for_content(KEYS.content_key)
    assert made.content_key == KEYS.content_key
    assert made.message_key not in {KEYS.content_key, KEYS.message_key}
    with pytest.raises(ValueError):
        MessageKeys(bytes(32), bytes(31))


def test_no_key_class_shows_its_octets() -> None:
    entry = queue_seal.open_entry(QueueKeys(QUEUE.raw), ID, queue_seal.seal_entry(QUEUE.public, ID, KEYS.content_key, b"envelope"))
    for thing in (KEYS, ALICE, QUEUE, QueueKeys(QUEUE.raw), entry, cover.DeliveryKey(ALICE.public, 7)):
        shown = repr(thing)
        assert len(shown) < 30
        assert "x" not in shown.replace("MailboxKeys", "")
        assert not any(secret.hex()[:8] in shown for secret in (ALICE.private, ALICE.mailbox_key, KEYS.content_key, QUEUE.raw))


# ---- queue ----


def test_a_spool_entry_opens_with_the_queues_key_alone() -> None:
    entry = queue_seal.seal_entry(QUEUE.public, ID, KEYS.content_key, b"<a@example.test>", b"Received: x\r\n")
    opened = queue_seal.open_entry(QueueKeys(QUEUE.raw), ID, entry)
    assert (opened.content_key, opened.envelope, opened.prefix) == (KEYS.content_key, b"<a@example.test>", b"Received: x\r\n")
    with pytest.raises(SealBrokenError):
        queue_seal.open_entry(QueueKeys(PrivateHalf.generate().raw), ID, entry)
    with pytest.raises(SealBrokenError):
        queue_seal.open_entry(QueueKeys(QUEUE.raw), OTHER_ID, entry)


def test_parts_of_two_spool_entries_swapped_are_detected() -> None:
    first = queue_seal.seal_entry(QUEUE.public, ID, KEYS.content_key, b"one", b"p1")
    second = queue_seal.seal_entry(QUEUE.public, OTHER_ID, KEYS.content_key, b"two", b"p2")
    for mixed in (
        SealedEntry(second.cover, first.envelope, first.prefix),
        SealedEntry(first.cover, second.envelope, first.prefix),
        SealedEntry(first.cover, first.envelope, second.prefix),
        SealedEntry(first.cover, first.prefix, first.envelope),
    ):
        with pytest.raises(SealBrokenError):
            queue_seal.open_entry(QueueKeys(QUEUE.raw), ID, mixed)


def test_a_queue_cover_is_no_cover_of_a_message() -> None:
    sealed = queue_seal.cover_to_queue(ALICE.public, ID, KEYS)
    with pytest.raises(SealBrokenError):
        cover.open_cover(ALICE, 0, ID, sealed)


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit_in_a_queue_cover_is_detected(seed: int) -> None:
    sealed = queue_seal.cover_to_queue(QUEUE.public, ID, KEYS)
    chance, queue = random.Random(seed), QueueKeys(QUEUE.raw)
    for octet in [*range(5), *(chance.randrange(len(sealed)) for _ in range(40))]:
        damaged = bytearray(sealed)
        damaged[octet] ^= 1 << chance.randrange(8)
        with pytest.raises(SealBrokenError):
            queue_seal.open_queue_cover(queue, ID, bytes(damaged))


# ---- keyring ----


def test_keys_are_held_until_the_last_session_ends() -> None:
    ring = Keyring()
    ring.hold(7, ALICE)
    assert ring.hold(7, ALICE) is ALICE
    ring.release(7)
    assert ring.of(7) is ALICE
    ring.release(7)
    assert ring.find(7) is None
    assert 7 not in ring
    with pytest.raises(NotPermittedError):
        ring.of(7)


def test_sessions_of_one_account_share_one_parsed_key() -> None:
    ring = Keyring()
    ring.hold(7, ALICE)
    assert ring.hold(7, AccountKeys(ALICE.public, ALICE.private, ALICE.mailbox_key)) is ALICE


def test_newer_keys_of_an_account_replace_older_ones() -> None:
    ring = Keyring()
    ring.hold(7, ALICE)
    assert ring.hold(7, BOB) is BOB
    assert ring.of(7) is BOB


def test_forgetting_drops_keys_whoever_holds_them() -> None:
    ring = Keyring()
    ring.hold(7, ALICE)
    ring.hold(7, ALICE)
    ring.hold(8, BOB)
    ring.forget(7)
    assert (7 in ring, 8 in ring, len(ring)) == (False, True, 1)
    ring.release(7)
    ring.forget_all()
    assert len(ring) == 0
    assert ALICE.mailbox_key.hex() not in repr(ring)
