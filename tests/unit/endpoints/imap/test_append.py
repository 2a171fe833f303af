# SPDX-License-Identifier: Apache-2.0
"""APPEND: what its owner puts there is there, with every line end whole; what cannot be is refused and leaves nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from moatmail.core.errors import SealBrokenError, StorageFullError, StoreUnavailableError
from moatmail.core.settings.mail import SMTP, Mail
from moatmail.store import operations as o
from tests.unit.endpoints.imap.lab import HELLO, NOW, Client, Lab, imap_lab


async def body_of(client: Client, number: int) -> bytes:
    told = await client.ok(f"FETCH {number} (BODY.PEEK[])")
    return told[0].partition(b"}\r\n")[2][:-1]


async def test_flags_date_and_uid(lab: Lab) -> None:
    client = await lab.client(select="INBOX")
    tagged = await client.append("INBOX", HELLO, '(\\Seen $Mine) "01-Feb-1999 10:00:00 +0200" ')
    assert tagged.startswith(b"OK [APPENDUID ")
    assert tagged.split()[3] == b"1]"
    told = await client.ok("FETCH 1 (FLAGS INTERNALDATE)")
    assert told == [b'1 FETCH (FLAGS (\\Seen \\Recent $Mine) INTERNALDATE " 1-Feb-1999 08:00:00 +0000")']
    assert await body_of(client, 1) == HELLO


async def test_a_date_before_1970(lab: Lab) -> None:
    client = await lab.client(select="INBOX")
    await client.append("INBOX", HELLO, '"01-Feb-1950 10:00:00 +0000" ')
    assert await client.ok("FETCH 1 (INTERNALDATE)") == [b'1 FETCH (INTERNALDATE " 1-Feb-1950 10:00:00 +0000")']


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        pytest.param(b"A: b\n\nc\n", b"A: b\r\n\r\nc\r\n", id="bare LF everywhere"),
        pytest.param(b"A: b\r\n\r\nc\r.\rd", b"A: b\r\n\r\nc\r\n.\r\nd", id="bare CR"),
        pytest.param(b"A: b\r\n\r\nc\n.\r\nd\r", b"A: b\r\n\r\nc\r\n.\r\nd\r\n", id="an end of data for careless servers"),
        pytest.param(b"A: b\r\n\r\n\r\n\r\n", b"A: b\r\n\r\n\r\n\r\n", id="nothing to mend"),
    ],
)
async def test_line_ends_are_made_whole_before_sizes_are_taken(lab: Lab, sent: bytes, kept: bytes) -> None:
    client = await lab.client(select="INBOX")
    await client.append("INBOX", sent)
    assert await client.ok("FETCH 1 (RFC822.SIZE)") == [b"1 FETCH (RFC822.SIZE %d)" % len(kept)]
    assert await body_of(client, 1) == kept


async def test_a_large_message_comes_back_whole_and_in_pieces(lab: Lab) -> None:
    noise = random.Random(7).randbytes(900_000).replace(b"\r", b"x").replace(b"\n", b"y").replace(b"\0", b"z")
    content = HELLO + b"\r\n".join(noise[start : start + 900] for start in range(0, len(noise), 900)) + b"\r\n"
    client = await lab.client(select="INBOX")
    assert (await client.append("INBOX", content)).startswith(b"OK")
    assert await body_of(client, 1) == content
    for start, length in ((0, 10), (len(HELLO) + 65_530, 20), (300_000, 400_000), (len(content) - 5, 50)):
        told = await client.ok(f"FETCH 1 (UID BODY.PEEK[]<{start}.{length}> FLAGS)")
        assert content[start : start + length] in told[0]
        assert told[0].endswith(b" FLAGS (\\Recent))")


async def test_into_nowhere(lab: Lab) -> None:
    client = await lab.client()
    assert (await client.append("nowhere", HELLO)).startswith(b"NO [TRYCREATE]")
    assert await client.ok("NOOP") == []


async def test_over_the_size_limit(lab: Lab, furnished: Path, tmp_path: Path) -> None:
    del lab
    async with imap_lab(furnished, tmp_path / "small", settings=Mail(smtp=SMTP(max_message_octets=100_000))) as small:
        client = await small.client()
        assert (await client.append("INBOX", b"x" * 100_001)).startswith(b"NO [TOOBIG]")
        assert await client.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]


async def test_a_header_over_its_limit(lab: Lab) -> None:
    client = await lab.client()
    assert (await client.append("INBOX", b"A: " + b"x" * 300_000 + b"\r\n\r\n")).startswith(b"NO [TOOBIG]")
    assert (await client.append("INBOX", b"A: " + b"x" * 700_000)).startswith(b"NO [TOOBIG]")
    assert await client.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]
    assert (await client.append("INBOX", HELLO)).startswith(b"OK")


async def test_over_quota(lab: Lab) -> None:
    await lab.store.write(o.Change("admin", "cli", NOW, (o.SetAccount("alice@example.test", "active", 2 * len(HELLO)),)))
    client = await lab.client(select="INBOX")
    assert (await client.append("INBOX", HELLO)).startswith(b"OK")
    assert (await client.append("INBOX", HELLO)).startswith(b"OK")
    assert (await client.append("INBOX", HELLO)).startswith(b"NO [OVERQUOTA]")
    await client.ok("STORE 1 +FLAGS (\\Deleted)")
    await client.ok("EXPUNGE")
    assert (await client.append("INBOX", HELLO)).startswith(b"OK")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(StorageFullError(), b"NO [LIMIT]", id="a full disk"),
        pytest.param(StoreUnavailableError(), b"NO [UNAVAILABLE]", id="no store"),
        pytest.param(ZeroDivisionError(), b"NO [SERVERBUG]", id="a fault of ours"),
        pytest.param(SealBrokenError(), b"NO [CORRUPTION]", id="something that does not open"),
    ],
)
async def test_what_fails_below_is_never_ok(lab: Lab, error: Exception, code: bytes) -> None:
    client = await lab.client(select="INBOX")
    write = lab.store.write

    async def fail(operation: o.Operation[object]) -> object:
        if isinstance(operation, o.Append):
            raise error
        return await write(operation)

    lab.store.write = fail  # type: ignore[method-assign,assignment]
    assert (await client.append("INBOX", HELLO)).startswith(code)
    assert bool(lab.events.alerts()) == isinstance(error, ZeroDivisionError | SealBrokenError)
    lab.store.write = write  # type: ignore[method-assign]
    assert (await client.append("INBOX", HELLO)).startswith(b"OK")


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    client = await lab.client()
    client.send(b"a APPEND INBOX {500000+}\r\n" + HELLO + b"x" * 400_000)
    await client.close()
    other = await lab.client()
    assert await other.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]
    left = [path for path in (tmp_path / "data" / "content").rglob("*") if path.is_file()]
    assert not left


LARGE = HELLO + b"x" * 70 + b"\r\n" * 200_000


def several(*messages: bytes) -> bytes:
    return b"APPEND INBOX" + b"".join(b" (\\Flagged) {%d+}\r\n%b" % (len(message), message) for message in messages)


async def test_several_messages_are_kept_together(lab: Lab) -> None:
    # RFC 3502 §3: one transaction; RFC 4315 §3: their UIDs in order.
    client = await lab.client(select="INBOX")
    told = await client.ok(several(HELLO, HELLO + b"two\r\n", LARGE))
    assert b"3 EXISTS" in told
    assert client.tagged.startswith(b"OK [APPENDUID ")
    assert client.tagged.split()[3] == b"1:3]"
    answers = await client.ok("FETCH 1:3 (RFC822.SIZE FLAGS)")
    assert [line.split(b" (")[1] for line in answers] == [b"RFC822.SIZE %d FLAGS" % len(one) for one in (HELLO, HELLO + b"two\r\n", LARGE)]
    assert all(b"\\Flagged" in line for line in answers)


SPOILING = {
    "a message over the limit": (several(HELLO, LARGE) + b" {99999999999+}\r\n", b"NO [TOOBIG]"),
    "an empty message": (several(HELLO, LARGE) + b" {0+}\r\n", b"NO an empty message"),
    "text that is no message": (several(HELLO, LARGE) + b" nonsense", b"BAD unexpected text"),
    "a header too large": (several(HELLO, LARGE, b"X: " + b"y" * 300_000), b"NO [TOOBIG]"),
    "too many messages": (several(*[HELLO] * 33), b"NO [LIMIT]"),
}


@pytest.mark.parametrize(("command", "answer"), SPOILING.values(), ids=SPOILING.keys())
async def test_one_that_cannot_be_kept_spoils_all(lab: Lab, command: bytes, answer: bytes, tmp_path: Path) -> None:
    client = await lab.client()
    await client.command(command)
    assert client.tagged.startswith(answer)
    assert await (await lab.client()).ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]
    assert not [path for path in (tmp_path / "data" / "content").rglob("*") if path.is_file()]
    assert not lab.events.alerts()


async def test_the_quota_counts_what_waits(lab: Lab) -> None:
    quota = o.SetAccount("alice@example.test", "active", 2 * len(HELLO) + 10)
    await lab.store.write(o.Change("admin", "cli", NOW, (quota,)))
    client = await lab.client()
    await client.command(several(HELLO, HELLO, HELLO))
    assert client.tagged.startswith(b"NO [OVERQUOTA]")
    await client.ok(several(HELLO, HELLO))


async def test_files_of_what_waited_go_when_a_later_one_is_refused(lab: Lab, tmp_path: Path) -> None:
    large = HELLO + random.Random(1).randbytes(300_000).hex().encode()
    quota = o.SetAccount("alice@example.test", "active", len(large) + 10)
    await lab.store.write(o.Change("admin", "cli", NOW, (quota,)))
    client = await lab.client()
    await client.command(several(large, HELLO))
    assert client.tagged.startswith(b"NO [OVERQUOTA]")
    assert not [path for path in (tmp_path / "data" / "content").rglob("*") if path.is_file()]
