# SPDX-License-Identifier: Apache-2.0
"""When a message came into the mailbox where it lies: its own date, whatever others it bears.

Obeys RFC 8514.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.endpoints.imap.lab import HELLO, NOW, Client, Lab

_DATE = re.compile(rb'SAVEDATE "([ 0-9][0-9]-[A-Z][a-z]{2}-[0-9]{4} [0-9:]{8} \+0000)"')
TODAY = datetime.fromtimestamp(NOW, UTC)


def day(shift: int) -> str:
    return f"{TODAY + timedelta(days=shift):%-d-%b-%Y}"


async def saved(client: Client, number: int) -> datetime:
    found = _DATE.search((await client.ok(f"FETCH {number} (SAVEDATE)"))[0])
    assert found
    return datetime.strptime(found[1].decode(), "%d-%b-%Y %H:%M:%S %z")


async def test_a_message_is_saved_now_whatever_date_it_was_given(lab: Lab) -> None:
    # RFC 8514 §3.
    client = await lab.client()
    await client.append("INBOX", HELLO, '"01-Jan-1999 00:00:00 +0000" ')
    await client.ok("SELECT INBOX")
    assert abs((await saved(client, 1) - TODAY).total_seconds()) < 60
    (line,) = await client.ok("FETCH 1 (INTERNALDATE SAVEDATE UID)")
    assert b'INTERNALDATE " 1-Jan-1999' in line


@pytest.mark.parametrize("command", ["COPY 1 Archive", "MOVE 1 Archive"])
async def test_a_copy_is_saved_anew_and_the_original_keeps_its_date(lab: Lab, command: str) -> None:
    # RFC 8514 §3; the clock of the store goes on by two days between.
    await lab.deliver(HELLO)
    client = await lab.client(select="INBOX")
    first = await saved(client, 1)
    clock = lab.writer._clock
    clock._start -= 2 * 86400  # type: ignore[attr-defined]
    await client.ok(command)
    if command.startswith("COPY"):
        assert await saved(client, 1) == first
    await client.ok("SELECT Archive")
    assert (await saved(client, 1) - first).days == 2


async def test_searching_by_save_date(lab: Lab) -> None:
    # RFC 8514 §4.3: the day alone counts.
    client = await lab.client()
    await client.append("INBOX", HELLO, '"01-Jan-1999 00:00:00 +0000" ')
    await client.ok("SELECT INBOX")
    for text, found in (
        (f"SAVEDON {day(0)}", True),
        (f"SAVEDON {day(-1)}", False),
        (f"SAVEDBEFORE {day(0)}", False),
        (f"SAVEDBEFORE {day(1)}", True),
        (f"SAVEDSINCE {day(0)}", True),
        (f"SAVEDSINCE {day(1)}", False),
        (f"SAVEDSINCE {day(0)} BEFORE 2-Jan-1999", True),
        (f"OR SAVEDBEFORE {day(-5)} SUBJECT nothing", False),
        (f"NOT SAVEDON {day(0)} TEXT eagle", False),
        (f"SAVEDON {day(0)} TEXT eagle", True),
        ("SAVEDATESUPPORTED", True),
    ):
        assert await client.ok(f"SEARCH {text}") == [b"SEARCH 1" if found else b"SEARCH"], text
