# SPDX-License-Identifier: Apache-2.0
"""Programs on two thousand messages over IMAP, with somebody else at work: getmail and fetchmail collect; NeoMutt, IMAPClient and curl read and change."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.fetchers import (
    LATER_VICTIMS,
    TOTAL,
    VICTIMS,
    Fetchmail,
    Getmail,
    Postman,
    assert_each_message_comes_once,
    emptied,
    fill,
    hall,
    held,
    known,
    numbered,
)
from tests.e2e.sides import letter, program, run, session, written
from tests.e2e.trial import Trial


@pytest.fixture
def filled(server: Trial) -> Trial:
    """The server with TOTAL messages in INBOX for alice and nothing else."""
    fill(server)
    return server


@pytest.mark.parametrize("kind", [Getmail, Fetchmail], ids=["getmail", "fetchmail"])
def test_each_message_comes_once_and_goes_when_told(filled: Trial, tmp_path: Path, kind: type[Getmail | Fetchmail]) -> None:
    with hall() as goal:
        assert_each_message_comes_once(filled, kind(filled, tmp_path / "home", "imap", goal))


def _neomutt(server: Trial, home: Path, keys: str) -> None:
    """Press keys in INBOX."""
    _, port = server.address("imaps")
    address, secret = server.account()
    config = written(
        home / "neomuttrc",
        f"set folder = imaps://localhost:{port}/\nset spoolfile = +INBOX\nset imap_user = '{address}'\nset imap_pass = '{secret}'\n"
        f"set certificate_file = '{server.ca}'\nset ssl_ca_certificates_file = '{server.ca}'\nset ssl_verify_host = yes\n"
        "set imap_authenticators = 'plain'\nset confirmappend = no\nset delete = yes\n"
        f"set quit = yes\nset mark_old = no\nset wait_key = no\nset header_cache = ''\nset move = no\nset auto_tag = no\npush \"{keys}<quit>\"\n",
    )
    # A terminal of its own: without one it does nothing.
    run([program("env"), "TERM=xterm", program("script"), "-qec", f"{program('neomutt')} -n -F {config}", "/dev/null"], home)


def test_neomutt_flags_removes_and_moves(filled: Trial, tmp_path: Path) -> None:
    flag = "<tag-pattern>~s 'number [0-9]*7$'<enter><tag-prefix><set-flag>!<sync-mailbox><untag-pattern>~A<enter>"
    remove = "<delete-pattern>~s 'number [0-9]*5$'<enter><sync-mailbox>"
    move = "<tag-pattern>~s 'number [0-9]*3$'<enter><tag-prefix><save-message>=Archive<enter><sync-mailbox>"
    with Postman(filled, VICTIMS) as other:
        _neomutt(filled, tmp_path / "home", flag + remove)
    with Postman(filled, LATER_VICTIMS, removes=False) as later:  # it forgets what it moved when others remove mail in that moment, and leaves it there
        _neomutt(filled, tmp_path / "home", move)
    flagged, moved, removed = (numbered(range(last, TOTAL, 10)) for last in (7, 3, 5))
    assert held(filled, criteria="FLAGGED") == flagged
    assert held(filled, "Archive") == moved
    assert held(filled) == numbered(range(TOTAL)) - moved - removed - other.taken + other.brought + later.brought


def test_imapclient_reads_flags_copies_renames_and_moves(filled: Trial) -> None:
    """What it changed and what somebody else changed at the same time is all there, once."""
    read = []
    with Postman(filled, VICTIMS) as other, session(filled) as client:
        client.create_folder("Copies")
        client.select_folder("INBOX")
        uids = client.search(["SUBJECT", "number"])
        for start in range(0, len(uids), 100):
            read += [known(one[b"BODY[]"]) for one in client.fetch(uids[start : start + 100], ["BODY.PEEK[]"]).values() if b"BODY[]" in one]
        of = {int(one[b"ENVELOPE"].subject.split()[1]): uid for uid, one in client.fetch(uids, ["ENVELOPE"]).items() if b"ENVELOPE" in one}
        for start in range(0, TOTAL, 400):
            part = {number: uid for number, uid in of.items() if start <= number < start + 400}
            client.add_flags([uid for number, uid in part.items() if number % 10 == 7], [b"\\Flagged"])
            client.copy([uid for number, uid in part.items() if number % 10 == 1], "Copies")
        client.rename_folder("Copies", "Café/Copies")
        client.move([uid for number, uid in of.items() if number % 10 == 3], "Archive")
        removed = [uid for number, uid in of.items() if number % 10 == 5]
        client.delete_messages(removed)
        client.uid_expunge(removed)
    everything = numbered(range(TOTAL))
    assert len(read) == len(set(read))
    assert everything - other.taken - Counter(read) == Counter()
    flagged, copied, moved, gone = (numbered(range(last, TOTAL, 10)) for last in (7, 1, 3, 5))
    assert held(filled, criteria="FLAGGED") == flagged
    assert held(filled, "Café/Copies") == copied
    assert held(filled, "Archive") == moved
    assert held(filled) == everything - moved - gone - other.taken + other.brought


def test_curl_appends_and_reads(server: Trial, tmp_path: Path) -> None:
    emptied(server)
    for number in range(TOTAL):
        (tmp_path / f"letter-{number}").write_bytes(letter(number))
    host, port = server.address("imaps")
    address, secret = server.account()
    base = [program("curl"), "-sS", "--cacert", server.ca, "--user", f"{address}:{secret}"]
    with Postman(server, range(100000, 100040), removes=False) as other:
        run([*base, "--upload-file", f"{tmp_path}/letter-[0-{TOTAL - 1}]", f"imaps://{host}:{port}/INBOX"], tmp_path / "home")
    everything = numbered(range(TOTAL)) + other.brought
    assert held(server) == everything

    with session(server) as client:
        last = client.folder_status("INBOX", ["UIDNEXT"])[b"UIDNEXT"] - 1
        first = last - TOTAL - other.brought.total() + 1
    with Postman(server, VICTIMS) as other:
        # 78: a message that was asked for is gone.
        argv = [*base, "--output", f"{tmp_path}/read-#1", f"imaps://{host}:{port}/INBOX;UID=[{first}-{last}]"]
        told = run(argv, tmp_path / "home", accepted=(0, 78)).stderr
    read = Counter([known(path.read_bytes()) for path in tmp_path.glob("read-*")])
    assert everything - other.taken - read == Counter()
    assert read - everything == Counter()
    assert {line[:10] for line in told.splitlines()} <= {"curl: (78)"}, told
    assert held(server) == everything - other.taken + other.brought
