# SPDX-License-Identifier: Apache-2.0
"""Stage spf: whether the client may use the HELO name and the reverse-path's domain.

Obeys RFC 7208 §2.3, §2.4 (both identities), §8 (results).
Must never know what a result leads to: DMARC asks for it, the verdict weighs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Final

from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Finding
from moatmail.mailauth.result import Result
from moatmail.mailauth.spf.check import SPFClient, SPFIdentity, SPFResult, check_helo, check_mail_from
from moatmail.policy.memory import Made, remembered
from moatmail.policy.stage import Tools, shown

# RFC 7208 §8.4, §8.5: forwarding breaks SPF every day, so alone it is a hint; with DMARC it is more.
_WEIGHTS: Final[Mapping[Result, float]] = {Result.FAIL: 2.0, Result.SOFTFAIL: 1.0}


async def check(transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Find `spf.<result>` for the HELO name and for the reverse-path; for a null reverse-path they are one (RFC 7208 §2.4)."""
    session = transaction.session
    client = SPFClient(session.peer_ip, session.helo_name, tools.hostname, int(transaction.now))
    sender = transaction.envelope.reverse_path
    looked_at = ("spf", client.ip, client.helo_name)
    known_helo = tools.memory.find(looked_at) if tools.memory is not None and sender is not None else None
    mail_from = remembered(tools.memory, (*looked_at, sender), lambda: _made(check_mail_from(tools.resolver, client, sender)))
    if sender is None:
        return await mail_from
    if known_helo is not None:
        return known_helo + await mail_from
    helo = remembered(tools.memory, looked_at, lambda: _made(check_helo(tools.resolver, client)))
    first, second = await asyncio.gather(helo, mail_from)
    return first + second


async def _made(check: Awaitable[SPFResult]) -> Made:
    found = await check
    # An explanation may tell the time (RFC 7208 §7.2, macro t): it is made for each message.
    return (_finding(found),), None if found.explanation else found.lookups


def _finding(found: SPFResult) -> Finding:
    evidence = shown(
        identity=found.identity.value,
        domain=found.domain,
        mechanism=found.mechanism,
        within=tuple(step.domain for step in found.steps[1:]),
        problem=found.problem,
        explanation=found.explanation,
    )
    weight = _WEIGHTS.get(found.result, 0.0) if found.identity is SPFIdentity.MAIL_FROM else 0.0
    return Finding(f"spf.{found.result}", weight, evidence, temporary=found.result is Result.TEMPERROR, facts=found)
