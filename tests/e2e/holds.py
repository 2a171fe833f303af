# SPDX-License-Identifier: Apache-2.0
"""How long the event loop is held at once: every callback of the loop is timed, in CPU time of its thread, which other programs do not move."""

from __future__ import annotations

import asyncio
import asyncio.events
import contextlib
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

_DEPTH = 5
_SAMPLE_SECONDS = 0.0005


@dataclass
class Holds:
    """The seconds of each hold by the code of the server, since `begin`; `longest` tells who held longest."""

    seconds: list[float] = field(default_factory=list)
    longest: float = 0.0
    who: str = ""
    where: list[tuple[str, int]] = field(default_factory=list)
    """With `sampling`: the innermost places of the longest hold, and how often they were met."""
    _samples: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Forget what was."""
        self.seconds, self.longest, self.who, self.where = [], 0.0, "", []

    def take(self, callback: Any, seconds: float) -> None:  # noqa: ANN401 - whatever the loop calls
        """Note one hold, unless it is one of the test's own."""
        who = _name(callback)
        if who is None:
            return
        self.seconds.append(seconds)
        if seconds > self.longest:
            self.longest, self.who = seconds, who
            self.where = Counter(self._samples).most_common(4)

    def sample(self, _number: int, frame: FrameType | None) -> None:
        """Note where the thread is."""
        places = [f"{entry.filename.rpartition('moatmail/')[2]}:{entry.lineno} {entry.name}" for entry in traceback.extract_stack(frame, _DEPTH)]
        self._samples.append(" < ".join(reversed(places)))


def _name(callback: Any) -> str | None:  # noqa: ANN401 - whatever the loop calls
    owner = getattr(callback, "__self__", None)
    if not isinstance(owner, asyncio.Task):
        return getattr(callback, "__qualname__", repr(callback))
    code = getattr(owner.get_coro(), "cr_code", None)
    return str(code.co_name) if code is not None and "/moatmail/" in code.co_filename else None


@contextlib.contextmanager
def measured(*, sampling: bool = False) -> Iterator[Holds]:
    """Time every callback of the standard loop of this process."""
    holds = Holds()
    run = asyncio.events.Handle._run

    def timed(handle: Any) -> None:  # noqa: ANN401 - asyncio's own
        holds._samples.clear()
        callback = handle._callback
        before = time.thread_time()
        run(handle)
        holds.take(callback, time.thread_time() - before)

    asyncio.events.Handle._run = timed  # type: ignore[method-assign,assignment]
    if sampling:
        signal.signal(signal.SIGPROF, holds.sample)
        signal.setitimer(signal.ITIMER_PROF, _SAMPLE_SECONDS, _SAMPLE_SECONDS)
    try:
        yield holds
    finally:
        if sampling:
            signal.setitimer(signal.ITIMER_PROF, 0)
        asyncio.events.Handle._run = run  # type: ignore[method-assign]
