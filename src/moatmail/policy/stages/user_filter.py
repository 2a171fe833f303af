# SPDX-License-Identifier: Apache-2.0
"""Stage user filter: where each recipient's own rules put the message, asked before the 250 so that nothing can fail after it.

Obeys RFC 5228 §2.10 (implicit keep).
Must never know what a filter is: port Filter places.
"""

from __future__ import annotations

from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Finding
from moatmail.policy.stage import Tools

PLACED = "user_filter.placed"


async def check(transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Find `user_filter.placed` per recipient whose filter wants another place than the inbox."""
    found = []
    for one in transaction.envelope.recipients:
        placement = await tools.filter.place(one.address, transaction)
        if placement.mailboxes != ("INBOX",):
            found.append(Finding(PLACED, evidence={"mailboxes": "\n".join(placement.mailboxes)}, recipient=one.address))
    return tuple(found)
