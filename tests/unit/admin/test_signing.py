# SPDX-License-Identifier: Apache-2.0
"""The life of signing keys: made, used beside the old ones, retired, removed; no step too early, none that leaves a domain without a signature."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moatmail.admin import domains, signing
from moatmail.core.errors import ConfigError, ConflictError, MoatmailError, NotFoundError
from moatmail.mailauth.sign import key_record, load_signing_key
from moatmail.store.operations import AddDomain
from moatmail.store.queries import GetSigningKeys, ListSigningKeys
from tests.house.indoors import NOW, Indoors, indoors

DAY = 86_400.0
DOMAIN = "example.test"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path) as one:
        yield one


async def states(house: Indoors, domain: str = DOMAIN) -> dict[str, str]:
    return {row.selector: row.state for row in await house.store.read(ListSigningKeys(domain))}


async def test_a_new_domain_signs_from_its_first_day_with_rsa_and_ed25519(house: Indoors) -> None:
    await domains.add(house.desk, "new.test")
    rows = await signing.listing(house.desk, "new.test")
    assert sorted((row.selector, row.algorithm, row.state) for row in rows) == [
        ("ed20270115", "ed25519-sha256", "active"),
        ("rsa20270115", "rsa-sha256", "active"),
    ]
    private = {key.selector: key.private for key in (await house.store.read(GetSigningKeys("new.test"))).keys}
    for row in rows:
        key = load_signing_key("new.test", row.selector, private[row.selector])
        assert (key.algorithm, key_record(key).text) == (row.algorithm, row.record)
        assert key.bits in {256, 2048}


async def test_the_whole_life_of_a_key(house: Indoors) -> None:
    before = await states(house)
    step = await signing.new(house.desk, DOMAIN)
    new = [row.selector for row in step.keys]
    assert [row.state for row in step.keys] == ["published", "published"]
    assert not set(new) & set(before)
    assert {one.command for one in step.following} == {f"moatmail dkim use {DOMAIN} {selector}" for selector in new}
    assert len((await house.store.read(GetSigningKeys(DOMAIN))).keys) == 2, "a published key does not sign"

    house.clock.time += 2 * DAY
    step = await signing.use(house.desk, DOMAIN)
    assert [row.selector for row in step.keys] == new
    assert {(one.verb, one.selector, one.at) for one in step.following} == {("retire", selector, NOW + 9 * DAY) for selector in before}
    assert len((await house.store.read(GetSigningKeys(DOMAIN))).keys) == 4, "old and new sign side by side"

    with pytest.raises(ConflictError, match="too early to retire"):
        await signing.retire(house.desk, DOMAIN)
    house.clock.time += 7 * DAY
    step = await signing.retire(house.desk, DOMAIN)
    assert {row.selector for row in step.keys} == set(before)
    assert {(one.verb, one.selector, one.at) for one in step.following} == {("remove", selector, NOW + 39 * DAY) for selector in before}

    with pytest.raises(ConflictError, match="no retired key whose record is due no longer"):
        await signing.remove(house.desk, DOMAIN)
    with pytest.raises(ConflictError, match="too early to remove"):
        await signing.remove(house.desk, DOMAIN, next(iter(before)))
    house.clock.time += 30 * DAY
    step = await signing.remove(house.desk, DOMAIN)
    assert {row.selector for row in step.keys} == set(before)
    assert step.following == ()
    assert await states(house) == dict.fromkeys(new, "active")


async def test_a_key_that_others_know_is_replaced_at_once(house: Indoors) -> None:
    old = await states(house)
    house.clock.time += 60
    await signing.new(house.desk, DOMAIN)
    await signing.use(house.desk, DOMAIN)
    await signing.retire(house.desk, DOMAIN, at_once=True)
    await signing.remove(house.desk, DOMAIN, at_once=True)
    left = await states(house)
    assert not set(old) & set(left)
    assert set(left.values()) == {"active"}


async def test_the_last_rsa_key_is_never_retired(house: Indoors) -> None:
    with pytest.raises(ConflictError, match="the last RSA key in use"):
        await signing.retire(house.desk, DOMAIN, "rsa20270115", at_once=True)
    await signing.retire(house.desk, DOMAIN, "ed20270115", at_once=True)
    assert await states(house) == {"rsa20270115": "active", "ed20270115": "retired"}


async def test_a_retired_key_comes_back_by_name(house: Indoors) -> None:
    await signing.retire(house.desk, DOMAIN, "ed20270115", at_once=True)
    await signing.use(house.desk, DOMAIN, "ED20270115")
    assert (await states(house))["ed20270115"] == "active"


async def test_keys_of_one_day_have_names_of_their_own(house: Indoors) -> None:
    made = [row.selector for _ in range(3) for row in (await signing.new(house.desk, DOMAIN)).keys]
    assert len({*made, *await states(house)}) == 8
    assert "rsa20270115d" in made


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        pytest.param(lambda desk: signing.use(desk, DOMAIN), ConflictError, "no published key", id="nothing to use"),
        pytest.param(lambda desk: signing.use(desk, DOMAIN, "rsa20270115"), ConflictError, "in use already", id="used already"),
        pytest.param(lambda desk: signing.retire(desk, DOMAIN), ConflictError, "no key in use with a newer one", id="nothing to retire"),
        pytest.param(lambda desk: signing.remove(desk, DOMAIN), ConflictError, "no retired key", id="nothing to remove"),
        pytest.param(lambda desk: signing.remove(desk, DOMAIN, "rsa20270115"), ConflictError, "retire it first", id="removing what signs"),
        pytest.param(lambda desk: signing.use(desk, DOMAIN, "nonsense"), NotFoundError, "has no key nonsense; its keys: ", id="a selector that is none"),
        pytest.param(lambda desk: signing.new(desk, "nowhere.test"), NotFoundError, "no domain nowhere.test here", id="a domain that is not ours"),
        pytest.param(lambda desk: signing.listing(desk, "nowhere.test"), NotFoundError, "no domain nowhere.test here", id="listing what is not ours"),
        pytest.param(lambda desk: signing.new(desk, "no domain"), ConfigError, "is no domain name", id="no domain at all"),
    ],
)
async def test_what_cannot_be_done_says_why(house: Indoors, act: object, error: type[MoatmailError], words: str) -> None:
    before = await states(house)
    with pytest.raises(error) as told:
        await act(house.desk)  # type: ignore[operator]
    assert words in (told.value.public if not isinstance(told.value, ConfigError) else str(told.value))
    assert await states(house) == before


async def test_a_published_key_may_go_at_once(house: Indoors) -> None:
    made = (await signing.new(house.desk, DOMAIN)).keys
    await signing.remove(house.desk, DOMAIN, made[0].selector)
    assert made[0].selector not in await states(house)


async def test_the_list_tells_the_next_step_of_each_key(house: Indoors) -> None:
    house.clock.time += 60
    await signing.new(house.desk, DOMAIN)
    rows = await signing.listing(house.desk)
    assert [(one.verb if (one := signing.following(row, rows)) else None) for row in rows] == [None, None, "use", "use"]
    house.clock.time += DAY
    await signing.use(house.desk, DOMAIN)
    rows = await signing.listing(house.desk)
    assert [(one.verb if (one := signing.following(row, rows)) else None) for row in rows] == ["retire", "retire", "new", "new"]


async def test_a_key_is_advised_to_be_changed_after_ninety_days(house: Indoors) -> None:
    rows = await signing.listing(house.desk)
    assert {(one.verb, one.at) for row in rows if (one := signing.following(row, rows))} == {("new", NOW + 90 * DAY)}


async def test_domains_of_older_servers_get_their_keys_once(house: Indoors) -> None:
    await house.desk.apply(*(AddDomain(f"old{number}.test") for number in range(3)))
    assert await signing.complete(house.desk) == ("old0.test", "old1.test", "old2.test")
    assert set((await states(house, "old1.test")).values()) == {"active"}
    before = await signing.listing(house.desk)
    assert await signing.complete(house.desk) == ()
    assert await signing.listing(house.desk) == before
