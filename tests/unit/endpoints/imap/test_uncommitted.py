# SPDX-License-Identifier: Apache-2.0
"""What is announced by APPEND and not committed: bounded for a command, an account, and by the disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from moatmail.core.limits.mailbox import UNCOMMITTED_ACCOUNT, UNCOMMITTED_COMMAND
from moatmail.core.limits.store import FREE_OCTETS
from moatmail.core.settings.mail import SMTP, Mail
from moatmail.store import operations as o
from moatmail.store.content import ContentFiles
from tests.unit.endpoints.imap.lab import HELLO, NOW, Client, Lab, imap_lab

LARGEST = 100_000
LARGE = HELLO + b"x" * (LARGEST - len(HELLO))


@pytest_asyncio.fixture
async def small(furnished: Path, tmp_path: Path) -> AsyncIterator[Lab]:
    """Give a door that takes messages of up to LARGEST."""
    async with imap_lab(furnished, tmp_path / "small", settings=Mail(smtp=SMTP(max_message_octets=LARGEST))) as lab:
        yield lab


async def announce(client: Client, tag: bytes, size: int) -> bytes:
    """Announce a message and give the answer: go ahead, or not."""
    client.send(tag + b" APPEND INBOX {%d}\r\n" % size)
    return await client.line()


async def proceed(client: Client, message: bytes, size: int) -> bytes:
    """Send a message, announce one more of the same command, and give the answer."""
    client.send(message + b" {%d}\r\n" % size)
    return await client.line()


async def test_the_messages_of_one_command_are_bounded_together_before_they_come(small: Lab) -> None:
    """Fault: 32 messages of the largest size waited on the disk for the last of them, with no quota to ask."""
    client = await small.client()
    assert (await announce(client, b"a", LARGEST)).startswith(b"+")
    for _ in range(UNCOMMITTED_COMMAND - 1):
        assert (await proceed(client, LARGE, LARGEST)).startswith(b"+")
    assert (await proceed(client, LARGE, 1)).startswith(b"a NO [LIMIT]")
    assert small.door.accounts.uncommitted.octets == 0
    assert await client.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]
    # Singly they are taken, one after the other, however many.
    for _ in range(UNCOMMITTED_COMMAND + 1):
        assert (await client.append("INBOX", LARGE)).startswith(b"OK")
    assert small.door.accounts.uncommitted.octets == 0


async def test_a_quota_is_asked_at_each_announcement(small: Lab) -> None:
    client = await small.client()
    await small.store.write(o.Change("admin", "cli", NOW, (o.SetAccount("alice@example.test", "active", LARGEST + 10),)))
    assert (await announce(client, b"a", LARGEST)).startswith(b"+")
    assert (await proceed(client, LARGE, 11)).startswith(b"a NO [OVERQUOTA]")


async def test_what_is_refused_for_its_date_takes_no_room(small: Lab) -> None:
    """Fault: each such announcement kept its room until the process ended, and after some of them the account could append nothing any more."""
    client = await small.client()
    for _ in range(UNCOMMITTED_ACCOUNT):
        client.send(b'a APPEND INBOX "31-Dec-9999 23:59:59 -1200" {%d}\r\n' % LARGEST)
        assert (await client.line()).startswith(b"a NO [CANNOT]")
    assert small.door.accounts.uncommitted.octets == 0
    assert (await client.append("INBOX", LARGE)).startswith(b"OK")


async def test_the_sessions_of_one_account_are_bounded_together(small: Lab) -> None:
    clients = [await small.client() for _ in range(UNCOMMITTED_ACCOUNT + 1)]
    for client in clients[:-1]:
        assert (await announce(client, b"a", LARGEST)).startswith(b"+")
    assert (await announce(clients[-1], b"a", 1)).startswith(b"a NO [LIMIT]")
    # Another account is not kept from anything.
    other = await small.client("bob")
    assert (await other.append("INBOX", LARGE)).startswith(b"OK")
    # Who is done, or leaves, makes room.
    assert (await proceed(clients[0], LARGE, 1)).startswith(b"a NO [LIMIT]")
    assert (await clients[-1].append("INBOX", HELLO)).startswith(b"OK")
    clients[1].send(LARGE + b"\r\n")
    assert (await clients[1].rest(b"a")) is not None
    assert clients[1].tagged.startswith(b"OK")
    for client in clients:
        await client.close()
    assert (await other.append("INBOX", HELLO)).startswith(b"OK")
    assert small.door.accounts.uncommitted.octets == 0


@pytest.mark.parametrize(("free", "answer"), [(0, b"+"), (-1, b"a NO [LIMIT]")], ids=["it just fits", "it does not fit"])
async def test_what_would_not_fit_the_disk_is_refused_before_it_comes(small: Lab, monkeypatch: pytest.MonkeyPatch, free: int, answer: bytes) -> None:
    room = FREE_OCTETS + LARGEST + 500 + free
    monkeypatch.setattr(ContentFiles, "free_octets", lambda _self: room)
    first, second = await small.client(), await small.client("bob")
    assert (await announce(first, b"a", LARGEST)).startswith(b"+")
    assert (await announce(second, b"a", 500)).startswith(answer)
