# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from moatmail.core.limits import store as limits
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.index_items import AddSegment, ListUnindexed
from moatmail.store.local import LocalStore
from moatmail.store.sql import schema
from moatmail.store.sql.statement import Statement
from moatmail.store.writer import Writer
from tests.store_contract.given import DAY, NOW, Ear, GlassVault, House, StandingClock, arrival, change, content, house, message, new_id

# What the store counts as it goes, counted again from the rows: every line of an answer is a contradiction.
CONTRADICTIONS = {
    "a mailbox's counts": """
        SELECT b.id, b.messages, b.unseen, b.deleted, b.octets FROM mailbox b LEFT JOIN
          (SELECT p.mailbox, count(*) n, sum(p.flags & 8 = 0) u, sum(p.flags & 4 != 0) d, sum(m.size) o
             FROM placement p JOIN message m ON m.number = p.message GROUP BY p.mailbox) c ON c.mailbox = b.id
         WHERE b.messages != coalesce(c.n, 0) OR b.unseen != coalesce(c.u, 0) OR b.deleted != coalesce(c.d, 0) OR b.octets != coalesce(c.o, 0)""",
    "octets marked for removal": """
        SELECT b.id FROM mailbox b WHERE b.deleted_octets !=
          (SELECT coalesce(sum(m.size), 0) FROM placement p JOIN message m ON m.number = p.message WHERE p.mailbox = b.id AND p.flags & 4 != 0)""",
    "no words without message": "SELECT w.number FROM message_words w WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.number = w.number)",
    "no part without segment": "SELECT i.id FROM index_part i WHERE NOT EXISTS (SELECT 1 FROM index_segment s WHERE s.account = i.account AND s.id = i.id)",
    "what waits is placed": """
        SELECT t.number FROM index_tail t
         WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.number = t.number AND m.account = t.account AND m.erase_at IS NULL)""",
    "UIDs and modseqs below what comes next": """
        SELECT b.id FROM mailbox b JOIN placement p ON p.mailbox = b.id WHERE p.uid >= b.uidnext OR p.modseq > b.highestmodseq""",
    "a vanished UID is placed nowhere": """
        SELECT v.uid FROM vanished v JOIN placement p ON p.mailbox = v.mailbox AND p.uid = v.uid""",
    "what is remembered of vanished UIDs": """
        SELECT b.id FROM mailbox b WHERE b.vanished != (SELECT count(*) FROM vanished v WHERE v.mailbox = b.id)""",
    "an account's used room": """
        SELECT a.id, a.used_octets FROM account a LEFT JOIN
          (SELECT account, sum(size) o FROM message WHERE erase_at IS NULL GROUP BY account) c ON c.account = a.id
         WHERE a.used_octets != coalesce(c.o, 0)""",
    "what an account can bring back": """
        SELECT a.id, a.recoverable, a.recoverable_octets FROM account a LEFT JOIN
          (SELECT account, count(*) n, sum(size) o FROM message WHERE erase_at IS NOT NULL GROUP BY account) c ON c.account = a.id
         WHERE a.recoverable != coalesce(c.n, 0) OR a.recoverable_octets != coalesce(c.o, 0)""",
    "a message is placed or recoverable": """
        SELECT m.number FROM message m WHERE (m.erase_at IS NULL) != EXISTS (SELECT 1 FROM placement p WHERE p.message = m.number)""",
    "a content's references": """
        SELECT c.id FROM content c WHERE c."references" !=
          (SELECT count(*) FROM message m WHERE m.content = c.id) + (SELECT count(*) FROM spool s WHERE s.content = c.id)""",
    "no message without content": "SELECT m.number FROM message m WHERE NOT EXISTS (SELECT 1 FROM content c WHERE c.id = m.content)",
    "no placement without mailbox": "SELECT p.uid FROM placement p WHERE NOT EXISTS (SELECT 1 FROM mailbox b WHERE b.id = p.mailbox)",
    "the ledger closes": "SELECT day FROM ledger WHERE accepted != delivered + queued + relayed + bounced",
    "the ledger's queue": "SELECT 1 WHERE (SELECT coalesce(sum(queued), 0) FROM ledger) != (SELECT count(*) FROM spool_recipient WHERE state = 'queued')",
}


def misplaced(writer: Writer) -> set[int]:
    """Give messages that are not where the index has them: placed in neither tail nor segment, or in two; or of a segment, and gone."""
    found = Counter(row[0] for row in writer.db.all(Statement("SELECT number FROM index_tail")))
    merged = [number for (packed,) in writer.db.all(Statement("SELECT numbers FROM index_segment")) for number in msgspec.msgpack.decode(packed)]
    found.update(merged)
    there: dict[int, float | None] = dict(writer.db.all(Statement("SELECT number, erase_at FROM message")))
    placed = {number for number, erase_at in there.items() if erase_at is None}
    return {number for number, times in found.items() if times > 1} | (placed - set(found)) | (set(merged) - set(there))


