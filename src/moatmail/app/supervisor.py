# SPDX-License-Identifier: Apache-2.0
"""Keeps the roles running: forks each, hands it its sockets, replaces it when it dies, ends all in order.

Obeys no RFC.
Must never have a loop, a thread, a database, a TLS context or a key, so that it can fork for as long as it lives; nor talk to anybody.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from moatmail.app import confine
from moatmail.app.roles import STORE, Worker
from moatmail.app.roster import Roster, RosterView
from moatmail.core.errors import ConfigError
from moatmail.core.events import Event
from moatmail.core.ports.event_sink import EventSink

READY: Final = signal.SIGRTMIN
"""Sent by a role when it serves; a real-time signal, because those are queued and carry the sender's pid."""

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_CANNOT: Final = 2
"""A role's exit status for "it will not work however often you start me": told by the role in one line; before the first READY it ends the start."""

DRAIN_SECONDS: Final = 30.0
HASTE_SECONDS: Final = 1.0
STEADY_SECONDS: Final = 10.0  # who ran so long and then crashed is replaced at once
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 30.0

_WATCHED: Final = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, READY})


@dataclass(frozen=True, slots=True)
class Handed:
    """What a role gets from the supervisor: its listening sockets as descriptors by place in `Start.listener`, and the roster."""

    worker: Worker
    sockets: Mapping[int, int]
    roster: RosterView
    supervisor: int

    def ready(self) -> None:
        """Tell the supervisor that this role serves."""
        os.kill(self.supervisor, READY)


Entry = Callable[[Handed], int]
"""The life of a role: gives its exit status."""


@dataclass(slots=True)
class _Slot:
    """One worker's place: its sockets live here, its processes come and go."""

    number: int
    worker: Worker
    sockets: Mapping[int, int]
    pid: int = 0
    started: float = 0.0
    ready: bool = False
    crashes: int = 0  # in a row
    due: float | None = None  # when to start the next process


@dataclass(slots=True)
class Hooks:
    """What the starter of the supervisor wants to know or to add."""

    on_ready: Callable[[], None] = lambda: None
    keep: Mapping[str, Sequence[int]] = field(default_factory=dict)  # descriptors kept open by a role (the store keeps the folder's lock)
    hangup_ends: bool = False  # SIGHUP drains instead of reloading: the terminal that started us was closed


