# SPDX-License-Identifier: Apache-2.0
"""DMARC over made-up zones against a plain model of RFC 9989 §4.10, and what holds of any record, any name and any From field."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from email.utils import getaddresses
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from moatmail.core.limits.mailauth import DMARC_QUESTIONS_MAX, DMARC_RECORD_OCTETS, DMARC_URIS_MAX
from moatmail.core.ports.resolver import Answer
from moatmail.mailauth.dmarc.author import author_of
from moatmail.mailauth.dmarc.check import DKIMIdentity, DMARCResult, SPFIdentity, check_dmarc
from moatmail.mailauth.dmarc.record import Policy, is_record, parse_record
from moatmail.mailauth.dmarc.walk import questions
from moatmail.mailauth.result import Result
from moatmail.net.questions import Questions
from moatmail.net.resolver_cache import CachingResolver
from tests.store_contract.given import StandingClock

labels = st.sampled_from(["a", "b", "c"])
names = st.lists(labels, min_size=1, max_size=10).map(lambda some: ".".join([*some, "test"]))
policies = st.sampled_from(["none", "quarantine", "reject"])
records = st.builds(
    lambda p, more: "; ".join(["v=DMARC1", f"p={p}", *(f"{name}={value}" for name, value in more.items())]),
    policies,
    st.fixed_dictionaries(
        {},
        optional={
            "psd": st.sampled_from("ynu"),
            "sp": policies,
            "np": policies,
            "t": st.sampled_from("yn"),
            "adkim": st.sampled_from("rs"),
            "aspf": st.sampled_from("rs"),
        },
    ),
)
Zone = Mapping[str, list[str]]
zones: st.SearchStrategy[Zone] = st.dictionaries(names | st.just("test"), st.lists(records | st.just("v=spf1 -all"), min_size=1, max_size=2), max_size=6)


class Table(Questions):
    """Answers from policies by name; other kinds exist for names of an even length."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.asked: list[str] = []

    async def ask(self, kind: str, name: str) -> Answer:
        if kind != "TXT":
            return Answer(exists=len(name) % 2 == 0, ttl=60.0)
        self.asked.append(name.removeprefix("_dmarc."))
        return Answer(tuple(text.encode() for text in self.zone.get(self.asked[-1], ())), ttl=60.0)


# ---------------------------------------------------------------- the model: a walk as the standard tells it, with nothing saved


def tags_of(zone: Zone, name: str) -> dict[str, str] | None:
    found = [text for text in zone.get(name, ()) if text.startswith("v=DMARC1")]
    return dict(tag.split("=") for tag in found[0].split("; ")) if len(found) == 1 else None


def model_walk(zone: Zone, name: str) -> list[tuple[str, dict[str, str]]]:
    parts = name.split(".")
    steps = [name, *(".".join(parts[-count:]) for count in range(min(len(parts) - 1, 7), 0, -1))]
    walked = []
    for step in steps:
        tags = tags_of(zone, step)
        if tags is not None:
            walked.append((step, tags))
            if tags.get("psd") in {"y", "n"}:
                break
    return walked


def model_organization(zone: Zone, name: str) -> str:
    walked = model_walk(zone, name)
    for step, tags in walked:
        if tags.get("psd") == "n":
            return step
        if tags.get("psd") == "y" and step != name:
            return ".".join(name.split(".")[-len(step.split(".")) - 1 :])
    # RFC 9989 §11.8 (our choice): a single label that says nothing of psd is nobody's organization but its own.
    named = [step for step, _ in walked if step == name or "." in step]
    return named[-1] if named else name


def model_policy(zone: Zone, name: str) -> tuple[str, dict[str, str]] | None:
    walked = dict(model_walk(zone, name))
    suffix = next((step for step, tags in walked.items() if tags.get("psd") == "y"), "")
    return next(((step, walked[step]) for step in (name, model_organization(zone, name), suffix) if step in walked), None)


def model(zone: Zone, author: str, spf: str, dkim: str) -> tuple[str, str | None, bool, bool]:
    applied = model_policy(zone, author)
    if applied is None:
        return "none", None, False, False

    def is_aligned(name: str, mode: str) -> bool:
        return name == author or (mode != "s" and model_organization(zone, name) == model_organization(zone, author))

    by = is_aligned(spf, applied[1].get("aspf", "r")), is_aligned(dkim, applied[1].get("adkim", "r"))
    return "pass" if any(by) else "fail", applied[0], *by


async def judge(resolver: Questions, author: str, spf: str, dkim: str) -> DMARCResult:
    return await check_dmarc(resolver, author_of([f"x@{author}".encode()]), [SPFIdentity(spf, Result.PASS)], [DKIMIdentity(dkim, Result.PASS)])


@given(zones, names, names, names)
@example({"test": ["v=DMARC1; p=none; psd=y"], "b.test": ["v=DMARC1; p=reject"]}, "a.b.test", "b.test", "c.b.test")
@example({"b.test": ["v=DMARC1; p=reject; psd=n"], "a.b.test": ["v=DMARC1; p=none; psd=n"]}, "b.test", "a.b.test", "c.b.test")
def test_verdicts_are_those_of_the_model(zone: Zone, author: str, spf: str, dkim: str) -> None:
    resolver = Table(zone)
    found = asyncio.run(judge(resolver, author, spf, dkim))
    told = found.result.value, found.policy_domain, found.aligned_spf, bool(found.aligned_dkim)
    assert told == model(zone, author, spf, dkim)
    if found.org_domain is not None:
        assert found.org_domain == model_organization(zone, author)
    # Eight names a walk, the author's own first, and no other names than those of the three walks.
    assert resolver.asked[0] == author
    assert set(resolver.asked) <= {*questions(author), *questions(spf), *questions(dkim)}
    assert len(found.lookups) <= 3 * DMARC_QUESTIONS_MAX + 1


