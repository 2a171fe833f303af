# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from moatmail.core.errors import ConfigError, StorageFullError, StoreUnavailableError
from moatmail.core.limits import store as limits
from moatmail.store import migrate
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.apply import table
from moatmail.store.instance import InstanceLock
from moatmail.store.keystore import KeyStoreFile
from moatmail.store.local import LocalStore
from moatmail.store.migrations import run
from moatmail.store.reserve import Reserve
from moatmail.store.soft import FILE as SOFT
from moatmail.store.soft import Kept, SoftState
from moatmail.store.sql import mailboxes, schema
from moatmail.store.sql.statement import Statement
from moatmail.store.sqlite import Database, DatabaseError, Use, engine_over, open_database
from moatmail.store.writer import Asked, Writer
from tests.store_contract.given import NOW, Ear, GlassVault, StandingClock, arrival, change, house, new_id

KEY = GlassVault().database_key()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = open_database(tmp_path / "x.sqlite", KEY, Use.WRITE)
    run.upgrade(made)
    yield made
    made.close()


def open_store(folder: Path, clock: StandingClock | None = None) -> LocalStore:
    return LocalStore(Writer(folder, GlassVault(), clock or StandingClock(), Ear()))


# ---------------------------------------------------------------- schema


def test_the_history_makes_the_very_schema_that_the_statements_were_built_for(database: Database) -> None:
    with engine_over(database).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), schema.METADATA) == []
    history = {row[0]: " ".join(row[1].split()) for row in database.all(Statement("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))}
    built = open_database(Path(os.devnull).parent / "shm" / f"moatmail-test-{os.getpid()}", KEY, Use.WRITE)
    try:
        with engine_over(built).connect() as connection:
            schema.METADATA.create_all(connection)
        made = {row[0]: " ".join(row[1].split()) for row in built.all(Statement("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))}
    finally:
        built.close()
        for left in Path("/dev/shm").glob(f"moatmail-test-{os.getpid()}*"):  # noqa: S108  memory, removed at once
            left.unlink()
    assert {name: sql for name, sql in history.items() if name != "alembic_version"} == made


def test_the_newest_version_is_the_one_the_program_says(database: Database) -> None:
    assert run.head() == migrate.HEAD == migrate.version_of(database)


def test_a_fresh_folder_is_made_by_a_child_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    migrate.bring_up(tmp_path, KEY)
    database = open_database(tmp_path / migrate.FILE, KEY, Use.WRITE)
    assert migrate.version_of(database) == migrate.HEAD
    database.run(Statement("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(ConfigError, match=r"made by a newer Moatmail \(schema 9999"):
        migrate.bring_up(tmp_path, KEY)
    with pytest.raises(ConfigError, match="not the key of this database"):
        migrate.bring_up(tmp_path, bytes(32))


def test_mail_kept_before_there_was_an_index_waits_to_be_indexed(tmp_path: Path) -> None:
    database = open_database(tmp_path / migrate.FILE, KEY, Use.WRITE)
    run.upgrade(database, "0002")
    box = (
        "INSERT INTO mailbox (id, account, object_id, sealed_name, tag, uidvalidity, uidnext, highestmodseq, deleted) VALUES (5, 7, x'', x'', x'', 1, 3, 3, 1)"
    )
    message = "INSERT INTO message (number, id, account, content, size, received_at, erase_at, cover_kind, cover, prefix, summary) VALUES"
    database.run(Statement(box))
    for number, erase_at in ((1, "NULL"), (2, "NULL"), (3, "99")):
        database.run(Statement(f"{message} ({number}, x'0{number}', 7, x'', {number}00, 0, {erase_at}, 2, x'', x'', x'')"))
    placement = "INSERT INTO placement (mailbox, uid, message, flags, keywords, modseq, saved_at) VALUES"
    for uid, flags in ((1, 4), (2, 8)):
        database.run(Statement(f"{placement} (5, {uid}, {uid}, {flags}, '', 2, 0)"))
    database.close()
    migrate.bring_up(tmp_path, KEY)
    database = open_database(tmp_path / migrate.FILE, KEY, Use.READ)
    assert database.all(Statement("SELECT account, number FROM index_tail ORDER BY number")) == [(7, 1), (7, 2)]
    assert database.all(Statement("SELECT deleted_octets FROM mailbox")) == [(100,)]
    database.close()


def test_what_could_be_brought_back_and_what_vanished_before_it_was_counted_is_counted(tmp_path: Path) -> None:
    database = open_database(tmp_path / migrate.FILE, KEY, Use.WRITE)
    run.upgrade(database, "0003")
    database.run(Statement("INSERT INTO account (id, localpart, domain, status, public) VALUES (7, 'a', 'b', 'active', x'')"))
    message = "INSERT INTO message (number, id, account, content, size, received_at, erase_at, cover_kind, cover, prefix, summary) VALUES"
    for number, erase_at in ((1, "NULL"), (2, "98"), (3, "99")):
        database.run(Statement(f"{message} ({number}, x'0{number}', 7, x'', {number}00, 0, {erase_at}, 2, x'', x'', x'')"))
    box = "INSERT INTO mailbox (id, account, object_id, sealed_name, tag, uidvalidity, uidnext, highestmodseq) VALUES (5, 7, x'', x'', x'', 1, 3, 3)"
    database.run(Statement(box))
    database.run(Statement("INSERT INTO vanished (mailbox, modseq, uid) VALUES (5, 2, 1), (5, 3, 2)"))
    database.close()
    migrate.bring_up(tmp_path, KEY)
    database = open_database(tmp_path / migrate.FILE, KEY, Use.READ)
    assert database.all(Statement("SELECT recoverable, recoverable_octets FROM account")) == [(2, 500)]
    assert database.all(Statement("SELECT vanished, forgotten_modseq FROM mailbox")) == [(2, 0)]
    database.close()


def test_a_folder_of_the_first_version_is_brought_up_and_keeps_its_rows(tmp_path: Path) -> None:
    database = open_database(tmp_path / migrate.FILE, KEY, Use.WRITE)
    run.upgrade(database, "0001")
    assert migrate.version_of(database) == "0001"
    database.run(Statement("INSERT INTO domain (name, catch_all) VALUES ('example.test', NULL)"))
    with pytest.raises(DatabaseError, match="no such table"):
        database.all(Statement("SELECT * FROM signing_key"))
    database.close()
    migrate.bring_up(tmp_path, KEY)
    database = open_database(tmp_path / migrate.FILE, KEY, Use.READ)
    assert migrate.version_of(database) == migrate.HEAD
    assert database.all(Statement("SELECT name FROM domain")) == [("example.test",)]
    assert [database.all(Statement(f"SELECT * FROM {table}")) for table in ("signing_key", "report", "sent_report")] == [[], [], []]  # noqa: S608
    database.close()


async def test_soft_state_of_an_older_shape_is_made_anew_and_one_of_this_shape_is_kept(folder: Path) -> None:
    old = open_database(folder / SOFT, GlassVault().database_key("soft"), Use.SOFT)
    old.script(["CREATE TABLE decision (id BLOB PRIMARY KEY, at FLOAT, facts TEXT)", "INSERT INTO decision VALUES (x'00', 1.0, '{}')"])
    old.close()
    ear = Ear()
    for kept in (0, 1):
        store = LocalStore(Writer(folder, GlassVault(), StandingClock(), ear))
        assert len(await store.read(q.ListDecisions())) == kept
        await store.write(o.RecordDecision(o.Decision(new_id(), NOW, "abcdefgh", {}, o.EvidenceKey(new_id(), b""), b"", 1, "accept")))
        await store.close()
    assert ear.events == [], "an upgrade is no damage"


async def test_damaged_soft_state_is_made_anew_with_an_alert_and_mail_goes_on(folder: Path) -> None:
    store = open_store(folder)
    alice = await house(store)
    await store.close()
    octets = bytearray((folder / SOFT).read_bytes())
    octets[100] ^= 1
    (folder / SOFT).write_bytes(octets)
    ear = Ear()
    store = LocalStore(Writer(folder, GlassVault(), StandingClock(), ear))
    assert [(event.name, event.alert) for event in ear.events] == [("store.soft-damaged", True)]
    await store.write(arrival(alice.account))
    assert await store.read(q.ListDecisions()) == ()
    await store.close()


async def test_keys_do_not_leave_while_the_journal_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StandingClock()
    store = open_store(folder, clock)
    await store.write(change(o.AddDomain("example.test", None, (o.NewSigningKey("a", "ed25519-sha256", "", b"private"),))))

    def broken(_work: object, _operation: object) -> None:
        raise StoreUnavailableError("no journal")

    with monkeypatch.context() as patch:
        patch.setitem(table._TABLE, o.Journal, broken)
        with pytest.raises(StoreUnavailableError):
            await store.read(q.GetSigningKeys("example.test"))
    for later in (0.0, limits.KEYS_TOLD_EVERY - 1, 1.0):
        clock.time += later
        assert (await store.read(q.GetSigningKeys("example.test"))).keys
    assert [row.at for row in await store.read(q.ListJournal())] == [NOW + limits.KEYS_TOLD_EVERY, NOW]
    await store.close()


async def test_a_decision_costs_no_sync_and_is_not_taken_where_mail_is_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(folder)
    refused = o.RecordDecision(o.Decision(new_id(), NOW, "abcdefgh", {}, o.EvidenceKey(new_id(), b""), b"", 1, "reject"))
    await store.write(refused)
    assert store.group.commits == 0
    monkeypatch.setattr(Reserve, "growth_allowed", lambda *_: False)
    with pytest.raises(StorageFullError):
        await store.write(refused)
    await store.close()


@pytest.mark.parametrize("at", [float("inf"), float("nan"), -1.0, NOW + 2 * 86400])
async def test_a_decision_of_an_impossible_time_is_dated_by_our_own_clock(folder: Path, at: float) -> None:
    store = open_store(folder)
    await store.write(o.RecordDecision(o.Decision(new_id(), at, "abcdefgh", {}, o.EvidenceKey(new_id(), b""), b"", 1, "accept", (o.Observed("a.test", ""),))))
    await store.close()
    store = open_store(folder)
    assert [row.at for row in await store.read(q.ListDecisions())] == [NOW]
    assert await store.read(q.ListObserved(int(NOW // 86400))) == (("a.test", "", 1),)
    await store.close()


async def test_a_decision_that_cannot_be_written_is_told_and_keeps_nothing_else_from_being_kept(folder: Path) -> None:
    ear = Ear()
    store = LocalStore(Writer(folder, GlassVault(), StandingClock(), ear))
    key = o.EvidenceKey(new_id(), b"")
    for version in (2**63, 1):
        await store.write(o.RecordDecision(o.Decision(new_id(), NOW, "abcdefgh", {}, key, b"", version, "accept")))
        await asyncio.sleep(limits.SOFT_DELAY * 2)
    assert [event.name for event in ear.events] == ["store.soft-lost"]
    assert len(await store.read(q.ListDecisions())) == 1
    await store.close()


async def test_decisions_that_come_soon_one_after_another_are_written_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(folder)
    together: list[int] = []
    keep = SoftState.keep

    def count(self: SoftState, things: Sequence[Kept]) -> None:
        together.append(len(things))
        keep(self, things)

    monkeypatch.setattr(SoftState, "keep", count)
    for _ in range(limits.SOFT_BATCH + 10):
        await store.write(o.RecordDecision(o.Decision(new_id(), NOW, "abcdefgh", {}, o.EvidenceKey(new_id(), b""), b"", 1, "accept")))
    await store.close()
    assert sum(together) == limits.SOFT_BATCH + 10
    assert len(together) <= 3
    assert max(together) >= limits.SOFT_BATCH


def test_the_migration_library_does_not_enter_this_process() -> None:
    code = "import sys, moatmail.store.writer, moatmail.store.channel, moatmail.store.bus; print([m for m in sys.modules if m.startswith('alembic')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- connections


@pytest.mark.parametrize(
    ("pragma", "wanted"),
    [("journal_mode", "wal"), ("synchronous", 2), ("secure_delete", 1), ("temp_store", 2), ("cipher_page_size", str(limits.PAGE_SIZE))],
)
def test_the_writing_connection_is_durable_and_leaves_no_traces(database: Database, pragma: str, wanted: object) -> None:
    assert database.one(Statement(f"PRAGMA {pragma}")) == (wanted,)


def test_a_reading_connection_cannot_write(database: Database, tmp_path: Path) -> None:
    reader = open_database(tmp_path / "x.sqlite", KEY, Use.READ)
    with pytest.raises(DatabaseError):
        reader.run(Statement("DELETE FROM meta"))
    reader.close()


def test_nothing_in_the_files_is_clear_and_a_wrong_key_opens_nothing(database: Database, tmp_path: Path) -> None:
    database.run(Statement("INSERT INTO setting VALUES ('a-plain-word-to-be-found', 'x')"))
    for file in tmp_path.iterdir():
        octets = file.read_bytes()
        assert b"a-plain-word" not in octets
        assert b"SQLite format" not in octets
    with pytest.raises(ConfigError):
        open_database(tmp_path / "x.sqlite", bytes(32), Use.READ)


def test_a_flipped_bit_is_refused_and_not_served(database: Database, tmp_path: Path) -> None:
    database.run(Statement("INSERT INTO setting VALUES ('key', 'value')"))
    database.checkpoint(truncate=True)
    path = tmp_path / "x.sqlite"
    octets = bytearray(path.read_bytes())
    for at in range(limits.PAGE_SIZE + 100, len(octets), limits.PAGE_SIZE):
        octets[at] ^= 1
    (tmp_path / "y.sqlite").write_bytes(octets)
    # The schema takes several pages: opening reads them all, and is refused.
    with pytest.raises(ConfigError):
        open_database(tmp_path / "y.sqlite", KEY, Use.WRITE)


def test_truncating_the_log_leaves_no_octet_in_it(database: Database, tmp_path: Path) -> None:
    database.run(Statement("INSERT INTO setting VALUES ('key', 'value')"))
    assert (tmp_path / "x.sqlite-wal").stat().st_size > 0
    assert database.checkpoint(truncate=True)
    assert (tmp_path / "x.sqlite-wal").stat().st_size == 0


# ---------------------------------------------------------------- locks and keys


def test_a_folder_has_one_holder_and_the_next_one_reads_who_it_is(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path / "data")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    with pytest.raises(ConfigError, match=f"in use by another Moatmail .process {os.getpid()}"):
        InstanceLock(tmp_path / "data")
    lock.release()
    InstanceLock(tmp_path / "data").release()


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be written"):
        InstanceLock(tmp_path / "file" / "data")


def test_a_removed_key_is_not_in_the_files_any_more_and_orphans_are_swept(folder: Path) -> None:
    keys = KeyStoreFile(folder, KEY)
    keys.put({1: b"one", 2: b"two", 3: b"three"})
    keys.drop([1])
    assert (keys.get(1), keys.get(2)) == (None, b"two")
    assert keys.sweep(frozenset({2})) == 1
    assert [keys.get(account) for account in (1, 2, 3)] == [None, b"two", None]
    keys.close()


def test_a_key_is_durable_before_its_account_and_goes_after_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    order: list[str] = []
    real_put, real_drop, real_commit = writer.keys.put, writer.keys.drop, Database.commit

    def put(keys: Mapping[int, bytes]) -> None:
        order.append("put")
        real_put(keys)

    def drop(accounts: Iterable[int]) -> None:
        order.append("drop")
        real_drop(accounts)

    monkeypatch.setattr(writer.keys, "put", put)
    monkeypatch.setattr(writer.keys, "drop", drop)

    def commit(self: Database) -> None:
        if self is writer.db:
            order.append("commit")
        real_commit(self)

    monkeypatch.setattr(Database, "commit", commit)
    add = change(o.AddDomain("a.test"), o.AddAccount("x", "a.test", ()))
    writer.run([Asked(add, "cli")])
    writer.run([Asked(change(o.RemoveAccount("x@a.test")), "cli")])
    assert order == ["put", "commit", "commit", "drop"]
    assert writer.keys.get(1) is None
    writer.close()


def test_a_removal_whose_key_stays_is_told_to_all_who_keep_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault: a full disk kept the key, and with it everybody from hearing that the account, which was gone, is gone."""
    ear = Ear()
    writer = Writer(folder, GlassVault(), StandingClock(), ear)
    writer.run([Asked(change(o.AddDomain("a.test"), o.AddAccount("x", "a.test", ())), "cli")])

    def full(_accounts: Iterable[int]) -> None:
        raise DatabaseError("database or disk is full")

    monkeypatch.setattr(writer.keys, "drop", full)
    (outcome,), hints = writer.run([Asked(change(o.RemoveAccount("x@a.test")), "cli")])
    assert outcome.error is not None
    assert hints is not None
    assert hints.settings
    assert [event.name for event in ear.events if event.alert] == ["store.not-followed"]
    writer.close()
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    assert writer.keys.get(1) is None
    writer.close()


def test_a_key_whose_account_never_came_is_swept_at_the_next_start(folder: Path) -> None:
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    writer.keys.put({99: b"orphan"})
    writer.close()
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    assert writer.keys.get(99) is None
    writer.close()


# ---------------------------------------------------------------- the writer's own duties


async def test_an_operations_id_is_remembered_for_ten_minutes(folder: Path) -> None:
    clock = StandingClock()
    store = open_store(folder, clock)
    alice = await house(store)
    await store.write(arrival(alice.account))
    copy = o.Copy(new_id(), alice.account, alice.inbox, alice.boxes["archive"], (1,))
    first = await store.write(copy)
    clock.time += limits.OPERATION_KEPT - 1
    await store.write(arrival(alice.account))
    assert await store.write(copy) == first
    clock.time += limits.PRUNE_EVERY + 2
    await store.write(arrival(alice.account))
    assert (await store.write(copy)).target_uids == (2,)
    await store.close()


async def test_decisions_are_kept_beside_and_a_repeated_one_once(folder: Path) -> None:
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    store = LocalStore(writer)
    alice = await house(store)
    decision = o.Decision(new_id(), NOW, "abcdefgh", {"peer": "192.0.2.1"}, o.EvidenceKey(new_id(), b"cover"), b"sealed", 1, "accept")
    for accept in [arrival(alice.account)] * 2 + [arrival(alice.account)]:
        await store.write(o.Accept(accept.contents, accept.deliveries, (), decision))
    await store.close()
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    assert writer.soft.decisions() == 1
    writer.close()


async def test_the_log_is_moved_into_the_database_beside_the_writing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WAL_PAGES", 100)
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    store = LocalStore(writer)
    alice = await house(store)
    for _ in range(200):
        await store.write(arrival(alice.account, size=10_000))
    assert writer.db.log_pages() < 200 * 5
    assert (folder / "mail.sqlite").stat().st_size > 50 * 10_000
    assert writer.db.one(mailboxes.GET_MAILBOX, {"account": alice.account, "mailbox": alice.inbox}) is not None
    await store.close()


async def test_large_content_goes_with_its_row_and_an_orphan_after_a_day(folder: Path) -> None:
    clock = StandingClock()
    writer = Writer(folder, GlassVault(), clock, Ear())
    store = LocalStore(writer)
    alice = await house(store)
    await store.write(change(o.SetSetting("store.recoverable_days", "0")))
    content_id, orphan = new_id(), new_id()
    for each in (content_id, orphan):
        file = writer.contents.create(each)
        file.write(b"sealed")
        await file.commit()
    one = o.NewContent(content_id, 6, None)
    copy = o.NewMessage(new_id(), alice.account, content_id, b"\x02", b"", b"", 6, NOW)
    await store.write(o.Accept((one,), (o.Delivery(copy, flags=4),)))
    clock.time = writer.contents.path(orphan).stat().st_mtime
    assert writer.sweep_contents() == 0
    clock.time = writer.contents.path(orphan).stat().st_mtime + limits.ORPHAN_AGE
    assert writer.sweep_contents() == 1
    assert writer.contents.size(content_id) == 6
    await store.write(o.Expunge(alice.account, alice.inbox, None, NOW))
    assert not writer.contents.path(content_id).exists()
    assert (await store.read(q.GetMailbox(alice.account, alice.inbox))) is not None
    await store.close()


@pytest.mark.parametrize("planted", ["moatmail/__init__.py", "sqlcipher3.py", "struct.py"])
def test_nothing_that_lies_in_the_current_folder_is_run_when_the_schema_is_made(planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "here" / planted
    trap.parent.mkdir(parents=True)
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path / "here")
    data = tmp_path / "data"
    data.mkdir()
    migrate.bring_up(data, KEY)
    assert not (tmp_path / "sprung").exists()
