# SPDX-License-Identifier: Apache-2.0
"""Long lists of messages come from listings without holding the loop, opened on it or in a thread, however large their rows are."""

from __future__ import annotations

import gc
import statistics
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import patch

import pytest

from moatmail.mailbox.index.tend import Tender
from moatmail.store import index_items as i
from tests.e2e.bigbox import big_mailbox
from tests.e2e.holds import measured
from tests.e2e.test_slices import AIM, SPARE, UNIT, unit
from tests.unit.endpoints.imap.lab import NOW, Lab, furnish, imap_lab

COUNT = 24_000
DIFFERENT = 1500
SECTIONS = " ".join(f"BODY.PEEK[HEADER.FIELDS ({name} To Cc From)]" for name in ("Subject", "Date", "Message-ID", "References", "In-Reply-To", "X-Mailer"))
COMMANDS = (
    "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE MESSAGE-ID)])",
    "FETCH 1:* (ENVELOPE BODYSTRUCTURE)",
    "FETCH 1:* (FLAGS BODY PREVIEW EMAILID)",
    f"UID FETCH 1:* (UID {SECTIONS} BODY.PEEK[HEADER.FIELDS (Subject)]<3.20>)",
    "FETCH 1:5000,5002:5003,5005,5007,5009:* (MODSEQ ENVELOPE)",
)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A door over a store."""
    for name in ("furnished", "data"):
        (tmp_path / name).mkdir()
    await furnish(tmp_path / "furnished")
    async with imap_lab(tmp_path / "furnished", tmp_path / "data") as one:
        yield one


@pytest.mark.timeout(300)
@pytest.mark.parametrize("on_loop", [pytest.param(1 << 30, id="opened on the loop"), pytest.param(0, id="opened in a thread")])
async def test_a_long_list_holds_nobody(lab: Lab, on_loop: int) -> None:
    client = await lab.client()
    await big_mailbox(lab, client, COUNT, different=DIFFERENT)
    (opened,) = lab.door.accounts._opened.values()
    await Tender(opened, lambda: True).run(NOW)
    assert len(await lab.store.read(i.ListSegments(lab.alice.id))) >= 2
    await client.ok("SELECT Big")
    gc.collect()
    gc.freeze()  # as the server does before it serves
    held: dict[str, tuple[float, list[tuple[str, int]]]] = {}
    units: list[float] = []
    try:
        with (
            patch("moatmail.mailbox.listings.LISTING_ON_LOOP", on_loop),
            patch("moatmail.mailbox.known.KnownMessages.find", side_effect=AssertionError("a summary was opened")),
            measured(sampling=True) as holds,
        ):
            for command in COMMANDS:
                holds.begin()
                client.send(b"x " + command.encode() + b"\r\n")
                assert await client.until(b"x OK", b"x NO", b"x BAD") == b"x OK", command
                held[command] = (holds.longest, holds.where)
                units.append(unit())
    finally:
        gc.unfreeze()
    aim = AIM * max(1.0, statistics.median(units) / UNIT)
    told = {command: f"{seconds * 1000:.1f} ms at {where[:2]}" for command, (seconds, where) in held.items() if seconds > aim * SPARE}
    assert not told, f"the aim is {aim * 1000:.1f} ms on this machine now"
