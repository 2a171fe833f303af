# SPDX-License-Identifier: Apache-2.0
"""A long list of messages is the same whether it comes from listings or from summaries, and whatever is missing or damaged."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from moatmail.crypto.seal import new_id
from moatmail.mailbox.index.listing import Kind, ListingBuilder
from moatmail.mailbox.unsealing import open_summary
from moatmail.store import index_items as i
from moatmail.store import operations as o
from tests.unit.endpoints.imap.lab import HELLO, Lab

ITEMS = (
    "(ENVELOPE BODYSTRUCTURE)",
    "FULL",
    "(UID FLAGS RFC822.SIZE INTERNALDATE SAVEDATE EMAILID THREADID BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE MESSAGE-ID)])",
    "(PREVIEW MODSEQ BODY.PEEK[HEADER.FIELDS (SUBJECT)]<2.6>)",
    "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT X-Unheard-Of)])",
    "(BODY[HEADER.FIELDS (SUBJECT)])",
)


@pytest.fixture(autouse=True)
def _few_are_many() -> Iterator[None]:
    with patch("moatmail.endpoints.imap.fetch.LISTING_FROM", 1), patch("moatmail.endpoints.imap.fetch.LISTED_PAGE", 3):
        yield


async def merge(lab: Lab, count: int, *, damaged: bool = False) -> bytes:
    """Make a segment of the first messages of the tail, with a listing and no words."""
    (opened,) = lab.door.accounts._opened.values()
    rows = await lab.store.read(i.ListUnindexed(lab.alice.id, 0, count))
    segment = new_id(1)
    builder = ListingBuilder()
    for row in rows:
        builder.add(row.number, row.received_at, open_summary(opened.keys, opened.id, row))
    parts = [(kind, sealed[:-1] if damaged and kind != Kind.FACTS else sealed) for kind, sealed in builder.seal(opened.keys.sealing, lab.alice.id, segment)]
    await lab.store.write(i.AddSegment(lab.alice.id, segment, tuple(row.number for row in rows), tuple(parts)))
    return segment


async def given_mail(lab: Lab) -> None:
    long = b"Subject: long\r\nTo: " + b"a@x,\r\n " * 1500 + b"b@x\r\n\r\nx\r\n"
    await lab.deliver(HELLO, *(HELLO.replace(b"hello", b"number %d" % number) for number in range(8)), long, HELLO)


@pytest.mark.parametrize("items", ITEMS)
async def test_from_listings_comes_what_comes_from_summaries(lab: Lab, items: str) -> None:
    await given_mail(lab)
    client = await lab.client(select="INBOX")
    await client.ok("ENABLE CONDSTORE")
    before = await client.ok(f"FETCH 1:* {items.replace('BODY[', 'BODY.PEEK[')}")
    await merge(lab, 4)
    await merge(lab, 6)  # and one stays in no segment
    after = await client.ok(f"FETCH 1:* {items.replace('BODY[', 'BODY.PEEK[')}")
    assert after == before
    assert len(await client.ok(f"FETCH 2:9 {items}")) == 8
    assert not lab.events.alerts()


@pytest.mark.parametrize("enabled", ["CONDSTORE", "UIDONLY", "UTF8=ACCEPT"])
async def test_so_it_is_where_messages_lie_in_another_order_with_flags_and_keywords(lab: Lab, enabled: str) -> None:
    await given_mail(lab)
    client = await lab.client(select="INBOX")
    await client.ok("CREATE Other")
    for numbers in ("4", "9:10", "1:3", "11", "2,5,6"):
        await client.ok(f"COPY {numbers} Other")
    await client.ok("SELECT Other")
    await client.ok("STORE 2:7 +FLAGS (work \\Flagged)")
    await client.ok("STORE 4 FLAGS ($Late later)")
    await client.ok(f"ENABLE {enabled}")
    everything = "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY PREVIEW BODY.PEEK[HEADER.FIELDS (TO SUBJECT)] BODY.PEEK[HEADER.FIELDS (DATE)]<3.4> EMAILID)"
    before = [await client.ok(f"UID FETCH {uids} {everything}") for uids in ("1:*", "1,3:5,8:9")]
    await merge(lab, 4)
    await merge(lab, 6)
    with patch("moatmail.endpoints.imap.fetch_listed.LISTED_ROWS", 2):
        assert [await client.ok(f"UID FETCH {uids} {everything}") for uids in ("1:*", "1,3:5,8:9")] == before
    assert not lab.events.alerts()


async def test_a_nul_of_old_mail_leaves_in_no_ordinary_literal(lab: Lab) -> None:
    """Fault: RFC 3501 §9 has no NUL in CHAR8; what one message alone was told of without it a list gave with it."""
    await lab.deliver(HELLO, HELLO.replace(b"hello", b"h\0llo"), HELLO)
    client = await lab.client(select="INBOX")
    before = await client.ok("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    assert b"h\x80llo" in before[1]
    await merge(lab, 3)
    assert await client.ok("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])") == before


async def test_listings_are_what_is_read(lab: Lab) -> None:
    await given_mail(lab)
    client = await lab.client(select="INBOX")
    await merge(lab, 5)
    await lab.damage("UPDATE message SET summary = zeroblob(length(summary)) WHERE number IN (SELECT message FROM placement WHERE uid < 6)")
    told = await client.ok("FETCH 1:5 (ENVELOPE)")
    assert [b'"number 2"' in line for line in told] == [False, False, False, True, False]


async def test_a_damaged_listing_is_told_of_and_costs_no_message(lab: Lab) -> None:
    await given_mail(lab)
    client = await lab.client(select="INBOX")
    before = await client.ok("FETCH 1:* (ENVELOPE)")
    await merge(lab, 5, damaged=True)
    assert await client.ok("FETCH 1:* (ENVELOPE)") == before
    assert [event.name for event in lab.events.alerts()] == ["seal.broken"]


async def test_an_expunged_message_is_not_told_from_a_listing_that_still_has_it(lab: Lab) -> None:
    await given_mail(lab)
    client = await lab.client(select="INBOX")
    await merge(lab, 5)
    other = await lab.client(select="INBOX")
    await other.ok("STORE 2 +FLAGS (\\Deleted)")
    await other.ok("EXPUNGE")
    told = await client.command("FETCH 1:5 (ENVELOPE)")
    assert [line.split()[0] for line in told if b"ENVELOPE" in line] == [b"1", b"3", b"4", b"5"]
    assert client.tagged.startswith(b"OK [EXPUNGEISSUED]")


async def test_erasing_a_message_takes_the_listing_that_holds_it(lab: Lab) -> None:
    await given_mail(lab)
    client = await lab.client(select="INBOX")
    await merge(lab, 5)
    await client.ok("STORE 2 +FLAGS (\\Deleted)")
    await client.ok("EXPUNGE")
    await lab.store.write(o.EraseDue(lab.door.clock.now() + 40 * 86400))
    assert await lab.store.read(i.ListSegments(lab.alice.id)) == ()
    assert lab.writer.db.connection.execute("SELECT count(*) FROM index_part").fetchone() == (0,)
    assert len(await client.ok("FETCH 1:* (ENVELOPE)")) == 10


async def test_messages_that_lie_in_many_segments_are_read_one_by_one(lab: Lab) -> None:
    await given_mail(lab)
    client = await lab.client(select="INBOX")
    before = await client.ok("FETCH 1:* (ENVELOPE)")
    for _ in range(9):
        await merge(lab, 1)
    with patch("moatmail.mailbox.listings.LISTING_SEGMENTS", 1):
        assert await client.ok("FETCH 1:* (ENVELOPE)") == before
