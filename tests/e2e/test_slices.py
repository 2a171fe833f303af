# SPDX-License-Identifier: Apache-2.0
"""No command holds the loop for long at 100,000 messages, and whoever shares it with one who reads and searches that many is served meanwhile."""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moatmail.store import operations as o
from tests.e2e.bigbox import big_mailbox
from tests.e2e.holds import Holds, measured
from tests.unit.endpoints.imap.lab import PASSWORD, Client, Lab, furnish, imap_lab

COUNT = 100_000
MAILBOXES = 2000
AIM = 0.010
SPARE = 1.4  # for the collector of circles, and for what one command varies
UNIT = 0.0075  # what the work of `unit` takes where the aim was set
LAG = 0.050

COMMANDS = (
    "SELECT Big",
    "STATUS Big (MESSAGES UNSEEN SIZE RECENT)",
    "FETCH 1:* (FLAGS)",
    "UID FETCH 1:* (FLAGS MODSEQ)",
    "FETCH 1:10000 (ENVELOPE BODYSTRUCTURE)",
    "FETCH 1:5000 (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE MESSAGE-ID)])",
    "FETCH 1:1000 (BODY.PEEK[])",
    "SEARCH ALL",
    "UID SEARCH RETURN (ALL COUNT) ALL",
    "SEARCH RETURN (SAVE) ALL",
    "SEARCH NOT KEYWORD foo",
    "SEARCH MODSEQ 5",
    "SEARCH UNDELETED UNSEEN NOT KEYWORD a NOT KEYWORD b NOT KEYWORD c MODSEQ 2 MODSEQ 3 MODSEQ 4 OR UID 1:90000 MODSEQ 6 OR UNFLAGGED MODSEQ 7",
    "SEARCH SINCE 1-Jan-2024",
    "FETCH 1:5000 (UID THREADID)",
    f"SEARCH OR THREADID T00 NOT THREADID T{bytes(16).hex()}",
    "SORT (ARRIVAL) UTF-8 ALL",
    "SORT (REVERSE DISPLAYTO SUBJECT DATE) UTF-8 ALL",
    "THREAD REFERENCES UTF-8 ALL",
    "THREAD ORDEREDSUBJECT UTF-8 ALL",
    "STORE 1:20000 +FLAGS (foo)",
    "SEARCH KEYWORD foo",
    "STORE 1:* +FLAGS.SILENT (\\Flagged)",
    "COPY 1:* Other",
    "SELECT Other",
    "MOVE 1:10000 Third",
    "SELECT Third",
    "STORE 1:* +FLAGS.SILENT (\\Deleted)",
    "EXPUNGE",
    "SELECT Other",
    "HOLES",
    "NOOP",
    "EXPUNGE",
    "SELECT Big",
    "SELECT Other",
    "SEARCH ALL",
    "UID SEARCH RETURN (ALL) ALL",
    "STORE 1:* +FLAGS.SILENT (\\Seen)",
    'LIST "" "*"',
    'LIST "" "*" RETURN (STATUS (MESSAGES UNSEEN))',
    "DELETE Big",
)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A door over a store."""
    for name in ("furnished", "data"):
        (tmp_path / name).mkdir()
    await furnish(tmp_path / "furnished")
    async with imap_lab(tmp_path / "furnished", tmp_path / "data") as one:
        yield one


def unit() -> float:
    """Give the CPU time of some work like ours: beside other programs a processor does the same in twice the time."""
    seconds = []
    for _ in range(9):
        before = time.thread_time()
        " ".join(map(str, range(100_000)))
        seconds.append(time.thread_time() - before)
    return statistics.median(seconds)


async def _punch_holes(lab: Lab, mailbox: int) -> None:
    r"""Give every second message ``\Deleted``, as another session would."""
    for start in range(10_001, COUNT + 1, 500):
        uids = tuple(range(start, start + 500, 2))
        await lab.store.write(o.StoreFlags(b"%016d" % start, lab.alice.id, mailbox, uids, "add", 4))


@pytest.mark.timeout(300)
async def test_no_command_holds_the_loop(lab: Lab) -> None:
    client = await lab.client()
    big = await big_mailbox(lab, client, COUNT)
    await lab.damage("UPDATE message SET thread = zeroblob(16)")  # one conversation, as long as can be
    await client.ok("CREATE Other")
    await client.ok("CREATE Third")
    for number in range(MAILBOXES):
        await client.ok(f"CREATE box/{number}")
    gc.collect()
    gc.freeze()  # as the server does before it serves: what was there then is not looked at again
    held: dict[str, tuple[float, list[tuple[str, int]]]] = {}
    units: list[float] = []
    try:
        with measured(sampling=True) as holds:
            for command in COMMANDS:
                if command == "HOLES":
                    await _punch_holes(lab, big + 1)
                    continue
                await _run(client, command, holds)
                held[command] = (holds.longest, holds.where)
                units.append(unit())
    finally:
        gc.unfreeze()
    aim = AIM * max(1.0, statistics.median(units) / UNIT)
    told = {command: f"{seconds * 1000:.1f} ms at {where[:2]}" for command, (seconds, where) in held.items() if seconds > aim * SPARE}
    assert not told, f"the aim is {aim * 1000:.1f} ms on this machine now"


async def _run(client: Client, command: str, holds: Holds) -> None:
    """Send a command and throw away the answer, line by line it would be a test of the client."""
    holds.begin()
    client.send(b"x " + command.encode() + b"\r\n")
    assert await client.until(b"x OK", b"x NO", b"x BAD") == b"x OK", command


READER = """
import socket, ssl, sys
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
peer = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
rest = peer.recv(65536)
for number, command in enumerate(sys.argv[2:]):
    tag = b"r%d " % number
    peer.sendall(tag + command.encode() + b"\\r\\n")
    tail = b""
    while b"\\r\\n" + tag not in tail or not tail.endswith(b"\\r\\n"):
        octets = peer.recv(262144)
        if not octets:
            sys.exit("the server went")
        tail = (tail + octets)[-4096:] if tail else b"\\r\\n" + octets[-4096:]
    if tag + b"OK" not in tail:
        sys.exit(command + ": " + tail[-200:].decode("latin-1"))
