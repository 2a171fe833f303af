# SPDX-License-Identifier: Apache-2.0
"""Ways to the store from outside a role: through the server that runs, or alone with the folder's lock; the same face either way.

Obeys no RFC.
Must never be used by a role: the master key is read here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from moatmail.admin.change import Desk
from moatmail.app import confine
from moatmail.app.clock import SystemClock
from moatmail.app.vault import make_key, open_vault
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.settings.start import Start
from moatmail.monitor.log import NONE, Log
from moatmail.store.channel import ChannelStore
from moatmail.store.instance import FolderInUseError, InstanceLock
from moatmail.store.local import LocalStore
from moatmail.store.writer import Writer

_DOOR: Final = "cli"


def open_writer(start: Start, sink: EventSink) -> Writer:
    """Open the data folder for writing, in whose lock we are; makes the master key and the databases where there are none. Raises ConfigError."""
    make_key(start)
    return Writer(start.folders.data, open_vault(start), SystemClock(), sink)


@asynccontextmanager
async def open_alone(start: Start, actor: str) -> AsyncIterator[Desk]:
    """Give a desk over the store in this process; the caller holds the folder's lock. Raises ConfigError."""
    confine.guard_memory()
    clock = SystemClock()
    store = LocalStore(open_writer(start, Log(clock, NONE)))
    try:
        yield Desk(store, clock, actor, _DOOR)
    finally:
        await store.close()


@asynccontextmanager
async def open_desk(start: Start, actor: str) -> AsyncIterator[Desk]:
    """Give a desk over the store: alone where nobody holds the folder, else through the server that does. Raises ConfigError, StoreUnavailableError."""
    try:
        lock = InstanceLock(start.folders.data)
    except FolderInUseError:
        async with _open_served(start, actor) as desk:
            yield desk
        return
    try:
        async with open_alone(start, actor) as desk:
            yield desk
    finally:
        lock.release()


@asynccontextmanager
async def _open_served(start: Start, actor: str) -> AsyncIterator[Desk]:
    store = ChannelStore(start.folders.run)
    try:
        yield Desk(store, SystemClock(), actor, _DOOR)
    finally:
        await store.close()
