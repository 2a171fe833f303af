# SPDX-License-Identifier: Apache-2.0
"""Starts a node: folders, lock, ports, the store made ready in a child that ends, then the supervisor with all roles.

Obeys no RFC.
Must never read the master key: only the child that makes the store ready and the role `store` do, each after its fork.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moatmail.app import confine
from moatmail.app.clock import SystemClock
from moatmail.app.roles import STORE, Worker, plan
from moatmail.app.supervisor import EXIT_CANNOT, EXIT_FAILED, EXIT_OK, Entry, Handed, Hooks, Supervisor
from moatmail.core.errors import ConfigError, MoatmailError
from moatmail.core.events import Event
from moatmail.core.settings.start import Start
from moatmail.monitor.log import Log
from moatmail.net import port
from moatmail.store.instance import InstanceLock

_FOLDER_MODE: Final = 0o700


@dataclass(frozen=True, slots=True)
class Guest:
    """What a starter adds: the folder's lock if it has it already, work in the child that makes the store ready, work here once all roles serve.

    With `hangup_ends` a closed terminal ends the server.
    """

    lock: InstanceLock | None = None
    prepare: Callable[[], None] = lambda: None
    on_ready: Callable[[], None] | None = None
    hangup_ends: bool = False


def serve(start: Start, *, compact: bool = False, guest: Guest = Guest()) -> int:
    """Run the node until it is told to end; gives the exit status. Raises ConfigError when it cannot start."""
    from moatmail.app import compose  # noqa: PLC0415 - the rooms are heavy; a mistake in the settings is told without them

    confine.guard_memory()
    confine.save_memory()
    confine.fill_standard_descriptors()
    make_folder(start.folders.data)
    make_folder(start.folders.run)
    lock = guest.lock or InstanceLock(start.folders.data)
    for listener in start.listener:
        port.claim(listener.address, listener.port)
    workers = plan(start, compact=compact)
    sockets = [(worker, _bind(start, worker)) for worker in workers]
    in_child(lambda: compose.make_ready(start, guest.prepare))
    compose.warm()
    events = Log(SystemClock(), start.log.form, source="supervisor")
    if compact or start.roles.compact:
        events.emit(Event.of("start.compact", "compact: one process serves strangers and users; a hole in one door opens both"))
    hooks = Hooks(on_ready=guest.on_ready or (lambda: _tell_ready(start, events)), keep={STORE: (lock.fileno(),)}, hangup_ends=guest.hangup_ends)
    return Supervisor(sockets, _entry(start), events, hooks).run()


def _bind(start: Start, worker: Worker) -> Mapping[int, int]:
    """Give the worker its own socket for each of its listeners."""
    return {number: port.bind_shared(start.listener[number].address, start.listener[number].port) for number in worker.listeners}


def _entry(start: Start) -> Entry:
    from moatmail.app import compose  # noqa: PLC0415 - see serve

    def enter(handed: Handed) -> int:
        return compose.run(start, handed)

    return enter


def _tell_ready(start: Start, events: Log) -> None:
    places = ", ".join(listener.name for listener in start.listener)
    events.emit(Event.of("start.ready", f"serving {start.node.hostname}: {places}"))


def make_folder(folder: Path) -> None:
    """Make a folder that is ours alone, or take one that is; raises ConfigError with one line."""
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        found = folder.lstat()
        if found.st_uid != os.geteuid():
            raise ConfigError(f"{folder}: belongs to another user; use another folder")
        folder.chmod(_FOLDER_MODE)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used ({error.strerror}); use another folder") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder}: not writable; use another folder")


def in_child(work: Callable[[], None]) -> None:
    """Do `work` in a process that ends with it, so that its memory (keys, the migration library) is gone afterwards.

    Raises ConfigError with what the child told when it failed.
    """
    told_read, told_write = os.pipe()
    _flush()
    pid = os.fork()
    if pid == 0:
        os.close(told_read)
        _work_and_end(work, told_write)
    os.close(told_write)
    with os.fdopen(told_read, "rb") as pipe:
        mistakes = pipe.read().decode().split("\0")
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != EXIT_OK:
        raise ConfigError(*(mistakes if mistakes != [""] else (f"the store could not be made ready (status {code})",)))


def _work_and_end(work: Callable[[], None], told: int) -> None:
    status = EXIT_FAILED
    try:
        confine.guard_memory()
        work()
        status = EXIT_OK
    except ConfigError as error:
        status = EXIT_CANNOT
        _tell(told, error.mistakes)
    except (MoatmailError, OSError) as error:
        _tell(told, (f"the store could not be made ready: {error}",))
    except BaseException:  # noqa: BLE001 - the last frame of the process
        sys.excepthook(*sys.exc_info())
    finally:
        _flush()
        os._exit(status)


def _tell(told: int, lines: Sequence[str]) -> None:
    with contextlib.suppress(OSError):
        os.write(told, "\0".join(lines).encode()[:4096])


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
