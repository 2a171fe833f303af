# SPDX-License-Identifier: Apache-2.0
"""Periodic jobs: each at its time, none stopped by a failure of its own or of another."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar, cast

from moatmail.app.clock import SystemClock
from moatmail.app.schedule import BACK_JOBS, Job, Schedule
from moatmail.core.errors import StoreUnavailableError
from moatmail.core.events import Event
from moatmail.store.operations import EraseDecisions, EraseDue, Operation, TruncateWAL
from moatmail.store.queries import Query
from moatmail.store.sqlite import DatabaseError

R = TypeVar("R")


class Told:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


async def test_a_failing_job_is_told_runs_again_and_disturbs_no_other() -> None:
    done: list[str] = []
    enough = asyncio.Event()

    async def fail(name: str) -> None:
        done.append(f"{name} failed")
        raise StoreUnavailableError("away")

    async def work(name: str) -> None:
        done.append(name)
        if len(done) > 6:
            enough.set()

    told = Told()
    schedule = Schedule((Job("first", 0.001, fail), Job("second", 0.001, work)), "x", told)
    schedule.start()
    await asyncio.wait_for(enough.wait(), 20)
    schedule.end()
    assert done.count("x failed") > 1
    assert done.count("x") > 1
    assert told.events[0].text == "job 'first' failed and will run again in 0 s: away"
    assert told.events[0].alert


async def test_the_jobs_of_back_erase_until_nothing_is_due_empty_the_log_and_forget_old_decisions() -> None:
    asked: list[Any] = []

    class Shelf:
        async def write(self, operation: Operation[R]) -> R:
            asked.append(operation)
            return cast("R", 500 if len(asked) < 3 else 0)

        async def read(self, query: Query[R]) -> R:
            raise AssertionError

    for job in BACK_JOBS:
        await job.work(Shelf())
    assert [type(one) for one in asked] == [EraseDue, EraseDue, EraseDue, TruncateWAL, EraseDecisions]
    assert 30 * 86400 <= SystemClock().now() - asked[-1].before < 30 * 86400 + 60
    assert {job.name: job.every for job in BACK_JOBS} == {"erase expunged mail": 60.0, "truncate the log": 3600.0, "forget old decisions": 3600.0}


async def test_a_failure_nobody_thought_of_does_not_end_a_job_for_ever() -> None:
    runs = 0
    enough = asyncio.Event()

    async def fail(_name: str) -> None:
        nonlocal runs
        runs += 1
        if runs > 2:
            enough.set()
        raise DatabaseError("disk I/O error")

    told = Told()
    schedule = Schedule((Job("first", 0.001, fail),), "x", told)
    schedule.start()
    await asyncio.wait_for(enough.wait(), 20)
    schedule.end()
    assert told.events[0].text == "job 'first' failed and will run again in 0 s: Error: disk I/O error"
