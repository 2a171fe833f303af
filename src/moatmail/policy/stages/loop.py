# SPDX-License-Identifier: Apache-2.0
"""Stage loop: a message that has been here, or nearly everywhere, already.

Obeys RFC 5321 §6.3 (count Received fields).
Must never know what is done about a loop.
"""

from __future__ import annotations

from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Finding
from moatmail.message.header import Header
from moatmail.policy.stage import Tools


async def check(transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Find `loop.received_hops` (too many Received fields) and, per recipient, `loop.delivered_to` (its own Delivered-To is there)."""
    content = transaction.content
    if content is None:
        return ()
    header: Header = content.structure.header
    hops = header.count(b"received")
    # RFC 5321 §6.3: counting Received fields is the way to find a loop; the bound must be large.
    if hops > tools.received_max:
        return (Finding("loop.received_hops", evidence={"hops": str(hops), "bound": str(tools.received_max)}),)
    if not header.count(b"delivered-to"):
        return ()
    seen = {value.strip().lower() for value in header.all(b"delivered-to")}
    return tuple(
        Finding("loop.delivered_to", evidence={"address": str(one.address)}, recipient=one.address)
        for one in transaction.envelope.recipients
        if str(one.address).lower().encode() in seen
    )