class Supervisor:
    """The parent of all roles; `run` gives the exit status of the whole server."""

    def __init__(self, workers: Sequence[tuple[Worker, Mapping[int, int]]], entry: Entry, events: EventSink, hooks: Hooks | None = None) -> None:
        """Take the workers with their sockets (descriptors, bound already), and the function every role runs after its fork."""
        self._slots = [_Slot(number, worker, sockets) for number, (worker, sockets) in enumerate(workers)]
        self._entry = entry
        self._events = events
        self._hooks = hooks or Hooks()
        self._roster = Roster()
        self._told_ready = False
        self._draining = self._store_told = False
        self._status = EXIT_OK
        self._kill_at: float | None = None
        self._mask: set[signal.Signals | int] = set()

    # ---------------------------------------------------------------- the one loop

    def run(self) -> int:
        """Start the store, then everybody else; keep them until a signal ends it; give the exit status."""
        confine.guard_memory()
        confine.adopt_orphans()
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        gc.collect()
        gc.freeze()  # the collector would touch, and so copy, every page that the roles share
        try:
            for slot in self._slots:
                if slot.worker.role == STORE or not self._store_awaited():
                    self._start(slot)
            while self._anybody():
                self._handle(self._wait())
                self._do_due()
        finally:
            self._kill_all()
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        return self._status

    def _store_awaited(self) -> bool:
        """Tell whether the others wait for the store's first READY (they ask it for their settings)."""
        return any(slot.worker.role == STORE and not slot.ready for slot in self._slots) and not self._told_ready

    def _anybody(self) -> bool:
        return any(slot.pid or (slot.due is not None and not self._draining) for slot in self._slots)

    def _wait(self) -> signal.struct_siginfo | None:
        """Sleep until a signal comes or something is due."""
        dues = [slot.due for slot in self._slots if slot.due is not None and not self._draining]
        if self._kill_at is not None:
            dues.append(self._kill_at)
        if not dues:
            return signal.sigwaitinfo(_WATCHED)
        return signal.sigtimedwait(_WATCHED, max(0.0, min(dues) - time.monotonic()))

    def _handle(self, info: signal.struct_siginfo | None) -> None:
        if info is None:
            return
        if info.si_signo in {signal.SIGTERM, signal.SIGINT} or (info.si_signo == signal.SIGHUP and self._hooks.hangup_ends):
            self._drain()
        elif info.si_signo == signal.SIGHUP:
            self._tell_all(signal.SIGHUP)
        elif info.si_signo == READY:
            self._note_ready(info.si_pid)
        self._reap()  # after any signal: SIGCHLD comes once for several children

    def _do_due(self) -> None:
        now = time.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._tell_all(signal.SIGKILL)
        if self._draining:
            self._drain_on()
            return
        for slot in self._slots:
            if slot.due is not None and slot.due <= now:
                self._start(slot)

    # ---------------------------------------------------------------- birth

    def _start(self, slot: _Slot) -> None:
        """Fork the worker; it begins its work only when the roster knows it."""
        slot.due, slot.ready, slot.started = None, False, time.monotonic()
        gate_read, gate_write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        supervisor = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(slot, supervisor, gate_read, gate_write)
        slot.pid = pid
        self._roster.enter(slot.number, pid, slot.worker.role)
        os.close(gate_read)
        os.close(gate_write)  # its end is the sign

    def _become(self, slot: _Slot, supervisor: int, gate_read: int, gate_write: int) -> None:
        """Turn this fresh child into the role; never returns."""
        status = EXIT_FAILED
        try:
            os.close(gate_write)
            confine.die_with(supervisor)
            status = self._entry(self._hand_over(slot, supervisor, gate_read))
        except ConfigError as error:
            status = EXIT_CANNOT
            for mistake in error.mistakes:
                print(f"moatmail: {mistake}", file=sys.stderr)  # noqa: T201 - the one line a person sees
        except BaseException:  # noqa: BLE001 - the last frame of the process: whatever it was, it is told, and the supervisor starts anew
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _hand_over(self, slot: _Slot, supervisor: int, gate: int) -> Handed:
        self._roster.close_writer()
        worker = slot.worker
        kept = self._hooks.keep.get(worker.role, ())
        confine.close_foreign({gate, self._roster.reader_fd, *slot.sockets.values(), *kept})
        confine.guard_memory()
        confine.give_up_privileges()
        confine.adopt_orphans()
        confine.name_process(f"moat:{worker.name}")
        os.read(gate, 1)  # the supervisor closes it when the roster knows us, or when it dies
        os.close(gate)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor says when to end
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        return Handed(worker, slot.sockets, RosterView(self._roster.reader_fd, supervisor), supervisor)

    def _note_ready(self, pid: int) -> None:
        slot = next((one for one in self._slots if one.pid == pid), None)
        if slot is None:
            return
        slot.ready = True
        if slot.worker.role == STORE and not self._told_ready:
            for other in self._slots:
                if not other.pid and other.due is None and not self._draining:
                    self._start(other)
        if not self._told_ready and not self._draining and all(one.ready for one in self._slots):
            self._told_ready = True
            self._hooks.on_ready()

    # ---------------------------------------------------------------- death

    def _reap(self) -> None:
        """Take note of every child that ended; the roster forgets a pid before the kernel may give it to another."""
        while (ended := _next_ended()) is not None:
            slot = next((one for one in self._slots if one.pid == ended), None)
            if slot is not None:
                self._roster.remove(slot.number)
            _, status = os.waitpid(ended, 0)
            if slot is not None:
                slot.pid = 0
                self._judge(slot, os.waitstatus_to_exitcode(status))

    def _judge(self, slot: _Slot, code: int) -> None:
        """Decide what follows from a worker's end."""
        if self._draining:
            return
        if code == EXIT_CANNOT and not self._told_ready:
            self._status = EXIT_CANNOT
            self._drain()
            return
        ran = time.monotonic() - slot.started
        slot.crashes = 1 if ran >= STEADY_SECONDS else slot.crashes + 1
        pause = 0.0 if slot.crashes <= 1 else min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (slot.crashes - 2))
        slot.due = time.monotonic() + pause
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        again = "started again" if not pause else f"starting again in {pause:.1f} s"
        text = f"role {slot.worker.name} {how} after {ran:.1f} s ({slot.crashes} in a row); {again}"
        self._events.emit(Event.of("role.died", text, alert=True, role=slot.worker.name, code=code, crashes=slot.crashes))

    def _drain(self) -> None:
        """Ask the roles to finish, the store last; asked a second time, give them only a moment."""
        seconds = HASTE_SECONDS if self._draining else DRAIN_SECONDS
        if not self._draining:
            self._let_go_of_sockets()
        self._draining = True
        self._kill_at = time.monotonic() + seconds
        for slot in self._slots:
            if slot.worker.role != STORE:
                self._tell(slot, signal.SIGTERM)
        self._drain_on()

    def _let_go_of_sockets(self) -> None:
        """Close our copies: as long as one is open the kernel takes connections that nobody will serve."""
        for slot in self._slots:
            for descriptor in slot.sockets.values():
                os.close(descriptor)

    def _drain_on(self) -> None:
        """When all others are gone, the store follows."""
        if any(slot.pid for slot in self._slots if slot.worker.role != STORE):
            return
        if not self._store_told:
            self._store_told = True
            self._tell_all(signal.SIGTERM)

    def _tell_all(self, number: signal.Signals) -> None:
        for slot in self._slots:
            self._tell(slot, number)

    def _tell(self, slot: _Slot, number: signal.Signals) -> None:
        if slot.pid:
            os.kill(slot.pid, number)  # not reaped yet, so the pid is still its own

    def _kill_all(self) -> None:
        self._tell_all(signal.SIGKILL)
        for slot in self._slots:
            if slot.pid:
                self._roster.remove(slot.number)
                os.waitpid(slot.pid, 0)
                slot.pid = 0


def _next_ended() -> int | None:
    """Give the pid of a child that ended and was not reaped, or None."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended is not None and ended.si_pid else None
