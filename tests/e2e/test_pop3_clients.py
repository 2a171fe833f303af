# SPDX-License-Identifier: Apache-2.0
"""Real POP3 clients on the whole server: poplib, curl, getmail, fetchmail, mpop; one session over all processes; mail kept and removed as they ask."""

from __future__ import annotations

import contextlib
import imaplib
import os
import poplib
import shutil
import signal
import smtplib
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import fetchers
from tests.e2e.fetchers import Fetchmail, Getmail
from tests.e2e.trial import Trial, descendants

DOTS = "Subject: dots\r\nFrom: {}\r\nTo: alice@example.test\r\n\r\n.\r\n..two\r\nfrom the third line on: three\r\n"
COUNT = 30


@contextlib.contextmanager
def pop(server: Trial, account: int = 0) -> Iterator[poplib.POP3_SSL]:
    client = poplib.POP3_SSL(*server.address("pop3s"), context=server.tls(), timeout=20)
    try:
        address, secret = server.account(account)
        client.user(address)
        client.pass_(secret)
        yield client
    finally:
        client.close()


def deliver(server: Trial, count: int, account: int = 0) -> None:
    with smtplib.SMTP(*server.address("smtp"), server.facts["helo"], timeout=20) as client:
        client.starttls(context=server.tls())
        for number in range(count):
            client.sendmail(server.facts["sender"], [server.account(account)[0]], DOTS.format(server.facts["sender"]).replace("three", f"number {number}"))


def empty(server: Trial, account: int = 0) -> None:
    with pop(server, account) as client:
        for number in range(1, client.stat()[0] + 1):
            client.dele(number)
        client.quit()


def in_inbox(server: Trial) -> int:
    with imaplib.IMAP4_SSL(*server.address("imaps"), ssl_context=server.tls(), timeout=20) as client:
        client.login(*server.account())
        return int(client.select()[1][0] or b"-1")


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(argv: list[str], home: Path, **options: str) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C", **options}
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=environment)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
def filled(server: Trial) -> Trial:
    """The server with COUNT messages for alice and nothing else."""
    empty(server)
    deliver(server, COUNT)
    return server


def test_poplib_fetches_and_removes(filled: Trial) -> None:
    with pop(filled) as client:
        count, octets = client.stat()
        assert count == COUNT
        sizes = [int(line.split()[1]) for line in client.list()[1]]
        assert sum(sizes) == octets
        bodies = [b"\r\n".join(client.retr(number)[1]) + b"\r\n" for number in range(1, COUNT + 1)]
        assert [len(body) for body in bodies] == sizes
        assert all(b"\r\n\r\n.\r\n..two\r\nfrom the third" in body for body in bodies)
        assert client.top(1, 1)[1][-2:] == [b"", b"."]
        ids = [line.split()[1] for line in client.uidl()[1]]
        assert len(set(ids)) == COUNT
        client.dele(1)
        client.quit()
    with pop(filled) as client:
        assert [line.split()[1] for line in client.uidl()[1]] == ids[1:]


def test_poplib_with_stls_and_capabilities(server: Trial) -> None:
    client = poplib.POP3(*server.address("pop3"), timeout=20)
    assert "STLS" in client.capa()
    assert "USER" not in client.capa()
    with pytest.raises(poplib.error_proto):
        client.user(server.account()[0])
    client.stls(server.tls())
    capabilities = client.capa()
    assert capabilities["SASL"] == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]
    assert "STLS" not in capabilities
    client.user(server.account()[0])
    client.pass_(server.account()[1])
    client.quit()


def test_commands_behind_stls_are_dropped(server: Trial) -> None:
    with socket.create_connection(server.address("pop3"), timeout=20) as plain:
        assert plain.recv(200).startswith(b"+OK ")
        plain.sendall(b"STLS\r\nUSER " + server.account()[0].encode() + b"\r\nQUIT\r\n")
        assert plain.recv(200).startswith(b"+OK begin TLS\r\n")
        with server.tls().wrap_socket(plain, server_hostname="localhost") as secure:
            secure.sendall(b"PASS " + server.account()[1].encode() + b"\r\n")
            assert secure.recv(200) == b"-ERR USER first\r\n"


def test_one_session_at_a_time_over_all_processes_and_it_dies_with_its_process(own_server: Trial) -> None:
    deliver(own_server, 1)

    def refused() -> str:
        with pytest.raises(poplib.error_proto) as caught, pop(own_server):
            pass
        return str(caught.value)

    with pop(own_server) as holder:
        # The kernel deals connections to the access processes: some of these reach another one.
        assert all("[IN-USE]" in refused() for _ in range(16))
        for pid in (one for one in descendants(own_server.pid) if Path(f"/proc/{one}/comm").read_text().startswith("moat:access")):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises((OSError, EOFError, poplib.error_proto)):
            holder.noop()
    until = time.monotonic() + 20
    while True:
        try:
            with pop(own_server) as client:
                assert client.stat()[0] == 1
                return
        except (OSError, EOFError, poplib.error_proto):
            assert time.monotonic() < until
            time.sleep(0.1)


