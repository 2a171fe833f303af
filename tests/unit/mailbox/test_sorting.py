# SPDX-License-Identifier: Apache-2.0
"""Sorting: what each key compares, equal ones, reverses, what cannot be opened, and long lists in slices."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from moatmail.core.limits import mailbox as limits
from moatmail.mailbox.search import Slices
from moatmail.mailbox.sorting import Order, SortBy, casemap, in_slices, sort
from tests.unit.mailbox.shelf import Mail, Shelf


class Still:
    """A clock that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        self.asked += 1
        return 0.0


def mail(head: str, *, day: int = 1, broken: str = "", gone: bool = False) -> Mail:
    octets = (head.replace("\n", "\r\n") + "\r\n\r\nbody\r\n").encode()
    return Mail(octets, received=datetime(2026, 11, day, tzinfo=UTC), broken=broken, gone=gone)


async def sorted_heads(by: SortBy, *heads: str, reverse: bool = False) -> list[int]:
    shelf = Shelf([mail(head) for head in heads])
    return await sort([Order(by, reverse)], shelf.snapshot().uids, list(range(len(heads))), shelf, Slices(Still()))


KEYS = {
    "subjects without their marks, whatever the case": (SortBy.SUBJECT, ["Subject: Re: b", "Subject: A", "Subject: [list] c", "X: no subject"], [3, 1, 0, 2]),
    "letters before the sign that stands behind capitals": (SortBy.SUBJECT, ["Subject: _", "Subject: z", "Subject: [x]"], [1, 2, 0]),
    "accents decomposed": (SortBy.SUBJECT, ["Subject: =?utf-8?q?=C3=A9f?=", "Subject: eg", "Subject: f"], [1, 0, 2]),
    "the mailbox name of the first address": (SortBy.FROM, ["From: a <zoe@a.test>, abe@a.test", "From: z <carl@z.test>", "X: none"], [2, 1, 0]),
    "the name of a group": (SortBy.TO, ["To: nine: a@b.test;", "To: mike@b.test", "To: oscar@b.test"], [1, 0, 2]),
    "copies": (SortBy.CC, ["Cc: b@x.test", "Cc: a@y.test"], [1, 0]),
    "display names, or the address": (SortBy.DISPLAY_FROM, ["From: zed <a@b.test>", "From: m@b.test", "From: =?utf-8?q?abe?= <x@b.test>"], [2, 1, 0]),
    "the display name of a recipient": (SortBy.DISPLAY_TO, ["To: beta <a@b.test>", "To: alpha: z@b.test;"], [1, 0]),
    "the moment of sending in UTC": (
        SortBy.DATE,
        ["Date: Tue, 24 Nov 2026 10:00:00 +0000", "Date: Tue, 24 Nov 2026 11:30:00 +0200", "X: received on the first"],
        [2, 1, 0],
    ),
    "sizes": (SortBy.SIZE, ["Subject: xxxx", "Subject: x", "Subject: xx"], [1, 2, 0]),
}


@pytest.mark.parametrize(("by", "heads", "wanted"), KEYS.values(), ids=KEYS.keys())
async def test_key(by: SortBy, heads: list[str], wanted: list[int]) -> None:
    # RFC 5256 §3, RFC 5957 §3.
    assert await sorted_heads(by, *heads) == wanted
    assert await sorted_heads(by, *heads, reverse=True) == wanted[::-1]


async def test_equal_ones_stay_in_their_order_also_in_reverse() -> None:
    # RFC 5256 §3: the message number decides last, and is not reversed.
    assert await sorted_heads(SortBy.SUBJECT, "Subject: b", "Subject: a", "Subject: b", reverse=True) == [0, 2, 1]


async def test_a_later_key_orders_what_an_earlier_one_left_equal() -> None:
    shelf = Shelf([mail("Subject: b", day=1), mail("Subject: a", day=2), mail("Subject: b", day=3), mail("Subject: a", day=4)])
    program = [Order(SortBy.SUBJECT), Order(SortBy.ARRIVAL, reverse=True)]
    assert await sort(program, shelf.snapshot().uids, [0, 1, 2, 3], shelf, Slices(Still())) == [3, 1, 2, 0]


async def test_rows_alone_are_read_where_they_suffice() -> None:
    shelf = Shelf([mail("Subject: x", day=3), mail("Subject: y", day=2), mail("Subject: z", day=1, gone=True), mail("Subject: a", day=1)])
    assert await sort([Order(SortBy.ARRIVAL), Order(SortBy.SIZE)], shelf.snapshot().uids, [0, 1, 2, 3], shelf, Slices(Still())) == [3, 1, 0]
    assert set(shelf.opened) == {"sizes"}


async def test_who_does_not_open_comes_first_and_is_told_who_is_gone_is_left_out() -> None:
    shelf = Shelf([mail("Subject: b"), mail("Subject: a", broken="summary"), mail("Subject: c", gone=True)])
    assert await sort([Order(SortBy.SUBJECT)], shelf.snapshot().uids, [0, 1, 2], shelf, Slices(Still())) == [1, 0]
    assert shelf.told == [shelf.mail[1].uid]


@pytest.mark.parametrize("reverse", [False, True])
async def test_long_lists_are_sorted_in_slices_as_at_once(reverse: bool) -> None:
    count = 5 * limits.SORT_SLICE + 7
    values = [random.Random(5).randrange(50) for _ in range(count)]
    clock = Still()
    assert await in_slices(list(range(count)), values.__getitem__, Slices(clock), reverse=reverse) == sorted(
        range(count), key=values.__getitem__, reverse=reverse
    )
    assert clock.asked > 10


@pytest.mark.parametrize(("one", "other"), [("straße", "STRAßE"), ("éa", "E\N{COMBINING ACUTE ACCENT}A"), ("ǆ", "ǅ")])
def test_texts_that_compare_equal(one: str, other: str) -> None:
    # RFC 5051 §2.
    assert casemap(one) == casemap(other)
