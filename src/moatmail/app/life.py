# SPDX-License-Identifier: Apache-2.0
"""The life of a role after its fork: a loop, what runs on it, the signals that reload and end it.

Obeys no RFC.
Must never know which role it is.
"""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import uvloop

from moatmail.app.supervisor import EXIT_OK, Handed
from moatmail.core.errors import ConfigError
from moatmail.core.events import Event
from moatmail.core.ports.event_sink import EventSink

DRAIN_SECONDS: Final = 20.0
"""What sessions get to end in order; less than the supervisor gives, so that a role ends by itself."""


class Being(Protocol):
    """What lives in a role: made, it serves already."""

    async def reload(self) -> None:
        """Take over what changed in files and settings."""

    async def end(self, seconds: float) -> None:
        """Stop taking new work, finish what is under way within `seconds`, close everything."""


def live(handed: Handed, events: EventSink, make: Callable[[], Awaitable[Being]]) -> int:
    """Run `make` and what it makes on a loop of its own until SIGTERM; gives the exit status. Raises ConfigError out of `make`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_live(handed, events, make))


async def _live(handed: Handed, events: EventSink, make: Callable[[], Awaitable[Being]]) -> int:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    reloads = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGHUP, reloads.set)
    loop.set_exception_handler(lambda _loop, context: events.emit(_unexpected(handed, context)))
    made = asyncio.ensure_future(make())
    stop = asyncio.ensure_future(ended.wait())
    await asyncio.wait({made, stop}, return_when=asyncio.FIRST_COMPLETED)
    if not made.done():
        made.cancel()
        return EXIT_OK
    being = made.result()
    handed.ready()
    while not stop.done():
        reload = asyncio.ensure_future(reloads.wait())
        await asyncio.wait({stop, reload}, return_when=asyncio.FIRST_COMPLETED)
        if reload.done():
            reloads.clear()
            await _reload(being, events)
        reload.cancel()
    await being.end(DRAIN_SECONDS)
    return EXIT_OK


async def _reload(being: Being, events: EventSink) -> None:
    """Reload; a mistake in what is to be loaded leaves the old in place."""
    try:
        await being.reload()
    except ConfigError as error:
        for mistake in error.mistakes:
            events.emit(Event.of("reload.failed", f"not reloaded: {mistake}", alert=True))
    except Exception as error:  # noqa: BLE001 - whatever it is, the role goes on with what it has
        events.emit(Event.of("reload.failed", f"not reloaded: {type(error).__name__}: {error}", alert=True))


def _unexpected(handed: Handed, context: dict[str, object]) -> Event:
    """Tell of an error that no coroutine caught; its message may quote mail, so only type and place are told."""
    error = context.get("exception")
    if not isinstance(error, BaseException):
        return Event.of("role.fault", str(context.get("message", "")), alert=True, role=handed.worker.name)
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return Event.of("role.fault", f"{type(error).__name__} at {place}: {context.get('message', '')}", alert=True, role=handed.worker.name)
