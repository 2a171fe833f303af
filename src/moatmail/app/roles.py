# SPDX-License-Identifier: Apache-2.0
"""The roles of one node: which processes run, what each may listen to, in which order they start and stop.

Obeys no RFC.
Must never know how a process is made (`supervisor`) or what it does (`compose`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from moatmail.core.settings.start import Start

STORE: Final = "store"
MX: Final = "mx"
ACCESS: Final = "access"
BACK: Final = "back"
COMPACT: Final = f"{MX}+{ACCESS}"
"""The folded role of `--compact`: it holds the rights of both."""

ROLES: Final = (STORE, MX, ACCESS, BACK, COMPACT)
"""Every role; its place here is its number in the roster."""

_STRANGERS: Final = frozenset({"mx"})
USERS: Final = frozenset({"submission", "submissions", "imap", "imaps", "pop3", "pop3s"})
"""The doors at which our users log in."""

DOORS: Final = {MX: _STRANGERS, ACCESS: USERS, COMPACT: _STRANGERS | USERS, STORE: frozenset[str](), BACK: frozenset[str]()}
"""Which doors a role serves."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One process to be kept running: its role, its number within the role, and the listeners it serves (places in `Start.listener`)."""

    role: str
    number: int = 0
    listeners: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Give the worker's name in messages: the role, with a number if it is not the first."""
        return f"{self.role}-{self.number + 1}" if self.number else self.role

    @property
    def single(self) -> bool:
        """Tell whether the worker serves no listener of strangers or users."""
        return not self.listeners


def plan(start: Start, *, compact: bool = False, cores: int | None = None) -> tuple[Worker, ...]:
    """Give the workers of this node, the store first; `cores` is asked from the machine if not given."""
    cores = cores or len(os.sched_getaffinity(0))
    roles = start.roles
    access = roles.access_workers or cores
    counts = {COMPACT: 1} if compact or roles.compact else {MX: roles.mx_workers, ACCESS: access}
    fronts = [Worker(role, number, served) for role, count in counts.items() if (served := _served(start, role)) for number in range(count)]
    return (Worker(STORE), *fronts, Worker(BACK))


def _served(start: Start, role: str) -> tuple[int, ...]:
    return tuple(number for number, listener in enumerate(start.listener) if listener.door in DOORS[role])
