# SPDX-License-Identifier: Apache-2.0
"""Stage dkim: every signature of the message, verified by itself.

Obeys RFC 6376 §6 (verifying), §6.3 (a message is not refused for a signature that fails).
Must never know what a signature is worth: alignment is the business of DMARC.
"""

from __future__ import annotations

from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Finding
from moatmail.mailauth.dkim import DKIMResult, check_dkim
from moatmail.mailauth.result import Result
from moatmail.mailauth.signed import SignedMessage
from moatmail.policy.stage import Tools, shown


async def check(transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Find `dkim.<result>` for each signature from the top, or `dkim.none`."""
    content = transaction.content
    if content is None:
        return ()
    message: SignedMessage = content.signed
    results = await check_dkim(tools.resolver, message, transaction.now)
    if not results:
        return (Finding("dkim.none"),)
    return tuple(_finding(one, message.ignored) for one in results)


def _finding(found: DKIMResult, ignored: int) -> Finding:
    evidence = shown(
        domain=found.domain,
        selector=found.selector,
        algorithm=found.algorithm,
        reason=found.reason,
        key_bits=found.key_bits or None,
        uncovered=found.uncovered,
        length=found.length,
        beyond=found.beyond or None,
        testing="yes" if found.testing else None,
        ignored=ignored or None,
    )
    # RFC 6376 §6.1: a signature that fails is as good as none, so it weighs nothing by itself.
    return Finding(f"dkim.{found.result}", 0.0, evidence, temporary=found.result is Result.TEMPERROR, facts=found)
