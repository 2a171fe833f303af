# SPDX-License-Identifier: Apache-2.0
"""Stage iprev: whether the client's address has a name that leads back to it.

Obeys RFC 8601 §3 (iprev).
Must never know what a missing name leads to.
"""

from __future__ import annotations

from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Finding
from moatmail.mailauth.iprev import check_iprev
from moatmail.mailauth.result import Result
from moatmail.policy.memory import Made, remembered
from moatmail.policy.stage import Tools, shown


async def check(transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Find `iprev.<result>` with the names that lead back."""
    client = transaction.session.peer_ip

    async def look() -> Made:
        found = await check_iprev(tools.resolver, client)
        evidence = shown(client=found.client, names=found.names)
        return (Finding(f"iprev.{found.result}", 0.0, evidence, temporary=found.result is Result.TEMPERROR, facts=found),), found.lookups

    return await remembered(tools.memory, ("iprev", client), look)
