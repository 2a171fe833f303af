# SPDX-License-Identifier: Apache-2.0
"""The two ways to a store: in this process, and over a channel to a process of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from moatmail.store import migrate
from moatmail.store.channel import ChannelStore
from moatmail.store.interface import Store
from moatmail.store.local import LocalStore
from moatmail.store.writer import Writer
from tests.store_contract.given import Ear, GlassVault, StandingClock
from tests.store_contract.server import serve_forever

EVERY_ROLE = "access+back+web+cli+store+mx"


@pytest.fixture(scope="session")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a data folder whose schema was made once: each test takes a copy."""
    folder = tmp_path_factory.mktemp("empty")
    migrate.bring_up(folder, GlassVault().database_key())
    return folder


@pytest.fixture
def folder(empty_folder: Path, tmp_path: Path) -> Path:
    """Give a fresh data folder."""
    target = tmp_path / "data"
    shutil.copytree(empty_folder, target)
    return target


@pytest.fixture
def start_server(folder: Path) -> Iterator[Callable[[str], int]]:
    """Give a function that starts a store process for which every peer has the given role, and returns its pid when it listens."""
    started: list[int] = []

    def start(role: str = EVERY_ROLE) -> int:
        ready, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ready)
            serve_forever(folder, role, tell)
        os.close(tell)
        started.append(pid)
        answer = os.read(ready, 1)
        os.close(ready)
        assert answer == b"r", "the store process did not come up"
        return pid

    yield start
    for pid in started:
        try:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.fixture(params=["in process", "over a channel"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture
async def store(way: str, request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Store]:
    """Give an empty store, each way."""
    if way == "in process":
        local = LocalStore(Writer(folder, GlassVault(), StandingClock(), Ear()))
        yield local
        await local.close()
        return
    request.getfixturevalue("start_server")(EVERY_ROLE)
    channel = ChannelStore(folder / "run")
    yield channel
    await channel.close()
    await asyncio.sleep(0)
