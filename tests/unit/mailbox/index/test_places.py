# SPDX-License-Identifier: Apache-2.0
"""Where the messages of a segment lie in a mailbox: side by side, with gaps, in another order, twice, or elsewhere."""

from __future__ import annotations

import random
from array import array

import pytest

from moatmail.core.limits import mailbox as limits
from moatmail.mailbox.index.places import ABSENT, Numbers, Places


async def pause() -> None:
    """Let nobody have a turn."""


def known(*pairs: tuple[int, int]) -> Numbers:
    numbers = Numbers()
    for start in range(0, len(pairs), 3):
        part = pairs[start : start + 3]
        numbers.extend(array("I", [uid for uid, _ in part]), array("Q", [number for _, number in part]))
    return numbers


def listed(places: Places, *numbers: int) -> list[int]:
    return list(places.of_all(array("Q", numbers)))


async def test_messages_that_lie_side_by_side_are_a_range() -> None:
    places = await Places.learn(known(*[(uid, uid + 100) for uid in range(1, 20)]), array("I", range(1, 20)), range(19), pause)
    assert places.of_all(array("Q", range(105, 110))) == range(4, 9)
    assert listed(places, 99, 100, 101) == [ABSENT, ABSENT, 0]
    assert listed(places, 119, 120, 999) == [18, ABSENT, ABSENT]
    assert listed(places, 500, 501) == [ABSENT, ABSENT]


async def test_what_went_from_the_mailbox_leaves_a_gap_and_what_nobody_numbered_is_nowhere() -> None:
    numbers = known((1, 11), (2, 12), (4, 14), (7, 17))
    places = await Places.learn(numbers, array("I", (1, 4, 7, 9)), range(4), pause)
    assert listed(places, 11, 12, 14, 17) == [0, ABSENT, 1, 2]
    assert [places.of(number) for number in (0, 11, 12, 18)] == [ABSENT, 0, ABSENT, ABSENT]


async def test_a_message_that_lies_twice_is_told_at_its_first_place_and_the_others_are_known() -> None:
    numbers = known((1, 11), (2, 12), (3, 11), (4, 13), (5, 12), (6, 11))
    places = await Places.learn(numbers, array("I", range(1, 7)), (5,), pause)
    assert places.twice == {11: [2, 5], 12: [4]}
    assert listed(places, 11, 12, 13) == [0, 1, 3]
    assert [places.is_open(number) for number in (11, 12, 13, 99)] == [True, False, False, False]


@pytest.mark.parametrize("seed", range(30))
async def test_places_are_those_of_a_plain_look(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(limits, "INDEX_SLICE", 4)
    rnd = random.Random(seed)
    uids = sorted(rnd.sample(range(1, 60), 25))
    numbers = sorted(rnd.sample(range(1, 90), 25)) if seed % 3 else [rnd.randrange(1, 40) for _ in uids]
    here = [place for place in range(25) if seed % 2 or rnd.random() < 0.8]
    open_places = sorted(rnd.sample(range(len(here)), len(here) // 2))
    places = await Places.learn(known(*zip(uids, numbers, strict=True)), array("I", [uids[place] for place in here]), open_places, pause)
    lie: dict[int, list[int]] = {}
    for place, one in enumerate(here):
        lie.setdefault(numbers[one], []).append(place)
    for _ in range(20):
        segment = sorted(rnd.sample(range(1, 90), rnd.randrange(1, 20)))
        assert listed(places, *segment) == [lie.get(number, [ABSENT])[0] for number in segment]
        found = places.of_all(array("Q", segment))
        assert places.count_open(found) == len({lie[number][0] for number in segment if number in lie} & set(open_places))
    assert [places.is_open(number) for number in range(90)] == [bool(set(lie.get(number, ())) & set(open_places)) for number in range(90)]
    assert places.twice == {number: some[1:] for number, some in lie.items() if len(some) > 1}
