# SPDX-License-Identifier: Apache-2.0
"""Findings that serve again: only while the DNS gives the very answers they were found by, and with the questions on record all the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from moatmail.core.address import parse_mailbox
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.limits import policy as limits
from moatmail.core.ports.resolver import Answer, DNSError, Lookup
from moatmail.core.transaction import Session, Transaction
from moatmail.core.verdict import Finding
from moatmail.crypto.seal import new_id
from moatmail.mailbox.incoming import Incoming
from moatmail.mailbox.keep_everything import KeepEverything
from moatmail.net.questions import Questions
from moatmail.net.resolver_cache import CachingResolver, MessageView
from moatmail.net.resolver_table import TableResolver
from moatmail.policy import order, pipeline
from moatmail.policy.memory import Beside, Memory
from moatmail.policy.stage import Phase, Tools
from moatmail.policy.stages import spf
from moatmail.store.content import ContentFiles
from tests.store_contract.given import StandingClock
from tests.unit.policy.test_sender_authentication import NOW, ZONE, signed

AUTHOR = "carol@friend.test"


class Zones(Questions):
    """A zone that can change, and counts what it is asked."""

    def __init__(self) -> None:
        self.zone = dict(ZONE)
        self.asked: Counter[tuple[str, str]] = Counter()

    async def ask(self, kind: str, name: str) -> Answer:
        self.asked[kind, name] += 1
        return await TableResolver(self.zone).ask(kind, name)


class House:
    """One process: its resolver and its memory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.files = ContentFiles(folder)
        self.zones = Zones()
        self.clock = StandingClock()
        self.cache = CachingResolver(self.zones, self.clock)
        self.memory = Memory()

    async def judge(
        self, *, sender: str | None = AUTHOR, ip: str = "192.0.2.1", helo: str = "mail.friend.test", remember: bool = True
    ) -> tuple[tuple[Finding, ...], tuple[Lookup, ...]]:
        """Judge a signed message; give findings and questions."""
        incoming = Incoming(new_id(int(NOW * 1000)), self.files, watched=True)
        incoming.feed(signed(b"hello\r\n"))
        incoming.finish()
        path = parse_mailbox(sender.encode(), utf8=True) if sender else None
        envelope = Envelope(path, (Recipient(parse_mailbox(b"ann@example.test", utf8=True)),))
        view: MessageView = self.cache.for_message()
        tools = Tools(KeepEverything(), view, "mx.example.test", memory=Beside(self.memory, view) if remember else None)
        judged = await pipeline.run(order.RECEIVE, Phase.DATA, Transaction(Session("1", "mx", ip, 25, helo_name=helo), envelope, NOW, incoming), tools)
        return judged.findings, view.lookups


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "content")


@pytest.mark.parametrize("sender", [AUTHOR, "bob@elsewhere.test", None], ids=["aligned", "of another domain", "the null reverse-path"])
async def test_a_second_message_is_told_the_same_with_the_same_questions_on_record(house: House, sender: str | None) -> None:
    plain = await house.judge(sender=sender, remember=False)
    assert not len(house.memory)
    first = await house.judge(sender=sender)
    again = await house.judge(sender=sender)
    assert first[0] == again[0] == plain[0]
    assert [one.facts for one in again[0]] == [one.facts for one in plain[0]]
    assert set(first[1]) == set(again[1]) == set(plain[1])


async def test_what_is_remembered_is_what_was_found_and_not_found_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = await house.judge()
    monkeypatch.setattr(spf, "check_mail_from", None)
    monkeypatch.setattr(spf, "check_helo", None)
    again, _ = await house.judge()
    of_spf = [one for one in first if one.stage == "spf"]
    assert len(of_spf) == 2
    assert all(one is other for one, other in zip(of_spf, [one for one in again if one.stage == "spf"], strict=True))


@pytest.mark.parametrize(
    ("name", "changed", "stage"),
    [
        ("friend.test", {"TXT": ["v=spf1 -all"]}, "spf"),
        ("mail.friend.test", {"A": ["192.0.2.9"], "TXT": ["v=spf1 a -all"]}, "iprev"),
        ("_dmarc.friend.test", {"TXT": ["v=DMARC1; p=none"]}, "dmarc"),
    ],
    ids=["an SPF record", "the address of a name", "a DMARC record"],
)
async def test_an_answer_that_changed_is_looked_at_anew(house: House, name: str, changed: dict[str, list[str]], stage: str) -> None:
    before, _ = await house.judge()
    house.zones.zone[name] = changed
    unchanged, _ = await house.judge()
    assert unchanged == before  # the answer is kept as long as its owner lets it
    house.clock.time += 301
    after, _ = await house.judge()
    assert [one for one in after if one.stage == stage] != [one for one in before if one.stage == stage]
    assert after == (await house.judge(remember=False))[0]


