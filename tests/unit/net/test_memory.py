# SPDX-License-Identifier: Apache-2.0
"""What a connection costs at rest, measured in a process of its own."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import socket
import sys
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import pytest
import uvloop

from moatmail.net.drive import Connection
from moatmail.net.tls import Certificate, CertificateSet
from tests.unit.net.lab import LineEngine, certificate, open_house, secure_socket

NAME = "mx.example.test"
MANY = 500


async def idle(connection: Connection[bytes]) -> None:
    connection.attach(LineEngine(out=bytearray(b"220 hello\r\n")))
    while await connection.next_event(600) != b"eof":
        pass


def serve(pipe: Pipe, served: Certificate) -> None:
    async def main() -> None:
        house = await open_house(idle, tls=CertificateSet([served]))
        pipe.send(house.port)
        while True:
            await asyncio.to_thread(pipe.recv)
            gc.collect()
            pipe.send(private_kib())

    uvloop.run(main())


def private_kib() -> int:
    """Give the memory that this process alone holds."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty"):
            return int(line.split()[1])
    raise AssertionError


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_idle_tls_connection_costs_less_than_32_kib() -> None:
    fresh = multiprocessing.get_context("spawn")  # a forked one would count pages that its parent touches
    here, there = fresh.Pipe()
    given = certificate(NAME)
    server = fresh.Process(target=serve, args=(there, Certificate(given.chain, given.key)), daemon=True)
    server.start()
    port = here.recv()
    clients: list[socket.socket] = []

    def measure(number: int) -> int:
        while len(clients) < number:
            clients.append(secure_socket(port, NAME))
            clients[-1].recv(100)
        here.send("measure")
        return int(here.recv())

    first = measure(20)
    cost = (measure(20 + MANY) - first) / MANY
    server.kill()
    server.join()
    for client in clients:
        client.close()
    assert 1 < cost < 32, f"{cost:.1f} KiB"