@given(zones, names, names)
def test_alignment_is_the_same_both_ways_where_both_are_relaxed(zone: Zone, left: str, right: str) -> None:
    relaxed = {name: [text.replace("adkim=s", "adkim=r").replace("aspf=s", "aspf=r") for text in texts] for name, texts in zone.items()}
    one = asyncio.run(judge(Table(relaxed), left, right, right))
    other = asyncio.run(judge(Table(relaxed), right, left, left))
    if Result.NONE not in {one.result, other.result}:
        assert one.result is other.result


@given(zones, names, names, names)
def test_disposition_is_never_more_than_the_policy_and_a_cache_changes_nothing(zone: Zone, author: str, spf: str, dkim: str) -> None:
    async def both() -> tuple[DMARCResult, DMARCResult]:
        cache = CachingResolver(Table(zone), StandingClock())
        await judge(cache.for_message(), author, spf, dkim)
        return await judge(Table(zone), author, spf, dkim), await judge(cache.for_message(), author, spf, dkim)

    plain, cached = asyncio.run(both())
    for name in ("result", "policy_domain", "tag", "policy", "testing", "disposition", "aligned_spf", "aligned_dkim", "org_domain"):
        assert getattr(plain, name) == getattr(cached, name)
    assert plain.disposition.strength <= plain.policy.strength
    if plain.result is not Result.FAIL:
        assert plain.disposition is Policy.NONE
    else:
        assert plain.policy.strength - plain.disposition.strength == (plain.testing and plain.policy is not Policy.NONE)


@given(st.text(alphabet="ab.", min_size=1, max_size=80) | names)
def test_a_walk_asks_each_name_once_from_the_longest_to_the_top(name: str) -> None:
    asked = questions(name)
    assert 1 <= len(asked) <= DMARC_QUESTIONS_MAX
    assert len(set(asked)) == len(asked)
    assert asked[0] == name
    assert all(left.endswith("." + right) for left, right in pairwise(asked))


# ---------------------------------------------------------------- records and From fields

octets = st.binary(max_size=60)
tags = st.lists(st.sampled_from([b"p=", b"sp=", b"np=", b"rua=", b"mailto:", b"a@b.test", b"reject", b"none", b"psd=y", b"t=y", b"!", b"%", b" "]) | octets)


@given(st.lists(tags.map(b"".join)).map(b";".join))
def test_no_record_raises_and_what_is_read_is_bounded(text: bytes) -> None:
    record = parse_record(b"v=DMARC1;" + text)
    assert is_record(b"v=DMARC1;" + text)
    assert len(record.text) <= 4 * DMARC_RECORD_OCTETS
    assert record.usable or (record.p is Policy.NONE and record.sp is record.np is None)
    for one in (*record.rua, *record.ruf):
        assert one.uri.startswith("mailto:")
        assert one.uri.isascii()
        assert one.uri.isprintable()
    assert max(len(record.rua), len(record.ruf)) <= DMARC_URIS_MAX


GOOD = b"a@good.example"
EVIL = b"b@evil.example"
blanks = st.sampled_from([b"", b" ", b"\t", b"\r\n ", b"(c)", b" (c (d) \\) e) "])
phrases = st.lists(st.sampled_from([b"Carol", b'"a, b"', b'"\\" <x@y.test>"', b"=?utf-8?q?x?=", b"\xff", b"A."]), max_size=3).map(b" ".join)
specs = st.builds(lambda left, spec, right: left + spec + right, blanks, st.sampled_from([GOOD, b"a @ good . example", b"@x.test:" + GOOD]), blanks)
angles = st.builds(lambda name, left, spec, right: b"%b%b<%b>%b" % (name, left, spec, right), phrases, blanks, specs, blanks)
lists = st.lists(angles | st.builds(lambda left, right: left + GOOD + right, blanks, blanks), min_size=1, max_size=3).map(b",".join)


@given(lists, st.sampled_from([b"%b", b"Group: %b;", b"%b, Nobody:;"]))
def test_whatever_stands_round_an_author_it_is_that_author(value: bytes, form: bytes) -> None:
    author = author_of([form % value])
    assert (author.domain, author.problem) == ("good.example", None)


pieces = st.lists(
    st.sampled_from([GOOD, EVIL, *(bytes([octet]) for octet in b' "\\()<>,;:@.[]x\t\0\r'), b"\r\n ", b"=?q?q?", b"?=", b"good", b"evil"]), max_size=12
)


@given(pieces.map(b"".join))
def test_who_is_sure_of_one_author_is_sure_whatever_others_read(value: bytes) -> None:
    author = author_of([value])
    if author.domain is None:
        assert author.problem is not None
        return
    # The library's own reader is one of those others: where it sees addresses at all, they are of this domain.
    seen = {address.rpartition("@")[2].lower() for _, address in getaddresses([value.decode("latin-1")]) if "@" in address}
    assert seen <= {author.domain}, author
