# SPDX-License-Identifier: Apache-2.0
"""SORT and THREAD over a door: which messages, in which numbers, by which response."""

from __future__ import annotations

import asyncio
import time

import pytest

from moatmail.core.limits import mailbox as limits
from tests.unit.endpoints.imap.lab import Lab


def letter(number: int, subject: str, *, answers: int = 0, day: int = 1) -> bytes:
    references = f"References: <{answers}@x.test>\r\n" if answers else ""
    head = f"From: {'edcba'[number]}@x.test\r\nSubject: {subject}\r\nDate: {day} Nov 2026 10:00:00 +0000\r\nMessage-ID: <{number}@x.test>\r\n"
    return (head + references + "\r\nbody\r\n").encode()


async def given_four(lab: Lab) -> None:
    await lab.deliver(letter(1, "beta", day=4), letter(2, "alpha", day=3), letter(3, "Re: beta", answers=1, day=2), letter(4, "gamma", answers=2, day=1))


ANSWERS = {
    "SORT (SUBJECT) UTF-8 ALL": b"SORT 2 1 3 4",
    "SORT (REVERSE SUBJECT) US-ASCII ALL": b"SORT 4 1 3 2",
    "SORT (DATE) UTF-8 1:3": b"SORT 3 2 1",
    "SORT (SUBJECT DATE) UTF-8 NOT 2": b"SORT 3 1 4",
    "SORT (SIZE FROM) UTF-8 2:1": b"SORT 1 2",
    "SORT (FROM) UTF-8 ALL": b"SORT 4 3 2 1",
    "SORT (FROM) UTF-8 SUBJECT nothing": b"SORT",
    "UID SORT (DISPLAYFROM) UTF-8 ALL": b"SORT 14 13 12 11",
    "SORT RETURN (MIN MAX COUNT) (DATE) UTF-8 ALL": b"ESEARCH (TAG $) MIN 4 MAX 1 COUNT 4",
    "SORT RETURN () (FROM) UTF-8 ALL": b"ESEARCH (TAG $) ALL 4,3,2,1",
    "UID SORT RETURN (PARTIAL 2:3) (FROM) UTF-8 ALL": b"ESEARCH (TAG $) UID PARTIAL (2:3 13,12)",
    "SORT RETURN (PARTIAL -1:-1) (FROM) UTF-8 ALL": b"ESEARCH (TAG $) PARTIAL (-1:-1 1)",
    "SORT RETURN (ALL) (FROM) UTF-8 SUBJECT nothing": b"ESEARCH (TAG $)",
    "THREAD REFERENCES UTF-8 ALL": b"THREAD (2 4)(1 3)",
    "UID THREAD REFERENCES UTF-8 ALL": b"THREAD (12 14)(11 13)",
    "THREAD REFERENCES UTF-8 SUBJECT nothing": b"THREAD",
    "THREAD REFERENCES UTF-8 2:4": b"THREAD (3)(2 4)",
    "THREAD ORDEREDSUBJECT UTF-8 ALL": b"THREAD (4)(3 1)(2)",
}


async def test_every_command_answers_in_its_order(lab: Lab) -> None:
    # RFC 5256 §3 and §4, RFC 5267 §3.1: MIN is the first of the order, ranges never fall.
    for _ in range(10):
        await lab.deliver(letter(0, "gone"))
    client = await lab.client(select="INBOX")
    await client.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)")
    await client.ok("EXPUNGE")
    await given_four(lab)
    await client.ok("NOOP")
    for command, wanted in ANSWERS.items():
        answer = (await client.ok(command))[-1]
        tag = answer.partition(b"(TAG ")[2].partition(b")")[0]
        assert (answer.replace(tag, b"$") if tag else answer) == wanted, command


async def test_what_a_sort_saves_and_the_modseq_it_tells(lab: Lab) -> None:
    await given_four(lab)
    client = await lab.client(select="INBOX")
    assert [line for line in await client.ok("SORT RETURN (SAVE MIN) (FROM) UTF-8 ALL") if b"ESEARCH" in line] == [b'ESEARCH (TAG "t3") MIN 4']
    assert (await client.ok("SEARCH $"))[-1] == b"SEARCH 4"
    await client.no("SORT RETURN (SAVE) (FROM) KOI8-R ALL")
    assert (await client.ok("SEARCH $"))[-1] == b"SEARCH"
    await client.ok("STORE 1 +FLAGS.SILENT (\\Seen)")
    modseqs = [int(line.split(b"MODSEQ (")[1].split(b")")[0]) for line in await client.ok("FETCH 1:4 (MODSEQ)") if b" FETCH (" in line]
    # RFC 7162 §3.1.6: the highest of what was found.
    assert (await client.ok("SORT (FROM) UTF-8 MODSEQ 1"))[-1] == b"SORT 4 3 2 1 (MODSEQ %d)" % max(modseqs)


async def test_too_many_references_are_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    await given_four(lab)
    monkeypatch.setattr(limits, "THREAD_OCTETS", 2 * limits.THREAD_ID_COST)
    client = await lab.client(select="INBOX")
    assert (await client.no("THREAD REFERENCES UTF-8 ALL")).startswith(b"NO [LIMIT]")
    await client.ok("THREAD ORDEREDSUBJECT UTF-8 ALL")
    assert not lab.events.alerts()


async def test_others_have_their_turn_while_hundreds_are_sorted_and_threaded(lab: Lab) -> None:
    await lab.deliver(*[letter(number % 5, f"s{number % 50}", answers=number % 7, day=1 + number % 28) for number in range(600)])
    client = await lab.client(select="INBOX")
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()  # what this thread did, whatever else the machine does
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    watcher = asyncio.create_task(watch())
    try:
        await client.ok("SORT (SUBJECT DATE) UTF-8 ALL")
        await client.ok("THREAD REFERENCES UTF-8 ALL")
    finally:
        watcher.cancel()
    assert longest < 0.05  # a slice is 3 ms, a page another: the rest is room for a busy machine
