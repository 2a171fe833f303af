# SPDX-License-Identifier: Apache-2.0
"""What was expunged can be brought back for its time; then its keys are erased, and no page of any file holds them any more."""

from __future__ import annotations

import asyncio
import hashlib
import os
import smtplib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from moatmail.admin import accounts
from moatmail.app.schedule import BACK_JOBS, HOUR, MINUTE
from moatmail.core.limits import store as limits
from moatmail.crypto.vault import Vault
from moatmail.store.keystore import FILE as KEYS
from moatmail.store.migrate import FILE as MAIL
from moatmail.store.operations import Change, EraseDue, Expunge, SetSetting, StoreFlags, TruncateWAL
from moatmail.store.queries import ListMailboxes, ListPlacements
from moatmail.store.sqlite import Use, open_database
from tests.e2e.damaged import DATABASES, pages
from tests.house.indoors import MASTER_KEY, Indoors, indoors

DAY = 86_400.0
DELETED = 4
SMALL = "From: c@elsewhere.test\r\nSubject: small\r\n\r\n" + "small words\r\n" * 50
# Octets that no compression makes small: they lie in a file of their own.
LARGE = b"From: c@elsewhere.test\r\nSubject: large\r\n\r\n" + b"".join(hashlib.sha256(b"%d" % n).hexdigest().encode() + b"\r\n" for n in range(8000))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path) as one:
        await one.open_door("mx")
        yield one


async def send(house: Indoors, *recipients: str, message: str | bytes = SMALL) -> None:
    def talk() -> None:
        with smtplib.SMTP("127.0.0.1", house.doors["mx"], "client.elsewhere.test", timeout=10) as client:
            client.sendmail("c@elsewhere.test", recipients, message)

    await asyncio.to_thread(talk)


@dataclass(frozen=True)
class Kept:
    """The sealed octets of an account's mail, without which nobody can open it: covers, prefixes, summaries, contents in rows."""

    covers: tuple[bytes, ...]
    rest: tuple[bytes, ...]
    files: tuple[Path, ...]


def rows(house: Indoors, text: str, *values: object, name: str = MAIL) -> list[tuple[Any, ...]]:
    database = open_database(house.folder / "mail" / name, Vault(MASTER_KEY).database_key(DATABASES[name]), Use.READ)
    try:
        return list(database.connection.execute(text, values).fetchall())
    finally:
        database.close()


def kept(house: Indoors, account: int) -> Kept:
    found = rows(house, "SELECT cover, prefix, summary, content, blob FROM message JOIN content ON content.id = message.content WHERE account = ?", account)
    rest = [column for row in found for column in (row[1], row[2], row[4]) if column]
    files = [house.ports.files.path(row[3]) for row in found if row[4] is None]
    return Kept(tuple(row[0] for row in found), tuple(rest), tuple(files))


def lies_on_disk(house: Indoors, octets: bytes, name: str = MAIL) -> bool:
    """Look for sealed octets in every page of a database and of its log, used or free: a piece that fits into a page is enough."""
    piece = octets[40:140]
    key = Vault(MASTER_KEY).database_key(DATABASES[name])
    files = [house.folder / "mail" / name, house.folder / "mail" / f"{name}-wal"]
    return any(piece in page for file in files if file.exists() for page in pages(file, key))


async def expunge_all(house: Indoors, address: str) -> int:
    account, _keys = await house.keys_of(address)
    (inbox,) = [box.id for box in (await house.store.read(ListMailboxes(account))).mailboxes if box.special_use == "inbox"]
    uids = tuple(row.uid for row in await house.store.read(ListPlacements(account, inbox)))
    await house.store.write(StoreFlags(os.urandom(16), account, inbox, uids, "add", DELETED))
    return len((await house.store.write(Expunge(account, inbox, None, house.clock.now()))).uids)


async def account_of(house: Indoors, address: str) -> int:
    return (await accounts.show(house.desk, address)).id


