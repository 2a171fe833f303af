# SPDX-License-Identifier: Apache-2.0
"""Threads given at delivery and later, to the same mail in the same order, are the same, and are what a plain model says, whatever is erased meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moatmail.core.limits.store import THREAD_DIGEST
from moatmail.mailbox.thread_links import links
from moatmail.message.structure import StructureParser
from moatmail.message.summary import build
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store import thread_items as t
from moatmail.store.answer import answer
from moatmail.store.queries import Query
from moatmail.store.writer import Asked, Writer
from tests.store_contract.given import DAY, NOW, Ear, GlassVault, StandingClock, change, content, message, new_id

IDS = st.integers(0, 5).map(lambda number: f"<{number}@a>")
SUBJECTS = st.sampled_from(["lunch", "Re: lunch", "[list] LUNCH", "re: lun ch", "dinner"])


class Header(msgspec.Struct, frozen=True):
    """What of a message ties it to others."""

    message_id: str
    references: tuple[str, ...]
    in_reply_to: str
    subject: str

    @property
    def links(self) -> bytes:
        parser = StructureParser()
        fields = (
            f"Message-ID: {self.message_id}\r\nReferences: {' '.join(self.references)}\r\nIn-Reply-To: {self.in_reply_to}\r\nSubject: {self.subject}\r\n\r\n"
        )
        parser.feed(fields.encode())
        return links(build(parser.finish()))


HEADERS = st.builds(
    Header, st.one_of(IDS, st.just("")), st.one_of(st.lists(IDS, max_size=2), st.lists(IDS, max_size=9)).map(tuple), st.one_of(IDS, st.just("")), SUBJECTS
)


class Model:
    """The rules in the plainest words: the first digest that a living message of a thread mentions gives the thread; the oldest such thread had it first."""

    def __init__(self) -> None:
        self._living: dict[int, tuple[int, tuple[bytes, ...]]] = {}
        self._had: dict[bytes, int] = {}
        self._threads = itertools.count(1)

    def come(self, uid: int, octets: bytes) -> None:
        digests = tuple(octets[start : start + THREAD_DIGEST] for start in range(0, len(octets), THREAD_DIGEST))
        thread = next((self._had[one] for one in digests if one in self._had), None) or next(self._threads)
        self._living[uid] = (thread, digests)
        for one in digests:
            self._had.setdefault(one, thread)

    def go(self, uid: int) -> None:
        del self._living[uid]
        for one, thread in tuple(self._had.items()):
            if not any(thread == other and one in digests for other, digests in self._living.values()):
                del self._had[one]

    def threads(self) -> dict[int, int]:
        return {uid: thread for uid, (thread, _digests) in self._living.items()}


class Bench:
    """A store in this process, asked without a loop; each example has accounts of its own."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._db = writer.reader()
        self._names = map(str, itertools.count())
        self.do(change(o.AddDomain("example.test")))

    def do(self, operation: o.Operation[Any]) -> Any:  # noqa: ANN401  as the operation says
        (outcome,), _hints = self._writer.run([Asked(operation, "store")])
        assert outcome.error is None
        return outcome.answer

    def ask(self, query: Query[Any]) -> Any:  # noqa: ANN401  as the query says
        return answer(self._db, query)

    def account(self) -> tuple[int, int]:
        name = next(self._names)
        self.do(change(o.AddAccount(name, "example.test", (), 0)))
        account = self.ask(q.LookupAddresses("example.test", (name,))).hits[0].account.id
        return account, next(box.id for box in self.ask(q.ListMailboxes(account)).mailboxes if box.special_use == "inbox")

    def deliver(self, account: int, octets: bytes | None) -> int:
        one = content(10)
        (placed,) = self.do(o.Accept((one,), (o.Delivery(msgspec.structs.replace(message(account, one), links=octets)),)))
        return int(placed.uid)

    def erase(self, account: int, inbox: int, uid: int) -> None:
        self.do(o.StoreFlags(new_id(), account, inbox, (uid,), "add", 4))
        self.do(o.Expunge(account, inbox, (uid,), NOW, new_id()))
        assert self.do(o.EraseDue(NOW + 26 * DAY)) == 1

    def threads(self, account: int, inbox: int, uids: list[int]) -> dict[int, bytes]:
        return dict(self.ask(t.GetThreads(account, inbox, tuple(uids))))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder: Path = tmp_path_factory.mktemp("threads")
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    yield Bench(writer)
    writer.close()


def shape(threads: dict[int, Any]) -> list[tuple[int, int]]:
    """Give UIDs with threads numbered in the order of UIDs."""
    seen: dict[Any, int] = {}
    return [(uid, seen.setdefault(threads[uid], len(seen))) for uid in sorted(threads)]


@settings(max_examples=60, deadline=None)
@given(st.lists(HEADERS, min_size=1, max_size=12), st.integers(1, 5))
def test_given_later_they_are_what_they_had_been_at_delivery(bench: Bench, headers: list[Header], batch: int) -> None:
    (alice, inbox), (bob, other) = bench.account(), bench.account()
    uids = [bench.deliver(alice, one.links) for one in headers]
    assert [bench.deliver(bob, None) for _ in headers] == uids
    after = 0
    while rows := bench.ask(t.ListUnthreaded(bob, after, batch)):
        after = rows[-1].number
        first = len(headers) - len(bench.ask(t.ListUnthreaded(bob)))
        bench.do(t.AddThreads(bob, tuple((row.number, one.links) for row, one in zip(rows, headers[first:], strict=False))))
    assert shape(bench.threads(bob, other, uids)) == shape(bench.threads(alice, inbox, uids))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(HEADERS, st.integers(0, 11)), min_size=4, max_size=16))
def test_they_are_what_the_model_says_whatever_is_erased(bench: Bench, steps: list[Header | int]) -> None:
    (account, inbox), model = bench.account(), Model()
    told: dict[int, bytes] = {}
    for step in steps:
        living = sorted(model.threads())
        if isinstance(step, Header):
            model.come(bench.deliver(account, step.links), step.links)
        elif living:
            uid = living[step % len(living)]
            bench.erase(account, inbox, uid)
            model.go(uid)
        found = bench.threads(account, inbox, sorted(model.threads()))
        assert shape(found) == shape(model.threads())
        assert all(told.setdefault(uid, thread) == thread for uid, thread in found.items())  # once told, never changed
