# SPDX-License-Identifier: Apache-2.0
"""DMARC: whether what SPF and DKIM vouch for is the author's organization, and what its owner asks for if not.

Obeys RFC 9989 §4.4 (alignment), §4.7 (tags), §4.10.1 (policy), §5.3 (at the receiver), §5.3.6 (queries that fail), RFC 8601 §2.7 (words).
Must never know how a message travels on: the policy that a domain asks for is a fact, not a verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from moatmail.core.limits.mailauth import DMARC_WALKS_MAX
from moatmail.core.ports.resolver import Answer, DNSError, Lookup, Resolver
from moatmail.mailauth.dmarc.author import Author, FromProblem
from moatmail.mailauth.dmarc.record import Policy, Record
from moatmail.mailauth.dmarc.walk import PolicyRecords, Walk
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
    the owner tests, none unless it fails. At temperror `policy` is told where it is known. `org_domain` is None where it was not needed.
    `problem` says why there is no author domain.
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
    return await _Evaluation(resolver, author.domain, _claims(spf), _claims(dkim)).run()


async def look_ahead(resolver: Resolver, author: Author) -> tuple[Lookup, ...]:
    """Ask for the author's policy and organization while SPF and DKIM are still at work, through a `resolver` that remembers; raises nothing.

    Gives what was asked.

    It saves round trips, and it comes first: a stranger whose own records use up the questions and the time of a message must not keep the author's
    policy from being known, for then nothing would fail (RFC 9989 §5.3.6).
    """
    if author.domain is None:
        return ()
    records = PolicyRecords(resolver)
    await Walk(author.domain, records).finish()
    return records.lookups


@dataclass(frozen=True, slots=True)
class _Claim:
    """A name that speaks for the message; `unfinished` where its check came to no end."""

    name: str
    unfinished: bool


def _claims(identities: Iterable[SPFIdentity | DKIMIdentity]) -> list[_Claim]:
    """Give, as A-labels, the names that passed and those that might have; what failed speaks for nobody."""
    told = [(to_a_labels(one.domain), one.result) for one in identities if one.result is Result.PASS or one.result is Result.TEMPERROR]
    return [_Claim(name, result is Result.TEMPERROR) for name, result in dict.fromkeys(told) if name is not None]


class _Fit(Enum):
    ALIGNED = "aligned"
    STRANGER = "stranger"
    UNKNOWN = "unknown"


class _Evaluation:
    """One message: the author's walk, and one for each name that may belong to the same organization."""

    def __init__(self, resolver: Resolver, domain: str, spf: Sequence[_Claim], dkim: Sequence[_Claim]) -> None:
        self._resolver = resolver
        self._domain = domain
        self._spf = spf
        self._dkim = dkim
        self._records = PolicyRecords(resolver)
        self._walk = Walk(domain, self._records)
        self._kin: dict[str, Walk] = {}
        self._existence: Lookup | None = None

    async def run(self) -> DMARCResult:
        own = await self._walk.begin()
        await self._look_round(own)
        if own is None and self._walk.failed:
            # RFC 9989 §5.3.6: what a silent name would have said decides, so there is neither pass nor fail.
            return self._undecided_by(f"no answer about the policy at {self._walk.failed}", self._walk.policy())
        applied = self._walk.policy() if own is None else (self._domain, own)
        if applied is None:
            return self._without_policy(Result.NONE, "no policy is published")
        if not applied[1].usable:
            return self._without_policy(Result.NONE, "the policy record cannot be used")
        await self._look_below(*applied)
        return self._judge(*applied)

    def _judge(self, policy_domain: str, record: Record) -> DMARCResult:
        # RFC 9989 §4.4.1: every signature counts for itself; one that passes and is aligned is enough.
        aligned_spf = bool(self._aligned(self._spf, strict=record.strict_spf))
        aligned_dkim = self._aligned(self._dkim, strict=record.strict_dkim)
        passed = aligned_spf or bool(aligned_dkim)
        if not passed:
            undecided = self._undecided(self._spf, strict=record.strict_spf) or self._undecided(self._dkim, strict=record.strict_dkim)
            if undecided:
                return self._undecided_by(f"whether {undecided} speaks for the author cannot be told now", (policy_domain, record))
        tag, policy = self._policy(policy_domain, record)
        return DMARCResult(
            Result.PASS if passed else Result.FAIL,
            author_domain=self._domain,
            policy_domain=policy_domain,
            org_domain=self._organization,
            tag=tag,
            policy=policy,
            testing=record.testing,
            disposition=Policy.NONE if passed else policy.lowered if record.testing else policy,
            aligned_spf=aligned_spf,
            aligned_dkim=aligned_dkim,
            record=record,
            reason="" if passed else "nothing that passes speaks for the author's organization",
            lookups=self._lookups,
        )

    def _undecided_by(self, reason: str, applied: tuple[str, Record] | None) -> DMARCResult:
        """Give temperror, with the policy as far as it is known: a stranger chooses the names of which one does not answer (RFC 9989 §5.3.6)."""
        found = self._without_policy(Result.TEMPERROR, reason)
        exact = self._aligned(self._spf, strict=True) or self._aligned(self._dkim, strict=True)
        if applied is None or not applied[1].usable or exact:
            return found
        policy_domain, record = applied
        tag, policy = self._policy(policy_domain, record)
        return replace(found, policy_domain=policy_domain, tag=tag, policy=policy, testing=record.testing)

    def _without_policy(self, result: Result, reason: str) -> DMARCResult:
        return DMARCResult(result, author_domain=self._domain, org_domain=self._organization, reason=reason, lookups=self._lookups)

    @property
    def _organization(self) -> str | None:
        return self._walk.organization if self._walk.whole and not self._walk.failed else None

    @property
    def _lookups(self) -> tuple[Lookup, ...]:
        return self._records.lookups if self._existence is None else (*self._records.lookups, self._existence)

    # ------------------------------------------------------------ what is asked

    async def _look_round(self, own: Record | None) -> None:
        """Finish the author's walk if anything depends on it, and beside it walk the names that are probably kin."""
        others = self._others(own)
        if own is not None and not others:
            return
        # Whoever shares two labels with the author is worth the question before the organization is known; hosts of one top level seldom are. The walk
        # of a name above the author is part of the author's own.
        near = "." + ".".join(self._domain.split(".")[-2:])
        walks = self._new_walks([name for name in others if ("." + name).endswith(near) and not self._domain.endswith("." + name)])
        await _side_by_side([self._walk.finish(), *(walk.finish() for walk in walks)])

    async def _look_below(self, policy_domain: str, record: Record) -> None:
        """Walk the kin that is only seen now that the organization is known; ask whether the author's domain exists if that decides."""
        waiting: list[Coroutine[object, object, None]] = []
        if self._organization is not None:
            names = [name for name in self._others(record) if self._is_below(name) and name not in self._kin]
            waiting += [walk.finish() for walk in self._new_walks(names)]
        if policy_domain != self._domain and record.np is not None:
            waiting.append(self._look_for_existence())
        await _side_by_side(waiting)

    def _others(self, record: Record | None) -> list[str]:
        """Give the names that are not the author's own but might be aligned: under the same top level, in relaxed mode (RFC 9989 §4.4)."""
        spf = [] if record is not None and record.strict_spf else self._spf
        dkim = [] if record is not None and record.strict_dkim else self._dkim
        names = dict.fromkeys(one.name for one in (*spf, *dkim) if one.name != self._domain)
        return [name for name in names if self._shares_top(name)]

    def _new_walks(self, names: Iterable[str]) -> list[Walk]:
        walks = [Walk(name, self._records) for name in names][: DMARC_WALKS_MAX - len(self._kin)]
        self._kin.update((walk.name, walk) for walk in walks)
        return walks

    async def _look_for_existence(self) -> None:
        try:
            answer: Answer | None = await self._resolver.a(self._domain)
        except DNSError:
            answer = None
        self._existence = Lookup("A", self._domain, answer)

    # ------------------------------------------------------------ alignment

    def _aligned(self, claims: Iterable[_Claim], *, strict: bool) -> tuple[str, ...]:
        """Give the names that pass and are aligned, in order."""
        return tuple(one.name for one in claims if not one.unfinished and self._fit(one.name, strict=strict) is _Fit.ALIGNED)

    def _undecided(self, claims: Iterable[_Claim], *, strict: bool) -> str:
        """Give a name that might have made it a pass: aligned but checked without end, or perhaps of the same organization; "" for none."""
        fits = [(one, self._fit(one.name, strict=strict)) for one in claims]
        return next((one.name for one, fit in fits if fit is _Fit.UNKNOWN or (fit is _Fit.ALIGNED and one.unfinished)), "")

    def _fit(self, name: str, *, strict: bool) -> _Fit:
        """Tell whether `name` is the author's own, or in relaxed mode of the same organization (RFC 9989 §4.4)."""
        if name == self._domain:
            return _Fit.ALIGNED
        # Under another top level no answer could make it the same organization.
        if strict or not self._shares_top(name):
            return _Fit.STRANGER
        if self._walk.failed:
            return _Fit.UNKNOWN
        walk = self._kin.get(name)
        if walk is None or not self._is_below(name):
            return _Fit.STRANGER
        if walk.failed:
            return _Fit.UNKNOWN
        return _Fit.ALIGNED if walk.organization == self._walk.organization else _Fit.STRANGER

    def _shares_top(self, name: str) -> bool:
        return name.rpartition(".")[2] == self._domain.rpartition(".")[2]

    def _is_below(self, name: str) -> bool:
        """Tell whether `name` is the author's organization or below it: an Organizational Domain is the name itself or stands above it."""
        return ("." + name).endswith("." + self._walk.organization)

    # ------------------------------------------------------------ the policy

    def _policy(self, policy_domain: str, record: Record) -> tuple[str, Policy]:
        """Give the tag that applies and its policy: p for the name itself; below it np where the name does not exist, sp, p (RFC 9989 §4.7)."""
        if policy_domain == self._domain:
            return "p", record.p
        # RFC 9989 §4.7, np: any answer but NXDOMAIN means that the name exists; where none came we do not say that it is missing.
        known = self._existence.answer if self._existence is not None else None
        if record.np is not None and known is not None and not known.exists:
            return "np", record.np
        return ("p", record.p) if record.sp is None else ("sp", record.sp)


async def _side_by_side(waiting: Sequence[Coroutine[object, object, None]]) -> None:
    if len(waiting) == 1:
        await waiting[0]  # a task of its own would cost more than what it does
    elif waiting:
        await asyncio.gather(*waiting)