class Player:
    """Does what users and senders do, by a seed."""

    def __init__(self, store: LocalStore, houses: list[House], chance: random.Random) -> None:
        self.store = store
        self.houses = houses
        self.chance = chance

    async def step(self) -> None:
        await self.chance.choice(
            (self.accept, self.accept, self.accept, self.flag, self.copy, self.move, self.expunge, self.queue, self.settle, self.erase, self.merge)
        )()

    def place(self) -> tuple[House, int, int]:
        where = self.chance.choice(self.houses)
        one, two = self.chance.choices(list(where.boxes.values()), k=2)
        return where, one, two

    def uids(self) -> tuple[int, ...]:
        return tuple(self.chance.sample(range(1, 40), self.chance.randint(1, 12)))

    async def accept(self) -> None:
        one = content(self.chance.randint(1, 500))
        chosen = self.chance.sample(self.houses, self.chance.randint(1, len(self.houses)))
        copies = tuple(
            o.Delivery(
                msgspec.structs.replace(message(each.account, one), words=self.chance.choice((b"", b"words"))),
                special_use=self.chance.choice(list(each.boxes)),
                flags=self.chance.randrange(32),
            )
            for each in chosen
        )
        accept = o.Accept((one,), copies)
        for _ in range(self.chance.randint(1, 2)):
            await self.store.write(accept)

    async def flag(self) -> None:
        where, one, _two = self.place()
        mode = self.chance.choice(("add", "remove", "replace"))
        await self.store.write(o.StoreFlags(new_id(), where.account, one, self.uids(), mode, self.chance.randrange(32)))

    async def copy(self) -> None:
        where, one, two = self.place()
        await self.store.write(o.Copy(new_id(), where.account, one, two, self.uids()))

    async def move(self) -> None:
        where, one, two = self.place()
        await self.store.write(o.Move(new_id(), where.account, one, two, self.uids()))

    async def expunge(self) -> None:
        where, one, _two = self.place()
        await self.store.write(o.Expunge(where.account, one, self.chance.choice((None, self.uids())), NOW + self.chance.randrange(20) * DAY))

    async def queue(self) -> None:
        one = content(10)
        due = (NOW,) * self.chance.randint(1, 3)
        local = (o.Delivery(message(self.houses[0].account, one)),) if self.chance.random() < 0.5 else ()
        await self.store.write(o.Accept((one,), local, (o.NewSpool(new_id(), one.id, b"k", b"e", NOW, due),)))

    async def settle(self) -> None:
        for claimed in await self.store.write(o.ClaimSpool(NOW, NOW + 1, "me", 2)):
            outcomes = tuple(o.RecipientOutcome(one.number, self.chance.choice(("queued", "relayed", "bounced")), NOW) for one in claimed.due)
            report = content(5)
            bounce = (o.NewSpool(new_id(), report.id, b"k", b"e", NOW, (NOW,), "generated"),) if self.chance.random() < 0.3 else ()
            await self.store.write(o.SettleSpool(claimed.id, "me", outcomes, (), (report,), bounce))

    async def merge(self) -> None:
        where, _one, _two = self.place()
        tail = [row.number for row in await self.store.read(ListUnindexed(where.account))]
        chosen = tuple(sorted(self.chance.sample(tail, self.chance.randint(0, len(tail)))))
        if chosen:
            await self.store.write(AddSegment(where.account, new_id(), chosen, ((0, b"part"), (6, b"another"))))

    async def erase(self) -> None:
        await self.store.write(o.EraseDue(NOW + self.chance.randrange(60) * DAY, limit=self.chance.randint(1, 50)))


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_done_the_counts_say_what_the_rows_say(seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VANISHED_KEPT", 30)
    monkeypatch.setattr(limits, "VANISHED_SLACK", 5)
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    store = LocalStore(writer)
    player = Player(store, [await house(store, name) for name in ("alice", "bob", "carol")], random.Random(seed))
    await store.write(change(o.SetSetting("store.recoverable_octets", "4000")))
    for number in range(250):
        await player.step()
        if number == 200:
            await store.write(change(o.RemoveAccount("carol@example.test")))
            player.houses.pop()
    assert {name: found for name, sql in CONTRADICTIONS.items() if (found := writer.db.all(Statement(sql)))} == {}
    assert misplaced(writer) == set()
    assert (await store.read(q.GetLedger()))[0].accepted > 100
    await store.close()


def test_the_tables_can_be_said_to_postgresql_too() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    texts = [str(CreateTable(table).compile(dialect=dialect)) for table in schema.METADATA.sorted_tables]
    texts += [str(CreateIndex(index).compile(dialect=dialect)) for table in schema.METADATA.sorted_tables for index in table.indexes]
    assert any("WHERE state = 'queued'" in text for text in texts)
    assert any("number BIGSERIAL" in text for text in texts)


async def test_a_contradiction_would_be_found(folder: Path) -> None:
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    store = LocalStore(writer)
    alice = await house(store)
    await store.write(arrival(alice.account))
    writer.db.run(Statement("UPDATE placement SET flags = 12, modseq = 99"))
    found = {name for name, sql in CONTRADICTIONS.items() if writer.db.all(Statement(sql))}
    assert found == {"a mailbox's counts", "octets marked for removal", "UIDs and modseqs below what comes next"}
    await store.close()
