# SPDX-License-Identifier: Apache-2.0
"""The memory of DNS answers: how long they are kept, who waits for whom, and what one message may ask."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from moatmail.core.limits import net as limits
from moatmail.core.ports.resolver import Answer, DNSError, Lookup, Lookups, LookupsSpentError, MessageLookups
from moatmail.net.questions import Questions
from moatmail.net.resolver_cache import CachingResolver, MessageView


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class Servers(Questions):
    """Answers what the table says, when `open` is set; counts what was asked."""

    def __init__(self, **answers: Answer | DNSError | Exception) -> None:
        self.answers: dict[str, Answer | DNSError | Exception] = {name.replace("_", "."): answer for name, answer in answers.items()}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.open = asyncio.Event()
        self.open.set()

    async def ask(self, kind: str, name: str) -> Answer:
        self.asked[kind, name] += 1
        await self.open.wait()
        answer = self.answers.get(name, Answer(exists=False, ttl=60))
        if isinstance(answer, Exception):
            raise answer
        return answer


DATA = Answer((b"v=spf1 -all",), authentic=True, ttl=300)


async def cached(answer: Answer | DNSError, seconds: float, *, kind: str = "TXT") -> bool:
    """Tell whether a second question, `seconds` after the first, is answered from memory."""
    servers, clock = Servers(a_test=answer), Time()
    cache = CachingResolver(servers, clock)
    for _ in range(2):
        try:
            assert await cache.ask(kind, "a.test") == answer
        except DNSError:
            assert isinstance(answer, DNSError)
        clock.at += seconds
    return servers.asked[kind, "a.test"] == 1


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        pytest.param(DATA, 300, id="data, as long as its TTL says"),
        pytest.param(Answer((b"x",), ttl=1e9), limits.DNS_TTL_MAX, id="data with an endless TTL, a day"),
        pytest.param(Answer(exists=False, ttl=60), 60, id="no such name, as its SOA says"),
        pytest.param(Answer((), ttl=60), 60, id="no such data, as its SOA says"),
        pytest.param(Answer(exists=False, ttl=1e9), limits.DNS_NEGATIVE_TTL_MAX, id="no such name with an endless TTL, an hour"),
        pytest.param(DNSError("SERVFAIL"), limits.DNS_FAILURE_TTL, id="a failure, for a moment"),
    ],
)
async def test_an_answer_is_kept(answer: Answer | DNSError, seconds: float) -> None:
    assert await cached(answer, seconds - 0.1)
    assert not await cached(answer, seconds)


async def test_an_answer_without_ttl_is_not_kept() -> None:
    assert not await cached(Answer((b"x",)), 0)


async def test_what_dnssec_said_is_kept_with_the_answer() -> None:
    cache = CachingResolver(Servers(a_test=DATA), Time())
    assert [(await cache.txt("a.test")).authentic for _ in range(2)] == [True, True]


async def test_names_are_one_whatever_their_letters_and_last_dot_kinds_are_not() -> None:
    servers = Servers(a_test=DATA)
    cache = CachingResolver(servers, Time())
    for name in ("a.test", "A.TEST", "a.test."):
        await cache.txt(name)
    await cache.mx("a.test")
    assert servers.asked == {("TXT", "a.test"): 1, ("MX", "a.test"): 1}


async def test_equal_questions_wait_for_one_answer() -> None:
    servers = Servers(a_test=DATA)
    servers.open.clear()
    cache = CachingResolver(servers, Time())
    waiting = [asyncio.create_task(cache.txt("a.test")) for _ in range(20)]
    await asyncio.sleep(0)
    servers.open.set()
    assert await asyncio.gather(*waiting) == [DATA] * 20
    assert servers.asked["TXT", "a.test"] == 1
    assert (cache.counters.asked, cache.counters.joined, cache.counters.hits) == (1, 19, 0)


async def test_who_stops_waiting_takes_nobody_along_and_the_answer_is_kept() -> None:
    servers = Servers(a_test=DATA)
    servers.open.clear()
    cache = CachingResolver(servers, Time())
    first, second = (asyncio.create_task(cache.txt("a.test")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    servers.open.set()
    assert await second == DATA
    assert await cache.txt("a.test") == DATA
    assert servers.asked["TXT", "a.test"] == 1


async def test_a_failure_reaches_all_who_wait_each_with_an_error_of_its_own() -> None:
    servers = Servers(a_test=DNSError("SERVFAIL"))
    servers.open.clear()
    cache = CachingResolver(servers, Time())
    waiting = [asyncio.create_task(cache.txt("a.test")) for _ in range(3)]
    await asyncio.sleep(0)
    servers.open.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert len({id(error) for error in found}) == 3
    assert all(isinstance(error, DNSError) for error in found)
    assert cache.counters.failed == 1


async def test_a_fault_of_ours_is_not_kept_as_an_answer() -> None:
    servers = Servers(a_test=ZeroDivisionError())
    cache = CachingResolver(servers, Time())
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await cache.txt("a.test")
    assert servers.asked["TXT", "a.test"] == 2


async def test_memory_is_bounded_in_answers_and_the_longest_unused_goes_first() -> None:
    servers = Servers(**{f"n{number}_test": DATA for number in range(4)})
    cache = CachingResolver(servers, Time(), entries=3)
    for name in ("n0.test", "n1.test", "n2.test", "n0.test", "n3.test", "n0.test", "n1.test"):
        await cache.txt(name)
    assert servers.asked == {("TXT", "n0.test"): 1, ("TXT", "n1.test"): 2, ("TXT", "n2.test"): 1, ("TXT", "n3.test"): 1}


async def test_memory_is_bounded_in_octets_and_what_expired_gives_its_place_back() -> None:
    large = Answer((b"x" * 10_000,), ttl=300)
    servers, clock = Servers(**{f"n{number}_test": large for number in range(50)}), Time()
    cache = CachingResolver(servers, clock, octets=100_000)
    for _ in range(3):
        for number in range(50):
            await cache.txt(f"n{number}.test")
            assert cache._octets <= 100_000
        clock.at += 400
    assert cache._octets == sum(entry.octets for entry in cache._kept.values())
    assert len(cache._kept) == 9
    for _ in range(100):
        await cache.txt("n49.test")
        clock.at += 400
    assert cache._octets == sum(entry.octets for entry in cache._kept.values())


async def test_a_flood_of_questions_waits_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DNS_IN_FLIGHT", 4)
    servers = Servers()
    servers.open.clear()
    cache = CachingResolver(servers, Time())
    waiting = [asyncio.create_task(cache.a(f"n{number}.test")) for number in range(40)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert servers.asked.total() == 4
    servers.open.set()
    assert await asyncio.gather(*waiting) == [Answer(exists=False)] * 40


async def test_a_flood_of_other_questions_leaves_room_for_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forger's slow keys held every slot: the author's policy was not answered, and what is not known is not asked for."""
    monkeypatch.setattr(limits, "DNS_IN_FLIGHT", 4)
    servers = Servers()
    servers.open.clear()
    cache = CachingResolver(servers, Time())
    waiting = [asyncio.create_task(cache.txt(f"n{number}._domainkey.evil.test")) for number in range(40)]
    waiting.append(asyncio.create_task(cache.txt("_dmarc.bank.test")))
    for _ in range(10):
        await asyncio.sleep(0)
    assert servers.asked["TXT", "_dmarc.bank.test"] == 1
    assert servers.asked.total() == 5
    servers.open.set()
    await asyncio.gather(*waiting)


