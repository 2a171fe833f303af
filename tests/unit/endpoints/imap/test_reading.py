# SPDX-License-Identifier: Apache-2.0
"""A delivered message is read: SELECT and every item of FETCH."""

from __future__ import annotations

import pytest

from tests.unit.endpoints.imap.lab import HELLO, Client, Lab

PREFIX = b"Return-Path: <bob@sender.test>\r\nDelivered-To: alice@example.test\r\n"
HEADER = PREFIX + HELLO.partition(b"the eagle")[0]


async def test_select_describes_the_mailbox(lab: Lab) -> None:
    await lab.deliver(HELLO, HELLO)
    client = await lab.client()
    untagged = await client.ok("SELECT inbox")
    assert client.tagged == b"OK [READ-WRITE] selected"
    assert untagged[0] == b"FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)"
    assert untagged[1:4] == [b"2 EXISTS", b"2 RECENT", b"OK [UNSEEN 1] first unseen"]
    assert any(line.startswith(b"OK [UIDNEXT 3]") for line in untagged)


@pytest.mark.parametrize(
    ("items", "wanted"),
    [
        pytest.param("UID", b"UID 1", id="its UID"),
        pytest.param("FLAGS", b"FLAGS (\\Recent)", id="its flags"),
        pytest.param("RFC822.SIZE", b"RFC822.SIZE %d" % len(PREFIX + HELLO), id="its size, prefix included"),
        pytest.param("INTERNALDATE", b'INTERNALDATE "15-Jan-2027 08:00:00 +0000"', id="its date of arrival"),
        pytest.param("BODY.PEEK[]", b"BODY[] {%d}\r\n" % len(PREFIX + HELLO) + PREFIX + HELLO, id="the whole of it"),
        pytest.param("BODY.PEEK[TEXT]", b"BODY[TEXT] {25}\r\nthe eagle lands at dawn\r\n", id="its text"),
        pytest.param("BODY.PEEK[TEXT]<4.5>", b"BODY[TEXT]<4> {5}\r\neagle", id="a part of its text"),
        pytest.param("BODY.PEEK[TEXT]<99.5>", b'BODY[TEXT]<99> ""', id="nothing from behind its end"),
        pytest.param("BODY.PEEK[1]", b"BODY[1] {25}\r\nthe eagle lands at dawn\r\n", id="its first part, which is its text"),
        pytest.param("BODY.PEEK[2]", b"BODY[2] NIL", id="a part it has not"),
        pytest.param("BODY.PEEK[HEADER.FIELDS (SUBJECT)]", b"BODY[HEADER.FIELDS (SUBJECT)] {18}\r\nSubject: hello\r\n\r\n", id="one field"),
        pytest.param(
            "RFC822.HEADER", b"RFC822.HEADER {%d}\r\n" % len(PREFIX + HELLO.partition(b"the")[0]) + PREFIX + HELLO.partition(b"the")[0], id="its header"
        ),
        pytest.param("BODY", b'BODY ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 25 1)', id="its structure"),
        pytest.param("MODSEQ", b"MODSEQ (2)", id="its modseq"),
    ],
)
async def test_item(lab: Lab, items: str, wanted: bytes) -> None:
    await lab.deliver(HELLO)
    client = await lab.client(select="INBOX")
    untagged = await client.ok(f"FETCH 1 ({items})")
    assert b"1 FETCH (" + wanted + b")" in untagged
    assert not lab.events.alerts()


