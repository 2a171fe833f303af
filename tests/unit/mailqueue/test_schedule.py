# SPDX-License-Identifier: Apache-2.0
"""When a recipient is tried again: never earlier than the plan, at least 30 minutes apart later, and not for ever."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moatmail.core.settings.mail import Mail
from moatmail.mailqueue.schedule import Plan

DAY = 86400.0
PLAN = Plan(tuple(60.0 * minutes for minutes in Mail().delivery.retry_minutes), Mail().delivery.give_up_days * DAY)


@given(attempts=st.integers(1, 500), age=st.floats(0, 6 * DAY), seed=st.integers(0, 1000))
def test_next_attempt(attempts: int, age: float, seed: int) -> None:
    arrived, now = 1000.0, 1000.0 + age
    due = PLAN.next_attempt(attempts, arrived, now, random.Random(seed))
    if age >= PLAN.give_up:
        assert due is None
        return
    assert due is not None
    wait = PLAN.delays[min(attempts, len(PLAN.delays)) - 1]
    assert now < due <= now + wait * 1.1 + 1e-3
    assert due <= arrived + PLAN.give_up
    assert due >= min(now + wait, arrived + PLAN.give_up)


def test_the_whole_life_of_an_undeliverable_recipient_is_bounded_and_polite() -> None:
    now, attempts, moments = 0.0, 1, [0.0]
    while (due := PLAN.next_attempt(attempts, 0.0, now, random.Random(attempts))) is not None:
        now, attempts = due, attempts + 1
        moments.append(now)
    assert moments[-1] == pytest.approx(5 * DAY)
    later = [after - before for before, after in itertools.pairwise(moments[4:-1])]
    assert min(later) >= 30 * 60
    assert len(moments) < 50
