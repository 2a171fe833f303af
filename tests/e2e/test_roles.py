# SPDX-License-Identifier: Apache-2.0
"""The running tree: who holds the master key, what it weighs, what happens when one of it dies (R21)."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import smtplib
import socket
import time
from pathlib import Path

import pytest

from tests.e2e.trial import Trial, descendants
from tests.house.timing import assert_within

PSS_MAX_KIB = 160 * 1024
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: reads other processes' memory")


def roles(server: Trial) -> dict[str, list[int]]:
    """Give the processes of the tree by the name each gave itself."""
    found: dict[str, list[int]] = {"supervisor": [server.pid]}
    for pid in descendants(server.pid):
        name = Path(f"/proc/{pid}/comm").read_text().strip().removeprefix("moat:").partition("-")[0]
        found.setdefault(name, []).append(pid)
    return found


def holds(pid: int, words: bytes) -> bool:
    """Search the readable memory of a process."""
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if "r" not in rights or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(one, 16) for one in span.split("-"))
            memory.seek(start)
            try:
                if words in memory.read(end - start):
                    return True
            except OSError:
                continue
    return False


def greeting(server: Trial, service: str) -> bytes:
    with socket.create_connection(server.address(service), timeout=20) as sock:
        return sock.recv(512)


def test_the_tree_is_the_one_of_the_roles_table(server: Trial) -> None:
    assert {role: len(pids) for role, pids in roles(server).items()} == {
        "supervisor": 1,
        "store": 1,
        "mx": 1,
        "access": len(os.sched_getaffinity(0)),
        "back": 1,
    }


@needs_root
def test_only_the_store_has_the_master_key_in_its_memory(server: Trial) -> None:
    key = (server.folder / "keys" / "master.key").read_bytes()
    assert {role for role, pids in roles(server).items() for pid in pids if holds(pid, key)} == {"store"}


@needs_root
def test_the_tls_key_is_with_the_doors_only(server: Trial) -> None:
    key = (server.folder / "keys" / "server.key").read_bytes().splitlines()[1]
    assert not {role for role, pids in roles(server).items() for pid in pids if holds(pid, key)} & {"supervisor", "store", "back"}


@needs_root
def test_the_tree_at_rest_weighs_no_more_than_promised(server: Trial) -> None:
    weights = {}
    for role, pids in roles(server).items():
        for pid in pids:
            found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
            assert found
            weights[role, pid] = int(found[1])
    assert sum(weights.values()) <= PSS_MAX_KIB, weights


@pytest.mark.parametrize("role", ["mx", "access", "back", "store"])
def test_r21_a_killed_role_serves_again_within_two_seconds_and_the_others_go_on(own_server: Trial, role: str) -> None:
    other = "smtp" if role != "mx" else "submission"
    with smtplib.SMTP(*own_server.address(other), timeout=20) as client:
        client.ehlo()

        def replace() -> float:
            for pid in roles(own_server)[role]:
                os.kill(pid, signal.SIGKILL)
            begun = time.monotonic()
            assert client.noop()[0] == 250, "a session of another role was disturbed"
            while True:
                try:
                    if send(own_server) and len(roles(own_server).get(role, [])) == (len(os.sched_getaffinity(0)) if role == "access" else 1):
                        break
                except (OSError, smtplib.SMTPException):
                    time.sleep(0.02)
            took = time.monotonic() - begun
            assert client.noop()[0] == 250
            return took

        assert_within(2.0, replace)


def send(server: Trial) -> bool:
    """Send a message through the doors of both front roles."""
    with smtplib.SMTP(*server.address("smtp"), timeout=20) as client:
        client.sendmail(server.facts["sender"], [server.account()[0]], f"From: {server.facts['sender']}\r\nSubject: x\r\n\r\nhello\r\n")
    address, password = server.account()
    with smtplib.SMTP_SSL(*server.address("submissions"), context=server.tls(), timeout=20) as client:
        client.login(address, password)
        client.sendmail(address, [address], f"From: {address}\r\nSubject: x\r\n\r\nhello\r\n")
    return True


def test_a_hangup_brings_a_new_certificate_without_a_restart(own_server: Trial) -> None:
    before = roles(own_server)
    certificate = own_server.folder / "keys" / "server.pem"
    fingerprint = shown(own_server)
    certificate.unlink()
    from moatmail.app.clock import SystemClock  # noqa: PLC0415
    from moatmail.certs.authority import Authority, ensure  # noqa: PLC0415

    ensure(Authority.at(own_server.folder), SystemClock().now())
    os.kill(own_server.pid, signal.SIGHUP)
    end = time.monotonic() + 20
    while shown(own_server) == fingerprint and time.monotonic() < end:
        time.sleep(0.02)
    assert shown(own_server) != fingerprint
    assert roles(own_server) == before


def shown(server: Trial) -> bytes | None:
    with socket.create_connection(server.address("submissions"), timeout=20) as raw, server.tls().wrap_socket(raw, server_hostname="localhost") as sock:
        return sock.getpeercert(binary_form=True)


def test_a_role_that_is_drained_ends_its_sessions_with_421(own_server: Trial) -> None:
    with socket.create_connection(own_server.address("smtp"), timeout=10) as sock:
        assert sock.recv(512).startswith(b"220 ")
        os.kill(own_server.pid, signal.SIGTERM)
        assert sock.recv(512).startswith(b"421 4.3.2 ")
    assert own_server.process is not None
    assert own_server.process.wait(20) == 0


def test_while_a_session_is_drained_new_callers_are_refused_and_not_left_waiting(own_server: Trial) -> None:
    with contextlib.closing(smtplib.SMTP(*own_server.address("smtp"), timeout=10)) as client:
        client.ehlo()
        client.docmd("MAIL", "FROM:<carol@friend.test>")
        client.docmd("RCPT", f"TO:<{own_server.account()[0]}>")
        assert client.docmd("DATA")[0] == 354
        os.kill(own_server.pid, signal.SIGTERM)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                socket.create_connection(own_server.address("smtp"), timeout=1).close()
            except ConnectionRefusedError:
                break
            time.sleep(0.02)
        else:
            pytest.fail("the port still takes connections")
        client.send(b"From: carol@friend.test\r\nSubject: x\r\n\r\nlast words\r\n.\r\n")
        assert client.getreply()[0] == 250, "the message under way was not taken"
        assert client.noop()[0] == 421


def test_after_the_supervisor_is_killed_alone_the_next_start_finds_everything_free(own_server: Trial) -> None:
    os.kill(own_server.pid, signal.SIGKILL)
    assert own_server.process is not None
    own_server.process.wait(5)
    own_server.start()
    assert send(own_server)
