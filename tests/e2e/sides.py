# SPDX-License-Identifier: Apache-2.0
"""Two sides of a synchronisation: two thousand small messages on the server, what a server and a Maildir hold, and who changes both meanwhile.

Obeys RFC 3501 and RFC 3502 as a client, and the Maildir conventions.
Must never know our server's insides: what it holds is what a fresh session fetches.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

import imapclient
import pytest

from moatmail.core.limits.imap import APPEND_MESSAGES
from tests.e2e.trial import Trial

Held = tuple[str, frozenset[str]]
"""A message as both sides can tell it: SHA-256 of its octets with single line ends, and its flags in lower case."""
Side = dict[str, Counter[Held]]
"""What a side holds: mailbox → messages (equal ones counted)."""

# Names of every kind: a level of others, a blank, letters beyond ASCII and an ampersand, which UTF-7 writes in its own way.
FILL: Final = {"INBOX": 900, "Archive": 400, "Projects": 100, "Projects/Alpha 1": 300, "Entwürfe & Übriges": 200, "Projects/日本": 100}
TOTAL: Final = sum(FILL.values())
# Flags that Maildir can hold; a keyword would be the client's private matter there.
FLAGS: Final = (b"\\Seen", b"\\Answered", b"\\Flagged", b"\\Draft")
_MAILDIR: Final = {"S": "\\seen", "R": "\\answered", "F": "\\flagged", "D": "\\draft", "T": "\\deleted", "P": "$forwarded"}
_TUID: Final = re.compile(rb"^X-TUID: [^\n]*\n", re.MULTILINE)
_BODIES: Final = (
    b"plain words, number %d\r\n",
    b"From the first line on: quoted by nobody, %d\r\n.\r\n..\r\n",
    "acht Bit, grün und ß, Nummer %d\r\n".encode(),
    b"\r\n\r\nempty lines first, and no line end at last: %d",
)


def letter(number: int, subject: str = "number") -> bytes:
    """Give a message: each has its own Message-ID, and bodies differ in what clients stumble over."""
    head = (
        f"From: Carol <carol@friend.test>\r\nTo: alice@example.test\r\nSubject: {subject} {number}\r\n"
        f"Date: Mon, 2 Mar 2026 {number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02} +0000\r\nMessage-ID: <{subject}-{number}@friend.test>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    )
    return head.encode() + _BODIES[number % len(_BODIES)] % number


def flags_of(number: int) -> list[bytes]:
    """Give the flags that a message of this number begins with: every combination in turn."""
    return [flag for place, flag in enumerate(FLAGS) if number >> place & 1]


@contextlib.contextmanager
def session(server: Trial, account: int = 0) -> Iterator[imapclient.IMAPClient]:
    """Log in with IMAPClient over verified TLS."""
    host, port = server.address("imaps")
    with imapclient.IMAPClient(host, port, ssl_context=server.tls(), timeout=60) as client:
        client.login(*server.account(account))
        yield client


def fill(server: Trial, account: int = 0, boxes: dict[str, int] = FILL) -> None:
    """Put the messages there, as many to a command as the server takes."""
    number = 0
    with session(server, account) as client:
        for name, count in boxes.items():
            if not client.folder_exists(name):
                client.create_folder(name)
            client.subscribe_folder(name)
            for start in range(number, number + count, APPEND_MESSAGES):
                part = range(start, min(start + APPEND_MESSAGES, number + count))
                answer = client.multiappend(name, [{"msg": letter(one), "flags": flags_of(one)} for one in part])
                assert answer[0] == "OK", answer
            number += count


def digest(octets: bytes) -> str:
    """Tell messages apart by their octets; a Maildir keeps lines without CR, and mbsync a field of its own in what it fetched."""
    return hashlib.sha256(_TUID.sub(b"", octets.replace(b"\r\n", b"\n"), count=1)).hexdigest()


def on_server(server: Trial, account: int = 0) -> Side:
    """Give what the server holds, asked anew."""
    side: Side = {}
    with session(server, account) as client:
        for attributes, _, name in client.list_folders():
            if b"\\Noselect" in attributes:
                continue
            client.select_folder(name, readonly=True)
            uids = client.search()
            fetched = client.fetch(uids, ["FLAGS", "BODY.PEEK[]"]) if uids else {}
            side[name] = Counter(
                (digest(one[b"BODY[]"]), frozenset(flag.decode().lower() for flag in one[b"FLAGS"]) - {"\\recent"}) for one in fetched.values()
            )
    return side


def in_maildirs(root: Path, name_of: Callable[[str], str]) -> Side:
    """Give what Maildirs below `root` hold; `name_of` tells the mailbox of a folder (its path below `root`)."""
    side: Side = {}
    for place in sorted(root.rglob("cur")):
        side[name_of(str(place.parent.relative_to(root)))] = Counter(
            (digest(path.read_bytes()), frozenset(_MAILDIR[letter] for letter in path.name.partition(":2,")[2] if letter in _MAILDIR))
            for part in ("cur", "new")
            for path in (place.parent / part).iterdir()
        )
    return side


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Give size and time of every message file below `root`: what a synchronisation that changes nothing leaves alone."""
    found = [path for part in ("cur", "new") for path in root.rglob(f"{part}/*")]
    return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def file_of(maildir: Path, octets: bytes) -> Path:
    """Find the file of a message that is there once."""
    wanted = digest(octets)
    (found,) = [path for part in ("cur", "new") for path in (maildir / part).iterdir() if digest(path.read_bytes()) == wanted]
    return found


