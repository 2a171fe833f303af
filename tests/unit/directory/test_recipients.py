# SPDX-License-Identifier: Apache-2.0
"""What a forward-path means: aliases in aliases, rings, catch-alls, subaddresses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moatmail.admin import aliases, domains
from moatmail.core.address import Address, parse_mailbox
from moatmail.core.limits.directory import ALIAS_TARGETS_MAX
from moatmail.directory.recipients import resolve
from tests.house.indoors import Indoors, indoors


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path) as one:
        yield one


def address(text: str) -> Address:
    return parse_mailbox(text.encode(), utf8=True)


async def meaning(house: Indoors, text: str) -> tuple[bool, list[str], list[str]]:
    found = await resolve(house.store, address(text))
    return found.ours, sorted(account.localpart for account in found.accounts), sorted(map(str, found.elsewhere))


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        pytest.param("ann@example.test", (True, ["ann"], []), id="an account is itself"),
        pytest.param("ann+x+y@example.test", (True, ["ann"], []), id="the detail begins at the first delimiter"),
        pytest.param("+ann@example.test", (True, [], []), id="a leading delimiter is no subaddress"),
        pytest.param("team@example.test", (True, ["ann", "bob"], []), id="an alias is its targets"),
        pytest.param("team+x@example.test", (True, ["ann", "bob"], []), id="an alias has subaddresses too"),
        pytest.param("nobody@example.test", (True, [], []), id="nobody is nobody"),
        pytest.param("zoe@faraway.test", (False, [], []), id="a foreign address is not ours"),
        pytest.param("Postmaster@example.test", (True, ["ann"], []), id="postmaster reaches the first account"),
        pytest.param("abuse@example.test", (True, ["ann"], []), id="so does abuse"),
    ],
)
async def test_meaning(house: Indoors, asked: str, wanted: tuple[bool, list[str], list[str]]) -> None:
    assert await meaning(house, asked) == wanted


async def test_an_alias_may_lead_elsewhere_and_to_another_alias(house: Indoors) -> None:
    await aliases.add(house.desk, "far@example.test", ["zoe@faraway.test", "team@example.test"])
    assert await meaning(house, "far@example.test") == (True, ["ann", "bob"], ["zoe@faraway.test"])


async def test_a_ring_of_aliases_ends(house: Indoors) -> None:
    """R15: aliases that lead to each other deliver to nobody twice and do not hang."""
    await aliases.add(house.desk, "one@example.test", ["two@example.test"])
    await aliases.add(house.desk, "two@example.test", ["one@example.test", "ann@example.test"])
    assert await meaning(house, "one@example.test") == (True, ["ann"], [])
    await aliases.add(house.desk, "three@example.test", ["four@example.test"])
    await aliases.add(house.desk, "four@example.test", ["three@example.test"])
    assert await meaning(house, "three@example.test") == (True, [], [])


async def test_a_long_chain_ends_with_nobody(house: Indoors) -> None:
    for number in range(12):
        await aliases.add(house.desk, f"c{number}@example.test", [f"c{number + 1}@example.test"])
    await aliases.add(house.desk, "c12@example.test", ["ann@example.test"])
    assert await meaning(house, "c0@example.test") == (True, [], [])
    assert await meaning(house, "c5@example.test") == (True, ["ann"], [])


async def test_an_alias_with_too_many_targets_is_cut(house: Indoors) -> None:
    await aliases.add(house.desk, "many@example.test", [f"u{number}@faraway.test" for number in range(ALIAS_TARGETS_MAX + 20)])
    _, _, elsewhere = await meaning(house, "many@example.test")
    assert len(elsewhere) == ALIAS_TARGETS_MAX


async def test_a_catch_all_takes_what_nobody_has_but_not_postmaster(house: Indoors) -> None:
    await domains.set_catch_all(house.desk, "example.test", "bob@example.test")
    assert await meaning(house, "nobody@example.test") == (True, ["bob"], [])
    assert await meaning(house, "ann@example.test") == (True, ["ann"], [])
    assert await meaning(house, "postmaster@example.test") == (True, ["ann"], [])


async def test_the_bare_postmaster_is_the_one_of_our_first_domain(house: Indoors) -> None:
    bare = await resolve(house.store, Address("Postmaster", ""))
    assert (bare.ours, [account.localpart for account in bare.accounts]) == (True, ["ann"])


async def test_an_explicit_postmaster_wins(house: Indoors) -> None:
    await aliases.add(house.desk, "postmaster@example.test", ["bob@example.test"])
    assert await meaning(house, "postmaster@example.test") == (True, ["bob"], [])


# ---- the address for reports ----

REPORTS = "Reports@example.test"


@pytest.mark.parametrize("asked", ["reports@example.test", "REPORTS@example.test", "reports+dmarc@example.test"])
async def test_the_address_for_reports_is_there_without_an_account(house: Indoors, asked: str) -> None:
    found = await resolve(house.store, address(asked), REPORTS)
    assert (found.ours, found.exists, found.reports, found.accounts) == (True, True, True, ())
    assert not (await resolve(house.store, address(asked))).exists


async def test_the_address_for_reports_is_no_stray_address(house: Indoors) -> None:
    await domains.set_catch_all(house.desk, "example.test", "bob@example.test")
    assert (await resolve(house.store, address("reports@example.test"), REPORTS)).accounts == ()


async def test_an_account_or_alias_of_that_name_gets_a_copy(house: Indoors) -> None:
    found = await resolve(house.store, address("ann@example.test"), "ann@example.test")
    assert (found.reports, [one.localpart for one in found.accounts]) == (True, ["ann"])
    await aliases.add(house.desk, "dmarc@example.test", ["reports@example.test", "bob@example.test"])
    found = await resolve(house.store, address("dmarc@example.test"), REPORTS)
    assert (found.reports, [one.localpart for one in found.accounts]) == (True, ["bob"])


async def test_an_address_for_reports_elsewhere_is_not_ours(house: Indoors) -> None:
    found = await resolve(house.store, address("reports@faraway.test"), "reports@faraway.test")
    assert (found.ours, found.reports) == (False, False)


async def test_others_are_not_the_address_for_reports(house: Indoors) -> None:
    assert not (await resolve(house.store, address("ann@example.test"), REPORTS)).reports
    assert not (await resolve(house.store, address("reports@example.test"), "no address")).reports
