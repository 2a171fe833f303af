# SPDX-License-Identifier: Apache-2.0
"""R21: one role is killed while all doors are at work: the others go on, it serves again within two seconds, nobody is told 250 for what is lost."""

from __future__ import annotations

import contextlib
import imaplib
import itertools
import os
import re
import signal
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from moatmail.store.migrate import FILE
from tests.e2e.damaged import rows
from tests.e2e.traffic import Keeper, Sender, all_of, at_work, kept_marks, kill_role, message, reader, report, roles, settings
from tests.e2e.trial import Trial

AGAIN_SECONDS = 2.0
ALLOWED = {421, 451, 454}


@dataclass
class Attempts:
    """Asks a door for something again and again, each time anew; `done`: the moments of success, `refused`: what it said instead."""

    ask: Callable[[], str]
    stop: threading.Event = field(default_factory=threading.Event)
    done: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    dropped: int = 0

    def run(self) -> None:
        """Ask until `stop`."""
        while not self.stop.is_set():
            try:
                said = self.ask()
            except (OSError, smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError, imaplib.IMAP4.abort):
                self.dropped += 1
                self.stop.wait(0.01)
                continue
            if said:
                self.refused[said] += 1
            else:
                self.done.append(time.monotonic())
            self.stop.wait(0.01)

    def gap(self, since: float) -> float:
        """Give the longest time without success since a moment; infinite without any."""
        moments = [since, *(moment for moment in self.done if moment > since)]
        return max((after - before for before, after in itertools.pairwise(moments)), default=float("inf"))


def ask_smtp(server: Trial) -> str:
    with smtplib.SMTP(*server.address("smtp"), "mail.friend.test", timeout=10) as client:
        return said_by(lambda: client.sendmail("carol@friend.test", [server.account(1)[0]], message("probe-z2")))


def ask_submission(server: Trial) -> str:
    with smtplib.SMTP_SSL(*server.address("submissions"), "client.test", timeout=10, context=server.tls()) as client:
        author = server.account(0)[0]
        return said_by(lambda: client.login(*server.account(0))) or said_by(
            lambda: client.sendmail(author, [server.account(1)[0]], message("probe-z2", author))
        )


def said_by(act: Callable[[], object]) -> str:
    try:
        act()
    except smtplib.SMTPResponseException as error:
        if error.smtp_code == 421:
            raise smtplib.SMTPServerDisconnected from error
        return str(error.smtp_code)
    except smtplib.SMTPRecipientsRefused as error:
        return str(next(iter(error.recipients.values()))[0])
    return ""


def ask_imap(server: Trial) -> str:
    client = imaplib.IMAP4_SSL(*server.address("imaps"), ssl_context=server.tls(), timeout=10)
    try:
        client.login(*server.account(0))
        typed, selected = client.select("INBOX")
        if typed != "OK":
            return repr(selected)
        typed, appended = client.append("Drafts", "", "", message("probe-z2"))
        return "" if typed == "OK" else repr(appended)
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error as error:
        return str(error)
    finally:
        with contextlib.suppress(OSError):
            client.shutdown()


ASKERS = {"smtp": ask_smtp, "submission": ask_submission, "imap": ask_imap}
UNDISTURBED = {"mx": ("submission", "imap"), "access": ("smtp",), "back": ("smtp", "submission", "imap"), "store": ()}


@pytest.fixture
def server(own_server: Trial) -> Trial:
    settings(own_server, delivery__smart_host="127.0.0.1:9", delivery__smart_host_tls="none", delivery__retry_minutes="600")
    return own_server


