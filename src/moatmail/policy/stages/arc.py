# SPDX-License-Identifier: Apache-2.0
"""Stage arc: whether the chain of a forwarded message holds, and which sealer found that DMARC passed.

Obeys RFC 8617 §5.2 (validating), §7.2.1 (what a receiver may do with it).
Must never know whom we trust: the verdict compares the sealers with the administrator's list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from moatmail.core.limits.policy import EVIDENCE_MAX
from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Finding
from moatmail.mailauth.arc import Sealer, check_arc
from moatmail.mailauth.result import Result
from moatmail.policy.stage import Tools, shown

# What a results field is made of: escaped octets, quoted texts, brackets of comments, and the rest (RFC 5322 §3.2); possessive, so linear.
_TOKEN: Final = re.compile(rb'\\.|"(?:[^"\\]++|\\.)*+"?|[()]|[^\\"()]++', re.DOTALL)
_PASSED: Final = re.compile(rb"[ \t]*+dmarc[ \t]*+(?:/[ \t]*+1[ \t]*+)?=[ \t]*+pass(?![!-:<-~])[^;]*?[ \t]header\.from=([a-z0-9._-]{1,253})(?![!-:<-~])")


async def check(transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Find `arc.<result>`; where the chain holds and a sealer saw DMARC pass: `passed_author`, and `vouchers`, whom to trust for it."""
    if transaction.content is None:
        return ()
    found = await check_arc(tools.resolver, transaction.content.signed)
    vouchers, author = _vouchers(found.sealers) if found.result is Result.PASS else ((), "")
    evidence = shown(
        reason=found.reason,
        instances=found.instance or None,
        failed_at=found.failed_at or None,
        sealers=tuple(one.domain for one in reversed(found.sealers)),
        vouchers=vouchers,
        passed_author=author,
    )
    return (Finding(f"arc.{found.result}", 0.0, evidence, temporary=found.result is Result.TEMPERROR, facts=found),)


def _vouchers(sealers: Sequence[Sealer]) -> tuple[tuple[str, ...], str]:
    """Give the newest sealer that saw DMARC pass with everybody after it, who could have changed the message, and for which author it passed."""
    behind: list[str] = []
    for one in reversed(sealers):
        behind.append(one.domain)
        if author := passed_author(one.results):
            vouchers = tuple(dict.fromkeys(behind))
            # All of them are needed: a list cut short would ask for less trust than it takes.
            return (vouchers, author) if len(", ".join(vouchers)) <= EVIDENCE_MAX else ((), "")
    return (), ""


def passed_author(results: bytes) -> str:
    """Give the author domain for which a sealer's results say ``dmarc=pass``, read outside comments and quoted texts (RFC 8601 §2.2); "" for none."""
    for part in _outside(results.lower()).split(b";"):
        if found := _PASSED.match(part):
            return found[1].decode("ascii").removesuffix(".")
    return ""


def _outside(text: bytes) -> bytes:
    """Give `text` without comments and quoted texts; what does not close swallows the rest."""
    kept: list[bytes] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == b"(":
            depth += 1
        elif token == b")":
            depth = max(0, depth - 1)
        elif depth == 0 and token[0] not in b'"\\':
            kept.append(token)
    return b"".join(kept)
