# SPDX-License-Identifier: Apache-2.0
"""Which openings of accounts look like theft of keys, and not like people who come back.

Obeys no RFC; what an access process that was taken over can do is told in docs/security.md.
Must never know keys, nor whether a password was right: that is judged where people log in.

Two things tell a process that collects keys from a thousand clients that reconnect. People log in: before each opening the process asked for what
judges a login of that account. And people come back: their accounts were opened earlier that day. So openings without a login are told after a few, and
openings of accounts that nobody used for a day after many. Who asks for a login before each opening, of accounts in daily use, slowly, is told apart
by nobody, but by the journal, which has every opening.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from moatmail.core.events import Event
from moatmail.core.limits import store as limits
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.event_sink import EventSink

_MINUTE: Final = 60.0


class _Recent:
    """Keys with the time at which they were seen last; the longest unseen are forgotten beyond a bound."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: dict[tuple[str, int] | int, float] = {}

    def note(self, key: tuple[str, int] | int, now: float) -> None:
        self._seen.pop(key, None)
        self._seen[key] = now
        if len(self._seen) > self._most:
            del self._seen[next(iter(self._seen))]

    def knows(self, key: tuple[str, int] | int, since: float) -> bool:
        return self._seen.get(key, since) > since

    def __len__(self) -> int:
        return len(self._seen)


class _Alarm:
    """Rings when more than `limit` things happened in a minute, and then not again for a minute."""

    def __init__(self, limit: int) -> None:
        self._times: deque[float] = deque(maxlen=limit + 1)
        self._limit = limit
        self._quiet_until = 0.0

    def rings(self, now: float) -> bool:
        self._times.append(now)
        if len(self._times) <= self._limit or self._times[0] <= now - _MINUTE or now < self._quiet_until:
            return False
        self._quiet_until = now + _MINUTE
        return True


class Openings:
    """Hears of logins and openings at the store's door, and tells of openings that somebody should look at."""

    def __init__(self, clock: Clock, sink: EventSink) -> None:
        """Begin; what came before is not known, so for a while nothing is told."""
        self._clock = clock
        self._sink = sink
        self._logins = _Recent(limits.OPENINGS_KNOWN)
        self._used = _Recent(limits.OPENINGS_KNOWN)
        self._silent_until = clock.monotonic() + limits.OPENINGS_SILENT
        self._alarms: dict[tuple[str, str], _Alarm] = {}

    def login(self, role: str, account: int) -> None:
        """Take note that a role was given what judges a login of an account."""
        self._logins.note((role, account), self._clock.monotonic())

    def opened(self, role: str, account: int) -> None:
        """Take note that a role asked for an account's keys."""
        now = self._clock.monotonic()
        known = self._used.knows(account, now - limits.OPENING_USED)
        self._used.note(account, now)
        if now < self._silent_until:
            return
        if not self._logins.knows((role, account), now - limits.OPENING_LOGIN):
            self._count("store.openings-without-login", role, limits.OPENED_WITHOUT_LOGIN, "accounts without a login before it")
        if not known:
            self._count("store.many-openings", role, limits.OPENED_ACCOUNTS, "accounts that nobody used for a day")

    def _count(self, name: str, role: str, limit: int, what: str) -> None:
        alarm = self._alarms.setdefault((name, role), _Alarm(limit))
        if alarm.rings(self._clock.monotonic()):
            self._sink.emit(Event.of(name, f"role {role} opened more than {limit} {what} in a minute", alert=True, role=role))
