# SPDX-License-Identifier: Apache-2.0
"""Runs the stages of one phase: groups one after the other, the stages of a group side by side, all under one deadline.

Obeys RFC 5321 §4.5.3.2.6 (the answer to the dot must come in time).
Must never know what a finding means.
"""

from __future__ import annotations

import asyncio

from moatmail.core.limits.policy import PHASE_SECONDS
from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Finding
from moatmail.policy.stage import Group, Order, Phase, Stage, Tools


async def run(order: Order, phase: Phase, transaction: Transaction, tools: Tools, seconds: float = PHASE_SECONDS) -> Transaction:
    """Run `phase` of `order` within `seconds`; give the transaction with all findings; never raises for a stage's fault."""
    groups = order[phase]
    until = asyncio.get_running_loop().time() + seconds
    place = 0
    found: dict[Stage, tuple[Finding, ...]] = {}
    while place < len(groups):
        try:
            # One for the phase: a clock for each group costs more than some stages. Behind the deadline a group that waits for nothing still has its say.
            async with asyncio.timeout_at(until):
                while place < len(groups):
                    found = {}
                    await _run_group(groups[place], transaction, tools, found)
                    transaction = transaction.evolve(findings=_findings(groups[place], found))
                    place += 1
        except TimeoutError:
            transaction = transaction.evolve(findings=_findings(groups[place], found))
            place += 1
    return transaction


async def _run_group(group: Group, transaction: Transaction, tools: Tools, found: dict[Stage, tuple[Finding, ...]]) -> None:
    """Run the stages of a group side by side, and put into `found` what each found when it is done."""

    async def run_stage(stage: Stage) -> None:
        found[stage] = await _run_stage(stage, transaction, tools)

    if len(group) == 1:
        await run_stage(group[0])
    else:
        await asyncio.gather(*map(run_stage, group))


def _findings(group: Group, found: dict[Stage, tuple[Finding, ...]]) -> tuple[Finding, ...]:
    return tuple([finding for stage in group for finding in (found[stage] if stage in found else (_unavailable(stage, "deadline passed"),))])


async def _run_stage(stage: Stage, transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Run one stage; a stage that cannot run gives a temporary finding: a check that cannot run is not a result."""
    try:
        return await stage(transaction, tools)
    except Exception as error:  # noqa: BLE001 - the one place where a stage's fault is caught; it becomes a finding
        return (_unavailable(stage, f"{type(error).__name__}: {error}"),)


def _unavailable(stage: Stage, why: str) -> Finding:
    name = getattr(stage, "__module__", "stage").rpartition(".")[2]
    return Finding(f"{name}.unavailable", evidence={"why": why}, temporary=True)