async def test_both_kinds_of_address_are_kept_apart() -> None:
    servers = Servers(a_test=Answer(("192.0.2.1",), ttl=300))
    cache = CachingResolver(servers, Time())
    await cache.addresses("a.test")
    await cache.a("a.test")
    assert servers.asked == {("A", "a.test"): 1, ("AAAA", "a.test"): 1}


async def test_the_counters_tell_the_hit_rate() -> None:
    cache = CachingResolver(Servers(a_test=DATA), Time())
    assert cache.counters.hit_rate == 0
    for _ in range(4):
        await cache.txt("a.test")
    assert (cache.counters.asked, cache.counters.hits, cache.counters.hit_rate) == (1, 3, 0.75)


# ---- one message ----


async def test_a_message_gets_so_many_questions_and_equal_ones_count_once() -> None:
    view = MessageView(Servers(a_test=DATA), Time(), questions=2)
    for _ in range(3):
        await view.txt("a.test")
        await view.mx("b.test")
    with pytest.raises(LookupsSpentError):
        await view.txt("c.test")
    assert await view.txt("A.test.") == DATA


async def test_a_message_gets_so_many_seconds() -> None:
    servers, clock = Servers(a_test=DATA), Time()
    view = MessageView(servers, clock, seconds=30)
    await view.txt("a.test")
    clock.at += 30
    with pytest.raises(LookupsSpentError):
        await view.txt("b.test")
    assert await view.txt("a.test") == DATA
    assert servers.asked.total() == 1


async def test_a_question_that_hangs_ends_with_the_time_of_its_message() -> None:
    servers = Servers(a_test=DATA)
    servers.open.clear()
    cache = CachingResolver(servers, Time())
    view = MessageView(cache, Time(), seconds=0.02)
    with pytest.raises(LookupsSpentError):
        await view.txt("a.test")
    servers.open.set()
    assert await cache.for_message().txt("a.test") == DATA
    assert servers.asked["TXT", "a.test"] == 1