async def test_status_tells_size_and_limit(lab: Lab) -> None:
    # RFC 8438 §2: SIZE is the sum of RFC822.SIZE; RFC 7889 §4: the limit of APPEND.
    await lab.deliver(HELLO, HELLO + b"more\r\n")
    client = await lab.client()
    await client.ok("CREATE empty")
    limit = lab.door.settings().smtp.max_message_octets
    assert await client.ok("STATUS empty (SIZE APPENDLIMIT)") == [b"STATUS empty (SIZE 0 APPENDLIMIT %d)" % limit]
    (answer,) = await client.ok("STATUS INBOX (SIZE)")
    await client.ok("SELECT INBOX")
    sizes = [int(line.rpartition(b" ")[2][:-1]) for line in await client.ok("FETCH 1:2 (RFC822.SIZE)")]
    assert answer == b"STATUS INBOX (SIZE %d)" % sum(sizes)
    await client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await client.ok("EXPUNGE")
    assert await client.ok('LIST "" INBOX RETURN (STATUS (SIZE))') == [b'LIST () "/" INBOX', b"STATUS INBOX (SIZE %d)" % sizes[1]]
    await client.ok("CAPABILITY")
    assert b" APPENDLIMIT=%d" % limit in (await client.ok("CAPABILITY"))[0]


PREVIEWS = {
    "a short text": (HELLO, b'PREVIEW "the eagle lands at dawn"'),
    "letters outside of ASCII": (
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nK=C3=B6ln\r\n",
        b"PREVIEW {5}\r\nK\xc3\xb6ln",
    ),
    "no text": (b"Content-Type: image/png\r\n\r\nxxxx", b'PREVIEW ""'),
    "a long text is cut": (b"Subject: x\r\n\r\n" + b"y" * 500, b'PREVIEW "' + b"y" * 200 + b'"'),
}


@pytest.mark.parametrize(("content", "wanted"), PREVIEWS.values(), ids=PREVIEWS.keys())
async def test_preview(lab: Lab, content: bytes, wanted: bytes) -> None:
    # RFC 8970 §3: at most 200 characters, the empty string where there is nothing to show; never NIL, for it is at hand.
    await lab.deliver(content)
    client = await lab.client(select="INBOX")
    for item in ("PREVIEW", "PREVIEW (LAZY)", "(PREVIEW (LAZY))"):
        assert await client.ok(f"FETCH 1 {item}") == [b"1 FETCH (%b)" % wanted]
    assert await client.ok("FETCH 1 FLAGS") == [b"1 FETCH (FLAGS (\\Recent))"]


async def test_a_client_without_message_numbers(lab: Lab) -> None:
    # RFC 9586 §3: UIDFETCH and VANISHED in place of FETCH and EXPUNGE, UIDs in place of numbers.
    await lab.deliver(HELLO, HELLO, HELLO)
    other = await lab.client(select="INBOX")
    await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    client = await lab.client()
    assert await client.ok("ENABLE UIDONLY") == [b"ENABLED UIDONLY"]
    told = await client.ok("SELECT INBOX")
    assert b"2 EXISTS" in told
    assert not any(b"UNSEEN" in line for line in told)
    assert (await client.no("FETCH 1 (FLAGS)")).startswith(b"BAD [UIDREQUIRED]")
    assert (await client.no("UID SEARCH 1")).startswith(b"BAD [UIDREQUIRED]")
    assert await client.ok("UID FETCH 1:* (FLAGS)") == [b"2 UIDFETCH (FLAGS ())", b"3 UIDFETCH (FLAGS ())"]
    assert await client.ok("UID FETCH 3 (UID RFC822.SIZE)") == [b"3 UIDFETCH (UID 3 RFC822.SIZE %d)" % await _size(other, 2)]
    assert await client.ok("UID STORE 2 +FLAGS (\\Seen)") == [b"2 UIDFETCH (FLAGS (\\Seen))"]
    assert await client.ok("UID SEARCH UNSEEN") == [b"SEARCH 3"]
    (answer,) = await client.ok("UID FETCH 3 (BODY[TEXT])")
    assert answer.startswith(b"3 UIDFETCH (BODY[TEXT] {25}")
    assert b"FLAGS (\\Seen)" in answer
    await other.ok("UID STORE 3 +FLAGS.SILENT (\\Flagged)")
    assert await client.ok("NOOP") == [b"3 UIDFETCH (FLAGS (\\Flagged \\Seen))"]
    await client.ok("CREATE there")
    told = await client.ok("UID MOVE 2 there")
    assert told[-1] == b"VANISHED 2"
    await client.ok("UID STORE 3 +FLAGS.SILENT (\\Deleted)")
    assert await client.ok("EXPUNGE") == [b"VANISHED 3"]


