# SPDX-License-Identifier: Apache-2.0
"""Programs that collect mail, and two thousand messages for them: what each brought home, message by message, and who works in the account meanwhile.

Obeys RFC 3501 and RFC 5321 as a client.
Must never know our server's insides: a message is known by its Message-ID and its body.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import socketserver
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final, NamedTuple, Self

import imapclient

from moatmail.core.limits.imap import APPEND_MESSAGES
from tests.e2e import sides
from tests.e2e.sides import digest, letter, program, run, session, written
from tests.e2e.trial import Trial

TOTAL: Final = 2000
VICTIMS: Final = range(400, TOTAL, 40)
LATER_VICTIMS: Final = range(401, TOTAL, 40)
"""Messages that somebody else removes while a program fetches: far enough behind the first that most are still to come."""

_NAMED: Final = re.compile(rb"^Message-ID: <([^>]+)>", re.MULTILINE | re.IGNORECASE)


class Known(NamedTuple):
    """What tells a message: its Message-ID and the digest of its body (programs add fields of their own to the header, and a line end at the end)."""

    name: str
    body: str


def known(octets: bytes) -> Known:
    """Tell a message."""
    head, _, body = octets.replace(b"\r\n", b"\n").partition(b"\n\n")
    found = _NAMED.search(head)
    # getmail writes a message with Python's generator, which quotes such lines.
    return Known(found[1].decode() if found else "", digest(body.rstrip(b"\n").replace(b">From ", b"From ")))


def numbered(numbers: range, subject: str = "number") -> Counter[Known]:
    """Give the messages of `sides.letter` as they are known, each once."""
    return Counter(known(letter(number, subject)) for number in numbers)


def emptied(server: Trial) -> None:
    """Remove every message of every mailbox."""
    with session(server) as client:
        for attributes, _, name in client.list_folders():
            if b"\\Noselect" not in attributes and client.folder_status(name, ["MESSAGES"])[b"MESSAGES"]:
                client.select_folder(name)
                client.delete_messages("1:*", silent=True)
                client.expunge()


def fill(server: Trial) -> None:
    """Put TOTAL messages into INBOX, and nothing else into any mailbox."""
    emptied(server)
    with session(server) as client:
        for start in range(0, TOTAL, APPEND_MESSAGES):
            part = range(start, min(start + APPEND_MESSAGES, TOTAL))
            client.multiappend("INBOX", [{"msg": letter(number), "flags": []} for number in part])


def held(server: Trial, folder: str = "INBOX", criteria: str = "ALL") -> Counter[Known]:
    """Give what a mailbox holds, asked anew."""
    with session(server) as client:
        client.select_folder(folder, readonly=True)
        uids = client.search(criteria)
        return Counter(known(one[b"BODY[]"]) for one in (client.fetch(uids, ["BODY.PEEK[]"]) if uids else {}).values())


class Postman(sides.SecondClient):
    """Somebody else who works in INBOX while a program fetches: a delivery, flags and an expunge in each round; what he did is remembered.

    He sets no \\Seen, by which some programs tell what is new to them, nor \\Flagged, and brings only so much that a program that looks again comes to an end.
    """

    def __init__(self, server: Trial, victims: range, *, removes: bool = True) -> None:
        super().__init__(server)
        self._removes = removes
        self.brought: Counter[Known] = Counter()
        self.taken: Counter[Known] = Counter()
        self._victims = list(victims)
        self._smtp = smtplib.SMTP(*server.address("smtp"), server.facts["helo"], timeout=60)
        self._smtp.starttls(context=server.tls())

    def _work(self, client: imapclient.IMAPClient) -> None:
        if self._victims:
            fresh = letter(self._victims[-1], "meanwhile")
            self._smtp.sendmail("carol@friend.test", [self._server.account()[0]], fresh)
            self.brought[known(fresh)] += 1
        client.select_folder(self._box)
        uids = client.search()
        client.add_flags(uids[self.rounds % 50 :: 50], [b"\\Answered", b"$Work"], silent=True)
        client.remove_flags(uids[self.rounds % 70 :: 70], [b"\\Answered"], silent=True)
        if self._victims:
            # From the last to the first: who fetches comes from the first.
            victim = known(letter(self._victims.pop()))
            for uid in client.search(["HEADER", "Message-ID", victim.name]) if self._removes else []:
                client.delete_messages([uid], silent=True)
                client.uid_expunge([uid])
                self.taken[victim] += 1

    def __enter__(self) -> Self:
        super().__enter__()
        self.began.wait(60)
        return self

    def __exit__(self, *faults: object) -> None:
        super().__exit__(*faults)
        self._smtp.quit()
        assert self.rounds > 1, "nothing happened meanwhile"


# ---------------------------------------------------------------- where it goes


class Hall(socketserver.ThreadingUnixStreamServer):
    """A server of LMTP where programs leave what they fetched; `messages`: their octets, in the order of their coming.

    Neither program forks a child for each message then: getmail misses the end of a child that is faster than itself, and waits minutes for it.
    """

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, _HallSession)
        self.path = path
        self.messages: list[bytes] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def holds(self) -> Counter[Known]:
        """Give all that was ever left here."""
        return Counter(known(octets) for octets in self.messages)


class _HallSession(socketserver.StreamRequestHandler):
    _ANSWERS: ClassVar = {b"LHLO": b"250-hall.test\r\n250 8BITMIME\r\n", b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.wfile.write(b"220 hall.test LMTP\r\n")
            while line := self.rfile.readline():
                verb = line[:4].upper()
                self.wfile.write(self._ANSWERS.get(verb, b"250 ok\r\n"))
                if verb == b"QUIT":
                    return
                if verb == b"DATA":
                    self._take()

    def _take(self) -> None:
        lines = list(iter(self.rfile.readline, b".\r\n"))
        assert isinstance(self.server, Hall)
        self.server.messages.append(b"".join(line.removeprefix(b".") for line in lines))
        self.wfile.write(b"250 taken\r\n")


@contextlib.contextmanager
def hall() -> Iterator[Hall]:
    """Open a hall for the block."""
    # A local socket: fetchmail writes a message in small pieces, for which TCP would make it wait each time. Its name must be short.
    with tempfile.TemporaryDirectory(prefix="hall-") as folder, Hall(f"{folder}/lmtp") as one:
        try:
            yield one
        finally:
            one.shutdown()


# ---------------------------------------------------------------- the programs


class Getmail:
    """getmail over TLS from the first octet."""

    amid_changes: ClassVar = (0, 127)
    nothing_new: ClassVar = (0,)
    again_when_removing = False
    removes_beside_others = True

    def __init__(self, server: Trial, home: Path, protocol: str, goal: Hall) -> None:
        program("getmail")
        host, port = server.address({"imap": "imaps", "pop3": "pop3s"}[protocol])
        address, secret = server.account()
        self.home, self.goal = home, goal
        mailboxes = 'mailboxes = ("INBOX",)' if protocol == "imap" else ""
        self._text = (
            f"[retriever]\ntype = Simple{protocol.upper()}SSLRetriever\nserver = {host}\nport = {port}\nusername = {address}\npassword = {secret}\n"
            f"ca_certs = {server.ca}\nssl_cert_hostname = localhost\n{mailboxes}\n"
            f"[destination]\ntype = MDA_lmtp\nhost = {goal.path}\noverride = {address}\n"
            "[options]\nread_all = false\ndelivered_to = false\nreceived = false\ndelete = "
        )

    def fetch(self, *, remove: bool = False, accepted: tuple[int, ...] = (0,)) -> Counter[Known]:
        """Run once and give all that it ever brought; status 127 says that something it was offered was gone."""
        config = written(self.home / "getmailrc", f"{self._text}{str(remove).lower()}\n")
        run([program("getmail"), "--getmaildir", str(self.home), "--rcfile", str(config)], self.home, accepted=accepted)
        return self.goal.holds()


class Fetchmail:
    """fetchmail over STARTTLS."""

    amid_changes: ClassVar = (0,)
    nothing_new: ClassVar = (1,)
    again_when_removing = True
    """It knows by \\Seen and by unique ids what it fetched; told to remove all it fetches all."""

    def __init__(self, server: Trial, home: Path, protocol: str, goal: Hall) -> None:
        program("fetchmail")
        # Over IMAP it goes by message numbers, and ends in good order as soon as more of them go than it removed itself.
        self.removes_beside_others = protocol == "pop3"
        host, port = server.address(protocol)
        address, secret = server.account()
        self.home, self.goal = home, goal
        self._text = (
            f'poll {host} service {port} protocol {protocol}{" uidl" if protocol == "pop3" else ""}\nuser "{address}" password "{secret}" %s '
            f'sslproto "TLS1.2+" sslcertck\nsslcertfile "{server.ca}" sslcommonname localhost\nsmtphost "{goal.path}" lmtp smtpname "{address}"\n'
        )

    def fetch(self, *, remove: bool = False, accepted: tuple[int, ...] = (0,)) -> Counter[Known]:
        """Run once and give all that it ever brought; status 1 says that nothing was new."""
        config = written(self.home / "fetchmailrc", self._text % ("nokeep fetchall expunge 100" if remove else "keep"))
        argv = [program("fetchmail"), "--fetchmailrc", str(config), "--idfile", str(self.home / "ids"), "--pidfile", str(self.home / "pid"), "--nosyslog"]
        run(argv, self.home, accepted=accepted)
        return self.goal.holds()


def assert_each_message_comes_once(server: Trial, client: Getmail | Fetchmail) -> None:
    """Fetch all, then what is new, then nothing, then remove all; while somebody else works in the mailbox nothing may come twice or be lost."""
    with Postman(server, VICTIMS) as other:
        first = client.fetch(accepted=client.amid_changes)
    stayed = numbered(range(TOTAL)) - other.taken
    assert stayed - first == Counter(), "lost"
    assert first - stayed - other.taken - other.brought == Counter(), "twice"
    present = stayed + other.brought
    assert held(server) == present
    second = client.fetch(accepted=(*client.nothing_new, 0))
    assert present - second == Counter(), "lost"
    assert second - present - other.taken == Counter(), "twice"
    assert client.fetch(accepted=client.nothing_new) == second

    with Postman(server, LATER_VICTIMS, removes=client.removes_beside_others) as other:
        removing = client.fetch(remove=True, accepted=client.amid_changes) - second
    left = held(server)
    anew = present - other.taken if client.again_when_removing else Counter()
    assert left - other.brought == Counter(), "what was removed is there"
    assert anew + other.brought - removing - left == Counter(), "lost"
    assert removing + left - anew - other.brought - other.taken == Counter(), "twice"