async def test_expunged_mail_keeps_its_keys_for_its_time_and_then_loses_them_for_good(house: Indoors) -> None:
    ann = await account_of(house, "ann@example.test")
    await send(house, "ann@example.test")
    await send(house, "ann@example.test", message=LARGE)
    before = kept(house, ann)
    assert len(before.covers) == 2
    assert len(before.files) == 1
    assert all(lies_on_disk(house, one) for one in (*before.covers, *before.rest)), "the search finds what is there"
    assert await expunge_all(house, "ann@example.test") == 2
    house.clock.time += 24.9 * DAY
    assert await house.store.write(EraseDue(house.clock.now())) == 0
    assert kept(house, ann).covers == before.covers
    house.clock.time += 0.2 * DAY
    assert await house.store.write(EraseDue(house.clock.now())) == 2
    await house.store.write(TruncateWAL())
    assert rows(house, "SELECT count(*) FROM message") == [(0,)]
    assert rows(house, "SELECT count(*) FROM content") == [(0,)]
    assert [one for one in (*before.covers, *before.rest) if lies_on_disk(house, one)] == []
    assert [file for file in before.files if file.exists()] == []


async def test_the_log_is_emptied_and_the_writer_overwrites_what_it_deletes(house: Indoors) -> None:
    await send(house, "ann@example.test")
    log = house.folder / "mail" / f"{MAIL}-wal"
    assert log.stat().st_size
    await house.store.write(TruncateWAL())
    assert log.stat().st_size == 0
    for use in (Use.WRITE, Use.SOFT):
        database = open_database(house.folder / "mail" / "other.sqlite", b"k" * 32, use)
        assert database.connection.execute("PRAGMA secure_delete").fetchone() == (1,), use
        database.close()


async def test_with_no_recoverable_time_the_keys_go_at_once(house: Indoors) -> None:
    await house.store.write(Change("test", "test", house.clock.now(), (SetSetting("store.recoverable_days", "0"),)))
    ann = await account_of(house, "ann@example.test")
    await send(house, "ann@example.test")
    before = kept(house, ann)
    await expunge_all(house, "ann@example.test")
    await house.store.write(EraseDue(house.clock.now()))
    await house.store.write(TruncateWAL())
    assert [one for one in (*before.covers, *before.rest) if lies_on_disk(house, one)] == []


async def test_erasing_much_goes_in_slices_that_follow_each_other_by_themselves(house: Indoors, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is erased is overwritten through the log: a whole mailbox at once would need as much room as it had."""
    monkeypatch.setattr(limits, "ERASE_OCTETS", 1500)
    await house.store.write(Change("test", "test", house.clock.now(), (SetSetting("store.recoverable_days", "0"),)))
    for _ in range(7):
        await send(house, "ann@example.test")
    before = house.store.group.commits
    assert await expunge_all(house, "ann@example.test") == 7
    # Each slice is asked for before an operation that comes later.
    for _ in range(7):
        await house.store.write(TruncateWAL())
    assert rows(house, "SELECT count(*) FROM message") == [(0,)]
    assert house.store.group.commits - before >= 9
    assert rows(house, "SELECT count(*) FROM content") == [(0,)]


async def test_a_content_that_another_still_has_stays_for_that_one_alone(house: Indoors) -> None:
    ann, bob = await account_of(house, "ann@example.test"), await account_of(house, "bob@example.test")
    await send(house, "ann@example.test", "bob@example.test", message=LARGE)
    of_ann, of_bob = kept(house, ann), kept(house, bob)
    await expunge_all(house, "ann@example.test")
    house.clock.time += 26 * DAY
    assert await house.store.write(EraseDue(house.clock.now())) == 1
    await house.store.write(TruncateWAL())
    assert not lies_on_disk(house, of_ann.covers[0])
    assert lies_on_disk(house, of_bob.covers[0])
    (one,) = await house.messages_of("bob@example.test")
    assert one.endswith(LARGE)


async def test_a_removed_account_leaves_no_key_in_any_page(house: Indoors) -> None:
    ann = await account_of(house, "ann@example.test")
    await send(house, "ann@example.test")
    before = kept(house, ann)
    ((wrapped,),) = rows(house, "SELECT wrapped FROM account_key WHERE account = ?", ann, name=KEYS)
    assert lies_on_disk(house, wrapped, KEYS)
    await accounts.remove(house.desk, "ann@example.test")
    await house.store.write(TruncateWAL())
    assert not lies_on_disk(house, wrapped, KEYS)
    assert [one for one in before.covers if lies_on_disk(house, one)] == []


def test_the_jobs_of_erasing_run_each_minute_and_each_hour() -> None:
    assert {(job.name, job.every) for job in BACK_JOBS} >= {("erase expunged mail", MINUTE), ("truncate the log", HOUR)}
