# SPDX-License-Identifier: Apache-2.0
"""The settings as this process last read them, swapped whole when they change.

Obeys no RFC.
Must never be written to: changes go through `admin/change`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from moatmail.core.errors import ConfigError, TemporaryError
from moatmail.core.events import Event
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.settings.load import overlay
from moatmail.core.settings.mail import Mail
from moatmail.store.interface import Store
from moatmail.store.queries import GetSettings

_AGAIN_SECONDS: Final = 0.5


class Snapshot:
    """Call it for the settings of this moment."""

    def __init__(self, store: Store, events: EventSink) -> None:
        self._store = store
        self._events = events
        self._mail = Mail()
        self._version = -1
        self._listeners: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._wanted = False

    def __call__(self) -> Mail:
        """Give the settings as last read."""
        return self._mail

    @property
    def version(self) -> int:
        """Give the number of the change after which they were read."""
        return self._version

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after every change."""
        self._listeners.append(listener)

    async def begin(self) -> None:
        """Read them, waiting for the store."""
        while True:
            try:
                await self.refresh()
            except TemporaryError:
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return

    async def refresh(self) -> None:
        """Read them now; what no longer fits keeps the old ones in place and is told. Raises StoreUnavailableError."""
        answer = await self._store.read(GetSettings())
        if answer.version == self._version:
            return
        try:
            mail = overlay(answer.values)
        except ConfigError as error:
            self._events.emit(Event.of("settings.bad", f"stored settings do not fit, the old ones stay: {error}", alert=True))
            return
        self._version, self._mail = answer.version, mail
        for listener in self._listeners:
            listener()

    def refresh_soon(self) -> None:
        """Read them in the background (a hint came); several hints before that count as one."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        while self._wanted:
            self._wanted = False
            await self.begin()

    def end(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
