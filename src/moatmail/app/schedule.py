# SPDX-License-Identifier: Apache-2.0
"""The table of periodic jobs, and what runs them.

Obeys no RFC.
Must never do a job's work itself: each is one operation of the store or one call of its writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from moatmail.app.clock import SystemClock
from moatmail.core.errors import MoatmailError
from moatmail.core.events import Event
from moatmail.core.limits.store import DECISIONS_KEPT
from moatmail.core.ports.event_sink import EventSink
from moatmail.delivery import reporting
from moatmail.store.interface import Store
from moatmail.store.operations import EraseDecisions, EraseDue, TruncateWAL
from moatmail.store.writer import Writer

T = TypeVar("T")

MINUTE: Final = 60.0
HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """One job: its name, seconds between two runs, and its work on a `T`."""

    name: str
    every: float
    work: Callable[[T], Awaitable[object]]


async def _erase_due(store: Store) -> None:
    """Delete the keys of expunged mail whose time is over, in slices, so that other writers are not kept waiting."""
    while await store.write(EraseDue(SystemClock().now())):
        pass


async def _truncate_log(store: Store) -> None:
    await store.write(TruncateWAL())


async def _erase_decisions(store: Store) -> None:
    await store.write(EraseDecisions(SystemClock().now() - DECISIONS_KEPT))


async def _sweep(writer: Writer) -> None:
    await asyncio.to_thread(writer.sweep_contents)


BACK_JOBS: Final[Sequence[Job[Store]]] = (
    Job("erase expunged mail", MINUTE, _erase_due),
    Job("truncate the log", HOUR, _truncate_log),
    Job("forget old decisions", HOUR, _erase_decisions),
)
REPORT_JOBS: Final[Sequence[Job[reporting.Ports]]] = (Job("send DMARC reports", HOUR, reporting.send_reports),)
STORE_JOBS: Final[Sequence[Job[Writer]]] = (Job("remove orphaned contents", HOUR, _sweep),)


class Schedule(Generic[T]):
    """Runs each job of a table at its time, one task a job."""

    def __init__(self, jobs: Sequence[Job[T]], subject: T, events: EventSink) -> None:
        self._jobs = jobs
        self._subject = subject
        self._events = events
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; each job runs for the first time after one period."""
        self._tasks = [asyncio.create_task(self._repeat(job)) for job in self._jobs]

    def end(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()

    async def _repeat(self, job: Job[T]) -> None:
        while True:
            await asyncio.sleep(job.every)
            try:
                await job.work(self._subject)
            except Exception as error:  # noqa: BLE001 - whatever it was: a job that is not told and not run again is missed by nobody
                what = error if isinstance(error, (MoatmailError, OSError)) else f"{type(error).__name__}: {error}"
                self._events.emit(Event.of("job.failed", f"job '{job.name}' failed and will run again in {job.every:.0f} s: {what}", alert=True))
