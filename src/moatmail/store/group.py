# SPDX-License-Identifier: Apache-2.0
"""Group commit: all operations that arrive during one sync share the next one.

Obeys RFC 5321 §6.1: an answer is given only after the commit of its batch has returned.
Must never know what an operation does.

Statements run on the loop, unless an operation is a long one (a mailbox copied or deleted whole, a slice of erasing), and only
the commit (encryption of the pages, write, sync) in a thread: while it waits for the disk, the loop
gathers the next batch and answers look-ups. Measured: the statements in the thread too cost a tenth more CPU, for the two then pass the
interpreter's lock to and fro; the commit on the loop too would save the hop (a tenth), but then every look-up would wait for the disk.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from moatmail.core.errors import StoreUnavailableError
from moatmail.core.limits import store as limits
from moatmail.store.apply.work import Hints
from moatmail.store.index_items import AddSegment, AddWords, DropSegments, Retail, SetSummary
from moatmail.store.operations import (
    Accept,
    Append,
    Change,
    Copy,
    DeleteMailbox,
    EraseDue,
    Expunge,
    Move,
    Operation,
    RemoveAccount,
    RenameMailboxes,
    Replace,
    SettleSpool,
    StoreFlags,
)
from moatmail.store.repair_items import Recount
from moatmail.store.sqlite import translate
from moatmail.store.thread_items import AddThreads
from moatmail.store.writer import Asked, Outcome, Writer

R = TypeVar("R")
_Waiting = tuple[Asked, "asyncio.Future[Any]"]


class _Thread:
    """One thread that does one thing after another."""

    def __init__(self, name: str) -> None:
        """Start it."""
        self._things: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, thing: Callable[[], None]) -> None:
        """Have something done after all before it."""
        self._things.put(thing)

    def stop(self) -> None:
        """Do what was asked for, then end."""
        self._things.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (thing := self._things.get()) is not None:
            thing()


class GroupCommit:
    """Takes operations on the loop, and answers each after the commit that made it durable."""

    def __init__(self, writer: Writer, tell: Callable[[Hints], None], lost: Callable[[], None]) -> None:
        """Take the writer; `tell` gets the hints of each commit, `lost` is called once when the database cannot be reached any more."""
        self._writer = writer
        self._tell = tell
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._thread = _Thread("commit")
        self._beside = _Thread("beside")
        self._beside_at_work = False
        self._soon: asyncio.TimerHandle | None = None
        self._waiting: deque[_Waiting] = deque()
        self._at_work = False
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.commits = 0

    async def write(self, operation: Operation[R], asker: str) -> R:
        """Do an operation; returns after its commit, raises what the operation says."""
        answer: R = await self.submit(operation, asker)
        return answer

    def submit(self, operation: Operation[Any], asker: str) -> asyncio.Future[Any]:
        """Ask for an operation; the future is done after its commit."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closed:
            future.set_exception(StoreUnavailableError("the store is closing"))
            return future
        self._waiting.append((Asked(operation, asker), future))
        if not self._at_work:
            self._at_work = True
            self._idle.clear()
            # Not at once: what else arrives in this turn of the loop shall be in the same batch.
            self._loop.call_soon(self._start)
        return future

    async def close(self) -> None:
        """Finish what was asked for, then close the writer."""
        self._closed = True
        await self._idle.wait()
        if self._soon is not None:
            self._soon.cancel()
        self._beside.stop()
        self._thread.stop()
        self._writer.close()

    # ---------------------------------------------------------------- one batch

    def _start(self) -> None:
        batch = self._take()
        asked = [one for one, _future in batch]
        if self._is_long(asked[0].operation):
            # All or none, so it cannot be cut; but look-ups need not wait for it.
            self._thread.do(lambda: self._prepare_there(batch, asked))
            return
        try:
            outcomes = self._writer.prepare(asked)
        except Exception as error:  # noqa: BLE001  whatever it is, callers must hear of it
            self._finish(batch, [Outcome(None, translate(error))] * len(batch), None)
            return
        self._thread.do(lambda: self._commit(batch, asked, outcomes))

    def _take(self) -> list[_Waiting]:
        """Take what makes one transaction; a long operation has one of its own."""
        batch: list[_Waiting] = []
        octets = 0
        while self._waiting and len(batch) < limits.BATCH_OPERATIONS and octets < limits.BATCH_OCTETS:
            operation = self._waiting[0][0].operation
            if batch and self._is_long(operation):
                break
            octets += _octets(operation)
            batch.append(self._waiting.popleft())
            if self._is_long(operation):
                break
        return batch

    def _is_long(self, operation: Operation[Any]) -> bool:
        return _is_long(operation, erases=self._writer.erases_at_once)

    def _prepare_there(self, batch: list[_Waiting], asked: list[Asked]) -> None:
        """Do in the commit's thread what the loop does for short operations."""
        try:
            outcomes = self._writer.prepare(asked)
        except Exception as error:  # noqa: BLE001  whatever it is, callers must hear of it
            self._loop.call_soon_threadsafe(self._finish, batch, [Outcome(None, translate(error))] * len(batch), None)
            return
        self._commit(batch, asked, outcomes)

    def _commit(self, batch: list[_Waiting], asked: list[Asked], outcomes: list[Outcome]) -> None:
        hints = None
        try:
            outcomes, hints = self._writer.commit(asked, outcomes)
        except Exception as error:  # noqa: BLE001  whatever it is, callers must hear of it
            outcomes = [Outcome(None, translate(error))] * len(batch)
        self._loop.call_soon_threadsafe(self._finish, batch, outcomes, hints)

    def _finish(self, batch: list[_Waiting], outcomes: list[Outcome], hints: Hints | None) -> None:
        for (_asked, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                # Its caller went away; what was done stays done.
                continue
            if outcome.error is None:
                future.set_result(outcome.answer)
            else:
                future.set_exception(outcome.error)
        if hints is not None:
            self.commits += 1
            self._tell(hints)
        if self._writer.fatal:
            self._lost()
        if self._writer.to_erase is not None:
            erasing, self._writer.to_erase = self._writer.to_erase, None
            self.submit(erasing, "store").add_done_callback(_hear)
        if self._writer.has_work_beside and not self._beside_at_work:
            self._begin_beside()
        self._keep_soon()
        if self._waiting:
            self._start()
            return
        self._at_work = False
        self._idle.set()

    def _keep_soon(self) -> None:
        """Have soft state written together with what comes soon."""
        if self._writer.has_kept and not self._closed and not self._beside_at_work and self._soon is None:
            self._soon = self._loop.call_later(limits.SOFT_DELAY, self._begin_soon)

    def _begin_soon(self) -> None:
        self._soon = None
        if self._writer.has_kept and not self._beside_at_work and not self._closed:
            self._begin_beside()

    def _begin_beside(self) -> None:
        self._beside_at_work = True
        self._beside.do(self._work_beside)

    def _work_beside(self) -> None:
        try:
            self._writer.work_beside()
        finally:
            self._loop.call_soon_threadsafe(self._end_beside)

    def _end_beside(self) -> None:
        self._beside_at_work = False
        # What came while it worked would else wait for the next commit, which may be long in coming.
        self._keep_soon()


def _hear(future: asyncio.Future[Any]) -> None:
    """Take note of an erasure's fate; one that failed is asked for again by the schedule."""
    if not future.cancelled():
        future.exception()


_LONG: Final = (DeleteMailbox, EraseDue, AddSegment, AddThreads, DropSegments, SetSummary, Retail, Recount)


def _is_long(operation: Operation[Any], *, erases: bool) -> bool:
    """Tell whether an operation may touch more rows, or overwrite more octets, than a slice of the loop's work; `erases` where what goes goes at once."""
    if erases and isinstance(operation, (Expunge, Replace)):
        return True
    if isinstance(operation, (Copy, Move, Expunge, StoreFlags)):
        return operation.uids is None or len(operation.uids) > limits.LONG_ROWS
    if isinstance(operation, RenameMailboxes):
        return len(operation.renamed) > limits.LONG_ROWS // 2  # each is written twice
    if isinstance(operation, Change):
        # All mail of an account goes with it.
        return any(isinstance(item, RemoveAccount) for item in operation.items)
    return isinstance(operation, _LONG)


def _octets(operation: Operation[Any]) -> int:
    if isinstance(operation, (Accept, Append, Replace, SettleSpool)):
        return sum(len(content.blob or b"") for content in operation.contents)
    if isinstance(operation, AddSegment):
        return sum(len(sealed) for _kind, sealed in operation.parts)
    if isinstance(operation, AddWords):
        return sum(len(sealed) for _number, sealed in operation.words)
    return 0
