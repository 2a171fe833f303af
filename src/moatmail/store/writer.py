# SPDX-License-Identifier: Apache-2.0
"""The only writing connection: applies a batch of operations in one transaction, commits it, and says what follows.

Obeys RFC 5321 §6.1: nobody hears of success before the commit is on stable storage.
Must never know who waits for an answer, or how many: that is `store.group`.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from moatmail.core.errors import ConfigError, MoatmailError, StorageFullError, StoreUnavailableError
from moatmail.core.events import Event
from moatmail.core.limits import store as limits
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.ports.vault import Vault
from moatmail.store import migrate
from moatmail.store.answer import QUEUE_SECRET
from moatmail.store.apply import table
from moatmail.store.apply.recoverable import erases_at_once
from moatmail.store.apply.work import Effects, Hints, Work
from moatmail.store.content import ContentFiles
from moatmail.store.keystore import KeyStoreFile
from moatmail.store.operations import Decision, EraseDue, Operation
from moatmail.store.reserve import Reserve
from moatmail.store.soft import Kept, SoftState
from moatmail.store.sql import directory, messages, state
from moatmail.store.sqlite import Database, DatabaseError, Use, is_full, open_database, translate

COUNTER_FILE: Final = "commits"
_LOOK_AT_LOG: Final = 32
_LEDGER_COLUMNS: Final = ("accepted", "delivered", "queued", "relayed", "bounced")


class Asked(NamedTuple):
    """An operation and the role that asks for it."""

    operation: Operation[Any]
    asker: str


class Outcome(NamedTuple):
    """An operation's answer, or the error that its caller gets."""

    answer: Any
    error: MoatmailError | None = None


class _BatchLostError(Exception):
    """The transaction ended under an operation: its whole batch fails."""

    def __init__(self, error: MoatmailError) -> None:
        super().__init__(str(error))
        self.error = error


