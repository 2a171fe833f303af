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
    until = asyncio.get_running_loop().time() + seconds
    for group in order[phase]:
        transaction = transaction.evolve(findings=await _run_group(group, transaction, tools, until))
    return transaction


async def _run_group(group: Group, transaction: Transaction, tools: Tools, until: float) -> tuple[Finding, ...]:
    found: dict[Stage, tuple[Finding, ...]] = {}

    async def run_stage(stage: Stage) -> None:
        found[stage] = await _run_stage(stage, transaction, tools)

    try:
        async with asyncio.timeout_at(until):  # one for the group: a clock for each stage costs more than some stages
            if len(group) == 1:
                await run_stage(group[0])
            else:
                await asyncio.gather(*map(run_stage, group))
    except TimeoutError:
        pass
    return tuple(finding for stage in group for finding in (found[stage] if stage in found else (_unavailable(stage, "deadline passed"),)))


async def _run_stage(stage: Stage, transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Run one stage; a stage that cannot run gives a temporary finding: a check that cannot run is not a result."""
    try:
        return await stage(transaction, tools)
    except Exception as error:  # noqa: BLE001 - the one place where a stage's fault is caught; it becomes a finding
        return (_unavailable(stage, f"{type(error).__name__}: {error}"),)


def _unavailable(stage: Stage, why: str) -> Finding:
    name = getattr(stage, "__module__", "stage").rpartition(".")[2]
    return Finding(f"{name}.unavailable", evidence={"why": why}, temporary=True)
