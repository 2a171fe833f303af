# SPDX-License-Identifier: Apache-2.0
"""DMARC: whether what SPF and DKIM vouch for is the author's organization, and what its owner asks for if not.

Obeys RFC 9989 §4.4 (alignment), §4.7 (tags), §4.10.1 (policy), §5.3 (at the receiver), §5.3.6 (queries that fail), RFC 8601 §2.7 (words).
Must never know how a message travels on: the policy that a domain asks for is a fact, not a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from moatmail.core.limits.mailauth import DMARC_WALKS_MAX
from moatmail.core.ports.resolver import DNSError, Lookup, Resolver
from moatmail.mailauth.dmarc.author import Author, FromProblem
from moatmail.mailauth.dmarc.record import Policy, Record
from moatmail.mailauth.dmarc.walk import Walk
from moatmail.mailauth.dns_name import to_a_labels
from moatmail.mailauth.result import Result


@dataclass(frozen=True, slots=True)
class SPFIdentity:
    """What SPF found about the MAIL FROM identity; that of the HELO name never counts (RFC 9989 §4.4.2)."""

    domain: str
    result: Result


@dataclass(frozen=True, slots=True)
class DKIMIdentity:
    """What became of one signature: its `d=`, its result."""

    domain: str
    result: Result


@dataclass(frozen=True, slots=True)
class DMARCResult:
    """What DMARC found: pass, fail, none (it does not apply) or temperror; and by what.

    `policy` is what `tag` ("p", "sp" or "np") of the record at `policy_domain` publishes; `disposition` what is asked for this message: weaker where
    the owner tests, none unless it fails. `org_domain` is None where it was not needed. `problem` says why there is no author domain.
    """

    result: Result
    author_domain: str | None = None
    policy_domain: str | None = None
    org_domain: str | None = None
    tag: str = "p"
    policy: Policy = Policy.NONE
    testing: bool = False
    disposition: Policy = Policy.NONE
    aligned_spf: bool = False
    aligned_dkim: tuple[str, ...] = ()
    record: Record | None = field(default=None, repr=False)
    reason: str = ""
    problem: FromProblem | None = None
    lookups: tuple[Lookup, ...] = field(default=(), repr=False)


async def check_dmarc(resolver: Resolver, author: Author, spf: Sequence[SPFIdentity], dkim: Sequence[DKIMIdentity]) -> DMARCResult:
    """Evaluate DMARC for the author of a message from what was found before; raises nothing (RFC 9989 §5.3)."""
    if author.domain is None:
        # RFC 9989 §5.3.1: without exactly one author domain there is nobody whose policy could be asked.
        return DMARCResult(Result.NONE, reason="no single author domain", problem=author.problem)
    return await _Evaluation(resolver, author.domain).run(spf, dkim)


class _Fit(Enum):
    ALIGNED = "aligned"
    STRANGER = "stranger"
    UNKNOWN = "unknown"


class _Evaluation:
    """One message: the author's walk, and one for each name that may belong to the same organization."""

    def __init__(self, resolver: Resolver, domain: str) -> None:
        self._resolver = resolver
        self._domain = domain
        self._walk = Walk(domain)
        self._fits: dict[str, _Fit] = {domain: _Fit.ALIGNED}
        self._whole = False
        self._walks = 0
        self._lookups: list[Lookup] = []

    async def run(self, spf: Sequence[SPFIdentity], dkim: Sequence[DKIMIdentity]) -> DMARCResult:
        walk = self._walk
        await walk.begin(self._resolver)
        if walk.own is None:
            await self._finish_walk()
            if walk.failed:
                # RFC 9989 §5.3.6: what a silent name would have said decides, so there is neither pass nor fail.
                return self._result(Result.TEMPERROR, reason=f"no answer about the policy at {walk.failed}")
        applied = walk.policy() if self._whole else (self._domain, walk.own)
        if applied is None or applied[1] is None:
            return self._result(Result.NONE, reason="no policy is published")
        if not applied[1].usable:
            return self._result(Result.NONE, reason="the policy record cannot be used")
        return await self._judge(applied[0], applied[1], spf, dkim)

    async def _judge(self, policy_domain: str, record: Record, spf: Sequence[SPFIdentity], dkim: Sequence[DKIMIdentity]) -> DMARCResult:
        # RFC 9989 §4.4.1: every signature counts for itself; one that passes and is aligned is enough.
        by_spf = [(one.domain, one.result, record.strict_spf) for one in spf]
        by_dkim = [(one.domain, one.result, record.strict_dkim) for one in dkim]
        aligned_spf = await self._aligned(by_spf)
        aligned_dkim = await self._aligned(by_dkim)
        passed = bool(aligned_spf or aligned_dkim)
        if not passed and (open_about := await self._undecided([*by_spf, *by_dkim])):
            return self._result(Result.TEMPERROR, reason=f"whether {open_about} speaks for the author cannot be told now")
        tag, policy = await self._policy(policy_domain, record)
        wanted = Policy.NONE if passed else policy.lowered if record.testing else policy
        return self._result(
            Result.PASS if passed else Result.FAIL,
            policy_domain=policy_domain,
            tag=tag,
            policy=policy,
            testing=record.testing,
            disposition=wanted,
            aligned_spf=bool(aligned_spf),
            aligned_dkim=aligned_dkim,
            record=record,
            reason="" if passed else "nothing that passes speaks for the author's organization",
        )

    def _result(self, result: Result, **facts: object) -> DMARCResult:
        return DMARCResult(
            result,
            author_domain=self._domain,
            org_domain=self._walk.organization if self._whole and not self._walk.failed else None,
            lookups=(*self._walk.lookups, *self._lookups),
            **facts,  # type: ignore[arg-type]
        )

    # ------------------------------------------------------------ alignment

    async def _aligned(self, identities: Iterable[tuple[str, Result, bool]]) -> tuple[str, ...]:
        """Give the names that pass and are aligned, each once, in order."""
        names: dict[str, None] = {}
        for domain, result, strict in identities:
            name = to_a_labels(domain)
            if name is not None and result is Result.PASS and await self._fit(name, strict=strict) is _Fit.ALIGNED:
                names[name] = None
        return tuple(names)

    async def _undecided(self, identities: Iterable[tuple[str, Result, bool]]) -> str:
        """Give a name that might have made it a pass: checked without end, or passed while its organization is not known; "" for none."""
        for domain, result, strict in identities:
            name = to_a_labels(domain)
            if name is None or result not in {Result.PASS, Result.TEMPERROR}:
                continue
            fit = await self._fit(name, strict=strict)
            if fit is _Fit.UNKNOWN or (fit is _Fit.ALIGNED and result is Result.TEMPERROR):
                return name
        return ""

    async def _fit(self, name: str, *, strict: bool) -> _Fit:
        """Tell whether `name` is the author's own, or in relaxed mode of the same organization (RFC 9989 §4.4)."""
        if name == self._domain:
            return _Fit.ALIGNED
        if strict or name.rpartition(".")[2] != self._domain.rpartition(".")[2]:
            # Under another top level no answer could make it the same organization.
            return _Fit.STRANGER
        if name not in self._fits:
            self._fits[name] = await self._relaxed(name)
        return self._fits[name]

    async def _relaxed(self, name: str) -> _Fit:
        await self._finish_walk()
        if self._walk.failed:
            return _Fit.UNKNOWN
        organization = self._walk.organization
        # An Organizational Domain is the name itself or stands above it: names that do not lie below ours cost no question.
        if name != organization and not name.endswith("." + organization):
            return _Fit.STRANGER
        if self._walks == DMARC_WALKS_MAX:
            return _Fit.STRANGER
        self._walks += 1
        walk = Walk(name)
        await walk.finish(self._resolver)
        self._lookups += walk.lookups
        if walk.failed:
            return _Fit.UNKNOWN
        return _Fit.ALIGNED if walk.organization == organization else _Fit.STRANGER

    async def _finish_walk(self) -> None:
        if not self._whole:
            self._whole = True
            await self._walk.finish(self._resolver)

    # ------------------------------------------------------------ the policy

    async def _policy(self, policy_domain: str, record: Record) -> tuple[str, Policy]:
        """Give the tag that applies and its policy: p for the name itself; below it np where the name does not exist, sp, p (RFC 9989 §4.7)."""
        if policy_domain == self._domain:
            return "p", record.p
        below = ("p", record.p) if record.sp is None else ("sp", record.sp)
        if record.np is None or await self._exists():
            return below
        return "np", record.np

    async def _exists(self) -> bool:
        """Tell whether the author's domain exists: any answer but NXDOMAIN, and where none came we do not say that it is missing (RFC 9989 §4.7, np)."""
        try:
            answer = await self._resolver.a(self._domain)
        except DNSError:
            self._lookups.append(Lookup("A", self._domain, None))
            return True
        self._lookups.append(Lookup("A", self._domain, answer))
        return answer.exists
