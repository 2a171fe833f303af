# SPDX-License-Identifier: Apache-2.0
"""The quick comparison of sizes and dates says what the thorough one says."""

from __future__ import annotations

from array import array
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from moatmail.mailbox.criteria import And, Criterion, HeaderText, Larger, Not, Or, Received, ReceivedFrom, ReceivedUntil, Relation, Saved, Smaller
from moatmail.mailbox.search_columns import Columns, Snapshot
from moatmail.mailbox.search_facts import facts_test
from moatmail.mailbox.search_message import Candidate, build_test

SIZES = st.integers(0, 5)
MOMENTS = st.one_of(st.integers(-3, 3).map(lambda day: day * 86400.0), st.floats(-3e5, 3e5))
LEAVES = st.one_of(
    SIZES.map(Larger),
    SIZES.map(Smaller),
    MOMENTS.map(ReceivedFrom),
    MOMENTS.map(ReceivedUntil),
    st.builds(Received, st.sampled_from(Relation), st.dates(date(1969, 12, 28), date(1970, 1, 5))),
    st.builds(Saved, st.sampled_from(Relation), st.dates(date(1969, 12, 28), date(1970, 1, 5))),
)
CRITERIA: st.SearchStrategy[Criterion] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(inner.map(Not), st.lists(inner, max_size=3).map(tuple).map(And), st.lists(inner, max_size=3).map(tuple).map(Or)),
    max_leaves=6,
)


@given(CRITERIA, SIZES, MOMENTS, MOMENTS)
def test_the_quick_way_is_no_other_way(criterion: Criterion, size: int, at: float, saved: float) -> None:
    quick = facts_test(criterion)
    assert quick is not None
    thorough = build_test(criterion, Columns(Snapshot(array("I", [1]), b"\0", array("Q", [1]), {})))
    assert quick(size, at, saved) == thorough(Candidate(0, size, at, saved))


def test_what_needs_more_is_left_to_the_thorough_one() -> None:
    assert facts_test(And((Larger(1), HeaderText(b"subject", "x")))) is None
    assert facts_test(Not(HeaderText(b"subject", "x"))) is None
