# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moatmail.core.errors import ConfigError, StorageFullError, StoreUnavailableError, TemporaryError
from moatmail.core.limits import store as limits
from moatmail.store import migrate
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.apply import table
from moatmail.store.apply.work import Work
from moatmail.store.channel import ChannelStore
from moatmail.store.local import LocalStore
from moatmail.store.sqlite import Database, DatabaseError
from moatmail.store.writer import Asked, Outcome, Writer
from tests.store_contract.given import NOW, Ear, GlassVault, House, StandingClock, arrival, box, change, house, new_id

ROUNDS = 20
SENDERS = 8


def open_store(folder: Path, ear: Ear | None = None) -> LocalStore:
    return LocalStore(Writer(folder, GlassVault(), StandingClock(), ear or Ear()))


def kill_9(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


async def uids_by_message(store: LocalStore | ChannelStore, alice: House) -> dict[bytes, list[int]]:
    found: dict[bytes, list[int]] = {}
    after = 0
    while rows := await store.read(q.ListPlacements(alice.account, alice.inbox, after)):
        for row in await store.read(q.GetMessages(alice.account, alice.inbox, tuple(row.uid for row in rows))):
            found.setdefault(row.id, []).append(row.uid)
        after = rows[-1].uid
    return found


async def send_until_killed(folder: Path, alice: House, pid: int, after: float) -> tuple[dict[bytes, int], set[bytes]]:
    """Let senders deliver, kill the store process after a while, and give what was acknowledged (message -> UID) and what was tried."""
    store = ChannelStore(folder / "run")
    acknowledged: dict[bytes, int] = {}
    tried: set[bytes] = set()

    async def send() -> None:
        while True:
            accept = arrival(alice.account, size=20_000)
            tried.add(accept.deliveries[0].message.id)
            try:
                (placed,) = await store.write(accept)
            except TemporaryError:
                return
            acknowledged[accept.deliveries[0].message.id] = placed.uid

    senders = [asyncio.create_task(send()) for _ in range(SENDERS)]
    await asyncio.sleep(after)
    kill_9(pid)
    await asyncio.gather(*senders)
    await store.close()
    return acknowledged, tried


@pytest.mark.timeout(120)
async def test_after_kill_9_every_acknowledged_message_is_there_once_and_none_is_half_there(
    folder: Path, start_server: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REPEAT_FOR", 0.0)
    chance = random.Random(9)
    local = open_store(folder)
    alice = await house(local)
    await local.close()
    acknowledged: dict[bytes, int] = {}
    tried: set[bytes] = set()
    for _ in range(ROUNDS):
        pid = start_server()
        more, attempts = await send_until_killed(folder, alice, pid, chance.uniform(0.005, 0.15))
        acknowledged |= more
        tried |= attempts
    local = open_store(folder)
    kept = await uids_by_message(local, alice)
    assert acknowledged
    assert {message: kept.get(message) for message in acknowledged} == {message: [uid] for message, uid in acknowledged.items()}
    assert all(len(uids) == 1 for uids in kept.values())
    assert set(kept) <= tried
    row = await box(local, alice)
    assert (row.messages, row.octets) == (len(kept), 20_000 * len(kept))
    (day,) = await local.read(q.GetLedger())
    assert day.accepted == day.delivered == len(kept)
    for content in [one.content for one in await local.read(q.GetMessages(alice.account, alice.inbox, tuple(range(1, 401))))]:
        assert await local.read(q.GetContent(content)) is not None
    await local.close()


async def test_a_caller_whose_channel_broke_is_answered_by_the_next_store_process_and_mail_is_there_once(folder: Path, start_server: Callable[[], int]) -> None:
    pid = start_server()
    store = ChannelStore(folder / "run")
    alice = await house(store)
    writes = [asyncio.create_task(store.write(arrival(alice.account))) for _ in range(30)]
    await asyncio.sleep(0)
    kill_9(pid)
    await asyncio.to_thread(start_server)
    placed = await asyncio.gather(*writes)
    assert sorted(one[0].uid for one in placed) == list(range(1, 31))
    assert len(await uids_by_message(store, alice)) == 30
    await store.close()


async def test_without_a_store_process_a_caller_hears_of_it_after_the_time_of_repetition(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPEAT_FOR", 0.05)
    (folder / "run").mkdir()
    store = ChannelStore(folder / "run")
    with pytest.raises(StoreUnavailableError):
        await store.read(q.GetSettings())


async def test_a_cancelled_caller_leaves_the_channel_whole(folder: Path, start_server: Callable[[], int]) -> None:
    start_server()
    store = ChannelStore(folder / "run")
    alice = await house(store)
    write = asyncio.create_task(store.write(arrival(alice.account)))
    await asyncio.sleep(0)
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    (placed,) = await store.write(arrival(alice.account))
    assert placed.uid == 2
    await store.close()


# ---------------------------------------------------------------- one sync for many, answers only after it


async def test_operations_that_arrive_during_a_sync_share_the_next_one(folder: Path) -> None:
    store = open_store(folder)
    alice = await house(store)
    before = store.group.commits
    await asyncio.gather(*(store.write(arrival(alice.account)) for _ in range(100)))
    assert store.group.commits - before <= 2 + 100 // limits.BATCH_OPERATIONS
    await store.close()


async def test_no_answer_is_given_before_the_commit_has_returned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = Database.commit

    def commit(self: Database) -> None:
        order.append("begin")
        real(self)
        order.append("end")

    monkeypatch.setattr(Database, "commit", commit)
    store = open_store(folder)
    alice = await house(store)
    for _ in range(50):
        order.clear()
        write = asyncio.create_task(store.write(arrival(alice.account)))
        write.add_done_callback(lambda _task: order.append("answer"))
        await write
        await asyncio.sleep(0)
        assert order == ["begin", "end", "answer"]
    await store.close()


async def test_what_changes_nothing_costs_no_sync(folder: Path) -> None:
    store = open_store(folder)
    alice = await house(store)
    accept = arrival(alice.account)
    await store.write(accept)
    before = store.group.commits
    await store.write(accept)
    await store.write(o.Expunge(alice.account, alice.inbox, None, NOW))
    await store.write(o.ClaimSpool(NOW, NOW, "me", 10))
    assert store.group.commits == before
    await store.close()


@pytest.mark.parametrize("text", ["disk I/O error", "database or disk is full"])
async def test_a_failed_commit_fails_all_of_its_batch_and_the_next_one_works(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear()
    store = open_store(folder, ear)
    alice = await house(store)
    real = Database.commit
    broken = [True]

    def commit(self: Database) -> None:
        if broken.pop() if broken else False:
            raise _driver_error(text)
        real(self)

    monkeypatch.setattr(Database, "commit", commit)
    accepts = [arrival(alice.account) for _ in range(5)]
    results = await asyncio.gather(*(store.write(accept) for accept in accepts), return_exceptions=True)
    wanted = StorageFullError if "full" in text else StoreUnavailableError
    assert [type(result) for result in results] == [wanted] * 5
    assert (await box(store, alice)).messages == 0
    assert [event.name for event in ear.events] == ["store.commit-failed"]
    placed = await asyncio.gather(*(store.write(accept) for accept in accepts))
    assert [one[0].uid for one in placed] == [1, 2, 3, 4, 5]
    await store.close()


def _driver_error(text: str) -> Exception:
    from sqlcipher3 import dbapi2  # noqa: PLC0415  the test plays the driver

    error: Exception = dbapi2.OperationalError(text)
    return error


async def test_a_database_that_cannot_be_opened_again_is_told_once_and_every_write_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[bool] = []
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    store = LocalStore(writer, lost=lambda: lost.append(True))

    def commit(_self: Database) -> None:
        raise _driver_error("disk I/O error")

    def refuse(*_given: object) -> Database:
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(Database, "commit", commit)
    monkeypatch.setattr("moatmail.store.writer.open_database", refuse)
    with pytest.raises(StoreUnavailableError):
        await store.write(change(o.AddDomain("a.test")))
    assert lost
    with pytest.raises(StoreUnavailableError):
        await store.write(change(o.AddDomain("a.test")))
    await store.close()


# ---------------------------------------------------------------- what is missing at start


async def test_a_start_says_when_acknowledged_commits_are_missing(folder: Path) -> None:
    store = open_store(folder)
    await store.write(change(o.AddDomain("a.test")))
    await store.close()
    kept = folder.parent / "kept"
    shutil.copytree(folder, kept)
    store = open_store(folder)
    await store.write(change(o.AddDomain("b.test")))
    await store.close()
    shutil.copy(kept / migrate.FILE, folder / migrate.FILE)
    with pytest.raises(ConfigError, match="1 acknowledged commits are missing"):
        Writer(folder, GlassVault(), StandingClock(), Ear())
    (folder / "commits").unlink()
    Writer(folder, GlassVault(), StandingClock(), Ear()).close()


# ---------------------------------------------------------------- disk full


@pytest.fixture
def small_disk(folder: Path, tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("disk full: needs root to mount a small tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    size = 4 * limits.FREE_OCTETS
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=False, capture_output=True).returncode:
        pytest.skip("disk full: this machine does not let us mount a tmpfs")
    shutil.copytree(folder, disk / "data")
    yield disk / "data"
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def fill_with_mail(store: LocalStore, alice: House) -> int:
    for number in range(1000):
        try:
            await store.write(arrival(alice.account, size=100_000, flags=4))
        except StorageFullError:
            return number
    pytest.fail("the disk never filled")


async def judge_full(store: LocalStore, alice: House, kept: int) -> None:
    """Mail is refused; reading and deleting still work."""
    with pytest.raises(StorageFullError):
        await store.write(arrival(alice.account))
    assert (await box(store, alice)).messages == kept
    assert len(await store.read(q.GetMessages(alice.account, alice.inbox, (1, kept)))) == 2
    await store.write(change(o.SetSetting("store.recoverable_days", "0")))
    expunged = await store.write(o.Expunge(alice.account, alice.inbox, tuple(range(1, kept + 1)), NOW))
    assert len(expunged.uids) == kept
    await store.write(o.TruncateWAL())
    assert (await box(store, alice)).messages == 0


async def test_mail_that_fills_the_disk_is_refused_before_deleting_becomes_impossible(small_disk: Path) -> None:
    store = open_store(small_disk)
    alice = await house(store)
    kept = await fill_with_mail(store, alice)
    assert kept > 50
    await judge_full(store, alice, kept)
    await store.close()
    again = open_store(small_disk)
    assert (await box(again, alice)).uidnext == kept + 1
    await again.close()


async def test_on_a_disk_that_others_have_filled_mail_is_refused_reading_and_deleting_go_on(small_disk: Path) -> None:
    store = open_store(small_disk)
    alice = await house(store)
    for _ in range(20):
        await store.write(arrival(alice.account, size=100_000, flags=4))
    others = small_disk.parent / "others"
    with others.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65536))
    assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize < 65536
    await judge_full(store, alice, 20)
    others.unlink()
    (placed,) = await store.write(arrival(alice.account))
    assert placed.uid == 21
    await store.close()


def test_a_transaction_that_a_full_disk_ended_fails_the_whole_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())

    def burst(*_given: object) -> object:
        writer.db.rollback()
        raise _driver_error("database or disk is full")

    monkeypatch.setattr("moatmail.store.apply.table.apply", burst)
    outcomes, hints = writer.run([Asked(o.Journal(NOW, "a", "b"), "cli"), Asked(o.Journal(NOW, "c", "d"), "cli")])
    assert [type(outcome.error) for outcome in outcomes] == [StorageFullError] * 2
    assert hints is None
    assert all(isinstance(outcome, Outcome) for outcome in outcomes)
    assert issubclass(DatabaseError, Exception)
    writer.close()


def test_a_batch_that_was_lost_leaves_no_decision_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    real = table.apply

    def burst(work: Work, operation: o.Operation[object]) -> object:
        if isinstance(operation, o.Accept):
            return real(work, operation)
        writer.db.rollback()
        raise _driver_error("database or disk is full")

    monkeypatch.setattr("moatmail.store.apply.table.apply", burst)
    taken = o.Accept((), decision=o.Decision(new_id(), NOW, "abcdefgh", {}, o.EvidenceKey(new_id(), b""), b"", 1, "accept"))
    writer.run([Asked(taken, "mx"), Asked(o.Journal(NOW, "a", "b"), "cli")])
    writer.work_beside()
    assert writer.soft.decisions() == 0
    writer.run([Asked(taken, "mx")])
    writer.work_beside()
    assert writer.soft.decisions() == 1
    writer.close()
