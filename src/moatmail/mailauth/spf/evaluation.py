# SPDX-License-Identifier: Apache-2.0
"""The function check_host of SPF: a client, a domain and its records make a result.

Obeys RFC 7208 §4 (check_host and its limits), §5 (mechanisms), §6 (redirect, exp), RFC 8616 §4 (internationalized names).
Must never know which identity is checked, how a question is asked, or what follows from a result.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

from moatmail.core.limits.mailauth import SPF_EXPLANATION_MAX, SPF_MX_MAX, SPF_TERMS_MAX, SPF_VOID_MAX
from moatmail.core.ports.resolver import Answer, DNSError, Lookup, Resolver
from moatmail.mailauth.dns_name import is_question
from moatmail.mailauth.iprev import validated_names
from moatmail.mailauth.result import Result
from moatmail.mailauth.spf.macro import (
    Facts,
    MacroError,
    Template,
    UnspeakableError,
    expand,
    expand_name,
    needs_validated_name,
    parse_explanation,
)
from moatmail.mailauth.spf.record import Mechanism, Record, RecordError, parse, select

_UNKNOWN: Final = "unknown"


class _StopError(Exception):
    """The check ends here with an error result (RFC 7208 §2.6.6, §2.6.7)."""

    def __init__(self, result: Result, why: str) -> None:
        super().__init__(why)
        self.result = result


@dataclass(frozen=True, slots=True)
class Step:
    """One term on the way to the result: the domain whose record it stands in, and its text ("" for the default at a record's end)."""

    domain: str
    term: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What check_host found: the terms that decided, outermost first, the reason for an error, the publisher's own words for a fail."""

    result: Result
    steps: tuple[Step, ...] = ()
    problem: str = ""
    explanation: str = ""


@dataclass(slots=True)
class Check:
    """One check with its counters (RFC 7208 §4.6.4): they run through all includes and redirects."""

    resolver: Resolver
    lookups: list[Lookup] = field(default_factory=list)
    terms: int = 0
    voids: int = 0
    names: tuple[str, ...] | None = None

    async def check_host(self, facts: Facts) -> Outcome:
        """Give the result for `facts.domain`, with the explanation of a fail (RFC 7208 §4.1)."""
        try:
            outcome, record, where = await self._check(facts)
        except _StopError as stop:
            return Outcome(stop.result, problem=_printable(str(stop)))
        if outcome.result is Result.FAIL and record.explanation:
            return replace(outcome, explanation=await self._explain(record.explanation, where))
        return outcome

    # ---- one record ----

    async def _check(self, facts: Facts) -> tuple[Outcome, Record, Facts]:
        """Give the result of a domain, with the record that decided (that of the redirect, if one was followed) and the facts it saw."""
        record = await self._record(facts.domain)
        if record is None:
            return Outcome(Result.NONE), Record(()), facts
        while (outcome := await self._first_match(record, facts)) is None:
            if not record.redirect:
                # RFC 7208 §4.7: nothing matched and nothing else is said.
                return Outcome(Result.NEUTRAL, (Step(facts.domain, ""),)), record, facts
            record, facts = await self._redirected(record.redirect, facts)
        return outcome, record, facts

    async def _record(self, domain: str) -> Record | None:
        """Fetch and read the record of a domain (RFC 7208 §4.3-4.6); None where there is none."""
        # RFC 7208 §4.3: what is no name of several labels has no record.
        if not is_question(domain) or "." not in domain:
            return None
        answer = await self._ask("TXT", domain)
        found = select(answer.records)
        if not found:
            return None
        if len(found) > 1:
            raise _StopError(Result.PERMERROR, f"{domain}: several SPF records")
        try:
            return parse(found[0])
        except RecordError as error:
            raise _StopError(Result.PERMERROR, f"{domain}: {error}") from error

    async def _first_match(self, record: Record, facts: Facts) -> Outcome | None:
        for mechanism in record.mechanisms:
            inner = await _TESTS[mechanism.name](self, mechanism, facts)
            if inner is not None:
                return Outcome(mechanism.result, (Step(facts.domain, mechanism.text), *inner))
        return None

    async def _redirected(self, target: Template, facts: Facts) -> tuple[Record, Facts]:
        """Give the record that takes over, and the facts for it (RFC 7208 §6.1); a target without one is a permerror."""
        self._count()
        name = await self._name(target, facts)
        record = await self._record(name) if name is not None else None
        if name is None or record is None:
            raise _StopError(Result.PERMERROR, f"{facts.domain}: redirect to {name or 'no name'}, which has no SPF record")
        return record, replace(facts, domain=name)

    # ---- mechanisms: None = no match, else the steps inside ----

    async def _all(self, _mechanism: Mechanism, _facts: Facts) -> tuple[Step, ...] | None:
        return ()

    async def _ip(self, mechanism: Mechanism, facts: Facts) -> tuple[Step, ...] | None:
        return () if mechanism.network is not None and facts.client in mechanism.network else None

    async def _include(self, mechanism: Mechanism, facts: Facts) -> tuple[Step, ...] | None:
        self._count()
        name = await self._name(mechanism.domain, facts)
        if name is None:
            return None
        outcome, _, _ = await self._check(replace(facts, domain=name))
        if outcome.result is Result.NONE:  # RFC 7208 §5.2
            raise _StopError(Result.PERMERROR, f"{facts.domain}: include of {name}, which has no SPF record")
        return outcome.steps if outcome.result is Result.PASS else None

    async def _a(self, mechanism: Mechanism, facts: Facts) -> tuple[Step, ...] | None:
        self._count()
        name = await self._target(mechanism, facts)
        if name is None:
            return None
        addresses = await self._addresses(name, facts)
        self._count_void(found=bool(addresses))
        return () if _matches(mechanism, facts, addresses) else None

    async def _mx(self, mechanism: Mechanism, facts: Facts) -> tuple[Step, ...] | None:
        self._count()
        name = await self._target(mechanism, facts)
        if name is None:
            return None
        hosts = [record[1] for record in (await self._ask("MX", name)).records if isinstance(record, tuple)]
        if len(hosts) > SPF_MX_MAX:  # RFC 7208 §4.6.4
            raise _StopError(Result.PERMERROR, f"{name}: more than {SPF_MX_MAX} MX hosts")
        found = False
        for host in dict.fromkeys(hosts):
            if is_question(host):  # RFC 7505 §3: the null MX is no host
                addresses = await self._addresses(host, facts)
                found = found or bool(addresses)
                if _matches(mechanism, facts, addresses):
                    return ()
        self._count_void(found=found)
        return None

    async def _ptr(self, mechanism: Mechanism, facts: Facts) -> tuple[Step, ...] | None:
        self._count()
        name = await self._target(mechanism, facts)
        if name is None:
            return None
        names = await self._validated(facts)
        suffix = name.lower().removesuffix(".")
        return () if any(one == suffix or one.endswith("." + suffix) for one in names) else None

    async def _exists(self, mechanism: Mechanism, facts: Facts) -> tuple[Step, ...] | None:
        self._count()
        name = await self._target(mechanism, facts)
        if name is None:
            return None
        # RFC 7208 §5.7: an A record, whatever the client speaks.
        found = bool((await self._ask("A", name)).records)
        self._count_void(found=found)
        return () if found else None

    # ---- names ----

    async def _target(self, mechanism: Mechanism, facts: Facts) -> str | None:
        """Give the name a mechanism asks for; None where it can be no name, so that nothing matches."""
        if not mechanism.domain:
            return facts.domain
        name = await self._name(mechanism.domain, facts)
        # RFC 7208 §4.3, by analogy: a name that cannot be asked has no records; §4.8 leaves it open.
        return name if name is not None and is_question(name) else None

    async def _name(self, template: Template, facts: Facts) -> str | None:
        """Expand a domain-spec; None where RFC 8616 §4 lets nothing match."""
        validated = _UNKNOWN
        if needs_validated_name(template):
            if self.names is None:
                self._count()  # RFC 7208 §4.6.4: the lookup for %{p} counts as well
            validated = _choose(await self._validated(facts), facts.domain)
        try:
            return expand_name(template, facts, validated)
        except UnspeakableError:
            return None

    async def _validated(self, facts: Facts) -> tuple[str, ...]:
        """Give the client's names that lead back to it, asked once (RFC 7208 §5.5); a failing lookup makes no name."""
        if self.names is None:
            self.names, asked = await validated_names(self.resolver, facts.client)
            self.lookups += asked
            if asked[0].answer is not None:
                self._count_void(found=bool(asked[0].answer.records))
        return self.names

    # ---- questions ----

    async def _ask(self, kind: str, name: str) -> Answer:
        try:
            answer = await self.resolver.ask(kind, name)
        except DNSError as error:
            self.lookups.append(Lookup(kind, name, None))
            raise _StopError(Result.TEMPERROR, str(error)) from error
        self.lookups.append(Lookup(kind, name, answer))
        return answer

    async def _addresses(self, name: str, facts: Facts) -> tuple[object, ...]:
        """Ask for addresses of the client's kind (RFC 7208 §5)."""
        return (await self._ask("A" if facts.client.version == 4 else "AAAA", name)).records

    def _count(self) -> None:
        self.terms += 1
        if self.terms > SPF_TERMS_MAX:  # RFC 7208 §4.6.4
            raise _StopError(Result.PERMERROR, f"more than {SPF_TERMS_MAX} terms with DNS lookups")

    def _count_void(self, *, found: bool) -> None:
        self.voids += not found
        if self.voids > SPF_VOID_MAX:  # RFC 7208 §4.6.4
            raise _StopError(Result.PERMERROR, f"more than {SPF_VOID_MAX} terms whose DNS lookups found nothing")

    # ---- explanation ----

    async def _explain(self, target: Template, facts: Facts) -> str:
        """Fetch and fill the publisher's explanation (RFC 7208 §6.2); any trouble makes none, and nothing here counts."""
        counting = Check(self.resolver, self.lookups, names=self.names)
        try:
            name = await counting._name(target, facts)
            if name is None or not is_question(name):
                return ""
            records = (await counting._ask("TXT", name)).records
            if len(records) != 1 or not isinstance(records[0], bytes):
                return ""
            template = parse_explanation(records[0].decode("ascii"))
            validated = _choose(await counting._validated(facts), facts.domain) if needs_validated_name(template) else _UNKNOWN
        except (_StopError, MacroError, UnicodeDecodeError):
            return ""
        return _printable(expand(template, facts, validated))


_TESTS: Final[dict[str, Callable[[Check, Mechanism, Facts], Awaitable[tuple[Step, ...] | None]]]] = {
    "all": Check._all,  # noqa: SLF001 - a table of this module's own class
    "include": Check._include,  # noqa: SLF001
    "a": Check._a,  # noqa: SLF001
    "mx": Check._mx,  # noqa: SLF001
    "ptr": Check._ptr,  # noqa: SLF001
    "ip4": Check._ip,  # noqa: SLF001
    "ip6": Check._ip,  # noqa: SLF001
    "exists": Check._exists,  # noqa: SLF001
}


def _matches(mechanism: Mechanism, facts: Facts, addresses: tuple[object, ...]) -> bool:
    """Tell whether the client shares its first bits with one of the addresses (RFC 7208 §5)."""
    bits, length = (32, mechanism.length4) if facts.client.version == 4 else (128, mechanism.length6)
    shift = bits - length
    client = int(facts.client) >> shift
    return any(int(ipaddress.ip_address(str(address))) >> shift == client for address in addresses)


def _choose(names: tuple[str, ...], domain: str) -> str:
    """Choose the name that `p` stands for: the domain itself, a name below it, or any (RFC 7208 §7.3)."""
    plain = domain.lower()
    if plain in names:
        return plain
    return next((name for name in names if name.endswith("." + plain)), names[0] if names else _UNKNOWN)


def _printable(text: str) -> str:
    """Give a text that may stand in a reply line or a log, whatever a local-part, a HELO name or a record brought into it."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text[:SPF_EXPLANATION_MAX])
