# SPDX-License-Identifier: Apache-2.0
"""NOTIFY on the whole server: who is served by one process hears what is done through another; who does not read costs little (RFC 5465)."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from tests.e2e.test_imap_clients import resident, server_process
from tests.e2e.test_roles import roles
from tests.e2e.trial import Trial

TEXT = b"From: Ann <ann@sender.test>\r\nSubject: words\r\n\r\nthe body\r\n"
LITERAL = re.compile(rb"\{([0-9]+)\}\r\n$")


class Client:
    """A connection that was logged in; lines of the server with their literals."""

    def __init__(self, server: Trial) -> None:
        host, port = server.address("imaps")
        self.sock = server.tls().wrap_socket(socket.create_connection((host, port), timeout=20), server_hostname=host)
        self._file = self.sock.makefile("rb")
        self._file.readline()
        address, password = server.account()
        self.ok(f'LOGIN {address} "{password}"')

    def line(self) -> bytes:
        whole = b""
        while True:
            piece = self._file.readline()
            assert piece, "the session ended"
            whole += piece
            found = LITERAL.search(piece)
            if found is None:
                return whole.rstrip(b"\r\n")
            whole += self._file.read(int(found[1]))

    def ok(self, text: str | bytes) -> list[bytes]:
        self.sock.sendall(b"t " + (text.encode() if isinstance(text, str) else text) + b"\r\n")
        lines = [self.line()]
        while not lines[-1].startswith(b"t "):
            lines.append(self.line())
        assert lines[-1].startswith(b"t OK"), (text, lines)
        return lines[:-1]

    def append(self, mailbox: str, content: bytes = TEXT) -> None:
        self.ok(b"APPEND %b {%d+}\r\n%b" % (mailbox.encode(), len(content), content))

    def append_when_it_can(self, mailbox: str) -> None:
        """Append; what is answered by UNAVAILABLE is tried again."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                self.append(mailbox)
            except AssertionError as error:
                assert "UNAVAILABLE" in str(error)  # noqa: PT017 - the answer of a server that lacks its store for a moment
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the store does not come back")


@contextlib.contextmanager
def clients(server: Trial) -> Iterator[tuple[Client, Client]]:
    """Give two clients that are served by different processes."""
    with contextlib.ExitStack() as stack:
        one = Client(server)
        stack.callback(one.sock.close)
        for _ in range(30):
            two = Client(server)
            stack.callback(two.sock.close)
            if server_process(server, two.sock) != server_process(server, one.sock):
                yield one, two
                return
        pytest.skip("one process serves everybody here")


needs_two_processes = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one process serves everybody on one core")


@needs_two_processes
def test_what_is_done_through_another_process_is_told(server: Trial) -> None:
    with clients(server) as (one, two):
        one.ok("SELECT INBOX")
        one.ok("NOTIFY SET (selected (MessageNew (UID) MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge MailboxName SubscriptionChange))")
        two.ok("CREATE There")
        assert one.line() == b'* LIST (\\HasNoChildren) "/" There'
        two.append("There")
        assert one.line().startswith(b"* STATUS There (MESSAGES 1 UIDNEXT 2 ")
        two.ok("SUBSCRIBE There")
        assert one.line() == b'* LIST (\\HasNoChildren \\Subscribed) "/" There'
        two.ok("RENAME There Elsewhere")
        assert one.line() == b'* LIST (\\HasNoChildren) "/" Elsewhere ("OLDNAME" (There))'
        two.append("Elsewhere")
        assert one.line().startswith(b"* STATUS Elsewhere (MESSAGES 2 UIDNEXT 3 ")
        two.ok("DELETE Elsewhere")
        assert one.line().startswith(b'* LIST (\\NonExistent \\HasNoChildren) "/" Elsewhere')
        two.append("INBOX")
        told = [one.line() for _ in range(3)]
        assert [line for line in told if not line.endswith(b" RECENT")] == [b"* 1 EXISTS", b"* 1 FETCH (UID 1)"]
        two.ok("SELECT INBOX")
        two.ok("STORE 1 +FLAGS (\\Deleted)")
        assert one.line().startswith(b"* 1 FETCH (UID 1 FLAGS (\\Deleted")
        two.ok("EXPUNGE")
        assert one.line() == b"* 1 EXPUNGE"


@needs_two_processes
def test_who_has_a_mailbox_selected_that_another_process_deletes_is_sent_away(server: Trial) -> None:
    with clients(server) as (one, two):
        two.ok("CREATE Gone")
        one.ok("SELECT Gone")
        one.ok("NOTIFY SET (selected (MessageNew MessageExpunge))")
        two.ok("DELETE Gone")
        assert one.line() == b"* BYE the mailbox was deleted"


@needs_two_processes
def test_no_name_is_stale(server: Trial) -> None:
    """A name is looked up anew by each command, whatever this process opened before."""
    with clients(server) as (one, two):
        for number in range(3):
            one.ok(f"CREATE Stale{number}")
            one.append(f"Stale{number}")
            two.ok(f"RENAME Stale{number} Stale{number + 1}")
            assert not one.ok(f'LIST "" Stale{number}')
            assert one.ok(f"STATUS Stale{number + 1} (MESSAGES)") == [b"* STATUS Stale%d (MESSAGES 1)" % (number + 1)]
            one.ok(f"DELETE Stale{number + 1}")
            assert not two.ok(f'LIST "" Stale{number + 1}')


def test_who_listens_goes_on_listening_when_the_store_was_killed(own_server: Trial) -> None:
    """Hints of the time between are lost: everybody looks anew when the bus is there again."""
    one, two = Client(own_server), Client(own_server)
    with one.sock, two.sock:
        one.ok("SELECT INBOX")
        one.ok("NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge MailboxName))")
        (store,) = roles(own_server)["store"]
        os.kill(store, signal.SIGKILL)
        two.append_when_it_can("Drafts")
        assert one.line().startswith(b"* STATUS Drafts (MESSAGES 1 UIDNEXT 2 ")
        two.ok("CREATE After")
        assert one.line() == b'* LIST (\\HasNoChildren) "/" After'
        two.append("INBOX")
        assert one.line() == b"* 1 EXISTS"


def test_a_client_that_does_not_read_what_it_asked_for_costs_little(own_server: Trial) -> None:
    one, two = Client(own_server), Client(own_server)
    with one.sock, two.sock:
        one.ok("SELECT INBOX")
        one.ok("NOTIFY SET (selected (MessageNew (BODY.PEEK[TEXT]) MessageExpunge))")
        process = server_process(own_server, one.sock)
        large = TEXT + (b"x" * 75 + b"\r\n") * 4000
        two.append("INBOX", large)
        before = resident(process)
        for _ in range(39):
            two.append("INBOX", large)
        time.sleep(1)  # twelve megabytes are to be told and none of them is read
        assert resident(process) - before < 8 * 1024 * 1024
        seen = 0
        while seen < 40:
            seen += b" FETCH (UID " in one.line()[:40]
