# SPDX-License-Identifier: Apache-2.0
"""How stages run: groups one after the other, side by side within, a stage that cannot run is a temporary finding and never more."""

from __future__ import annotations

import asyncio

import pytest

from moatmail.core.envelope import Envelope
from moatmail.core.transaction import Session, Transaction
from moatmail.core.verdict import Finding
from moatmail.mailbox.keep_everything import KeepEverything
from moatmail.net.resolver_table import TableResolver
from moatmail.policy import order, pipeline
from moatmail.policy.stage import Group, Order, Phase, Stage, Tools

TOOLS = Tools(KeepEverything(), TableResolver({}))


def transaction() -> Transaction:
    return Transaction(Session("1", "mx", "192.0.2.1", 25), Envelope(None), 0.0)


def table(*groups: Group) -> Order:
    return {**dict.fromkeys(Phase, ()), Phase.DATA: groups}


def finder(name: str) -> Stage:
    async def stage(_seen: Transaction, _tools: Tools) -> tuple[Finding, ...]:
        return (Finding(name),)

    return stage


async def run(*groups: Group, seconds: float = 5.0) -> list[Finding]:
    return list((await pipeline.run(table(*groups), Phase.DATA, transaction(), TOOLS, seconds)).findings)


async def test_a_later_group_sees_what_the_earlier_ones_found() -> None:
    async def later(seen: Transaction, _tools: Tools) -> tuple[Finding, ...]:
        return (Finding("saw " + seen.findings[0].name),)

    assert [one.name for one in await run((finder("first"),), (later,))] == ["first", "saw first"]


async def test_stages_of_a_group_run_side_by_side() -> None:
    meeting = asyncio.Barrier(2)

    async def meets(_seen: Transaction, _tools: Tools) -> tuple[Finding, ...]:
        await meeting.wait()
        return (Finding("met"),)

    assert [one.name for one in await run((meets, meets))] == ["met", "met"]


async def test_a_stage_that_fails_is_a_temporary_finding_and_the_others_go_on() -> None:
    async def broken(_seen: Transaction, _tools: Tools) -> tuple[Finding, ...]:
        raise RuntimeError("of the stage")

    found = await run((broken, finder("other")))
    assert [(one.name, one.temporary) for one in found] == [("test_pipeline.unavailable", True), ("other", False)]
    assert "of the stage" in found[0].evidence["why"]


async def test_a_stage_that_hangs_is_cut_at_the_deadline() -> None:
    async def hanging(_seen: Transaction, _tools: Tools) -> tuple[Finding, ...]:
        await asyncio.Event().wait()
        return ()

    found = await run((hanging,), (finder("after"),), seconds=0.05)
    assert [(one.name, one.temporary) for one in found] == [("test_pipeline.unavailable", True), ("after", False)]


@pytest.mark.parametrize("one", [order.RECEIVE, order.SUBMIT], ids=["receive", "submit"])
def test_the_tables_name_every_phase(one: Order) -> None:
    assert set(one) == set(Phase)