async def test_a_message_sees_one_dns_whatever_changes_meanwhile() -> None:
    servers = Servers(a_test=DNSError("SERVFAIL"))
    view = MessageView(servers, Time())
    for _ in range(2):
        with pytest.raises(DNSError):
            await view.txt("a.test")
        servers.answers["a.test"] = DATA
    assert servers.asked["TXT", "a.test"] == 1


async def test_a_message_remembers_what_it_asked_and_what_came() -> None:
    servers = Servers(a_test=DATA, b_test=DNSError("SERVFAIL"), m_test=Answer(((10, "mx.test"),)), e_test=Answer())
    lookups: Lookups = CachingResolver(servers, Time())
    view: MessageLookups = lookups.for_message()
    await view.txt("a.test")
    with pytest.raises(DNSError):
        await view.a("b.test")
    for name in ("m.test", "e.test", "lost.test", "m.test"):
        await view.mx(name)
    assert view.lookups[0] == Lookup("TXT", "a.test", DATA)
    assert [lookup.outcome for lookup in view.lookups] == ["v=spf1 -all", "no answer", "10 mx.test", "no data", "no such name"]


# ---- cost ----


async def cost(lookups: CachingResolver, names: list[str]) -> float:
    """Give the processor seconds of one lookup, ten to a message."""
    start, view = time.process_time(), lookups.for_message()
    for number, name in enumerate(names):
        if number % 10 == 0:
            view = lookups.for_message()
        await view.txt(name)
    return (time.process_time() - start) / len(names)


async def test_what_a_lookup_costs_besides_the_dns() -> None:
    names = [f"n{number}.test" for number in range(2000)]
    asked, remembered = [], []
    for _ in range(3):
        cache = CachingResolver(Servers(), Time())
        asked.append(await cost(cache, names))
        remembered.append(await cost(cache, names))
        assert cache.counters.hit_rate == 0.5
    print(f"lookup: {min(asked) * 1e6:.0f} us to ask, {min(remembered) * 1e6:.0f} us from memory")  # noqa: T201 - figures
    assert min(asked) < 250e-6
    assert min(remembered) < 50e-6


@pytest.mark.parametrize("answer", [DATA, DNSError("SERVFAIL")], ids=["an answer", "a failure"])
async def test_a_message_has_what_is_remembered_without_a_wait(answer: Answer | DNSError) -> None:
    servers = Servers(a_test=answer)
    cache = CachingResolver(servers, Time())
    await asyncio.gather(cache.txt("a.test"), return_exceptions=True)
    servers.open.clear()
    asking = cache.for_message().ask("TXT", "A.test.")
    with pytest.raises(StopIteration if isinstance(answer, Answer) else DNSError):
        asking.send(None)  # to its end in one step: nothing was waited for
    assert (cache.counters.hits, servers.asked["TXT", "a.test"]) == (1, 1)


async def test_silent_keys_of_one_message_leave_the_slots_to_others() -> None:
    """Fault: sixteen keys that nobody answers, in thirty messages, held every slot for as long as a question may take."""
    servers = Servers()
    servers.open.clear()
    cache = CachingResolver(servers, Time())
    views = [cache.for_message() for _ in range(30)]  # as many as one address may have sessions
    waiting = [asyncio.create_task(view.txt(f"k{key}.m{number}._domainkey.evil.test")) for number, view in enumerate(views) for key in range(16)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert servers.asked.total() == 30 * limits.MESSAGE_KEYS_AT_ONCE <= limits.DNS_IN_FLIGHT // 2
    honest = asyncio.create_task(cache.for_message().txt("honest.test"))
    # What else a message asks does not wait for its keys.
    others = [asyncio.create_task(views[0].txt(name)) for name in ("_dmarc.bank.test", "bank.test")]
    for _ in range(10):
        await asyncio.sleep(0)
    assert [servers.asked["TXT", name] for name in ("honest.test", "_dmarc.bank.test", "bank.test")] == [1, 1, 1]
    servers.open.set()
    await asyncio.gather(*waiting, honest, *others)
    assert servers.asked.total() == 30 * 16 + 3


async def test_a_question_that_is_given_up_makes_room_for_the_next_of_its_message() -> None:
    servers = Servers()
    servers.open.clear()
    view = CachingResolver(servers, Time()).for_message()
    waiting = [asyncio.create_task(view.txt(f"k{key}._domainkey.evil.test")) for key in range(limits.MESSAGE_KEYS_AT_ONCE + 1)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert servers.asked["TXT", f"k{limits.MESSAGE_KEYS_AT_ONCE}._domainkey.evil.test"] == 0
    waiting[0].cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert servers.asked["TXT", f"k{limits.MESSAGE_KEYS_AT_ONCE}._domainkey.evil.test"] == 1
    servers.open.set()
    await asyncio.gather(*waiting, return_exceptions=True)
