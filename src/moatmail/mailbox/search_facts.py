# SPDX-License-Identifier: Apache-2.0
"""Criteria that a message's size and internal date alone decide, as plain comparisons: whole mailboxes are asked so.

Obeys RFC 3501 §6.4.4 (LARGER, SMALLER, BEFORE, ON, SINCE), RFC 5032 (OLDER, YOUNGER).
Must never know anything else of a message.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final

from moatmail.mailbox.criteria import And, Criterion, Larger, Not, Or, Received, ReceivedFrom, ReceivedUntil, Relation, Smaller

Facts = Callable[[int, float], bool]
"""From size and internal date (epoch seconds) to whether the message matches."""
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAY: Final = 86400


def facts_test(criterion: Criterion) -> Facts | None:
    """Give the comparison for a criterion made of sizes and internal dates only, None for any other."""
    if isinstance(criterion, And | Or):
        parts = [facts_test(part) for part in criterion.parts]
        tests = [test for test in parts if test is not None]
        if len(tests) < len(parts):
            return None
        if len(tests) == 1:
            return tests[0]
        joined = all if isinstance(criterion, And) else any
        return lambda size, at: joined(test(size, at) for test in tests)
    if isinstance(criterion, Not):
        inner = facts_test(criterion.part)
        return None if inner is None else lambda size, at: not inner(size, at)
    return _leaf(criterion)


def _leaf(criterion: Criterion) -> Facts | None:
    if isinstance(criterion, Larger):
        above = criterion.size
        return lambda size, _at: size > above
    if isinstance(criterion, Smaller):
        below = criterion.size
        return lambda size, _at: size < below
    if isinstance(criterion, ReceivedUntil):
        until = criterion.moment
        return lambda _size, at: at <= until
    if isinstance(criterion, ReceivedFrom):
        since = criterion.moment
        return lambda _size, at: at >= since
    return _received(criterion) if isinstance(criterion, Received) else None


def _received(criterion: Received) -> Facts:
    # A day in UTC: from its first second to before the next day's.
    begin = (criterion.day.toordinal() - _EPOCH) * _DAY
    end = begin + _DAY
    if criterion.relation is Relation.BEFORE:
        return lambda _size, at: at < begin
    if criterion.relation is Relation.SINCE:
        return lambda _size, at: at >= begin
    return lambda _size, at: begin <= at < end
