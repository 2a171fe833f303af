# SPDX-License-Identifier: Apache-2.0
"""Criteria that a message's size, internal date and save date alone decide, as plain comparisons: whole mailboxes are asked so.

Obeys RFC 3501 §6.4.4 (LARGER, SMALLER, BEFORE, ON, SINCE), RFC 5032 (OLDER, YOUNGER), RFC 8514 §4.3 (SAVEDON and its like).
Must never know anything else of a message.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final

from moatmail.mailbox.criteria import And, Criterion, Larger, Not, Or, Received, ReceivedFrom, ReceivedUntil, Relation, Saved, Smaller

Facts = Callable[[int, float, float], bool]
"""From size, internal date and save date (epoch seconds) to whether the message matches."""
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAY: Final = 86400


def facts_test(criterion: Criterion) -> Facts | None:
    """Give the comparison for a criterion made of sizes and these two dates only, None for any other."""
    if isinstance(criterion, And | Or):
        parts = [facts_test(part) for part in criterion.parts]
        tests = [test for test in parts if test is not None]
        if len(tests) < len(parts):
            return None
        if len(tests) == 1:
            return tests[0]
        joined = all if isinstance(criterion, And) else any
        return lambda size, at, saved: joined(test(size, at, saved) for test in tests)
    if isinstance(criterion, Not):
        inner = facts_test(criterion.part)
        return None if inner is None else lambda size, at, saved: not inner(size, at, saved)
    return _leaf(criterion)


def _leaf(criterion: Criterion) -> Facts | None:
    if isinstance(criterion, Larger):
        above = criterion.size
        return lambda size, _at, _saved: size > above
    if isinstance(criterion, Smaller):
        below = criterion.size
        return lambda size, _at, _saved: size < below
    if isinstance(criterion, ReceivedUntil):
        until = criterion.moment
        return lambda _size, at, _saved: at <= until
    if isinstance(criterion, ReceivedFrom):
        since = criterion.moment
        return lambda _size, at, _saved: at >= since
    return _day(criterion) if isinstance(criterion, Received | Saved) else None


def _day(criterion: Received | Saved) -> Facts:
    within = _within(criterion)
    if isinstance(criterion, Saved):
        return lambda _size, _at, saved: within(saved)
    return lambda _size, at, _saved: within(at)


def _within(criterion: Received | Saved) -> Callable[[float], bool]:
    # A day in UTC: from its first second to before the next day's.
    begin = (criterion.day.toordinal() - _EPOCH) * _DAY
    end = begin + _DAY
    if criterion.relation is Relation.BEFORE:
        return lambda at: at < begin
    if criterion.relation is Relation.SINCE:
        return lambda at: at >= begin
    return lambda at: begin <= at < end
