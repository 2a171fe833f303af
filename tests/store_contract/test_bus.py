# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from moatmail.store import bus
from moatmail.store import operations as o
from moatmail.store.apply.work import Hints
from moatmail.store.channel import ChannelStore, bind_in
from tests.house.timing import assert_within_async
from tests.store_contract.given import NOW, arrival, change, content, house, new_id

NOTHING = Hints({}, queue=False, settings=0)


class Listener:
    """Hears the bus and waits for what a test wants to hear."""

    def __init__(self, run: Path) -> None:
        self.hints: list[bus.Hint] = []
        self._new = asyncio.Event()
        self.client = bus.BusClient(run, self._hear)
        self.client.start()

    def _hear(self, hint: bus.Hint) -> None:
        self.hints.append(hint)
        self._new.set()

    async def until(self, wanted: Callable[[list[bus.Hint]], bool]) -> None:
        async with asyncio.timeout(20):
            while not wanted(self.hints):
                self._new.clear()
                await self._new.wait()


async def test_a_change_reaches_another_process_well_within_5_ms_of_its_answer(folder: Path, start_server: Callable[[], int]) -> None:
    start_server()
    store = ChannelStore(folder / "run")
    alice = await house(store)
    listener = Listener(folder / "run")
    await listener.until(lambda hints: bus.Hint(bus.RESYNC) in hints)

    async def waited() -> float:
        waits = []
        for _ in range(50):
            (placed,) = await store.write(arrival(alice.account))
            answered = time.perf_counter()
            wanted = bus.Hint(bus.MAILBOX, alice.inbox, placed.modseq)
            await listener.until(lambda hints, wanted=wanted: wanted in hints)  # type: ignore[misc]
            waits.append(time.perf_counter() - answered)
        return sorted(waits)[25]

    await assert_within_async(0.005, waited)
    listener.client.close()
    await store.close()


async def test_queue_and_settings_are_told_too(folder: Path, start_server: Callable[[], int]) -> None:
    start_server()
    store = ChannelStore(folder / "run")
    listener = Listener(folder / "run")
    await listener.until(bool)
    one = content()
    await store.write(o.Accept((one,), spools=(o.NewSpool(new_id(), one.id, b"", b"", NOW, (NOW,)),)))
    version = await store.write(change(o.SetSetting("a", "1")))
    await listener.until(lambda hints: {bus.Hint(bus.QUEUE), bus.Hint(bus.SETTINGS, 0, version)} <= set(hints))
    listener.client.close()
    await store.close()


async def test_a_listener_finds_the_next_store_process_and_is_told_to_look_anew(folder: Path, start_server: Callable[[], int]) -> None:
    pid = start_server()
    listener = Listener(folder / "run")
    await listener.until(lambda hints: hints == [bus.Hint(bus.RESYNC)])
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, pid, 0)
    await asyncio.to_thread(start_server)
    await listener.until(lambda hints: hints == [bus.Hint(bus.RESYNC)] * 2)
    listener.client.close()


async def test_hints_of_one_turn_are_sent_together_one_for_each_mailbox(tmp_path: Path) -> None:
    server = bus.BusServer(lambda _pid: "access")
    server.start(bind_in(tmp_path, bus.SOCKET, socket.SOCK_SEQPACKET))
    listener = Listener(tmp_path)
    await listener.until(bool)
    for modseq in range(1, 1001):
        server.tell(NOTHING._replace(mailboxes={7: modseq, 8: 1}))
    await listener.until(lambda hints: len(hints) >= 3)
    assert listener.hints[1:] == [bus.Hint(bus.MAILBOX, 7, 1000), bus.Hint(bus.MAILBOX, 8, 1)]
    listener.client.close()
    server.close()


async def test_a_receiver_that_overflowed_delays_nobody_and_is_told_to_look_anew_when_it_has_room(tmp_path: Path) -> None:
    server = bus.BusServer(lambda _pid: "access")
    server.start(bind_in(tmp_path, bus.SOCKET, socket.SOCK_SEQPACKET))
    stopped = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stopped.setblocking(False)
    stopped.connect(str(tmp_path / bus.SOCKET))
    listener = Listener(tmp_path)
    await listener.until(bool)
    for modseq in range(1, 2001):
        server.tell(NOTHING._replace(mailboxes={7: modseq}))
        await listener.until(lambda hints, modseq=modseq: hints[-1].value == modseq)  # type: ignore[misc]
    heard = [stopped.recv(18)]
    while True:
        try:
            heard.append(stopped.recv(18))
        except BlockingIOError:
            break
    assert len(heard) < 2000
    async with asyncio.timeout(20):
        last = await asyncio.get_running_loop().sock_recv(stopped, 18)
    assert last[0] == bus.RESYNC
    server.tell(NOTHING._replace(mailboxes={9: 1}))
    async with asyncio.timeout(20):
        after = await asyncio.get_running_loop().sock_recv(stopped, 18)
    assert (after[0], after[1]) == (bus.MAILBOX, 9)
    stopped.close()
    listener.client.close()
    server.close()


async def test_a_process_without_a_role_hears_nothing(tmp_path: Path) -> None:
    server = bus.BusServer(lambda _pid: "")
    server.start(bind_in(tmp_path, bus.SOCKET, socket.SOCK_SEQPACKET))
    stranger = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stranger.setblocking(False)
    stranger.connect(str(tmp_path / bus.SOCKET))
    async with asyncio.timeout(20):
        assert await asyncio.get_running_loop().sock_recv(stranger, 18) == b""
    stranger.close()
    server.close()
