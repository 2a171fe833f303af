# SPDX-License-Identifier: Apache-2.0
"""Port Resolver with a memory: answers are kept as long as they say, equal questions wait for one answer, and each message has a bounded view.

Obeys RFC 1035 §7.4 (what is kept), RFC 2308 §5 and §7.2 (names that do not exist), RFC 9520 §3.2 (failures).
Must never know how a question is asked or why.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from moatmail.core.limits import net as limits
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.resolver import Answer, DNSError, Lookup, LookupsSpentError
from moatmail.net.questions import Questions

_Key = tuple[str, str]
_POLICY = "_dmarc."  # how names of DMARC policies begin (RFC 9989 §4.5): their questions have slots of their own
_KEY = "._domainkey."  # within names of signing keys (RFC 6376 §3.6.2.1)
_ENTRY_OCTETS = 400  # what an entry of the cache costs besides its texts (measured)


@dataclass(slots=True)
class Counters:
    """What the cache did since the start: `hits` from memory, `joined` waited for a question under way, `asked` went out, `failed` of these."""

    hits: int = 0
    joined: int = 0
    asked: int = 0
    failed: int = 0

    @property
    def hit_rate(self) -> float:
        """Give the share of questions that cost no question to a server (0 before the first)."""
        total = self.hits + self.joined + self.asked
        return (self.hits + self.joined) / total if total else 0.0


@dataclass(frozen=True, slots=True)
class _Entry:
    answer: Answer | DNSError
    until: float
    octets: int


class CachingResolver(Questions):
    """Asks another resolver what it does not remember."""

    def __init__(self, inner: Questions, clock: Clock, *, entries: int = limits.DNS_CACHE_ENTRIES, octets: int = limits.DNS_CACHE_OCTETS) -> None:
        """Keep at most `entries` answers with `octets` octets of names and records."""
        self.counters = Counters()
        self._inner = inner
        self._clock = clock
        self._entries = entries
        self._octets_max = octets
        self._octets = 0
        self._kept: dict[_Key, _Entry] = {}  # in the order of their last use
        self._under_way: dict[_Key, asyncio.Task[_Entry]] = {}
        self._slots = asyncio.Semaphore(limits.DNS_IN_FLIGHT)
        self._policy_slots = asyncio.Semaphore(limits.DNS_POLICIES_IN_FLIGHT)

    def for_message(self) -> MessageView:
        """Give the checks of one message a view of their own; its time begins now."""
        return MessageView(self, self._clock)

    async def ask(self, kind: str, name: str) -> Answer:
        """Give the records of one kind, from memory where it has them. Raises `DNSError`, also one it remembers."""
        key = (kind, name.lower().removesuffix("."))
        entry = self._remembered(key)
        if entry is None:
            task = self._under_way.get(key)
            if task is None:
                self.counters.asked += 1
                task = asyncio.get_running_loop().create_task(self._fetch(key))
                self._under_way[key] = task
            else:
                self.counters.joined += 1
            # Who stops waiting leaves the question under way: the others wait on, and its answer is kept.
            entry = await asyncio.shield(task)
        else:
            self.counters.hits += 1
        if isinstance(entry.answer, DNSError):
            raise DNSError(str(entry.answer)) from entry.answer
        return entry.answer

    def recall(self, kind: str, name: str) -> Answer | DNSError | None:
        """Give what is remembered of a question; a hit where it is something."""
        entry = self._remembered((kind, name.lower().removesuffix(".")))
        if entry is None:
            return None
        self.counters.hits += 1
        return entry.answer

    def _remembered(self, key: _Key) -> _Entry | None:
        entry = self._kept.pop(key, None)
        if entry is None:
            return None
        if entry.until <= self._clock.monotonic():
            self._octets -= entry.octets
            return None
        self._kept[key] = entry  # the last used is the last to go
        return entry

    async def _fetch(self, key: _Key) -> _Entry:
        answer: Answer | DNSError
        slots = self._policy_slots if key[1].startswith(_POLICY) else self._slots
        try:
            async with asyncio.timeout(limits.DNS_SECONDS * 2), slots:
                answer = await self._inner.ask(*key)
        except TimeoutError:
            answer = DNSError(f"{key[1]} {key[0]}: too many questions under way")
        except DNSError as error:
            answer = error.with_traceback(None)
        finally:
            del self._under_way[key]
        if isinstance(answer, DNSError):
            self.counters.failed += 1
        return self._keep(key, answer)

    def _keep(self, key: _Key, answer: Answer | DNSError) -> _Entry:
        seconds = _seconds(answer)
        entry = _Entry(answer, self._clock.monotonic() + seconds, _ENTRY_OCTETS + len(key[1]) + _size(answer))
        if seconds > 0:
            self._kept[key] = entry
            self._octets += entry.octets
            while self._octets > self._octets_max or len(self._kept) > self._entries:
                self._octets -= self._kept.pop(next(iter(self._kept))).octets
        return entry


def _seconds(answer: Answer | DNSError) -> float:
    """Give how long an answer is kept."""
    if isinstance(answer, DNSError):
        return limits.DNS_FAILURE_TTL
    # RFC 2308 §5: nothing found is kept for less long than something; the resolver took the smaller number of the SOA.
    longest = limits.DNS_TTL_MAX if answer.records else limits.DNS_NEGATIVE_TTL_MAX
    return min(answer.ttl, longest)


def _size(answer: Answer | DNSError) -> int:
    if isinstance(answer, DNSError):
        return 100
    return sum(len(record) + 80 if isinstance(record, bytes | str) else 400 for record in answer.records)


_NO_BOUND: Final = contextlib.nullcontext()


class MessageView(Questions):
    """What the checks of one message ask through: a bounded number of questions, until a deadline; remembered, so that results can be explained."""

    def __init__(self, inner: Questions, clock: Clock, *, questions: int = limits.MESSAGE_LOOKUPS_MAX, seconds: float = limits.MESSAGE_LOOKUP_SECONDS) -> None:
        """Let `questions` different questions pass within `seconds` from now."""
        self._inner = inner
        self._clock = clock
        self._most = questions
        self._deadline = clock.monotonic() + seconds
        self._known: dict[_Key, Answer | DNSError | None] = {}
        self._keys_at_once = asyncio.Semaphore(limits.MESSAGE_KEYS_AT_ONCE)

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        """Give what was asked so far and what came, each question once, in order."""
        return tuple(Lookup(kind, name, known if isinstance(known, Answer) else None) for (kind, name), known in self._known.items())

    def still(self, lookups: Sequence[Lookup]) -> bool:
        """Tell whether each of these questions has, without waiting, the very answer that it had; those looked at count as asked."""
        known, recall = self._known, self._inner.recall
        if self._clock.monotonic() >= self._deadline:
            return False
        for one in lookups:
            key = (one.kind, one.name.lower().removesuffix("."))
            answer = known.get(key)
            if answer is None:
                if key not in known and len(known) >= self._most:
                    return False
                answer = recall(*key)
                if answer is None:
                    return False
                known[key] = answer
            if answer is not one.answer:
                return False
        return True

    async def ask(self, kind: str, name: str) -> Answer:
        """Give the records of one kind. Raises `DNSError`, and `LookupsSpentError` when the message had its share."""
        key = (kind, name.lower().removesuffix("."))
        known = self._known.get(key)
        if isinstance(known, DNSError):
            # One message sees one DNS: a server that comes back between two checks does not make them contradict each other.
            raise DNSError(str(known)) from known
        if known is None:
            known = await self._ask(key)
        return known

    async def _ask(self, key: _Key) -> Answer:
        left = self._deadline - self._clock.monotonic()
        if left <= 0 or (key not in self._known and len(self._known) >= self._most):
            raise LookupsSpentError(f"{key[1]} {key[0]}: the message had its time or its {self._most} questions")
        self._known.setdefault(key, None)
        answer = self._inner.recall(*key)  # a clock for each answer that is here already would cost more than the answer
        if isinstance(answer, DNSError):
            self._known[key] = answer
            raise DNSError(str(answer)) from answer
        try:
            if answer is None:
                # What nobody answers holds a slot for all its time: sixteen keys of thirty messages were as many as there are. Other questions do not
                # wait for them, or a forger's silent keys would keep SPF from saying what it says.
                room = self._keys_at_once if _KEY in key[1] else _NO_BOUND
                async with asyncio.timeout(left), room:
                    answer = await self._inner.ask(*key)
        except TimeoutError as error:
            raise LookupsSpentError(f"{key[1]} {key[0]}: the message had its time") from error
        except DNSError as error:
            self._known[key] = error.with_traceback(None)
            raise
        self._known[key] = answer
        return answer