def set_letters(path: Path, letters: str) -> None:
    """Give a message file other flags, as a reader of Maildirs does."""
    path.rename(path.parent.parent / "cur" / f"{path.name.partition(':2,')[0]}:2,{letters}")


def put(maildir: Path, octets: bytes, letters: str = "") -> None:
    """Put a message into a Maildir, made if it is not there; lines end as on disk."""
    for part in ("cur", "new", "tmp"):
        (maildir / part).mkdir(parents=True, exist_ok=True)
    (maildir / "cur" / f"{1_700_000_000 + len(octets)}.{digest(octets)[:16]}.here:2,{letters}").write_bytes(octets.replace(b"\r\n", b"\n"))


def differences(one: Side, other: Side) -> list[str]:
    """Tell in what two sides differ; nothing if they hold the same."""
    found = [f"{name}: only on one side" for name in sorted(one.keys() ^ other.keys())]
    for name in sorted(one.keys() & other.keys()):
        more, less = one[name] - other[name], other[name] - one[name]
        found += [f"{name}: {key[0][:8]} {sorted(key[1])} only on the first" for key in list(more)[:3]]
        found += [f"{name}: {key[0][:8]} {sorted(key[1])} only on the second" for key in list(less)[:3]]
    return found


def stamps(server: Trial, account: int = 0) -> dict[str, dict[bytes, int]]:
    """Give what moves with every change of a mailbox, however small: UIDNEXT, HIGHESTMODSEQ and their kin."""
    with session(server, account) as client:
        wanted = ["MESSAGES", "UIDNEXT", "UIDVALIDITY", "HIGHESTMODSEQ"]
        return {name: client.folder_status(name, wanted) for attributes, _, name in client.list_folders() if b"\\Noselect" not in attributes}


def count(side: Side) -> int:
    """Count the messages of a side."""
    return sum(messages.total() for messages in side.values())


class SecondClient:
    """Somebody else who works in the account while a client synchronises: flags, messages in and out, from a thread of its own."""

    def __init__(self, server: Trial, account: int = 0, box: str = "INBOX") -> None:
        self.rounds = self.removed = 0
        self._server, self._account, self._box = server, account, box
        self.began = threading.Event()
        """Set when the first round is over."""
        self._end = threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with session(self._server, self._account) as client:
                while not self._end.is_set():
                    self._work(client)
                    self.rounds += 1
                    self.began.set()
                    self._end.wait(0.02)
        except BaseException as fault:  # noqa: BLE001 - told by the thread that waits for this one
            self._fault = fault

    def _work(self, client: imapclient.IMAPClient) -> None:
        number = 100_000 + self.rounds
        client.append(self._box, letter(number, "meanwhile"), flags=flags_of(number))
        client.select_folder(self._box)
        uids = client.search()
        client.add_flags(uids[self.rounds % 50 :: 50], [FLAGS[self.rounds % 3]], silent=True)
        client.remove_flags(uids[self.rounds % 70 :: 70], [FLAGS[self.rounds % 2]], silent=True)
        if self.rounds % 3 == 0:
            client.move(uids[5:6], "Archive")
        if self.rounds % 4 == 1:
            client.delete_messages(uids[7:8])
            client.uid_expunge(uids[7:8])
            self.removed += len(uids[7:8])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self._fault is not None:
            raise self._fault
        assert self.rounds > 0, "nothing happened meanwhile"


def program(name: str) -> str:
    """Find a client, or skip the test and say which is missing."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(argv: list[str], home: Path, *, seconds: float = 200, accepted: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    """Run a client with a home of its own; another exit code than the `accepted` fails the test with what it printed."""
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=seconds, check=False, env=environment)
    assert done.returncode in accepted, f"exit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


def written(path: Path, text: str) -> Path:
    """Write a file that only its owner reads, as clients want it of a file with a password."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path