@pytest.mark.parametrize("options", [["--ssl-reqd"], []], ids=["STLS", "implicit TLS"])
def test_curl_lists_reads_and_removes(filled: Trial, options: list[str]) -> None:
    door = "pop3" if options else "pop3s"
    host, port = filled.address(door)
    base = [program("curl"), "-sS", *options, "--cacert", filled.ca, "--user", ":".join(filled.account())]
    listed = subprocess.run([*base, f"{door}://{host}:{port}/"], capture_output=True, check=True, timeout=30)
    assert len(listed.stdout.splitlines()) == COUNT
    for extra in ([], ["--login-options", "AUTH=PLAIN"], ["--sasl-ir"]):
        read = subprocess.run([*base, *extra, f"{door}://{host}:{port}/2"], capture_output=True, check=True, timeout=30)
        assert read.stdout.endswith(b"\r\n\r\n.\r\n..two\r\nfrom the third line on: number 1\r\n")
    subprocess.run([*base, "--request", "DELE", "--list-only", f"{door}://{host}:{port}/3"], capture_output=True, check=False, timeout=30)
    assert in_inbox(filled) == COUNT - 1


@pytest.mark.parametrize("kind", [Getmail, Fetchmail], ids=["getmail", "fetchmail"])
def test_each_of_two_thousand_messages_comes_once_and_goes_when_told(server: Trial, tmp_path: Path, kind: type[Getmail | Fetchmail]) -> None:
    fetchers.fill(server)
    with fetchers.hall() as goal:
        fetchers.assert_each_message_comes_once(server, kind(server, tmp_path / "home", "pop3", goal))


def test_curl_reads_two_thousand_messages_while_somebody_else_works_there(server: Trial, tmp_path: Path) -> None:
    fetchers.fill(server)
    host, port = server.address("pop3s")
    numbers = f"pop3s://{host}:{port}/[1-{fetchers.TOTAL}]"
    argv = [program("curl"), "-sS", "--cacert", server.ca, "--user", ":".join(server.account()), "--output", f"{tmp_path}/read-#1", numbers]
    # Nobody removes anything here: at a message that is gone it would connect anew, to a maildrop with other numbers.
    with fetchers.Postman(server, fetchers.VICTIMS, removes=False):
        assert run(argv, tmp_path / "home").returncode == 0
    assert Counter(fetchers.known(path.read_bytes()) for path in tmp_path.glob("read-*")) == fetchers.numbered(range(fetchers.TOTAL))


def test_mpop_pipelines_keeps_and_removes(filled: Trial, tmp_path: Path) -> None:
    host, port = filled.address("pop3s")
    address, secret = filled.account()
    home, maildir = tmp_path / "home", tmp_path / "maildir"
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    text = (
        f"account x\nhost {host}\nport {port}\nuser {address}\npassword {secret}\nauth %s\ntls on\ntls_starttls off\ntls_trust_file {filled.ca}\n"
        f"tls_host_override localhost\npipelining on\nkeep %s\ndelivery maildir {maildir}\nuidls_file {home}/uidls\n"
    )
    argv = [program("mpop"), "--file", str(home / "mpoprc"), "x"]

    def fetch(auth: str, keep: str) -> int:
        written(home / "mpoprc", text % (auth, keep))
        done = run(argv, home)
        assert done.returncode == 0, done.stdout + done.stderr
        return len(list((maildir / "new").iterdir()))

    assert fetch("user", "on") == COUNT
    assert fetch("plain", "on") == COUNT
    deliver(filled, 1)
    assert fetch("scram-sha-256", "on") == COUNT + 1
    assert in_inbox(filled) == COUNT + 1
    assert fetch("on", "off") == COUNT + 1
    assert in_inbox(filled) == 0


def test_hang_ups_at_every_command_leave_all_mail_and_the_maildrop_free(filled: Trial) -> None:
    login = "USER {}\r\nPASS {}\r\n".format(*filled.account()).encode()
    places = [b"", b"USER x", b"USER x\r\n", login, login + b"DELE 1\r\nRETR 2\r\n", login + b"DELE 1\r\nLIST\r\n", login + b"DELE 1\r\nQUI"]
    for said in places * 3:
        with socket.create_connection(filled.address("pop3s"), timeout=20) as plain, filled.tls().wrap_socket(plain, server_hostname="localhost") as client:
            client.recv(200)
            client.sendall(said)
            if b"RETR" in said:
                client.recv(10)
    until = time.monotonic() + 10
    refusals = []
    while time.monotonic() < until:
        with contextlib.suppress(poplib.error_proto), pop(filled) as last:
            assert last.stat()[0] == COUNT
            return
        refusals.append(time.monotonic())
        time.sleep(0.05)
    pytest.fail(f"the maildrop stayed in use: {len(refusals)} tries")
