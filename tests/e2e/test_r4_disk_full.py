# SPDX-License-Identifier: Apache-2.0
"""R4: the disk fills in the middle of DATA, of APPEND, of a queue write: refused for now, reading and deleting go on, nothing is damaged, and it recovers."""

from __future__ import annotations

import contextlib
import os
import smtplib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moatmail.core.limits.store import FREE_OCTETS
from moatmail.crypto.vault import Vault, read_master_key
from moatmail.store.migrate import FILE
from moatmail.store.sqlite import Use, open_database
from tests.e2e.traffic import Sender, all_of, kept_marks, mark_of, message, moatmail, needs_root, reader, report, settings
from tests.e2e.trial import Trial, trial

pytestmark = needs_root

DISK = 5 * FREE_OCTETS
LARGE = 100_000  # lines of 100 octets: ten million
HEALTHY_SECONDS = 5.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)], check=False, capture_output=True).returncode:
        pytest.skip("R4: this machine does not let us mount a tmpfs")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def server(small_disk: Path) -> Iterator[Trial]:
    with trial(small_disk / "moatmail-try") as one:
        yield one


def free(server: Trial) -> int:
    status = os.statvfs(server.folder)
    return status.f_bavail * status.f_frsize


def fill(server: Trial, leave: int) -> Path:
    """Have others fill the disk up to some free octets, whatever the server gives up meanwhile."""
    others = server.folder.parent / "others"
    with others.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while free(server) > leave:
            file.write(bytes(min(65536, max(1, free(server) - leave))))
    return others


def judged(server: Trial, client: smtplib.SMTP, sender: str, recipient: str, mark: str) -> tuple[int, bytes]:
    """Send one message; give the reply that ended it."""
    try:
        client.sendmail(sender, [recipient], message(mark, sender))
    except smtplib.SMTPResponseException as error:
        return error.smtp_code, error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()
    except smtplib.SMTPRecipientsRefused as error:
        return next(iter(error.recipients.values()))
    return 250, b"2.0.0"


def healthy(server: Trial, sender: Sender) -> float:
    """Give the seconds until a large message is taken again."""
    begun = time.monotonic()
    while True:
        with contextlib.suppress(OSError, smtplib.SMTPException), sender.connect() as client:
            if sender.send_one(client, f"r4-after{time.monotonic_ns()}-z3000"):
                return time.monotonic() - begun
        assert time.monotonic() - begun < HEALTHY_SECONDS, "not healthy again after room was made"
        time.sleep(0.02)