"""


@pytest.mark.timeout(300)
async def test_others_are_served_while_one_reads_and_searches_all(lab: Lab) -> None:
    """The lag of the loop: p99 at most 50 ms while one client fetches and searches 100,000 messages."""
    client = await lab.client()
    await big_mailbox(lab, client, COUNT)
    commands = (
        f'LOGIN alice@example.test "{PASSWORD}"',
        "SELECT Big",
        "FETCH 1:* (FLAGS)",
        "FETCH 1:20000 (ENVELOPE)",
        "SEARCH ALL",
        "SEARCH SUBJECT zebra",
        "SEARCH TEXT nowhere",
        "SORT (DATE) UTF-8 ALL",
        "THREAD REFERENCES UTF-8 ALL",
    )
    worst: list[float] = []
    # Threads of ours that others keep from a processor hold the interpreter meanwhile: a machine with other work is given another chance.
    for _attempt in range(3):
        lags = await _lags_while(lab.tls_port, commands)
        worst.append(statistics.quantiles(lags, n=100)[98])
        if worst[-1] <= LAG:
            break
    assert min(worst) <= LAG, worst


def kept_waiting() -> float:
    """Give the seconds for which this thread ever waited for a processor that others had."""
    return int(Path("/proc/thread-self/schedstat").read_bytes().split()[1]) / 1e9


async def _lags_while(port: int, commands: tuple[str, ...]) -> list[float]:
    reader = await asyncio.create_subprocess_exec(sys.executable, "-c", READER, str(port), *commands, stderr=asyncio.subprocess.PIPE)
    ended = asyncio.create_task(reader.communicate())
    lags: list[float] = []
    while not ended.done():
        due, kept = time.monotonic() + 0.002, kept_waiting()
        await asyncio.sleep(0.002)
        # What the kernel kept this thread from a processor, though it had work, is the lag of the machine.
        lags.append(max(0.0, time.monotonic() - due - (kept_waiting() - kept)))
    assert reader.returncode == 0, (await ended)[1]
    return lags
