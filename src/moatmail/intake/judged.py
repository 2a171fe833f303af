# SPDX-License-Identifier: Apache-2.0
"""A message that was judged: what was looked at, what was decided, what was asked for it, and the fields that tell of it.

Obeys RFC 8601 §2 (Authentication-Results), §5 (no field of that kind that only pretends to be ours).
Must never know what happens with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from moatmail.core.ports.resolver import Lookup
from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Disposition, Finding, Verdict
from moatmail.mailauth import results
from moatmail.mailauth.arc import ARCResult
from moatmail.mailauth.dkim import DKIMResult
from moatmail.mailauth.dmarc.check import DMARCResult
from moatmail.mailauth.iprev import IprevResult
from moatmail.mailauth.result import Result
from moatmail.mailauth.results import Method
from moatmail.mailauth.spf.check import SPFResult


@dataclass(frozen=True, slots=True)
class Judged:
    """A transaction with its verdict; `lookups` is what was asked of the DNS, `fields` our trace fields about it, complete with line ends."""

    transaction: Transaction
    verdict: Verdict
    lookups: tuple[Lookup, ...] = ()
    fields: bytes = b""


_BUILDERS: Final[Mapping[type, Callable[[Any], Method]]] = {
    IprevResult: results.of_iprev,
    SPFResult: results.of_spf,
    DKIMResult: results.of_dkim,
}
_METHODS: Final = ("iprev", "spf", "dkim", "arc", "dmarc")


def authentication_results(hostname: str, transaction: Transaction, verdict: Verdict) -> bytes:
    """Give our Authentication-Results field: a result per method and identity, in the order the checks were made."""
    client = transaction.session.peer_ip
    return results.compose(hostname, [_method(finding, client, verdict) for finding in transaction.findings if finding.stage in _METHODS])


def _method(finding: Finding, client: str, verdict: Verdict) -> Method:
    facts = finding.facts
    if isinstance(facts, DMARCResult):
        return results.of_dmarc(facts, disposition_word(verdict))
    if isinstance(facts, ARCResult):
        # RFC 8617 §10.2: who seals our results on wants to know from whom the chain came.
        return results.of_arc(facts, client)
    builder = _BUILDERS.get(type(facts))
    if builder is not None:
        return builder(facts)
    # RFC 8601 §2.7: a method that found nothing to look at says none; a check that could not be made says temperror.
    return Method(finding.stage, Result.TEMPERROR if finding.temporary else Result.NONE)


def disposition_word(verdict: Verdict) -> str:
    """Give what happened to the message as the strictest of its recipients met it: none, quarantine or reject (RFC 9990 §3.1.1.9)."""
    dispositions = {one.disposition for one in verdict.per_recipient.values()}
    if Disposition.REJECT in dispositions:
        return "reject"
    return "quarantine" if Disposition.QUARANTINE in dispositions else "none"