def sound(server: Trial) -> list[str]:
    """Give what the database says of itself: damaged pages by their MAC, broken trees."""
    vault = Vault(read_master_key(server.folder / "keys" / "master.key"))
    database = open_database(server.folder / "mail" / FILE, vault.database_key("mail"), Use.READ)
    try:
        found = [str(row[0]) for row in database.connection.execute("PRAGMA cipher_integrity_check")]
        return found + [row[0] for row in database.connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    finally:
        database.close()


def judge(server: Trial, acknowledged: set[str]) -> None:
    """Look at all that is kept, after a restart too."""
    for _ in range(2):
        kept = kept_marks(server, 1)
        assert kept.pop("", 0) == 0, "a torn message"
        assert set(kept) == acknowledged
        assert max(kept.values()) == 1
        assert sound(server) == []
        server.kill()
        server.start()
    assert not list((server.folder / "mail" / "content" / "tmp").iterdir()), "something half written stays"


@pytest.mark.parametrize("left", [20, 9, 3, 0.5], ids=lambda left: f"{left} MiB left")
def test_r4_a_disk_that_fills_in_the_middle_of_data_costs_that_message_only(server: Trial, left: float) -> None:
    """With 20 MiB left the content finds room and its row does not; with less, the disk fills while the content comes."""
    sender = Sender(server, "r4", (server.account(1)[0],), lambda _count: 1)
    with sender.connect() as client:
        for number in range(20):
            assert sender.send_one(client, f"r4-n{number}-z{3000 if number % 5 == 0 else 8}")
        others = fill(server, int(left * 1024 * 1024))
        code, text = judged(server, client, sender.author, server.account(1)[0], f"r4-large-z{LARGE}")
        small = [judged(server, client, sender.author, server.account(1)[0], f"r4-small{number}-z5") for number in range(3)]
        assert client.noop()[0] == 250, "the session did not survive"
    report("R4 DATA", left_mib=left, reply=f"{code} {text.decode()}", small=sorted({f"{one[0]} {one[1][:5].decode()}" for one in small}))
    if left < LARGE * 100 / 1024 / 1024 or left * 1024 * 1024 < FREE_OCTETS:
        assert (code, text[:5]) == (452, b"4.3.1")
    assert {(one[0], one[1][:5]) for one in small} <= {(452, b"4.3.1"), (250, b"2.0.0")}
    acknowledged = set(sender.acknowledged) | {f"r4-small{number}-z5" for number, one in enumerate(small) if one[0] == 250}
    acknowledged |= {f"r4-large-z{LARGE}"} if code == 250 else set()
    assert set(kept_marks(server, 1)) == acknowledged, "reading on a full disk"
    others.unlink()
    seconds = healthy(server, sender)
    judge(server, acknowledged | set(sender.acknowledged))
    report("R4 recovery", seconds=round(seconds, 2))


def test_r4_on_a_full_disk_append_and_copy_are_refused_reading_flagging_and_deleting_go_on(server: Trial) -> None:
    moatmail(server, "settings", "set", "store.recoverable_days", "0")
    sender = Sender(server, "r4", (server.account(1)[0],), lambda _count: 1)
    with sender.connect() as client:
        for number in range(30):
            assert sender.send_one(client, f"r4-n{number}-z{3000 if number % 3 == 0 else 8}")
    with reader(server, 1) as client:
        others = fill(server, 3 * 1024 * 1024)
        large = client.append("INBOX", "", "", message(f"r4-large-z{LARGE}"))
        others = fill(server, 3 * 1024 * 1024)
        small = client.append("INBOX", "", "", message("r4-small-z5"))
        kept = all_of(client)
        client.select("INBOX")
        stored = client.uid("STORE", "1:10", "+FLAGS.SILENT", r"(\Deleted)")
        copied = client.uid("COPY", "11", "Archive")
        expunged = client.expunge()
        report("R4 APPEND", large=str(large), small=str(small), store=stored[0], copy=str(copied), expunged=len(expunged[1]))
        for typed, (text,) in (large, small):
            assert typed == "NO"
            assert text.startswith((b"[LIMIT]", b"[OVERQUOTA]"))
        assert {mark_of(octets) for _uid, _flags, octets in kept} == set(sender.acknowledged)
        assert (stored[0], expunged[0], len(expunged[1])) == ("OK", "OK", 10)
        assert copied[0] in {"OK", "NO"}
        others.unlink()
        end = time.monotonic() + HEALTHY_SECONDS
        while client.append("INBOX", "", "", message("r4-again-z3000"))[0] != "OK":
            assert time.monotonic() < end
            time.sleep(0.02)
    judge(server, {mark_of(octets) for uid, _flags, octets in kept if uid > 10} | {"r4-again-z3000"})


def test_r4_on_a_full_disk_mail_for_elsewhere_is_refused_and_the_queue_stays_whole(server: Trial) -> None:
    settings(server, delivery__smart_host="127.0.0.1:9", delivery__smart_host_tls="none", delivery__retry_minutes="60")
    author = server.account(0)[0]
    sender = Sender(server, "r4", ("dave@elsewhere.test",), lambda _count: 1, account=0)
    with sender.connect() as client:
        for number in range(10):
            assert sender.send_one(client, f"r4-n{number}-z8")
        replies, others = [], server.folder.parent / "others"
        for number, size in enumerate((8, LARGE, 8, 8, LARGE)):
            fill(server, 3 * 1024 * 1024)  # each time: the server gives up its reserve where that helps
            replies.append(judged(server, client, author, "dave@elsewhere.test", f"r4-full{number}-z{size}"))
    taken = sum(code == 250 for code, _text in replies)
    report("R4 queue", replies=[f"{code} {text.decode()}" for code, text in replies])
    assert {(code, text[:5]) for code, text in replies} <= {(452, b"4.3.1"), (250, b"2.0.0")}
    assert replies[1][0] == replies[4][0] == 452
    assert taken < 3, "no small one was refused"
    others.unlink()
    seconds = healthy(server, Sender(server, "r4", (server.account(1)[0],), lambda _count: 1))
    assert sound(server) == []
    vault = Vault(read_master_key(server.folder / "keys" / "master.key"))
    database = open_database(server.folder / "mail" / FILE, vault.database_key("mail"), Use.READ)
    assert database.connection.execute("SELECT count(*) FROM spool").fetchone() == (10 + taken,)
    database.close()
    report("R4 queue recovery", seconds=round(seconds, 2))


def test_r4_a_disk_that_mail_alone_fills_stops_taking_mail_before_deleting_becomes_impossible(server: Trial) -> None:
    moatmail(server, "settings", "set", "store.recoverable_days", "0")
    sender = Sender(server, "r4", (server.account(1)[0],), lambda _count: 1)
    with sender.connect() as client:
        for number in range(2000):
            if not sender.send_one(client, f"r4-n{number}-z{2600 if number % 4 == 0 else 900}"):
                break
    assert [(code, text[:5]) for _mark, code, text in sender.refused] == [(452, b"4.3.1")]
    assert free(server) > 0
    with reader(server, 1) as client:
        assert {mark_of(octets) for _uid, _flags, octets in all_of(client)} == set(sender.acknowledged)
        client.select("INBOX")
        assert client.store("1:*", "+FLAGS.SILENT", r"(\Deleted)")[0] == "OK"
        typed, gone = client.expunge()
        assert (typed, len(gone)) == ("OK", len(sender.acknowledged))
    moatmail(server, "settings", "set", "smtp.max_recipients", "150")
    seconds = healthy(server, sender)
    report("R4 filled by mail", kept=len(sender.acknowledged) - 1, free_mib=round(free(server) / 1024**2, 1), recovery=round(seconds, 2))
    judge(server, {sender.acknowledged[-1]})
