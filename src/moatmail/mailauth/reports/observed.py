# SPDX-License-Identifier: Apache-2.0
"""What one received message adds to tomorrow's DMARC report, as one canonical text that the store counts.

Obeys RFC 9990 §3.1.1.9 (policy applied), §3.1.2 (domains), §3.1.3 (choice of signatures), §3.1.6 (why a policy was not applied).
Must never know the store, the day, or anything of a message but domains and results.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

import msgspec

from moatmail.core.limits.mailauth import CLIENTS_CACHED, REPORT_HUMAN_MAX, REPORT_RECEIVERS_MAX, REPORT_RESULTS_MAX
from moatmail.mailauth.dkim import DKIMResult
from moatmail.mailauth.dmarc.record import Policy
from moatmail.mailauth.dmarc.record import Record as PolicyRecord
from moatmail.mailauth.dns_name import is_question, to_a_labels
from moatmail.mailauth.reports.report import DKIMAuth, Published, Reason, Record, SPFAuth
from moatmail.mailauth.result import Result
from moatmail.mailauth.spf.check import SPFResult

LOCAL_POLICY: Final = "local_policy"
TRUSTED_FORWARDER: Final = "trusted_forwarder"
MAILING_LIST: Final = "mailing_list"
TEST_MODE: Final = "policy_test_mode"
OTHER: Final = "other"
_PASS: Final = "pass"  # noqa: S105 - a result, no password
_FAIL: Final = "fail"
_NAME: Final = re.compile(r"[a-z0-9_.-]++")


class Observation(msgspec.Struct, frozen=True):
    """One message as the owner of the policy may know it: no address, no name, nothing of its content (RFC 9990 §7.2)."""

    published: Published
    record: Record


class Judged(Protocol):
    """What is asked of the result of DMARC (`mailauth.dmarc.check.DMARCResult`)."""

    @property
    def result(self) -> Result:
        """Give the result."""

    @property
    def author_domain(self) -> str | None:
        """Give the Author Domain."""

    @property
    def policy_domain(self) -> str | None:
        """Give the name at which the policy was found."""

    @property
    def policy(self) -> Policy:
        """Give the policy that applies, before test mode."""

    @property
    def disposition(self) -> Policy:
        """Give the policy that applies, test mode considered."""

    @property
    def aligned_spf(self) -> bool:
        """Tell whether SPF passes for an aligned identifier."""

    @property
    def aligned_dkim(self) -> Collection[str]:
        """Give the domains of passing, aligned signatures."""

    @property
    def record(self) -> PolicyRecord | None:
        """Give the policy record."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a report tells of a message besides DMARC: the client's IP and what else was checked.

    `envelope_from` is the domain of the reverse-path ("" for the null one), `receivers` are the domains of its recipients here, `spf` is that of
    the MAIL FROM identity (None: not checked).
    """

    source_ip: str
    envelope_from: str
    receivers: Collection[str]
    spf: SPFResult | None = None
    dkim: Sequence[DKIMResult] = ()


def observe(facts: Facts, dmarc: Judged, applied: str, reasons: Sequence[Reason] = ()) -> tuple[tuple[str, str], ...]:
    """Give (policy domain, canonical row) for each receiving domain; empty where nobody asked for reports. Never raises.

    `applied` is what was done because of DMARC: "none", "quarantine" or "reject"; a message that passes is "none". Where it differs from what
    the policy asks for and no reason is given, one is added, as RFC 9990 §3.1.1.9 demands it.
    """
    record = dmarc.record
    if record is None or not record.rua or not dmarc.policy_domain or not dmarc.author_domain:
        return ()
    published = published_policy(dmarc.policy_domain, record)
    passed = dmarc.result is Result.PASS
    # RFC 9990 appendix A: what passes under a policy that would else have been applied is told apart from what no policy touches.
    shown = (_PASS if dmarc.policy is not Policy.NONE else Policy.NONE.value) if passed else applied
    seen = Record(
        source_ip=_plain_ip(facts.source_ip),
        header_from=dmarc.author_domain,
        disposition=shown,
        dkim=_PASS if dmarc.aligned_dkim else _FAIL,
        spf=_PASS if dmarc.aligned_spf else _FAIL,
        reasons=tuple(reasons) if passed else tuple(reasons) or _own_reasons(dmarc, applied),
        envelope_from=facts.envelope_from,
        dkim_results=_signatures(facts.dkim, dmarc),
        spf_results=_spf(facts.spf),
    )
    receivers = sorted(set(facts.receivers))[:REPORT_RECEIVERS_MAX]
    rows = [Observation(published, msgspec.structs.replace(seen, envelope_to=receiver)) for receiver in receivers]
    return tuple((dmarc.policy_domain, encode(row)) for row in rows)


def encode(observation: Observation) -> str:
    """Give an observation as its one text: equal observations give equal texts."""
    return msgspec.json.encode(observation).decode()


def decode(row: str) -> Observation:
    """Read what `encode` wrote; ValueError for anything else."""
    return msgspec.json.decode(row.encode(), type=Observation)


def published_policy(domain: str, record: PolicyRecord) -> Published:
    """Give a policy with the defaults of what its record leaves out (RFC 9990 §3.1.1.5)."""
    sp = record.sp or record.p
    return Published(
        domain=domain,
        p=record.p.value,
        sp=sp.value,
        np=(record.np or sp).value,
        adkim="s" if record.strict_dkim else "r",
        aspf="s" if record.strict_spf else "r",
        fo=record.fo,
        testing="y" if record.testing else "n",
        discovery_method="treewalk",
    )


def _own_reasons(dmarc: Judged, applied: str) -> tuple[Reason, ...]:
    if applied == dmarc.policy.value:
        return ()
    if dmarc.result is not Result.FAIL:
        return (Reason(OTHER, "a lookup failed, so there is neither pass nor fail"),)
    # RFC 9989 §4.7, t: the step down was the domain owner's wish, any further one ours.
    if applied == dmarc.disposition.value:
        return (Reason(TEST_MODE),)
    return (Reason(LOCAL_POLICY),)


def _signatures(results: Sequence[DKIMResult], dmarc: Judged) -> tuple[DKIMAuth, ...]:
    """Give the signatures, those that explain the result first (RFC 9990 §3.1.3); one without domain or selector cannot be told of."""

    def place(one: DKIMResult) -> int:
        if one.result is not Result.PASS:
            return 3
        return 0 if one.domain == dmarc.author_domain else 1 if one.domain in dmarc.aligned_dkim else 2

    told = sorted((one for one in results if one.domain and one.selector), key=place)[:REPORT_RESULTS_MAX]
    return tuple(DKIMAuth(one.domain, one.selector, one.result.value, one.reason[:REPORT_HUMAN_MAX]) for one in told)


def _spf(result: SPFResult | None) -> tuple[SPFAuth, ...]:
    """Give SPF of the MAIL FROM identity; for the null reverse-path that is postmaster at the HELO name (RFC 7208 §2.4), still scope mfrom."""
    name = to_a_labels(result.domain) if result is not None else None
    # What a client said at HELO may be anything; what is no name has no record, and nothing is to be told of it.
    if result is None or name is None or not is_question(name) or _NAME.fullmatch(name) is None:
        return ()
    return (SPFAuth(name, "mfrom", result.result.value, result.problem[:REPORT_HUMAN_MAX]),)


@lru_cache(maxsize=CLIENTS_CACHED)
def _plain_ip(text: str) -> str:
    """Give an address in its shortest form, one that was mapped into IPv6 as IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
