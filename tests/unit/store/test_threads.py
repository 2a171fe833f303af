# SPDX-License-Identifier: Apache-2.0
"""What ties messages, at rest: keyed digests, and not one of an erased message."""

from __future__ import annotations

from pathlib import Path

import msgspec

from moatmail.store import operations as o
from moatmail.store.local import LocalStore
from moatmail.store.migrate import FILE, HEAD, bring_up
from moatmail.store.migrations import run
from moatmail.store.sql.statement import Statement
from moatmail.store.sqlite import Use, open_database
from moatmail.store.writer import Writer
from tests.store_contract.given import DAY, NOW, Ear, GlassVault, House, StandingClock, content, house, message, new_id

ONE, TWO, THREE = (bytes([letter]) * 16 for letter in b"123")


async def put(store: LocalStore, where: House, links: bytes) -> int:
    one = content(100)
    return (await store.write(o.Accept((one,), (o.Delivery(msgspec.structs.replace(message(where.account, one), links=links)),))))[0].uid


def kept(writer: Writer) -> dict[bytes, tuple[int, bytes]]:
    rows = writer.db.all(Statement("SELECT digest, account, thread FROM thread_link"))
    return {digest: (account, thread) for digest, account, thread in rows}


async def test_what_comes_is_kept_keyed_and_goes_with_the_last_who_mentions_it(folder: Path) -> None:
    vault = GlassVault()
    writer = Writer(folder, vault, StandingClock(), Ear())
    store = LocalStore(writer)
    alice, bob = await house(store), await house(store, "bob")
    uids = [await put(store, alice, links) for links in (ONE, ONE + TWO, TWO + THREE)]
    await put(store, bob, ONE)
    assert set(kept(writer)) == {*vault.thread_digests(alice.account, (ONE, TWO, THREE)), *vault.thread_digests(bob.account, (ONE,))}
    assert not {ONE, TWO, THREE} & set(kept(writer))
    rows = writer.db.all(Statement("SELECT account, thread, links FROM message ORDER BY number"))
    assert [links for _account, _thread, links in rows] == [
        b"".join(vault.thread_digests(account, links))
        for account, links in ((alice.account, (ONE,)), (alice.account, (ONE, TWO)), (alice.account, (TWO, THREE)), (bob.account, (ONE,)))
    ]
    for uid, left in zip(uids, ((ONE, TWO, THREE), (TWO, THREE), ()), strict=True):
        await store.write(o.StoreFlags(new_id(), alice.account, alice.inbox, (uid,), "add", 4))
        await store.write(o.Expunge(alice.account, alice.inbox, (uid,), NOW, new_id()))
        await store.write(o.EraseDue(NOW + 26 * DAY))
        assert {digest for digest, (account, _thread) in kept(writer).items() if account == alice.account} == set(vault.thread_digests(alice.account, left))
    assert {account for account, _thread in kept(writer).values()} == {bob.account}
    await store.close()


def test_mail_kept_before_there_were_threads_waits_for_its_own(tmp_path: Path) -> None:
    key = GlassVault().database_key()
    database = open_database(tmp_path / FILE, key, Use.WRITE)
    run.upgrade(database, "0005")
    columns = "INSERT INTO message (number, id, account, content, size, received_at, cover_kind, cover, prefix, summary)"
    row = columns + " VALUES (1, x'01', 7, x'', 1, 0, 2, x'', x'', x'')"
    database.run(Statement(row))
    database.close()
    bring_up(tmp_path, key)
    database = open_database(tmp_path / FILE, key, Use.READ)
    assert database.all(Statement("SELECT version_num FROM alembic_version")) == [(HEAD,)]
    assert database.all(Statement("SELECT number, thread, links FROM message WHERE account = 7 AND thread IS NULL")) == [(1, None, None)]
    assert database.all(Statement("SELECT * FROM thread_link")) == []
    database.close()