async def _size(client: Client, number: int) -> int:
    (line,) = [line for line in await client.ok(f"FETCH {number} (RFC822.SIZE)") if b"RFC822.SIZE" in line]
    return int(line.rpartition(b" ")[2][:-1])


async def test_a_large_message_of_a_client_without_numbers(lab: Lab) -> None:
    await lab.deliver(HELLO + b"x" * 70 + b"\r\n" * 300_000)
    client = await lab.client()
    await client.ok("ENABLE UIDONLY")
    await client.ok("SELECT INBOX")
    (answer,) = await client.ok("UID FETCH 1 (BODY.PEEK[])")
    assert answer.startswith(b"1 UIDFETCH (BODY[] {")


LISTS = {
    "a plain message": HELLO,
    "folded and repeated fields in odd spellings": b"FROM: Bob\r\n <bob@sender.test>\r\nto: a@x\r\nTo : b@x\r\nReceived: x\r\nSubject:\r\n\r\nx\r\n",
    "no header": b"\r\nx\r\n",
    "a header that ends without an empty line": b"Subject: x\r\nFrom: y@z",
    "octets that are not ASCII": b"Subject: gr\xc3\xbc\xc3\x9fe \xff\r\nFrom: y@z\r\n\r\nx\r\n",
    "more than a summary keeps": b"Subject: x\r\nTo: " + b"a@x,\r\n " * 1500 + b"b@x\r\n\r\nx\r\n",
}


@pytest.mark.parametrize("content", LISTS.values(), ids=LISTS.keys())
async def test_a_list_has_the_fields_that_the_content_has(lab: Lab, content: bytes) -> None:
    """What a summary keeps of the header is told exactly as the header itself would be (RFC 3501 §6.4.5)."""
    await lab.deliver(content)
    writer, client = await lab.client(), await lab.client(select="INBOX")
    await writer.ok("ENABLE UTF8=ACCEPT")  # RFC 9755 §4: nobody else appends octets that are not ASCII
    await writer.append("INBOX", content)
    await client.ok("NOOP")
    for fields in ("SUBJECT FROM TO", "Date Message-Id", "to"):
        for partial in ("", "<3.8>"):
            listed = await client.ok(f"FETCH 1:2 (UID BODY.PEEK[HEADER.FIELDS ({fields})]{partial})")
            # No summary keeps a field of that name, so the content is opened.
            opened = await client.ok(f"FETCH 1:2 (UID BODY.PEEK[HEADER.FIELDS ({fields} X-Unheard-Of)]{partial})")
            assert [line.replace(b" X-Unheard-Of", b"") for line in opened] == listed
            assert len(listed) == 2
    assert not lab.events.alerts()


async def test_a_list_is_told_without_opening_content(lab: Lab) -> None:
    await lab.deliver(HELLO)
    client = await lab.client(select="INBOX")
    await lab.damage("UPDATE content SET blob = zeroblob(length(blob))")
    (told,) = await client.ok("FETCH 1 (FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    assert b"Subject: hello" in told
    assert (await client.no("FETCH 1 (BODY.PEEK[HEADER.FIELDS (X-Unheard-Of)])")).startswith(b"NO [CORRUPTION]")


async def test_reading_a_list_field_sets_seen_where_it_was_not_only_peeked_at(lab: Lab) -> None:
    await lab.deliver(HELLO)
    client = await lab.client(select="INBOX")
    (told,) = await client.ok("FETCH 1 (BODY[HEADER.FIELDS (SUBJECT)])")
    assert told.endswith(b"FLAGS (\\Seen \\Recent))")
