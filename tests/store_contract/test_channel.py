# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from moatmail.core.errors import NotFoundError
from moatmail.core.limits import store as limits
from moatmail.store import frames
from moatmail.store import queries as q
from moatmail.store.channel import SOCKET, ChannelServer, ChannelStore, bind_in, role_of_peer
from moatmail.store.local import LocalStore
from moatmail.store.writer import Writer
from tests.store_contract.given import Ear, GlassVault, StandingClock, arrival, box, house


async def test_a_reader_of_its_own_sees_what_was_just_written_and_outlives_the_store_process(folder: Path, start_server: Callable[[], int]) -> None:
    pid = start_server()
    store = ChannelStore(folder / "run")
    alice = await house(store)
    await store.open_reader(folder)
    for uid in range(1, 51):
        await store.write(arrival(alice.account))
        assert (await box(store, alice)).uidnext == uid + 1
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, pid, 0)
    assert (await box(store, alice)).messages == 50
    await asyncio.to_thread(start_server)
    await store.write(arrival(alice.account))
    assert [row.uid for row in await store.read(q.GetMessages(alice.account, alice.inbox, (50, 51)))] == [50, 51]
    await store.close()


async def test_a_reader_answers_without_the_channel_what_needs_no_key(folder: Path, start_server: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    start_server()
    store = ChannelStore(folder / "run")
    alice = await house(store)
    await store.open_reader(folder)
    asked: list[object] = []
    real = store._ask

    async def ask(request: object) -> object:
        asked.append(request)
        return await real(request)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_ask", ask)
    await box(store, alice)
    assert asked == []
    login = q.FetchLogin("alice", "example.test")
    assert await store.read(login) is not None
    assert asked == [login]
    await store.close()


async def test_a_peer_that_asks_faster_than_the_disk_answers_is_slowed_down_and_loses_nothing(
    folder: Path, start_server: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNANSWERED", 50_000)
    start_server()
    store = ChannelStore(folder / "run")
    alice = await house(store)
    placed = await asyncio.gather(*(store.write(arrival(alice.account, size=20_000)) for _ in range(100)))
    assert sorted(one[0].uid for one in placed) == list(range(1, 101))
    await store.close()


async def test_requests_are_pipelined_and_an_error_belongs_to_its_own_request(folder: Path, start_server: Callable[[], int]) -> None:
    start_server()
    store = ChannelStore(folder / "run")
    alice = await house(store)
    asked = [store.write(arrival(alice.account if number % 3 else 77)) for number in range(30)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(result, NotFoundError) for result in results] == [not number % 3 for number in range(30)]
    await store.close()


@pytest.mark.parametrize("octets", [b"\xff" * 100, (20).to_bytes(4, "little") + bytes(20)], ids=["an impossible length", "a body that is no request"])
async def test_what_is_no_frame_ends_that_channel_and_no_other(folder: Path, start_server: Callable[[], int], octets: bytes) -> None:
    start_server()
    store = ChannelStore(folder / "run")
    await store.read(q.GetSettings())
    reader, writer = await asyncio.open_unix_connection(str(folder / "run" / SOCKET))
    writer.write(octets)
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()
    await store.read(q.GetSettings())
    await store.close()


def test_a_folder_with_a_very_long_name_has_room_for_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    bind_in(folder, SOCKET, socket.SOCK_STREAM).close()
    assert (folder / SOCKET).is_socket()
    assert (folder.stat().st_mode & 0o777) == 0o700


@pytest.mark.parametrize(
    ("uid", "role", "wanted"),
    [
        pytest.param(os.getuid(), "cli", "cli", id="our own user at the command line"),
        pytest.param(0, "cli", "cli", id="root at the command line"),
        pytest.param(4242, "cli", "", id="another user is nobody"),
        pytest.param(4242, "mx", "mx", id="a role may have a user of its own"),
        pytest.param(os.getuid(), "", "", id="a descendant of a role is nobody"),
    ],
)
def test_the_kernel_tells_who_knocks(uid: int, role: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moatmail.store.channel.peer_of", lambda _connection: (1234, uid))
    ours, theirs = socket.socketpair()
    assert role_of_peer(ours, lambda pid: role if pid == 1234 else "wrong") == wanted
    ours.close()
    theirs.close()


async def test_a_peer_that_asks_and_does_not_read_is_not_asked_for_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNANSWERED", 50_000)
    ear, clock = Ear(), StandingClock()
    store = LocalStore(Writer(folder, GlassVault(), clock, ear))
    server = ChannelServer(store, lambda _pid: "mx", clock, ear)
    await server.start(bind_in(folder / "run", SOCKET, socket.SOCK_STREAM))
    answered = 0
    real = store.answer

    def answer(query: q.Query[object]) -> object:
        nonlocal answered
        answered += 1
        return real(query)

    monkeypatch.setattr(store, "answer", answer)
    question = frames.pack(1, frames.ASK, q.LookupAddresses("example.test", tuple(f"nobody{number}" for number in range(500))))
    reader, writer = await asyncio.open_unix_connection(str(folder / "run" / SOCKET), limit=1000)
    for _ in range(2000):
        writer.write(question)
    # As long as something moves, the peer is served; then it has to read.
    before = -1
    while before != answered:
        before = answered
        await asyncio.sleep(0.1)
    assert answered < 1000
    while answered < 2000:
        await asyncio.wait_for(reader.read(100_000), 20)
    writer.close()
    await server.close()
    await store.close()
