# SPDX-License-Identifier: Apache-2.0
"""Stage form: whether this is a message at all, with one author that can be named.

Obeys RFC 5322 §3.6 (one From field), RFC 6409 §8 (what a submission server may ask for).
Must never know what is done about a bad form.
"""

from __future__ import annotations

from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Finding
from moatmail.message.header import Header
from moatmail.policy.stage import Tools


async def check_received(transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Find `form.several_from`: readers differ in which From they show, so nobody can be named as the author."""
    del tools
    content = transaction.content
    if content is None:
        return ()
    header: Header = content.structure.header
    authors = header.count(b"from")
    # RFC 5322 §3.6: From occurs once. Two of them are how forgers make filter and reader disagree.
    return (Finding("form.several_from", evidence={"fields": str(authors)}),) if authors > 1 else ()


async def check_submitted(transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Find `form.several_from` and `form.no_from`: our own users say who they are."""
    found = await check_received(transaction, tools)
    content = transaction.content
    if content is not None and not found and b"from" not in content.structure.header.names:
        return (Finding("form.no_from"),)
    return found
