# SPDX-License-Identifier: Apache-2.0
"""Clients that keep a copy on disk, two-way over two thousand messages: mbsync and OfflineIMAP, with somebody else at work in the account."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from moatmail.wire.imap.utf7 import decode
from tests.e2e import sides
from tests.e2e.sides import (
    TOTAL,
    Held,
    SecondClient,
    Side,
    count,
    differences,
    digest,
    file_of,
    letter,
    on_server,
    program,
    put,
    run,
    session,
    set_letters,
    written,
)
from tests.e2e.trial import Trial

RENAMED: Final = {"Projects/Alpha 1": "Projekte/Alpha 1"}


class Copy(ABC):
    """A copy of an account in Maildirs below `root`, and the client that keeps it."""

    def __init__(self, server: Trial, account: int, home: Path) -> None:
        self.server, self.account = server, account
        self.home, self.root = home, home / "mail"
        self.root.mkdir(parents=True)

    @abstractmethod
    def sync(self) -> str:
        """Synchronise once; gives what the client printed."""

    @abstractmethod
    def name_of(self, folder: str) -> str:
        """Give the mailbox of a folder below `root`."""

    @abstractmethod
    def forget(self, name: str) -> None:
        """Do what this client asks of its user when a mailbox was renamed on the server."""

    def folder(self, name: str) -> Path:
        """Give the Maildir of a mailbox."""
        return next(place.parent for place in self.root.rglob("cur") if self.name_of(str(place.parent.relative_to(self.root))) == name)

    def holds(self) -> Side:
        """Give what the copy holds."""
        return sides.in_maildirs(self.root, self.name_of)

    def assert_same(self, expected: Side | None = None) -> Side:
        """Compare the copy with the server, and both with what is expected; gives what they hold."""
        there = on_server(self.server, self.account)
        assert differences(self.holds(), there) == []
        if expected is not None:
            assert differences(there, expected) == []
        return there

    def settle(self) -> None:
        """Synchronise until both sides hold the same: a renamed mailbox takes some clients several rounds, each of which does its part."""
        for _ in range(5):
            self.sync()
            if not differences(self.holds(), on_server(self.server, self.account)):
                return

    def assert_still(self) -> str:
        """Synchronise when nothing is to be done: no file and no counter of a mailbox may move."""
        before = sides.stamps(self.server, self.account), sides.files(self.root)
        printed = self.sync()
        assert (sides.stamps(self.server, self.account), sides.files(self.root)) == before
        return printed


class Mbsync(Copy):
    """isync's mbsync: state beside the mail, names as they are on the wire."""

    def __init__(self, server: Trial, account: int, home: Path) -> None:
        super().__init__(server, account, home)
        _, port = server.address("imaps")
        address, password = server.account(account)
        self.config = written(
            home / "mbsyncrc",
            f"IMAPAccount trial\nHost localhost\nPort {port}\nUser {address}\nPass {password}\nSSLType IMAPS\nSystemCertificates no\n"
            f"CertificateFile {server.ca}\n\nIMAPStore far\nAccount trial\n\nMaildirStore near\nPath {self.root}/\nInbox {self.root}/INBOX\n"
            "SubFolders Verbatim\n\nChannel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\nSyncState *\n",
        )

    def sync(self) -> str:
        """Run on a terminal: only there it counts what it did."""
        ours, theirs = pty.openpty()
        try:
            with subprocess.Popen([program("mbsync"), "-c", str(self.config), "-a"], stdout=theirs, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL) as done:
                os.close(theirs)
                printed = _read_all(ours)
        finally:
            os.close(ours)
        assert done.returncode == 0, printed[-3000:]
        return printed

    def name_of(self, folder: str) -> str:
        return decode(folder.encode()) or folder

    def forget(self, name: str) -> None:
        """Drop the old copy: it removes no mailbox that still holds messages."""
        shutil.rmtree(self.root / name)


def _read_all(terminal: int) -> str:
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # how Linux tells the end of a terminal
            piece = b""
        if not piece:
            return b"".join(pieces).decode(errors="replace")
        pieces.append(piece)


class OfflineIMAP(Copy):
    """OfflineIMAP 3: names in UTF-8; a mailbox renamed on the server it would make again, so its user drops the old copy."""

    def __init__(self, server: Trial, account: int, home: Path) -> None:
        super().__init__(server, account, home)
        _, port = server.address("imaps")
        address, password = server.account(account)
        self.config = written(
            home / "offlineimaprc",
            f"[general]\nmetadata = {home}/metadata\naccounts = trial\nui = basic\nfsync = no\nsocktimeout = 60\n\n"
            "[Account trial]\nlocalrepository = near\nremoterepository = far\nutf8foldernames = yes\n\n"
            f"[Repository near]\ntype = Maildir\nlocalfolders = {self.root}\nsep = /\n\n"
            f"[Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {port}\nremoteuser = {address}\nremotepass = {password}\n"
            f"ssl = yes\nsslcacertfile = {server.ca}\nauth_mechanisms = PLAIN\nmaxconnections = 2\n",
        )

    def sync(self) -> str:
        done = run([program("offlineimap"), "-c", str(self.config), "-o"], self.home)
        printed = done.stdout + done.stderr
        assert "ERROR" not in printed, printed[-3000:]
        return printed

    def name_of(self, folder: str) -> str:
        return folder

    def forget(self, name: str) -> None:
        shutil.rmtree(self.root / name)
        for path in (self.home / "metadata").rglob(f"*{name.replace('/', '.')}*"):
            path.unlink()


