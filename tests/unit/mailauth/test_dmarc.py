# SPDX-License-Identifier: Apache-2.0
"""DMARC beyond the published cases: what is asked and how often, who aligns with whom, what a silent name server decides, and what a hostile one cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import pytest

from moatmail.core.limits.mailauth import DMARC_QUESTIONS_MAX, DMARC_WALKS_MAX
from moatmail.core.ports.resolver import Answer, DNSError
from moatmail.mailauth.dmarc.author import Author, FromProblem, author_of
from moatmail.mailauth.dmarc.check import DKIMIdentity, DMARCResult, SPFIdentity, check_dmarc, look_ahead
from moatmail.mailauth.dmarc.record import Policy
from moatmail.mailauth.dmarc.walk import PolicyRecords, Walk, questions
from moatmail.mailauth.result import Result
from moatmail.net.questions import Questions
from moatmail.net.resolver_cache import MessageView
from moatmail.net.resolver_table import TableResolver
from tests.store_contract.given import StandingClock

REJECT: Final = "v=DMARC1; p=reject"
Records = Mapping[str, str]


class Asked(Questions):
    """Answers from policies by name ("" for silence, A records for `hosts`), and keeps what was asked and how much at once."""

    def __init__(self, policies: Records, hosts: Sequence[str] = ()) -> None:
        self._table = TableResolver(
            {f"_dmarc.{name}": {"TXT": [text]} for name, text in policies.items() if text} | {host: {"A": ["192.0.2.1"]} for host in hosts}
        )
        self._silent = {f"_dmarc.{name}" for name, text in policies.items() if not text}
        self.names: list[str] = []
        self.at_once = 0
        self._under_way = 0

    async def ask(self, kind: str, name: str) -> Answer:
        self.names.append(name.removeprefix("_dmarc."))
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        await asyncio.sleep(0)
        self._under_way -= 1
        if name in self._silent:
            raise DNSError(name)
        return await self._table.ask(kind, name)


async def judge(resolver: Questions, author: str, *dkim: str, spf: str = "", unfinished: bool = False, failed: Sequence[str] = ()) -> DMARCResult:
    result = Result.TEMPERROR if unfinished else Result.PASS
    claims = [*(DKIMIdentity(one, Result.FAIL) for one in failed), *(DKIMIdentity(one, result) for one in dkim)]
    return await check_dmarc(resolver, author_of([f"x@{author}".encode()]), [SPFIdentity(spf, result)] if spf else [], claims)


# ---------------------------------------------------------------- what is asked


@pytest.mark.parametrize(
    ("policies", "author", "dkim", "asked"),
    [
        pytest.param({"a.test": REJECT}, "a.test", ["a.test"], ["a.test"], id="equal names need no walk"),
        pytest.param({"a.test": REJECT}, "a.test", [], ["a.test"], id="nothing that passes needs no walk"),
        pytest.param({"a.test": REJECT}, "a.test", ["b.example"], ["a.test"], id="another top level needs no walk"),
        pytest.param({"a.test": REJECT + "; adkim=s"}, "a.test", ["m.a.test"], ["a.test"], id="strict mode needs no walk"),
        pytest.param({"a.test": REJECT}, "a.test", ["b.test"], ["a.test", "test"], id="a stranger of the same top level is not asked about"),
        pytest.param({"a.test": REJECT}, "a.test", ["m.a.test"], ["a.test", "test", "m.a.test"], id="what two walks share is asked once"),
        pytest.param({"a.test": REJECT}, "m.a.test", ["a.test"], ["m.a.test", "a.test", "test"], id="an ancestor's walk is part of the author's"),
        pytest.param({"m.a.test": REJECT + "; psd=n"}, "m.a.test", ["x.m.a.test"], ["m.a.test", "x.m.a.test"], id="psd=n ends both walks"),
        pytest.param({}, "a.test", ["a.test"], ["a.test", "test"], id="no record"),
    ],
)
async def test_questions(policies: Records, author: str, dkim: list[str], asked: list[str]) -> None:
    resolver = Asked(policies)
    found = await judge(resolver, author, *dkim)
    assert sorted(resolver.names) == sorted(asked)
    assert resolver.names[0] == author
    assert [one.name for one in found.lookups] == [f"_dmarc.{name}" for name in dict.fromkeys(one.name.removeprefix("_dmarc.") for one in found.lookups)]
    assert {one.name.removeprefix("_dmarc.") for one in found.lookups} == set(asked)


async def test_kin_and_author_are_walked_side_by_side() -> None:
    resolver = Asked({"a.test": REJECT})
    found = await judge(resolver, "a.test", "m.a.test", "n.a.test", spf="bounce.a.test")
    assert resolver.at_once == 4
    assert found.aligned_spf
    assert found.aligned_dkim == ("m.a.test", "n.a.test")


async def test_a_signature_that_failed_costs_no_question() -> None:
    resolver = Asked({"a.test": REJECT})
    assert (await judge(resolver, "a.test", "a.test", failed=[f"m{n}.a.test" for n in range(16)])).result is Result.PASS
    assert resolver.names == ["a.test"]


async def test_many_kin_are_walked_up_to_a_bound_and_the_rest_is_not_aligned() -> None:
    resolver = Asked({"a.test": REJECT})
    names = [f"m{n}.a.test" for n in range(DMARC_WALKS_MAX + 3)]
    found = await judge(resolver, "a.test", *names)
    assert found.aligned_dkim == tuple(names[:DMARC_WALKS_MAX])
    assert len(resolver.names) == 2 + DMARC_WALKS_MAX


@pytest.mark.parametrize("labels", [1, 2, 7, 8, 9, 30])
def test_a_walk_asks_eight_names_at_most_and_a_long_one_jumps_to_seven_labels(labels: int) -> None:
    name = ".".join(f"l{n}" for n in range(labels))
    asked = questions(name)
    assert asked[0] == name
    assert asked[-1] == name.rpartition(".")[2]
    assert len(asked) == min(labels, DMARC_QUESTIONS_MAX)
    assert [one.count(".") + 1 for one in asked[1:]] == list(range(min(labels, DMARC_QUESTIONS_MAX) - 1, 0, -1))


# ---------------------------------------------------------------- organizations


@pytest.mark.parametrize(
    ("policies", "name", "organization", "applies"),
    [
        pytest.param({}, "m.a.test", "m.a.test", None, id="no record: every name is its own organization"),
        pytest.param({"a.test": REJECT}, "x.m.a.test", "a.test", "a.test", id="the only record"),
        pytest.param({"m.a.test": REJECT, "a.test": REJECT}, "x.m.a.test", "a.test", "a.test", id="not the nearest record: the highest"),
        pytest.param({"m.a.test": "v=DMARC1; p=none; psd=n", "a.test": REJECT}, "x.m.a.test", "m.a.test", "m.a.test", id="psd=n ends there"),
        pytest.param({"test": "v=DMARC1; p=none; psd=y"}, "m.a.test", "a.test", "test", id="one label below the suffix, whose policy applies"),
        pytest.param({"test": "v=DMARC1; p=none; psd=y", "a.test": REJECT}, "m.a.test", "a.test", "a.test", id="the organization comes before its suffix"),
        pytest.param({"a.test": "v=DMARC1; p=none; psd=y"}, "a.test", "a.test", "a.test", id="a suffix that writes itself"),
        pytest.param({"test": REJECT}, "a.test", "a.test", None, id="a top level that forgot psd=y is nobody's organization"),
        pytest.param({"test": "v=DMARC1; p=reject; psd=n"}, "a.test", "test", "test", id="a top level that says that it is one"),
    ],
)
async def test_organization_and_policy(policies: Records, name: str, organization: str, applies: str | None) -> None:
    walk = Walk(name, PolicyRecords(Asked(policies)))
    await walk.finish()
    found = walk.policy()
    assert walk.organization == organization
    assert (found[0] if found else None) == applies


async def test_two_records_at_one_name_count_for_none_and_the_walk_goes_on() -> None:
    resolver = TableResolver({"_dmarc.m.a.test": {"TXT": [REJECT, "v=DMARC1; p=none"]}, "_dmarc.a.test": {"TXT": ["x", REJECT, "v=spf1 -all"]}})
    found = await judge(resolver, "m.a.test")
    assert (found.policy_domain, found.tag, found.disposition) == ("a.test", "p", Policy.REJECT)


@pytest.mark.parametrize(
    ("left", "right"), [("m.a.test", "n.a.test"), ("a.test", "m.a.test"), ("x.y.a.test", "z.a.test"), ("a.test", "xa.test"), ("a.test", "b.test")]
)
async def test_alignment_is_the_same_both_ways(left: str, right: str) -> None:
    found = [await judge(Asked({"a.test": REJECT, "b.test": REJECT, "xa.test": REJECT}), one, other) for one, other in ((left, right), (right, left))]
    assert found[0].result is found[1].result
    assert (found[0].result is Result.PASS) is (right.endswith(".a.test"))


# ---------------------------------------------------------------- policies


@pytest.mark.parametrize(
    ("record", "exists", "tag", "policy"),
    [
        ("v=DMARC1; p=reject", True, "p", Policy.REJECT),
        ("v=DMARC1; p=reject", False, "p", Policy.REJECT),
        ("v=DMARC1; p=reject; sp=none", True, "sp", Policy.NONE),
        ("v=DMARC1; p=none; sp=none; np=reject", False, "np", Policy.REJECT),
        ("v=DMARC1; p=none; np=reject", True, "p", Policy.NONE),
        ("v=DMARC1; p=reject; np=none", False, "np", Policy.NONE),
    ],
)
async def test_below_the_record_np_then_sp_then_p(record: str, exists: bool, tag: str, policy: Policy) -> None:
    resolver = Asked({"a.test": record}, ["m.a.test"] if exists else [])
    found = await judge(resolver, "m.a.test")
    assert (found.tag, found.policy, found.disposition) == (tag, policy, policy)
    # Only np depends on whether the name exists.
    assert ("m.a.test" in resolver.names[1:]) is ("np=" in record)


@pytest.mark.parametrize(
    ("record", "disposition"), [("p=reject; t=y", "quarantine"), ("p=quarantine; t=y", "none"), ("p=none; t=y", "none"), ("p=reject; t=n", "reject")]
)
async def test_a_test_asks_for_one_step_less(record: str, disposition: str) -> None:
    found = await judge(Asked({"a.test": f"v=DMARC1; {record}"}), "a.test")
    assert found.disposition.value == disposition
    assert found.testing is ("t=y" in record)
    assert found.policy.value in record


# ---------------------------------------------------------------- silence


@pytest.mark.parametrize(
    ("policies", "dkim", "unfinished", "result"),
    [
        pytest.param({"a.test": ""}, ["a.test"], False, Result.TEMPERROR, id="the author's policy"),
        pytest.param({"a.test": REJECT, "test": ""}, ["a.test"], False, Result.PASS, id="a name that nothing depends on"),
        pytest.param({"a.test": REJECT, "test": ""}, [], False, Result.FAIL, id="a name that nothing depends on, and nothing passes"),
        pytest.param({"a.test": REJECT, "m.a.test": ""}, ["m.a.test"], False, Result.TEMPERROR, id="the walk of kin"),
        pytest.param({"a.test": REJECT, "m.a.test": ""}, ["m.a.test", "a.test"], False, Result.PASS, id="the walk of kin beside the author's own signature"),
        pytest.param({"a.test": REJECT, "test": ""}, ["m.a.test", "a.test"], False, Result.PASS, id="the author's walk beside the author's own signature"),
        pytest.param({"a.test": REJECT}, ["a.test"], True, Result.TEMPERROR, id="the key of the author's signature"),
        pytest.param({"a.test": REJECT}, ["b.test"], True, Result.FAIL, id="the key of a stranger's signature"),
    ],
)
async def test_where_no_answer_comes(policies: Records, dkim: list[str], unfinished: bool, result: Result) -> None:
    found = await judge(Asked(policies), "a.test", *dkim, unfinished=unfinished)
    assert found.result is result
    assert bool(found.reason) is (result is not Result.PASS)
    # A forger chose the name that is silent: where the policy is known it is told, for the receiver to make of it what he likes.
    assert found.disposition is (Policy.REJECT if result is Result.FAIL else Policy.NONE)
    if result is Result.TEMPERROR:
        assert found.policy is (Policy.REJECT if policies["a.test"] == REJECT else Policy.NONE)


@pytest.mark.parametrize("ahead", [True, False], ids=["asked ahead", "not asked ahead"])
async def test_a_stranger_who_spends_the_time_of_a_message_does_not_hide_the_policy(ahead: bool) -> None:
    clock = StandingClock()
    view = MessageView(Asked({"a.test": REJECT}), clock)
    author = author_of([b"x@a.test"])
    if ahead:
        await look_ahead(view, author)
    clock.time += 3600  # what slow servers of evil.test made of its SPF
    found = await check_dmarc(view, author, [SPFIdentity("evil.test", Result.PASS)], [])
    assert found.result is (Result.FAIL if ahead else Result.TEMPERROR)
    assert found.disposition is (Policy.REJECT if ahead else Policy.NONE)


# ---------------------------------------------------------------- no author


@pytest.mark.parametrize("author", [Author(), *(Author(problem=problem) for problem in FromProblem)])
async def test_without_an_author_nothing_is_asked_and_nothing_passes(author: Author) -> None:
    resolver = Asked({"a.test": REJECT})
    found = await check_dmarc(resolver, author, [SPFIdentity("a.test", Result.PASS)], [DKIMIdentity("a.test", Result.PASS)])
    assert found.result is Result.NONE
    assert found.problem is author.problem
    assert resolver.names == []


@pytest.mark.parametrize("domain", ["", ".", "a..test", "\0.a.test", "x" * 300 + ".a.test", "ü.a.test", "a.test.", "A.TEST"])
async def test_odd_names_of_signatures_do_no_harm(domain: str) -> None:
    found = await judge(Asked({"a.test": REJECT}), "a.test", domain)
    assert found.result in {Result.PASS, Result.FAIL}
    assert (found.aligned_dkim == ("a.test",)) is (domain.lower().rstrip(".") == "a.test")
