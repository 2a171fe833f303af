# SPDX-License-Identifier: Apache-2.0
"""R11: what lies sealed is changed behind the program's back: every change shows, nothing changed is ever served, and refusing does no damage."""

# ruff: noqa: S608 - the tests play somebody who has the key of the database and writes statements of his own

from __future__ import annotations

import hashlib
import imaplib
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from moatmail.core.errors import MoatmailError
from moatmail.core.limits.store import PAGE_SIZE
from moatmail.store.keystore import FILE as KEYS
from moatmail.store.migrate import FILE as MAIL
from moatmail.store.soft import FILE as SOFT
from moatmail.store.sqlite import DatabaseError
from moatmail.store.writer import COUNTER_FILE
from tests.e2e.damaged import DATABASES, REFUSED, change, copy, everything, flip, opened, rows
from tests.e2e.traffic import Sender, all_of, mark_of, message, reader, report, settings
from tests.e2e.trial import Trial, free_base, trial

PLACES = int(os.environ.get("MOATMAIL_R11_PLACES", "1000"))
SEED = int(os.environ.get("MOATMAIL_R11_SEED", "11"))
LARGE = 2600


# ---------------------------------------------------------------- a folder with everything in it


@dataclass(frozen=True)
class Folders:
    """The same mail twice: `stopped` in order, and `killed`, with its last commits in the log only."""

    stopped: Path
    killed: Path


def furnish(server: Trial) -> None:
    """Put mail of every kind into a trial: from strangers, from its owner, large and small, for both, for elsewhere."""
    settings(server, delivery__smart_host="127.0.0.1:9", delivery__smart_host_tls="none", delivery__retry_minutes="600")
    alice, bob = server.account(0)[0], server.account(1)[0]
    for name, to, account, lines in [
        ("to bob", (bob,), None, 8),
        ("to both", (alice, bob), None, 30),
        ("large", (alice, bob), None, LARGE),
        ("from alice", (bob,), 0, 12),
        ("onward", (bob, "dave@elsewhere.test"), 0, 12),
    ]:
        sender = Sender(server, "r11", to, lambda _count: 1, account=account)
        with sender.connect() as client:
            for number in range(2 if lines == LARGE else 6):
                assert sender.send_one(client, f"{name.replace(' ', '-')}-n{number}-z{lines}")
    for account in range(2):
        with reader(server, account) as client:
            client.create("Kept/Private")
            for number in range(4):
                assert client.append("Kept/Private", r"(\Seen)", "", message(f"own{account}-n{number}-z{LARGE if number == 3 else 5}"))[0] == "OK"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folders]:
    place = tmp_path_factory.mktemp("r11")
    server = Trial(place / "moatmail-try").start()
    try:
        furnish(server)
        server.stop()
        copy(server.folder, place / "stopped")
        server.start()
        sender = Sender(server, "r11", (server.account(1)[0],), lambda _count: 1)
        with sender.connect() as client:
            for number in range(20):
                sender.send_one(client, f"late-n{number}-z8")
        server.kill()
        copy(server.folder, place / "killed")
        yield Folders(place / "stopped", place / "killed")
    finally:
        server.kill()


# ---------------------------------------------------------------- one bit


def read_again(folder: Path) -> dict[str, bytes] | None:
    """Give all that is served, None when the start is refused."""
    try:
        return everything(folder)
    except MoatmailError:
        return None


def sound(folder: Path, name: str) -> bool:
    """Ask a database for its own opinion: the MAC of every page, free ones too."""
    try:
        database = opened(folder, name)
    except MoatmailError:
        return False
    try:
        return not database.connection.execute("PRAGMA cipher_integrity_check").fetchall()
    except DatabaseError:
        return False
    finally:
        database.close()


def outcome(folder: Path, path: str, whole: dict[str, bytes]) -> str:
    """Say what became of a flipped bit: "refused to start", "refused", "found by the check", "not used", or what was served wrongly."""
    alone = path.removesuffix("-wal")
    clean = alone != path or alone not in DATABASES or sound(folder, alone)
    served = read_again(folder)
    if served is None:
        return "refused to start"
    for name, octets in served.items():
        if octets != REFUSED and octets != whole.get(name):
            return f"WRONG: {name} was served changed"
    if REFUSED in served.values():
        return "refused"
    # Soft state may be lost, as at a power cut: a log that is cut before a damaged commit, a file that is made anew.
    if missing := {name for name in set(whole) - set(served) if not name.startswith("decision ")}:
        return f"WRONG: missing without a word: {sorted(missing)[:3]}"
    if set(served) != set(whole):
        return "soft state lost"
    return "not used" if clean else "found by the check"