COPIES: list[tuple[str, type[Copy], int]] = [("mbsync", Mbsync, 0), ("offlineimap", OfflineIMAP, 1)]


@pytest.mark.parametrize(("client", "kind", "account"), COPIES, ids=[name for name, *_ in COPIES])
def test_both_sides_hold_the_same_whatever_was_done_on_either(server: Trial, tmp_path: Path, client: str, kind: type[Copy], account: int) -> None:
    program(client)
    sides.fill(server, account)
    copy = kind(server, account, tmp_path / "home")
    copy.sync()
    assert count(copy.assert_same()) == TOTAL
    _assert_nothing_counted(client, copy.assert_still())

    expected = _change_both(copy)
    copy.settle()
    copy.assert_same(expected)
    _assert_nothing_counted(client, copy.assert_still())

    with SecondClient(server, account) as other:
        for number in range(3):
            put(copy.folder("INBOX"), letter(200_000 + number, "written here"), "S")
            set_letters(file_of(copy.folder("Archive"), letter(1000 + number)), "F")
            copy.sync()
    copy.settle()
    there = copy.assert_same()
    assert count(there) == count(expected) + 3 + other.rounds - other.removed, "nothing twice and nothing lost"
    for number in range(3):
        assert there["Archive"][held(letter(1000 + number), "\\flagged")] == 1
        # The other client changes flags in this mailbox while the message comes.
        assert sum(many for key, many in there["INBOX"].items() if key[0] == digest(letter(200_000 + number, "written here"))) == 1
    _assert_nothing_counted(client, copy.assert_still())


def _assert_nothing_counted(client: str, printed: str) -> None:
    """Read what mbsync says it did: pairs of done and to do for new messages, flags and deletions on both sides."""
    if client == "mbsync":
        counted = re.findall(r"[+*#-]([0-9]+)/([0-9]+)", printed.replace("\r", "\n").strip().splitlines()[-1])
        assert len(counted) >= 6, printed
        assert set(counted) == {("0", "0")}, printed
    else:
        assert not re.search(r"Copy message|Adding flags|Deleting flags|Deleting [0-9]* ?message", printed), printed


def held(octets: bytes, *flags: str) -> Held:
    """Give a message as both sides tell it."""
    return digest(octets), frozenset(flags)


def _change_both(copy: Copy) -> Side:
    """Change flags, messages and mailboxes on both sides; gives what both have to hold afterwards."""
    side = on_server(copy.server, copy.account)

    def becomes(name: str, octets: bytes, *flags: str) -> None:
        vanishes(name, octets)
        side[name][held(octets, *flags)] += 1

    def vanishes(name: str, octets: bytes) -> None:
        for key in [key for key in side[name] if key[0] == digest(octets)]:
            del side[name][key]

    inbox = copy.folder("INBOX")
    with session(copy.server, copy.account) as client:
        client.select_folder("INBOX")
        client.set_flags(range(1, 11), [b"\\Answered"])  # UIDs of a new mailbox count from one, and so do the letters
        client.add_flags(range(11, 16), [b"\\Deleted"])
        client.expunge()
        client.move(range(16, 21), "Trash")
        client.multiappend("Sent", [{"msg": letter(number, "new there"), "flags": [b"\\Seen"]} for number in range(20)])
        client.create_folder("Fresh/There")
        client.append("Fresh/There", letter(1, "in a new mailbox"), flags=[b"\\Flagged"])
        for old, new in RENAMED.items():
            client.rename_folder(old, new)
    for number in range(10):
        becomes("INBOX", letter(number), "\\answered")
    for number in range(10, 15):
        vanishes("INBOX", letter(number))
    for number in range(15, 20):
        becomes("Trash", letter(number), *(flag.decode().lower() for flag in sides.flags_of(number)))
        vanishes("INBOX", letter(number))
    side["Sent"].update(held(letter(number, "new there"), "\\seen") for number in range(20))
    side.update({"Fresh": Counter(), "Fresh/There": Counter([held(letter(1, "in a new mailbox"), "\\flagged")])})

    for number in range(30, 40):
        set_letters(file_of(inbox, letter(number)), "RS")
        becomes("INBOX", letter(number), "\\seen", "\\answered")
    for number in range(40, 45):
        file_of(inbox, letter(number)).unlink()
        vanishes("INBOX", letter(number))
    for number in range(10):
        put(copy.folder("Drafts"), letter(number, "new here"), "DS")
        becomes("Drafts", letter(number, "new here"), "\\draft", "\\seen")
    put(copy.root / "Fresh here", letter(2, "in a new mailbox"), "F")
    side["Fresh here"] = Counter([held(letter(2, "in a new mailbox"), "\\flagged")])
    for old, new in RENAMED.items():
        side[new] = side.pop(old)
        side.setdefault(new.rpartition("/")[0], Counter())
        copy.forget(old)
    return side
