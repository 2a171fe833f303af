# SPDX-License-Identifier: Apache-2.0
"""Stage dmarc: whether the author's domain vouches for the message, by what SPF and DKIM found before.

Obeys RFC 9989 §4 (policy discovery, alignment), §5.3 (at the receiver).
Must never know what is done about a message that fails: the verdict follows the domain's wish as far as the administrator does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Finding
from moatmail.mailauth.dkim import DKIMResult
from moatmail.mailauth.dmarc import check as evaluation
from moatmail.mailauth.dmarc.author import find_author
from moatmail.mailauth.dmarc.check import DKIMIdentity, DMARCResult, SPFIdentity, check_dmarc
from moatmail.mailauth.result import Result
from moatmail.mailauth.spf import check as spf
from moatmail.policy.memory import Made, remembered
from moatmail.policy.stage import Tools, shown

# What the domain asks for is the verdict's business; the weight is for those who publish p=none.
_WEIGHTS: Final[Mapping[Result, float]] = {Result.FAIL: 1.0, Result.PASS: -1.0}


async def look_ahead(transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Ask for the author's policy while others are at work: what a stranger's SPF uses up of the message's questions and time then comes too late."""
    if transaction.content is None:
        return ()
    author = find_author(transaction.content.structure.header)

    async def look() -> Made:
        return (), await evaluation.look_ahead(tools.resolver, author)

    return await remembered(tools.memory, ("dmarc", author.domain), look)


async def check(transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Find `dmarc.<result>` with the policy that applies and what is asked for this message (`disposition`)."""
    if transaction.content is None:
        return ()
    facts = [finding.facts for finding in transaction.findings]
    identities = [SPFIdentity(one.domain, one.result) for one in facts if isinstance(one, spf.SPFResult) and one.identity is spf.SPFIdentity.MAIL_FROM]
    signatures = [DKIMIdentity(one.domain, one.result) for one in facts if isinstance(one, DKIMResult)]
    author = find_author(transaction.content.structure.header)

    async def look() -> Made:
        found = await check_dmarc(tools.resolver, author, identities, signatures)
        return (_finding(found),), found.lookups

    return await remembered(tools.memory, ("dmarc", author.domain, author.problem, *identities, *signatures), look)


def _finding(found: DMARCResult) -> Finding:
    evidence = shown(
        domain=found.author_domain,
        policy_domain=found.policy_domain,
        policy=found.policy.value if found.policy_domain else None,
        tag=found.tag if found.policy_domain else None,
        testing="yes" if found.testing else None,
        disposition=found.disposition.value if found.result is Result.FAIL else None,
        # Nothing is asked for what is undecided; the administrator may hold it apart all the same where he knows what would be asked.
        unproved=(found.policy.lowered if found.testing else found.policy).value if found.policy_domain and found.result is Result.TEMPERROR else None,
        aligned_spf="yes" if found.aligned_spf else None,
        aligned_dkim=found.aligned_dkim,
        reason=found.reason,
    )
    return Finding(f"dmarc.{found.result}", _WEIGHTS.get(found.result, 0.0), evidence, temporary=found.result is Result.TEMPERROR, facts=found)
