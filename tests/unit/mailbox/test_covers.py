# SPDX-License-Identifier: Apache-2.0
"""Delivery keys in memory: how long, how many, for how many messages."""

from __future__ import annotations

import asyncio
from os import urandom

import pytest

from moatmail.core.limits import crypto as limits
from moatmail.crypto import cover
from moatmail.crypto.cover import MessageKeys
from moatmail.mailbox.covers import DeliveryCovers

ALICE, BOB = cover.new_account_keys(), cover.new_account_keys()
KEYS = MessageKeys(urandom(32), urandom(32))
SEALED_KEY = slice(5, 5 + 1168)


def _id() -> bytes:
    return urandom(16)


async def test_messages_of_one_account_share_a_key_and_those_of_another_do_not() -> None:
    covers = DeliveryCovers()
    ids = [_id() for _ in range(3)]
    made = [covers.cover(ALICE.public, 7, one, KEYS) for one in ids]
    assert len({one[SEALED_KEY] for one in made}) == 1
    assert len(set(made)) == 3
    assert all(cover.open_cover(ALICE, 7, one, sealed) == KEYS for one, sealed in zip(ids, made, strict=True))
    assert covers.cover(BOB.public, 8, ids[0], KEYS)[SEALED_KEY] != made[0][SEALED_KEY]
    assert len(covers) == 2


async def test_an_account_whose_keys_were_made_anew_gets_another_key_at_once() -> None:
    covers = DeliveryCovers()
    one = _id()
    covers.cover(ALICE.public, 7, one, KEYS)
    assert cover.open_cover(BOB, 7, one, covers.cover(BOB.public, 7, one, KEYS)) == KEYS


async def test_a_key_goes_when_its_time_is_over_though_nothing_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DELIVERY_KEY_SECONDS", 0.02)
    covers = DeliveryCovers()
    first = covers.cover(ALICE.public, 7, _id(), KEYS)
    covers.cover(BOB.public, 8, _id(), KEYS)
    async with asyncio.timeout(20):
        while len(covers):  # noqa: ASYNC110 - a timer of the loop's own drops it, and tells nobody
            await asyncio.sleep(0.005)
    assert covers.cover(ALICE.public, 7, _id(), KEYS)[SEALED_KEY] != first[SEALED_KEY]


async def test_a_key_in_use_all_the_time_goes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DELIVERY_KEY_SECONDS", 0.02)
    covers = DeliveryCovers()
    first = covers.cover(ALICE.public, 7, _id(), KEYS)[SEALED_KEY]
    async with asyncio.timeout(20):
        while covers.cover(ALICE.public, 7, _id(), KEYS)[SEALED_KEY] == first:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.002)


async def test_a_key_covers_a_bounded_number_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DELIVERY_KEY_COVERS", 4)
    covers = DeliveryCovers()
    keys = [covers.cover(ALICE.public, 7, _id(), KEYS)[SEALED_KEY] for _ in range(12)]
    assert [keys.count(one) for one in dict.fromkeys(keys)] == [4, 4, 4]
    assert len(covers) == 1


async def test_accounts_beyond_the_bound_get_covers_that_need_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DELIVERY_KEYS", 2)
    covers = DeliveryCovers()
    one = _id()
    kinds = [covers.cover(ALICE.public, account, one, KEYS)[0] for account in (1, 2, 3, 1)]
    assert kinds == [3, 3, 1, 3]
    assert cover.open_cover(ALICE, 3, one, covers.cover(ALICE.public, 3, one, KEYS)) == KEYS
    assert len(covers) == 2
