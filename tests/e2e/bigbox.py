# SPDX-License-Identifier: Apache-2.0
"""A mailbox of any size in a few seconds: some hundred different messages, and copies of them, made by the store's own operations."""

from __future__ import annotations

from moatmail.crypto.seal import new_id
from moatmail.store import operations as o
from moatmail.store import queries as q
from tests.unit.endpoints.imap.lab import NOW, Client, Lab

DIFFERENT = 250
_BATCH = 2000


def letter(number: int) -> bytes:
    """Give a message: sixteen authors, threads of eight, keywords to search for."""
    answers = f"In-Reply-To: <{number - 1}@big.test>\r\nReferences: <{number - number % 8}@big.test> <{number - 1}@big.test>\r\n" if number % 8 else ""
    return (
        f"From: Author {number % 16} <author{number % 16}@sender.test>\r\nTo: Alice <alice@example.test>\r\nCc: Carol <carol{number % 5}@example.test>\r\n"
        f"Subject: {'Re: ' if number % 8 else ''}matter {number // 8} of {'zebra' if number % 40 == 0 else 'horse'}\r\n"
        f"Date: Tue, {number % 28 + 1} Oct 2026 10:{number % 60:02}:00 +0000\r\nMessage-ID: <{number}@big.test>\r\n{answers}"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + f"line {number} of the letter\r\n" * 20
    ).encode()


async def big_mailbox(lab: Lab, client: Client, count: int, name: str = "Big", different: int = DIFFERENT) -> int:
    """Make a mailbox of `count` messages of alice, who is logged in, `different` of them of their own, and give its number."""
    await client.ok(f"CREATE {name}")
    have = min(count, different)
    for number in range(have):
        assert (await client.append(name, letter(number))).startswith(b"OK")
    row = lab.alice
    identifier = max(one.id for one in (await lab.store.read(q.ListMailboxes(row.id))).mailboxes)
    while have < count:
        more = min(have, _BATCH, count - have)
        copied = await lab.store.write(o.Copy(new_id(int(NOW * 1000)), row.id, identifier, identifier, tuple(range(1, more + 1))))
        have += len(copied.source_uids)
    return identifier
