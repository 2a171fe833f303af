# SPDX-License-Identifier: Apache-2.0
"""Threads: each step of the algorithm, against a plain reading of it, and what a hostile mailbox may cost."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moatmail.core.limits import mailbox as limits
from moatmail.mailbox.threads import Interned, Member, Steps, Threads, by_references, by_subject, walk


def run(steps: Steps) -> tuple[Threads, int]:
    """Run steps to their end and count them."""
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


def text(trees: Threads) -> str:
    out = ""
    for item in walk(trees):
        out += item if isinstance(item, str) else (" " if out[-1:].isdigit() else "") + str(item)
    return out


def members(*rows: str) -> list[Member]:
    """Read "id < ref ref | subject", "Re:" before the subject of a reply; letters are Message-IDs."""
    out = []
    for place, row in enumerate(rows):
        head, _, subject = row.partition("|")
        own, _, references = head.partition("<")
        subject = subject.strip()
        numbers = tuple(ord(name) for name in references.split())
        out.append(Member(place, subject.removeprefix("Re:").strip(), subject.startswith("Re:"), ord(own.strip()) if own.strip() else -1, numbers))
    return out


REFERENCES = {
    "a chain": (["a", "b<a", "c<a b"], "(0 1 2)"),
    "siblings": (["a", "b<a", "c<a"], "(0(1)(2))"),
    "an answer that came first": (["b<a", "a"], "(1 0)"),
    "siblings of what is missing": (["b<a", "c<a"], "((0)(1))"),
    "one child of what is missing": (["b<a"], "(0)"),
    "what is missing in between": (["a", "c<a b"], "(0 1)"),
    "nested missing ones": (["x<a b", "y<a c"], "((0)(1))"),
    "a Message-ID twice": (["a", "a", "b<a"], "(0 2)(1)"),
    "no Message-ID": (["<a", "a"], "(1 0)"),
    "a loop is not closed": (["a<b", "b<a"], "(1 0)"),
    "itself as reference": (["a<a"], "(0)"),
    "its own references win over those of others": (["c<a b", "b", "a"], "(1 0)(2)"),
    "one subject, the second a reply": (["a|s", "b|Re: s"], "(0 1)"),
    "one subject, the first a reply": (["a|Re: s", "b|s"], "(1 0)"),
    "one subject, no replies": (["a|s", "b|s"], "((0)(1))"),
    "one subject, two replies and another": (["a|Re: s", "b|Re: s", "c|s"], "(2(0)(1))"),
    "one subject joins what is missing": (["b<a|s", "c<a|s", "d|Re: s"], "((0)(1)(2))"),
    "two missing ones of one subject": (["b<a|s", "c<a|s", "e<d|s", "f<d|s"], "((0)(1)(2)(3))"),
    "no subject joins nothing": (["a|", "b|"], "(0)(1)"),
}


@pytest.mark.parametrize(("rows", "wanted"), REFERENCES.values(), ids=REFERENCES.keys())
def test_references(rows: list[str], wanted: str) -> None:
    # RFC 5256 §3, steps 1 to 5.
    assert text(run(by_references(members(*rows), range(len(rows))))[0]) == wanted


def test_all_siblings_stand_by_date() -> None:
    # RFC 5256 §3, steps 4 and 6.
    rows = members("a", "b<a", "c<a", "d", "x<m", "y<m")
    assert text(run(by_references(rows, [3, 5, 2, 1, 0, 4]))[0]) == "(3)((5)(4))(0(2)(1))"


def test_by_subject() -> None:
    # RFC 5256 §3: no grandchildren.
    rows = members("a|s", "b|t", "c|Re: s", "d|s", "e|", "f|")
    assert text(run(by_subject(rows))[0]) == "(0(2)(3))(1)(4 5)"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 9), st.lists(st.integers(0, 9), max_size=4), st.sampled_from(["", "s", "t"]), st.booleans()), max_size=12))
def test_every_message_stands_once_and_the_missing_only_join(rows: list[tuple[int, list[int], str, bool]]) -> None:
    """Whatever references say: no message is lost or doubled, no loop, and what is missing never has one child."""
    some = [Member(place, subject, reply, own, tuple(references)) for place, (own, references, subject, reply) in enumerate(rows)]
    trees, _ = run(by_references(some, range(len(some))))
    stack, seen = list(trees.roots), []
    while stack:
        node = stack.pop()
        below = trees.children.get(node, [])
        seen.append(node)
        assert node >= 0 or len(below) > 1
        assert below == sorted(below)
        assert all(child >= 0 for child in below)
        stack.extend(below)
    assert sorted(place for place in seen if place >= 0) == list(range(len(some)))


HOSTILE = {
    "a chain of all": lambda n: [Member(i, "", is_reply=False, message_id=i, references=(i - 1,) if i else ()) for i in range(n)],
    "a chain, the newest first": lambda n: [Member(i, "", is_reply=False, message_id=n - i, references=(n - i - 1,)) for i in range(n)],
    "each takes back what others said": lambda n: [
        Member(i, "", is_reply=False, message_id=i, references=((i * 7919) % n, (i * 104729) % n)) for i in range(n)
    ],
    "a deep thread moved about": lambda n: [Member(i, "", is_reply=False, message_id=i, references=(i + 1, 0, i + 2)) for i in range(n)],
    "all siblings": lambda n: [Member(i, "s", is_reply=True, message_id=i, references=(n,)) for i in range(n)],
    "one subject": lambda n: [Member(i, "s", is_reply=bool(i % 2), message_id=i) for i in range(n)],
    "missing ones in a chain": lambda n: [Member(i, "", is_reply=False, message_id=-1, references=tuple(range(i, i + 40))) for i in range(n)],
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_mailbox_is_dear(make: object) -> None:
    """Four times as many messages cost about four times as much, and there are pauses all along."""

    def cost(count: int) -> float:
        some = make(count)  # type: ignore[operator]
        start = time.process_time()
        trees, pauses = run(by_references(some, range(count)))
        assert sum(item not in ("(", ")") for item in walk(trees)) == count
        assert pauses >= count // limits.THREAD_SLICE
        return time.process_time() - start

    small = max(min(cost(2000) for _ in range(3)), 0.002)
    # 16 times would be the square.
    assert min(cost(8000) for _ in range(3)) < 10 * small


def test_references_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "THREAD_OCTETS", 10 * (limits.THREAD_ID_COST + 3))
    number_of = Interned()
    assert [number_of(b"<%d>" % (n % 10)) for n in range(20)] == [*range(10), *range(10)]
    with pytest.raises(OverflowError):
        number_of(b"<x>")