def places(folder: Path, chance: random.Random) -> list[str]:
    """Give the files to damage, a share of the places each: databases, logs, contents."""
    names = [str(path.relative_to(folder / "mail")) for path in sorted((folder / "mail").rglob("*")) if path.is_file()]
    contents = [name for name in names if name.startswith("content/")]
    logs = [name for name in names if name.endswith("-wal") and (folder / "mail" / name).stat().st_size]
    databases = [name for name in names if name in DATABASES]
    weights = {**dict.fromkeys(contents, 0.3 / max(1, len(contents))), **dict.fromkeys(logs, 0.2), **dict.fromkeys(databases, 0.1), MAIL: 0.4}
    return chance.choices(list(weights), list(weights.values()), k=PLACES // 2)


@pytest.mark.timeout(max(600, PLACES))
@pytest.mark.parametrize("state", ["stopped", "killed"])
def test_r11_a_flipped_bit_shows_and_nothing_changed_is_served(folders: Folders, state: str, tmp_path: Path) -> None:
    folder = {"stopped": folders.stopped, "killed": folders.killed}[state]
    chance = random.Random(f"{SEED} {state}")
    whole = everything(copy(folder, tmp_path / "whole"))
    assert REFUSED not in whole.values()
    became: dict[str, Counter[str]] = {}
    wrong: list[str] = []
    for path in places(folder, chance):
        damaged = copy(folder, tmp_path / "damaged")
        place = damaged / "mail" / path
        bit = chance.randrange(place.stat().st_size * 8)
        flip(place, bit)
        told = outcome(damaged, path, whole)
        kind = "content/" if path.startswith("content/") else path
        became.setdefault(kind, Counter())[told.partition(":")[0]] += 1
        # A bit of a log that no commit of ours covers (an older round of it) is no mail; everywhere else a bit that nobody finds is a fault.
        if told.startswith("WRONG") or (told == "not used" and not path.endswith("-wal")):
            wrong.append(f"{path}, bit {bit}: {told}")
    report("R11 bits", state=state, places=PLACES // 2, objects=len(whole), became=became)
    assert wrong == []


# ---------------------------------------------------------------- rows moved by somebody who has the database's key

ALICE = "(SELECT id FROM account WHERE localpart = 'alice')"
BOB = "(SELECT id FROM account WHERE localpart = 'bob')"


def message_of(account: str, place: int, *, late: bool = False) -> str:
    """Name a message row of an account by its place, from the newest ones if `late`."""
    return f"(SELECT number FROM message WHERE account = {account} ORDER BY number {'DESC' if late else 'ASC'} LIMIT 1 OFFSET {place})"


def swap(table: str, columns: str, key: str, one: str, other: str) -> list[str]:
    """Give the statements that swap columns of two rows, through a table of the moment."""
    names = columns.split(", ")
    taken = ", ".join(f"{name} = (SELECT {name} FROM swapped WHERE place = :place)" for name in names)
    return [
        f"CREATE TEMP TABLE swapped AS SELECT {columns}, {key} AS row_key, 0 AS place FROM {table} WHERE {key} = {one}",
        f"INSERT INTO swapped SELECT {columns}, {key}, 1 FROM {table} WHERE {key} = {other}",
        f"UPDATE {table} SET {taken.replace(':place', '1')} WHERE {key} = (SELECT row_key FROM swapped WHERE place = 0)",
        f"UPDATE {table} SET {taken.replace(':place', '0')} WHERE {key} = (SELECT row_key FROM swapped WHERE place = 1)",
    ]


BOB_1, BOB_2 = message_of(BOB, 0), message_of(BOB, 1)
BOB_LATE = message_of(BOB, 0, late=True)
ALICE_1 = message_of(ALICE, 0)
INLINE = "(SELECT id FROM content WHERE blob IS NOT NULL ORDER BY id LIMIT 1 OFFSET {})"
MOVED = {
    "the covers of two messages swapped": (MAIL, swap("message", "cover, cover_kind", "number", BOB_1, BOB_2)),
    "the covers of two messages that nobody has read yet swapped": (MAIL, swap("message", "cover", "number", BOB_LATE, message_of(BOB, 1, late=True))),
    "the covers of two accounts' messages swapped": (MAIL, swap("message", "cover, cover_kind", "number", BOB_1, ALICE_1)),
    "the prefixes of two messages swapped": (MAIL, swap("message", "prefix", "number", BOB_1, BOB_2)),
    "the prefix of another account's copy of the same content": (MAIL, swap("message", "prefix", "number", message_of(BOB, 6), ALICE_1)),
    "the summaries of two messages swapped": (MAIL, swap("message", "summary", "number", BOB_1, BOB_2)),
    "the contents of two messages swapped": (MAIL, swap("message", "content", "number", BOB_1, BOB_2)),
    "cover, prefix, summary and content of two messages swapped": (MAIL, swap("message", "cover, prefix, summary, content", "number", BOB_1, BOB_2)),
    "an old row under a new id": (MAIL, [f"UPDATE message SET id = randomblob(16) WHERE number = {BOB_1}"]),
    "a message of another account placed in one's own mailbox": (
        MAIL,
        [f"UPDATE placement SET message = {BOB_1} WHERE message = {ALICE_1}"],
    ),
    "a message given to another account with its place": (
        MAIL,
        [f"UPDATE placement SET message = {BOB_1} WHERE message = {ALICE_1}", f"UPDATE message SET account = {ALICE} WHERE number = {BOB_1}"],
    ),
    "the octets of two contents swapped": (MAIL, swap("content", "blob", "id", INLINE.format(0), INLINE.format(1))),
    "a content cut at its end": (MAIL, [f"UPDATE content SET blob = substr(blob, 1, length(blob) - 40) WHERE id = {INLINE.format(0)}"]),
    "a content without its first octets": (MAIL, [f"UPDATE content SET blob = substr(blob, 17) WHERE id = {INLINE.format(0)}"]),
    "the names of two mailboxes swapped": (
        MAIL,
        swap(
            "mailbox",
            "sealed_name",
            "id",
            f"(SELECT min(id) FROM mailbox WHERE account = {BOB})",
            f"(SELECT max(id) FROM mailbox WHERE account = {BOB})",
        ),
    ),
    "a mailbox given to another account": (
        MAIL,
        [f"UPDATE mailbox SET account = {ALICE}, special_use = NULL WHERE id = (SELECT max(id) FROM mailbox WHERE account = {BOB})"],
    ),
    "the public halves of two accounts swapped": (MAIL, swap("account", "public", "id", ALICE, BOB)),
    "the credentials of two accounts swapped": (
        MAIL,
        swap(
            "credential",
            "sealed",
            "id",
            f"(SELECT id FROM credential WHERE account = {ALICE} ORDER BY kind LIMIT 1)",
            f"(SELECT id FROM credential WHERE account = {BOB} ORDER BY kind LIMIT 1)",
        ),
    ),
    "a credential given to another account": (MAIL, [f"UPDATE credential SET account = {ALICE} WHERE account = {BOB}"]),
    "the envelopes of two queued messages swapped": (
        MAIL,
        swap("spool", "sealed_envelope", "id", "(SELECT min(id) FROM spool)", "(SELECT max(id) FROM spool)"),
    ),
    "the keys of two queued messages swapped": (MAIL, swap("spool", "sealed_key", "id", "(SELECT min(id) FROM spool)", "(SELECT max(id) FROM spool)")),
    "the contents of two queued messages swapped": (MAIL, swap("spool", "content", "id", "(SELECT min(id) FROM spool)", "(SELECT max(id) FROM spool)")),
    "a queued message under a new id": (
        MAIL,
        [
            "UPDATE spool_recipient SET spool = x'00112233445566778899aabbccddeeff' WHERE spool = (SELECT min(id) FROM spool)",
            "UPDATE spool SET id = x'00112233445566778899aabbccddeeff' WHERE id = (SELECT min(id) FROM spool)",
        ],
    ),
    "the key of the queue cut": (MAIL, ["UPDATE secret SET wrapped = substr(wrapped, 2)"]),
    "the private halves of two signing keys swapped": (
        MAIL,
        swap("signing_key", "wrapped", "id", "(SELECT min(id) FROM signing_key)", "(SELECT max(id) FROM signing_key)"),
    ),
    "the evidence of two decisions swapped": (
        SOFT,
        swap("decision", "sealed_evidence", "id", "(SELECT min(id) FROM decision)", "(SELECT max(id) FROM decision)"),
    ),
    "a decision under a new id": (SOFT, ["UPDATE decision SET id = randomblob(16) WHERE id = (SELECT min(id) FROM decision)"]),
    "the covers of two keys of evidence swapped": (
        SOFT,
        swap("evidence_key", "cover", "id", "(SELECT min(id) FROM evidence_key)", "(SELECT max(id) FROM evidence_key)"),
    ),
    "the keys of two accounts swapped": (
        KEYS,
        swap("account_key", "wrapped", "account", "(SELECT min(account) FROM account_key)", "(SELECT max(account) FROM account_key)"),
    ),
}


@pytest.mark.parametrize("moved", MOVED)
def test_r11_a_row_moved_by_who_has_the_databases_key_is_refused(folders: Folders, moved: str, tmp_path: Path) -> None:
    whole = everything(copy(folders.killed, tmp_path / "whole"))
    name, statements = MOVED[moved]
    damaged = copy(folders.killed, tmp_path / "damaged")
    assert change(damaged, name, *((one, ()) for one in statements)) >= 1
    served = everything(damaged)
    plain = set(whole.values())
    assert REFUSED in served.values(), "nothing was refused"
    assert [one for one, octets in served.items() if octets != REFUSED and octets not in plain] == [], "something was served that nobody wrote"
    assert [one for one, octets in served.items() if one in whole and octets not in {REFUSED, whole[one]}] == [], "something was served in another's place"


def test_r11_a_content_file_cut_at_a_chunk_or_put_in_anothers_place_is_refused(folders: Folders, tmp_path: Path) -> None:
    whole = everything(copy(folders.stopped, tmp_path / "whole"))
    for what in ("cut at a chunk", "cut in its table", "another's", "gone"):
        damaged = copy(folders.stopped, tmp_path / "damaged")
        one, other = sorted(path for path in (damaged / "mail" / "content").rglob("*") if path.is_file())[:2]
        if what == "cut at a chunk":
            os.truncate(one, 65536 + 16)
        elif what == "cut in its table":
            os.truncate(one, one.stat().st_size - 20)
        elif what == "another's":
            one.write_bytes(other.read_bytes())
        else:
            one.unlink()
        served = everything(damaged)
        assert REFUSED in served.values(), what
        assert [name for name, octets in served.items() if octets not in {REFUSED, whole[name]}] == [], what


# ---------------------------------------------------------------- the live server


def test_r11_the_live_server_says_no_and_alerts_and_serves_the_rest(folders: Folders, tmp_path: Path) -> None:
    folder = copy(folders.stopped, tmp_path / "moatmail-try")
    change(folder, MAIL, *((one, ()) for one in MOVED["the covers of two messages swapped"][1]))
    change(folder, MAIL, *((one, ()) for one in MOVED["the keys of two queued messages swapped"][1]), ("UPDATE spool_recipient SET next_attempt = 0", ()))
    flipped = max((path for path in (folder / "mail" / "content").rglob("*") if path.is_file()), key=lambda path: path.name)
    flip(flipped, 8 * 1000)
    with trial(folder) as server:
        refused = served = 0
        with reader(server, 1) as client:
            for box in ("INBOX", "Kept/Private"):
                _, (exists,) = client.select(box)
                for number in range(1, int(exists or b"0") + 1):
                    typed, answer = client.fetch(str(number), "(BODY.PEEK[])")
                    if typed == "OK":
                        assert isinstance(answer[0], tuple)
                        assert mark_of(answer[0][1]), "something was served that nobody wrote"
                        served += 1
                    else:
                        assert "[CORRUPTION]" in repr(answer)
                        refused += 1
            assert client.noop()[0] == "OK"
        report("R11 live", refused=refused, served=served)
        assert refused >= 2
        assert served >= 15
        told = wait_for_words(server, "queue entry")
        assert sum("something kept does not open and was not served" in line and "ALERT" in line for line in told) >= refused
        assert sum("queue entry" in line and "damaged" in line and "ALERT" in line for line in told) == 2


def wait_for_words(server: Trial, words: str) -> list[str]:
    """Give the server's lines once one has these words, at most two seconds from now."""
    end = time.monotonic() + 2
    while time.monotonic() < end and not any(words in line for line in server.log):
        time.sleep(0.05)
    time.sleep(0.2)
    return list(server.log)


def test_r11_who_has_another_accounts_credentials_row_gets_no_login(folders: Folders, tmp_path: Path) -> None:
    folder = copy(folders.stopped, tmp_path / "moatmail-try")
    change(
        folder,
        MAIL,
        (
            f"UPDATE credential SET sealed = (SELECT sealed FROM credential AS b WHERE b.account = {ALICE} AND b.kind = credential.kind) WHERE account = {BOB}",
            (),
        ),
    )
    with trial(folder) as server:
        stranger = imaplib.IMAP4_SSL(*server.address("imaps"), ssl_context=server.tls(), timeout=20)
        with pytest.raises(imaplib.IMAP4.error):
            stranger.login(server.account(1)[0], server.account(0)[1])
        stranger.shutdown()
        with reader(server, 0) as client:
            assert client.select("INBOX")[0] == "OK"


# ---------------------------------------------------------------- keys that are wrong or missing, starts that are refused


def digest(folder: Path) -> dict[str, str]:
    """Give a hash of every file of mail and keys; the index of a log is made anew by every reader and holds no mail."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for top in ("mail", "keys")
        for path in sorted((folder / top).rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "try.json", "lock", "reserve"))
    }


def start(folder: Path) -> tuple[int, list[str]]:
    """Start a trial that shall be refused; give its status and its lines."""
    command = [sys.executable, "-m", "moatmail.app.cli", "try", "--dir", str(folder), "--base-port", str(free_base())]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return told.returncode, (told.stdout + told.stderr).splitlines()


def random_key(path: Path) -> None:
    path.write_bytes(random.Random(5).randbytes(32))


KEY_FAULTS: dict[str, Callable[[Path], object]] = {
    "another key": random_key,
    "one bit of the key flipped": lambda path: flip(path, 77),
    "no key": Path.unlink,
    "a short key": lambda path: os.truncate(path, 31),
    "a key that others can read": lambda path: path.chmod(0o644),
}


@pytest.mark.parametrize("state", ["stopped", "killed"])
@pytest.mark.parametrize("fault", KEY_FAULTS)
def test_r11_without_the_right_master_key_the_start_is_refused_in_one_line_and_nothing_is_touched(
    folders: Folders, fault: str, state: str, tmp_path: Path
) -> None:
    folder = copy({"stopped": folders.stopped, "killed": folders.killed}[state], tmp_path / "moatmail-try")
    key = folder / "keys" / "master.key"
    right = key.read_bytes()
    KEY_FAULTS[fault](key)
    before = digest(folder)
    status, lines = start(folder)
    assert (status, len(lines)) == (2, 1), lines
    assert lines[0].startswith("moatmail: ")
    assert "key" in lines[0]
    assert digest(folder) == before
    key.unlink(missing_ok=True)
    key.write_bytes(right)
    key.chmod(0o600)
    with trial(folder) as server, reader(server, 1) as client:
        assert len(all_of(client)) == {"stopped": 26, "killed": 46}[state]


@pytest.mark.parametrize("where", [0.01, 0.5, 0.9], ids=lambda where: f"at {where} of the log")
def test_r11_a_damaged_log_refuses_the_start_in_one_line_and_keeps_what_could_still_be_saved(folders: Folders, where: float, tmp_path: Path) -> None:
    folder = copy(folders.killed, tmp_path / "moatmail-try")
    log = folder / "mail" / f"{MAIL}-wal"
    flip(log, int(log.stat().st_size * where) * 8)
    before = digest(folder)
    status, lines = start(folder)
    assert (status, len(lines)) == (2, 1), lines
    assert re.search(r"\d+ acknowledged commits are missing", lines[0])
    assert digest(folder) == before


def test_r11_a_damaged_page_is_told_in_one_line(folders: Folders, tmp_path: Path) -> None:
    folder = copy(folders.stopped, tmp_path / "moatmail-try")
    root = rows(folder, MAIL, "SELECT rootpage FROM sqlite_schema WHERE name = 'account'")[0][0]
    flip(folder / "mail" / MAIL, ((root - 1) * PAGE_SIZE + 5000) * 8)
    status, lines = start(folder)
    assert (status, len(lines)) == (2, 1), lines
    assert "damaged" in lines[0]


def test_r11_any_bit_of_the_count_of_commits_either_refuses_the_start_or_changes_nothing(folders: Folders, tmp_path: Path) -> None:
    whole = everything(copy(folders.stopped, tmp_path / "whole"))
    size = (folders.stopped / "mail" / COUNTER_FILE).stat().st_size
    for bit in range(8 * size):
        damaged = copy(folders.stopped, tmp_path / "damaged")
        flip(damaged / "mail" / COUNTER_FILE, bit)
        served = read_again(damaged)
        assert served is None or served == whole
