# SPDX-License-Identifier: Apache-2.0
"""Programs that collect mail over IMAP: getmail and fetchmail keep or remove as they are told; NeoMutt reads, flags, moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.sides import letter, program, run, session, written
from tests.e2e.trial import Trial

COUNT = 40


@pytest.fixture
def filled(server: Trial) -> Trial:
    """The server with COUNT messages for alice and nothing else."""
    with session(server) as client:
        for name in ("INBOX", "Archive"):
            client.select_folder(name)
            client.delete_messages(client.search())
            client.expunge()
        for start in range(0, COUNT, 20):
            client.multiappend("INBOX", [{"msg": letter(number), "flags": []} for number in range(start, start + 20)])
    return server


def count(server: Trial, folder: str = "INBOX", criteria: str = "ALL") -> int:
    with session(server) as client:
        client.select_folder(folder, readonly=True)
        return len(client.search(criteria))


def appending(folder: Path) -> tuple[Path, Path]:
    """Give a program that appends what it reads to a file, and the file."""
    box = folder / "box"
    box.touch()
    deliverer = written(folder / "deliver", f"#!/bin/sh\nexec cat >>{box}\n")
    deliverer.chmod(0o700)
    return deliverer, box


def test_getmail_fetches_each_message_once_and_removes_them_in_the_end(filled: Trial, tmp_path: Path) -> None:
    host, port = filled.address("imaps")
    address, secret = filled.account()
    deliverer, box = appending(tmp_path)
    text = (
        f"[retriever]\ntype = SimpleIMAPSSLRetriever\nserver = {host}\nport = {port}\nusername = {address}\npassword = {secret}\nca_certs = {filled.ca}\n"
        f'ssl_cert_hostname = localhost\nmailboxes = ("INBOX",)\n[destination]\ntype = MDA_external\npath = {deliverer}\nallow_root_commands = true\n'
        "[options]\nread_all = false\ndelete = %s\n"
    )
    config = written(tmp_path / "home" / "getmailrc", text % "false")
    argv = [program("getmail"), "--getmaildir", str(config.parent), "--rcfile", str(config)]

    def fetched() -> int:
        run(argv, tmp_path / "home")
        return box.read_bytes().count(b"\nSubject: number ")

    assert fetched() == COUNT
    assert fetched() == COUNT
    written(config, text % "true")
    assert fetched() == COUNT
    assert count(filled) == 0


def test_fetchmail_fetches_what_is_unseen_and_removes_it_when_told(filled: Trial, tmp_path: Path) -> None:
    host, port = filled.address("imap")
    address, secret = filled.account()
    home = tmp_path / "home"
    deliverer, box = appending(tmp_path)
    text = (
        f'poll {host} service {port} protocol imap\nuser "{address}" password "{secret}" %s sslproto "TLS1.2+" sslcertck\n'
        f'sslcertfile "{filled.ca}" sslcommonname localhost\nmda "{deliverer}"\n'
    )
    config = written(home / "fetchmailrc", text % "keep")
    argv = [program("fetchmail"), "--fetchmailrc", str(config), "--idfile", str(home / "ids"), "--pidfile", str(home / "pid"), "--nosyslog"]

    def fetched(accepted: tuple[int, ...]) -> int:
        run(argv, home, accepted=accepted)
        return box.read_bytes().count(b"\nSubject: number ")

    assert fetched((0,)) == COUNT
    assert count(filled, criteria="SEEN") == COUNT
    assert fetched((1,)) == COUNT  # status 1: nothing new
    written(config, text % "nokeep fetchall")
    assert fetched((0,)) == 2 * COUNT
    assert count(filled) == 0


def test_neomutt_flags_moves_and_removes(filled: Trial, tmp_path: Path) -> None:
    _, port = filled.address("imaps")
    address, secret = filled.account()
    home = tmp_path / "home"
    keys = (
        "<tag-pattern>~s 'number [0-9]$'<enter><tag-prefix><set-flag>!<sync-mailbox>"  # the first ten: important
        "<untag-pattern>~A<enter><tag-pattern>~s 'number 1[0-9]'<enter><tag-prefix><save-message>=Archive<enter><sync-mailbox>"
        "<untag-pattern>~A<enter><delete-pattern>~s 'number 2[0-9]'<enter><sync-mailbox><quit>"
    )
    config = written(
        home / "neomuttrc",
        f"set folder = imaps://localhost:{port}/\nset spoolfile = +INBOX\nset imap_user = '{address}'\nset imap_pass = '{secret}'\n"
        f"set certificate_file = '{filled.ca}'\nset ssl_ca_certificates_file = '{filled.ca}'\nset ssl_verify_host = yes\n"
        "set imap_authenticators = 'plain'\nset confirmappend = no\nset delete = yes\n"
        f"set quit = yes\nset mark_old = no\nset wait_key = no\nset header_cache = ''\nset move = no\nset auto_tag = no\npush \"{keys}\"\n",
    )
    # A terminal of its own: without one it does nothing.
    run([program("env"), "TERM=xterm", program("script"), "-qec", f"{program('neomutt')} -n -F {config}", "/dev/null"], home, seconds=60)
    assert count(filled, criteria="FLAGGED") == 10
    assert count(filled, "Archive") == 10
    assert count(filled) == COUNT - 20
