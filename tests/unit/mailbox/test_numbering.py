# SPDX-License-Identifier: Apache-2.0
"""Message numbers as runs of UIDs behave as a plain list would, however full of holes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moatmail.mailbox.numbering import Numbering

UIDS = st.sets(st.integers(1, 60), max_size=40).map(sorted)


@given(UIDS)
def test_numbers_and_uids_are_places_in_a_list(uids: list[int]) -> None:
    numbering = Numbering(uids)
    assert numbering.count == len(uids)
    assert list(numbering.uids(1, len(uids))) == uids
    assert [numbering.uid(number) for number in range(1, len(uids) + 1)] == uids
    assert [numbering.number(uid) for uid in range(62)] == [uids.index(uid) + 1 if uid in uids else 0 for uid in range(62)]
    assert [numbering.rank(uid) for uid in range(62)] == [sum(known < uid for known in uids) for uid in range(62)]
    assert numbering.last_uid == (uids[-1] if uids else 0)


@given(UIDS, st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 40), max_size=20)), max_size=8))
def test_adding_and_removing(uids: list[int], steps: list[tuple[bool, set[int]]]) -> None:
    numbering, model, beyond = Numbering(uids), list(uids), 61
    for adds, values in steps:
        if adds:
            new = [beyond + value for value in sorted(values)]
            beyond += 41
            numbering.add(new)
            model += new
        else:
            gone = [model[place] for place in sorted(values) if place < len(model)]
            for number in numbering.remove([*gone, 5000]):
                # Told one after another, each number is right at its turn (RFC 3501 §7.4.1).
                assert model.pop(number - 1) in gone
        assert list(numbering.uids(1, numbering.count)) == model


@given(UIDS, st.lists(st.tuples(st.integers(1, 70), st.integers(0, 10)), max_size=5))
def test_ranges_of_uids_become_ranges_of_numbers(uids: list[int], ranges: list[tuple[int, int]]) -> None:
    disjoint: list[tuple[int, int]] = []
    for low, size in sorted(ranges):
        if not disjoint or low > disjoint[-1][1] + 1:
            disjoint.append((low, low + size))
    numbering = Numbering(uids)
    wanted = [number for number, uid in enumerate(uids, 1) if any(low <= uid <= high for low, high in disjoint)]
    spans = numbering.spans_of_uids(disjoint)
    assert [number for first, last in spans for number in range(first, last + 1)] == wanted


def test_a_mailbox_without_holes_is_one_run() -> None:
    numbering = Numbering(range(1, 100_001))
    assert list(numbering.uid_spans(1, 100_000)) == [(1, 100_000)]
