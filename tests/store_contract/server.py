# SPDX-License-Identifier: Apache-2.0
"""A store process as small as it can be: what `app` composes for the role `store`, without the rest.

Obeys no RFC.
Must never return: it is a child of a test.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from moatmail.store import bus
from moatmail.store.channel import SOCKET, ChannelServer, bind_in
from moatmail.store.local import LocalStore
from moatmail.store.writer import Writer
from tests.store_contract.given import Ear, GlassVault, StandingClock


async def serve(folder: Path, role: str, tell: int) -> None:
    """Serve until SIGTERM; one octet to `tell` says that both sockets listen."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    clock, ear = StandingClock(), Ear()
    run = folder / "run"
    hints = bus.BusServer(lambda _pid: role)
    hints.start(bind_in(run, bus.SOCKET, socket.SOCK_SEQPACKET))
    store = LocalStore(Writer(folder, GlassVault(), clock, ear), hints.tell)
    server = ChannelServer(store, lambda _pid: role, clock, ear)
    await server.start(bind_in(run, SOCKET, socket.SOCK_STREAM))
    os.write(tell, b"r")
    await stop.wait()
    await server.close()
    hints.close()
    await store.close()


def serve_forever(folder: Path, role: str, tell: int) -> NoReturn:
    """Run `serve` in a forked child and end it."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        asyncio.run(serve(folder, role, tell))
        code = 0
    except BaseException:  # noqa: BLE001  nothing may unwind into the parent's code
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(code)