class Writer:
    """Owns the databases of a data folder; `prepare` and `commit` may run in different threads, never at the same time."""

    def __init__(self, folder: Path, vault: Vault, clock: Clock, sink: EventSink) -> None:
        """Open the folder, bringing its schema up and sweeping what a crash left; raises ConfigError.

        The caller holds the folder's `InstanceLock`. Raises ConfigError too when acknowledged commits are missing from the database.
        """
        self.folder = folder
        self.vault = vault
        self.fatal = False
        self._clock = clock
        self._sink = sink
        self._key = vault.database_key("mail")
        self._counter = os.open(folder / COUNTER_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self.contents = ContentFiles(folder)
        self._effects = Effects()
        self._pruned = 0.0
        self._kept: deque[Kept] = deque()
        self._hurry = False
        self._mover: Database | None = None
        self._log_pages = 0
        self._short = False
        self.to_erase: EraseDue | None = None
        """Messages are due for erasure beyond the last slice, or accounts have too many: somebody should ask for this now."""
        self.erases_at_once = False
        """What is expunged is erased by the very operation."""
        try:
            # Before anything is opened for writing: a connection that writes would drop what of a damaged log could still be saved.
            self._commits = self._check_commits()
            self._open_databases()
            self._recover()
        except DatabaseError as error:
            raise ConfigError(f"{folder}: a database is damaged ({error}); put the folder back from a backup") from None
        self._reserve = Reserve(folder)

    # ---------------------------------------------------------------- start

    def _open_databases(self) -> None:
        migrate.bring_up(self.folder, self._key)
        self.keys = KeyStoreFile(self.folder, self.vault.database_key("keys"))
        self.soft = SoftState(self.folder, self.vault.database_key("soft"))
        if self.soft.damaged:
            what = f"decisions and observations were damaged and are lost: {self.soft.damaged}"
            self._sink.emit(Event.of("store.soft-damaged", what, alert=True))
        self.db: Database = open_database(self.folder / migrate.FILE, self._key, Use.WRITE)

    def _check_commits(self) -> int:
        commits = migrate.commits_of(self.folder, self._key)
        written = os.pread(self._counter, 32, 0).strip()
        acknowledged = int(written) if written.isdigit() else 0
        if acknowledged > commits:
            raise ConfigError(
                f"{self.folder}: {acknowledged - commits} acknowledged commits are missing from the database "
                f"(it ends at {commits}, {acknowledged} were acknowledged); put the missing files back, "
                f"or remove {self.folder / COUNTER_FILE} to go on without them"
            )
        return commits

    def _recover(self) -> None:
        accounts = frozenset(row[0] for row in self.db.all(directory.LIST_ACCOUNT_IDS))
        self.keys.sweep(accounts)
        self.contents.drop_temporary()
        if self.db.one(state.GET_SECRET, {"secret": QUEUE_SECRET}) is None:
            made = self.vault.new_queue_keys()
            self.db.run(state.PUT_SECRET, {"name": QUEUE_SECRET, "public": made.public, "wrapped": made.wrapped})
        self.erases_at_once = erases_at_once(self.db)

    # ---------------------------------------------------------------- a batch

    def prepare(self, batch: Sequence[Asked]) -> list[Outcome]:
        """Apply a batch in a transaction that is left open for `commit`; one operation that fails is undone and fails alone."""
        self._effects = Effects()
        now = self._clock.now()
        self._short = full = not self._reserve.growth_allowed(self.db.free_octets)
        try:
            self.db.begin()
            before = self.db.changes
            outcomes = [self._refuse_growth() if full and type(asked.operation) in table.GROWING else self._apply(asked, now) for asked in batch]
            if self.db.changes == before and not self._effects.truncate:
                # Nothing to make durable: answer without a sync.
                self.db.rollback()
                return outcomes
            self._close_accounts(now)
        except _BatchLostError as lost:
            self._effects = Effects()
            return [Outcome(None, lost.error)] * len(batch)
        except DatabaseError as error:
            self._effects = Effects()
            return self._lost(batch, error)
        return outcomes

    def commit(self, batch: Sequence[Asked], outcomes: list[Outcome]) -> tuple[list[Outcome], Hints | None]:
        """Make a prepared batch durable; gives the outcomes that hold now, and the hints that follow. A failed sync fails all of the batch."""
        effects, self._effects = self._effects, Effects()
        if not self.db.in_transaction:
            self._keep(effects.soft)
            return outcomes, None
        try:
            if effects.new_keys:
                self.keys.put(effects.new_keys)
            self.db.commit()
        except DatabaseError as error:
            return self._lost(batch, error), None
        self._commits += 1
        self._count_commit()
        if self._commits % _LOOK_AT_LOG == 0:
            self._log_pages = self.db.log_pages()
        try:
            self._follow(effects)
        except DatabaseError as error:
            # It is committed: whoever keeps answers of before must hear of it, though its caller hears that not all of it could be done.
            self._sink.emit(Event.of("store.not-followed", f"behind a commit (keys of removed accounts go at the next start): {error}", alert=True))
            return [Outcome(None, translate(error))] * len(batch), effects.hints
        return outcomes, effects.hints

    def _count_commit(self) -> None:
        """Write the number of the commit beside the database. What is committed is kept, so a disk that refuses this line takes no answer back."""
        try:
            os.pwrite(self._counter, b"%d\n" % self._commits, 0)
        except OSError as error:
            self._sink.emit(Event.of("store.not-counted", f"commit {self._commits} could not be counted outside the database: {error}", alert=True))

    def now(self) -> float:
        """Give the wall clock."""
        return self._clock.now()

    def run(self, batch: Sequence[Asked]) -> tuple[list[Outcome], Hints | None]:
        """Do both."""
        return self.commit(batch, self.prepare(batch))

    def _apply(self, asked: Asked, now: float) -> Outcome:
        effects = Effects()
        work = Work(self.db, self.vault, self.keys, now, effects, asked.asker)
        self.db.save()
        try:
            answer = table.apply(work, asked.operation)
        except (MoatmailError, DatabaseError) as error:
            return self._undo(error)
        except Exception as error:  # noqa: BLE001  the one place that catches the unexpected: one operation's fault must not stop all others
            self._sink.emit(Event.of("store.fault", f"{type(asked.operation).__name__}: {error!r}", alert=True))
            return self._undo(StoreUnavailableError(repr(error)))
        self.db.keep()
        self._effects.take(effects)
        return Outcome(answer)

    def _undo(self, error: Exception) -> Outcome:
        translated = translate(error)
        if not self.db.in_transaction:
            # A full disk ends the transaction by itself.
            raise _BatchLostError(translated) from error
        self.db.undo()
        return Outcome(None, translated)

    @staticmethod
    def _refuse_growth() -> Outcome:
        return Outcome(None, StorageFullError("less free room on the disk than is kept for reading and deleting"))

    def _close_accounts(self, now: float) -> None:
        """Write what belongs to the transaction as a whole: the ledger, the commit's number, the end of old operations' memory."""
        days = {day for day, _column in self._effects.ledger}
        for day in days:
            counts = {column: self._effects.ledger[day, column] for column in _LEDGER_COLUMNS}
            if any(counts.values()):
                self.db.run(state.ADD_TO_LEDGER, {"day": day, **counts})
        if now - self._pruned > limits.PRUNE_EVERY:
            self._pruned = now
            self.db.run(state.FORGET_DONE, {"before": now - limits.OPERATION_KEPT})
        self.db.run(state.SET_META, {"name": "commit", "value": self._commits + 1})

    def _follow(self, effects: Effects) -> None:
        for content in effects.gone_files:
            with contextlib.suppress(OSError):
                self.contents.remove(content)
        if effects.erase_more or effects.crowded:
            self.to_erase = EraseDue(self._clock.now(), crowded=tuple(effects.crowded))
        if effects.settings:
            self.erases_at_once = erases_at_once(self.db)
        # On a disk that is short of room the log gives back at once what it took for deleting.
        if effects.truncate or self._short:
            with contextlib.suppress(DatabaseError):
                self.db.checkpoint(truncate=True)
        self._keep(effects.soft)
        if effects.gone_keys:
            self.keys.drop(effects.gone_keys)

    def _keep(self, soft: Sequence[Kept]) -> None:
        self._kept += soft
        # Decisions wait for company; who asked for something to be forgotten looks whether it is.
        self._hurry |= any(type(one) is not Decision for one in soft)

    def _lost(self, batch: Sequence[Asked], error: Exception) -> list[Outcome]:
        translated = translate(error)
        self._sink.emit(Event.of("store.commit-failed", f"{len(batch)} operations failed: {error}", alert=True))
        if is_full(error):
            self.db.rollback()
        else:
            # A sync that failed tells nothing about what is on the disk: never again on this connection, and never a second one as a cure.
            self._reopen()
        return [Outcome(None, translated)] * len(batch)

    def _reopen(self) -> None:
        with contextlib.suppress(DatabaseError):
            self.db.rollback()
        with contextlib.suppress(DatabaseError):
            self.db.close()
        try:
            self.db = open_database(self.folder / migrate.FILE, self._key, Use.WRITE)
        except (MoatmailError, DatabaseError) as error:
            self.fatal = True
            self._sink.emit(Event.of("store.lost", f"the database cannot be opened again: {error}", alert=True))

    # ---------------------------------------------------------------- beside the waiting

    @property
    def has_work_beside(self) -> bool:
        """Tell whether `work_beside` has something to do that should not wait."""
        return self._hurry or len(self._kept) >= limits.SOFT_BATCH or self._log_pages >= limits.WAL_PAGES or not self._reserve.held

    @property
    def has_kept(self) -> bool:
        """Tell whether soft state waits to be written."""
        return bool(self._kept)

    def work_beside(self) -> None:
        """Do what nobody waits for, on connections of its own, while batches go on: keep soft state, move the log into the database."""
        self._hurry = False
        if self._kept:
            self._keep_soft()
        if self._log_pages >= limits.WAL_PAGES:
            self._log_pages = 0
            self._move_log()
        self._reserve.restore()

    def _move_log(self) -> None:
        try:
            if self._mover is None:
                self._mover = open_database(self.folder / migrate.FILE, self._key, Use.MOVE)
            self._mover.checkpoint()
        except (MoatmailError, DatabaseError) as error:
            # The next commit tries again when the log has grown; the data are safe in the log.
            self._sink.emit(Event.of("store.log-not-moved", f"the log could not be moved into the database: {error}", alert=True))

    def _keep_soft(self) -> None:
        """Write soft state: it may be lost at a power cut."""
        kept = [self._kept.popleft() for _ in range(len(self._kept))]
        try:
            self.soft.keep(kept)
        except Exception as error:  # noqa: BLE001  what a decision of a process that was taken over may hold must not end the thread that moves the log
            self._sink.emit(Event.of("store.soft-lost", f"{len(kept)} decisions could not be kept: {error}"))

    def sweep_contents(self) -> int:
        """Remove content files that no row names and that are older than a day; runs on a connection of its own, beside the writing."""
        reader = self.reader()
        try:
            return self.contents.sweep(lambda content_id: reader.one(messages.HAS_CONTENT, {"id": content_id}) is not None, self._clock.now())
        finally:
            reader.close()

    def reader(self) -> Database:
        """Open a reading connection."""
        return open_database(self.folder / migrate.FILE, self._key, Use.READ)

    def close(self) -> None:
        """Write what is left and close all files; the log goes into the database."""
        if self._kept:
            self._keep_soft()
        for database in (self._mover, self.db, self.soft):
            if database is not None:
                with contextlib.suppress(DatabaseError):
                    database.close()
        self.keys.close()
        os.close(self._counter)
