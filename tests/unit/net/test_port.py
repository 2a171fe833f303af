# SPDX-License-Identifier: Apache-2.0
"""Ports: a taken one is found although we share ours, and a handed one still listens."""

from __future__ import annotations

import os
import socket

import pytest

from moatmail.core.errors import ConfigError
from moatmail.net import port


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::"])
def test_a_free_port_can_be_claimed_again_and_again(address: str) -> None:
    number = free_port(address)
    port.claim(address, number)
    port.claim(address, number)


def test_a_port_in_use_is_one_line_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"^port 127.0.0.1:{number} is in use by another program; stop it, or choose other ports$"):
            port.claim("127.0.0.1", number)


def test_a_port_shared_by_a_server_like_ours_is_found_too() -> None:
    number = free_port()
    first = port.adopt(port.bind_shared("127.0.0.1", number))
    first.listen()
    with pytest.raises(ConfigError, match="in use"):
        port.claim("127.0.0.1", number)
    first.close()


def test_several_processes_may_each_have_their_own_socket_of_one_port() -> None:
    number = free_port()
    several = [port.adopt(port.bind_shared("127.0.0.1", number)) for _ in range(3)]
    assert {sock.getsockname()[1] for sock in several} == {number}
    for sock in several:
        sock.close()


def test_a_replacement_takes_over_what_waits_at_the_socket_of_the_dead() -> None:
    number = free_port()
    kept = port.bind_shared("127.0.0.1", number)
    first = port.adopt(os.dup(kept))
    first.listen()
    first.close()
    client = socket.create_connection(("127.0.0.1", number), timeout=20)
    second = port.adopt(kept)
    second.settimeout(2)
    accepted, peer = second.accept()
    assert peer == client.getsockname()
    for sock in (accepted, client, second):
        sock.close()


def test_an_address_of_another_machine_is_one_line() -> None:
    with pytest.raises(ConfigError, match="choose another address"):
        port.claim("192.0.2.1", 2525)


def test_an_address_for_all_takes_both_families() -> None:
    number = free_port("::")
    sock = port.adopt(port.bind_shared("::", number))
    sock.listen()
    for address in ("127.0.0.1", "::1"):
        socket.create_connection((address, number), timeout=20).close()
    sock.close()