@pytest.mark.parametrize("role", ["mx", "access", "back", "store"])
def test_r21_a_killed_role_is_back_in_two_seconds_and_the_others_do_not_notice(server: Trial, role: str) -> None:
    before = roles(server)
    asking = {name: Attempts(lambda ask=ask: ask(server)) for name, ask in ASKERS.items()}  # type: ignore[misc]
    senders = [Sender(server, "mx", (server.account(1)[0],), lambda _count: 8), Sender(server, "access", (server.account(1)[0],), lambda _count: 8, account=0)]
    onward = Sender(server, "onward", ("dave@elsewhere.test",), lambda _count: 8, account=0)
    keeper = Keeper(server, "keeper", 1)
    with at_work([*senders, onward, keeper]), at_work(list(asking.values())):
        time.sleep(1.0)
        killed = kill_role(server, role)
        at = time.monotonic()
        time.sleep(3.0)
    after = roles(server)
    for other, pids in before.items():
        if other != role:
            assert sorted(after[other]) == sorted(pids), f"{other} was disturbed"
    assert killed
    assert set(after[role]).isdisjoint(killed)
    assert len(after[role]) == len(killed)
    gaps = {name: round(one.gap(at), 2) for name, one in asking.items()}
    report(
        "R21",
        role=role,
        longest_gap=gaps,
        refused={name: dict(one.refused) for name, one in asking.items()},
        dropped={name: one.dropped for name, one in asking.items()},
    )
    assert all(gap <= AGAIN_SECONDS for gap in gaps.values()), gaps
    for name in UNDISTURBED[role]:
        assert (asking[name].dropped, asking[name].refused) == (0, Counter()), f"{name} was disturbed"
    for name in ("smtp", "submission"):
        assert {int(code) for code in asking[name].refused} <= ALLOWED
    assert all("[UNAVAILABLE]" in said for said in asking["imap"].refused), asking["imap"].refused
    assert {code for sender in (*senders, onward) for _mark, code, _text in sender.refused} <= ALLOWED
    kept = kept_marks(server, 1)
    acknowledged = {mark for sender in senders for mark in sender.acknowledged}
    assert acknowledged <= set(kept), "an acknowledged message was lost"
    assert [mark for mark, count in kept.items() if count > 1 and not mark.startswith("probe")] == []
    assert kept[""] == 0, "a torn message"
    assert keeper.judge() == []
    assert queued(server) >= len(onward.acknowledged), "a queued message was lost"
    assert any(f"role {role}" in line and "killed by signal 9" in line for line in server.log)


def queued(server: Trial) -> int:
    return int(rows(server.folder, FILE, "SELECT count(*) FROM spool_recipient WHERE state = 'queued'")[0][0])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores: one process of this role for each")
def test_r21_one_of_several_processes_of_a_role_dies_and_the_sessions_of_the_other_go_on(server: Trial) -> None:
    sessions: dict[int, list[Session]] = {}
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(contextlib.closing(Session(server)))
            sessions.setdefault(client.pid, []).append(client)
            if len(sessions) == 2 and all(len(ones) >= 2 for ones in sessions.values()):
                break
        assert len(sessions) == 2, "all sessions came to one process"
        victim, spared = sessions
        os.kill(victim, signal.SIGKILL)
        for client in sessions[spared]:
            assert client.noop()[0] == "OK"
            assert client.append("INBOX", "", "", message("spared-z3"))[0] == "OK"
            assert client.fetch("1:*", "(FLAGS)")[0] == "OK"
        for client in sessions[victim]:
            with pytest.raises((imaplib.IMAP4.abort, OSError)):
                client.noop()


class Session(imaplib.IMAP4_SSL):
    """A logged-in session that knows which process serves it."""

    def __init__(self, server: Trial) -> None:
        super().__init__(*server.address("imaps"), ssl_context=server.tls(), timeout=10)
        self.login(*server.account(0))
        self.select("INBOX")
        self.pid = server_of(self.sock.getsockname()[1], roles(server)["access"])

    def close(self) -> None:  # type: ignore[override]
        """Drop the connection."""
        with contextlib.suppress(OSError):
            self.shutdown()


def server_of(port: int, pids: list[int]) -> int:
    """Give the process that has the other end of a connection from this port."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        if parts[2].endswith(f":{port:04X}"):
            for pid in pids:
                for one in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        if (found := re.fullmatch(r"socket:\[(\d+)\]", str(one.readlink()))) and found[1] == parts[9]:
                            return pid
    raise AssertionError("nobody has this connection")


def test_r21_a_message_in_the_middle_of_its_content_is_not_acknowledged_when_its_process_dies(server: Trial) -> None:
    tmp = server.folder / "mail" / "content" / "tmp"
    with contextlib.closing(smtplib.SMTP(*server.address("smtp"), timeout=10)) as client:
        client.ehlo()
        client.docmd("MAIL", "FROM:<carol@friend.test>")
        client.docmd("RCPT", f"TO:<{server.account(1)[0]}>")
        assert client.docmd("DATA")[0] == 354
        client.send(message("half-z5000"))
        end = time.monotonic() + AGAIN_SECONDS
        while not (tmp.is_dir() and list(tmp.iterdir())) and time.monotonic() < end:
            time.sleep(0.02)  # what was sent is read, and half of the message lies in a file
        kill_role(server, "mx")
        with pytest.raises((smtplib.SMTPServerDisconnected, OSError)):
            client.docmd(".")
    end = time.monotonic() + AGAIN_SECONDS
    while ask_quietly(server) and time.monotonic() < end:
        time.sleep(0.02)
    with reader(server, 1) as client_:
        assert [octets for _uid, _flags, octets in all_of(client_) if b"mark half" in octets] == []
    server.stop()
    server.start()
    assert list(tmp.iterdir()) == [], "what a dead process left is swept at the next start"


def ask_quietly(server: Trial) -> str:
    try:
        return ask_smtp(server)
    except (OSError, smtplib.SMTPException):
        return "dropped"