async def test_another_client_name_or_sender_is_looked_at_by_itself(house: House) -> None:
    await house.judge()
    for other in ({"ip": "203.0.113.9"}, {"helo": "else.friend.test"}, {"sender": "mallory@evil.test"}, {"sender": None}):
        assert (await house.judge(**other))[0] == (await house.judge(**other, remember=False))[0]


async def test_nothing_that_could_not_be_checked_is_remembered(house: House) -> None:
    house.zones.zone["friend.test"] = "SERVFAIL"
    first, _ = await house.judge()
    assert "spf.temperror" in [one.name for one in first]
    house.zones.zone["friend.test"] = ZONE["friend.test"]
    house.clock.time += 301
    again, _ = await house.judge()
    assert "spf.temperror" not in [one.name for one in again]


async def test_a_publishers_explanation_is_made_for_each_message(house: House) -> None:
    house.zones.zone["friend.test"] = {"TXT": ["v=spf1 -all exp=why.friend.test"]}
    house.zones.zone["why.friend.test"] = {"TXT": ["at %{t}"]}
    found, _ = await house.judge()
    told = next(one.evidence["explanation"] for one in found if one.name == "spf.fail")
    assert told == f"at {int(NOW)}"
    view = house.cache.for_message()
    kept = house.memory.find(("spf", "192.0.2.1", "mail.friend.test", parse_mailbox(AUTHOR.encode(), utf8=True)), view)
    assert kept is None
    assert house.memory.find(("spf", "192.0.2.1", "mail.friend.test"), view) is not None


async def test_a_message_that_had_its_questions_gets_no_more_from_memory(house: House) -> None:
    await house.judge()
    spent = MessageView(house.cache, house.clock, questions=2)
    for name in ("a.test", "b.test"):
        await spent.txt(name)
    assert house.memory.find(("iprev", "192.0.2.1"), spent) is None
    late = MessageView(house.cache, house.clock, seconds=0)
    await house.judge()
    assert house.memory.find(("iprev", "192.0.2.1"), late) is None


ANSWER = Answer((b"x" * 100,), ttl=300)


@pytest.mark.parametrize(
    ("found", "lookups"),
    [
        ((Finding("a.temperror", temporary=True),), ()),
        ((Finding("a.pass"),), None),
        ((Finding("a.pass"),), (Lookup("TXT", "a.test", None),)),
        ((Finding("a.pass"),), tuple(Lookup("TXT", f"{n}.test", ANSWER) for n in range(limits.MEMORY_LOOKUPS + 1))),
        ((Finding("a.pass"),), (Lookup("TXT", "a.test", Answer((b"x" * limits.MEMORY_OCTETS,))),)),
    ],
    ids=["temporary", "of more than its answers", "an answer that did not come", "too many questions", "too large answers"],
)
def test_what_may_not_serve_again_is_not_kept(found: tuple[Finding, ...], lookups: tuple[Lookup, ...] | None) -> None:
    memory = Memory()
    memory.keep("key", (found, lookups))
    assert not len(memory)


async def test_the_memory_is_bounded_and_keeps_what_was_used_last(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMORY_FINDINGS", 3)
    memory, view = Memory(), house.cache.for_message()
    for key in "abc":
        memory.keep(key, ((Finding(key),), ()))
    assert memory.find("a", view) == (Finding("a"),)
    memory.keep("d", ((Finding("d"),), ()))
    assert [memory.find(key, view) is not None for key in "abcd"] == [True, False, True, True]


async def test_a_failure_that_is_remembered_by_the_resolver_is_no_answer_of_before(house: House) -> None:
    await house.judge()
    house.zones.zone["1.2.0.192.in-addr.arpa"] = "SERVFAIL"
    house.clock.time += 301
    with pytest.raises(DNSError):
        await house.cache.for_message().ptr("1.2.0.192.in-addr.arpa")
    found, _ = await house.judge()
    assert found[0].name == "iprev.temperror"
