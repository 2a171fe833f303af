# SPDX-License-Identifier: Apache-2.0
"""R5: in the system's own record of 500 deliveries, the last sync of the message's file and of its row comes before the 250 is written."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.traffic import Sender, needs_root, report, roles, strace
from tests.e2e.trial import Trial

pytestmark = [needs_root, pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")]

DELIVERIES = int(os.environ.get("MOATMAIL_R5_DELIVERIES", "500"))
LARGE = 2600
LARGE_EVERY = 5

CALLS = "fsync,fdatasync,write,writev,pwrite64,sendto,sendmsg,rename,renameat,renameat2"


@dataclass
class Steps:
    """What the system did for one message, as places in the record, in the order of their ends."""

    file_synced: list[int] = field(default_factory=list)
    renamed: list[int] = field(default_factory=list)
    folder_synced: list[int] = field(default_factory=list)
    row_written: list[int] = field(default_factory=list)
    row_synced: list[tuple[int, int]] = field(default_factory=list)  # begun, ended
    answered: int = 0

    def in_order(self, *, large: bool) -> bool:
        """Tell whether all that makes the message durable was done, each after what it rests on, and the 250 last."""
        if not (self.row_written and self.row_synced and self.answered):
            return False
        begun, ended = self.row_synced[-1]
        row = max(self.row_written) < begun <= ended < self.answered
        if not large:
            return row
        file = bool(self.file_synced and self.renamed and self.folder_synced)
        return row and file and max(self.file_synced) < min(self.renamed) < max(self.folder_synced) < min(self.row_written)


_UNFINISHED = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_WHOLE = re.compile(r"^(\d+) +(\w+)\((.*)$")


def read(log: Path) -> list[Steps]:
    """Turn the record into the steps of each message: all between two 250s belongs to the second."""
    found: list[Steps] = []
    now = Steps()
    begun: dict[str, tuple[int, str]] = {}
    for place, line in enumerate(log.read_text(errors="replace").splitlines()):
        if half := _UNFINISHED.match(line):
            begun[half[1]] = place, half[3]
            # What is written may be read before the call returns: the moment that counts is its begin.
            if _is_answer(half[2], half[3]):
                now.answered = place
                found.append(now)
                now = Steps()
            continue
        if rest := _RESUMED.match(line):
            start, arguments = begun.pop(rest[1])
            if not _is_answer(rest[2], arguments):
                _note(now, rest[2], arguments + rest[3], start, place)
        elif whole := _WHOLE.match(line):
            if _is_answer(whole[2], whole[3]):
                now.answered = place
                found.append(now)
                now = Steps()
            else:
                _note(now, whole[2], whole[3], place, place)
    return found


def _is_answer(call: str, arguments: str) -> bool:
    return call in {"write", "writev", "sendto", "sendmsg"} and re.search(r'"250 2\.[0-9.]+ [^"]*as [0-9a-f]{32}', arguments) is not None


def _note(now: Steps, call: str, arguments: str, start: int, end: int) -> None:
    if not re.search(r"= \d+\b", arguments) and not arguments.rstrip().endswith("= 0"):
        return  # it failed
    target = arguments.partition(">")[0]
    if call in {"fsync", "fdatasync"}:
        if target.endswith("/mail.sqlite-wal"):
            now.row_synced.append((start, end))
        elif "/content/tmp/" in target:
            now.file_synced.append(end)
        elif re.search(r"/content/[0-9a-f]{2}$", target):
            now.folder_synced.append(end)
    elif call == "pwrite64" and target.endswith("/mail.sqlite-wal"):
        now.row_written.append(end)
    elif call.startswith("rename") and "/content/tmp/" in arguments:
        now.renamed.append(end)


def test_r5_every_message_and_its_row_are_synced_before_its_250(own_server: Trial, tmp_path: Path) -> None:
    pids = [pid for role in ("store", "mx") for pid in roles(own_server)[role]]
    sender = Sender(own_server, "r5", (own_server.account(1)[0],), lambda _count: 1)
    log = tmp_path / "strace.log"
    large = [number % LARGE_EVERY == 0 for number in range(DELIVERIES)]
    with strace(pids, ["-s", "120", "-e", f"trace={CALLS}"], log), sender.connect() as client:
        for number, one in enumerate(large):
            assert sender.send_one(client, f"r5-n{number}-z{LARGE if one else 12}")
    steps = read(log)
    good = [one.in_order(large=size) for one, size in zip(steps, large, strict=True)]
    report("R5", deliveries=len(steps), in_order=sum(good), in_files=sum(large))
    assert all(good), [(number, large[number], steps[number]) for number, one in enumerate(good) if not one][:3]


@pytest.mark.parametrize("missing", ["the sync of the row", "the sync of the file", "the sync of the folder", "a sync of the row in time"])
def test_the_judge_of_the_order_sees_what_is_missing(missing: str, tmp_path: Path) -> None:
    lines = [
        "1 fsync(7</t/mail/content/tmp/ab.1>) = 0",
        '1 rename("/t/mail/content/tmp/ab.1", "/t/mail/content/ab/ab") = 0',
        "1 fsync(8</t/mail/content/ab>) = 0",
        '2 pwrite64(5</t/mail/mail.sqlite-wal>, "x"..., 8216, 32) = 8216',
        "2 fdatasync(5</t/mail/mail.sqlite-wal>) = 0",
        f'1 write(9<socket:[1]>, "250 2.6.0 message accepted as {"0" * 32}\\r\\n", 60) = 60',
    ]
    log = tmp_path / "log"
    log.write_text("\n".join(lines) + "\n")
    (whole,) = read(log)
    assert whole.in_order(large=True)
    broken = {"the sync of the row": 4, "the sync of the file": 0, "the sync of the folder": 2, "a sync of the row in time": 4}[missing]
    line = lines.pop(broken)
    if missing.endswith("in time"):
        lines.insert(3, line)
    log.write_text("\n".join(lines) + "\n")
    (damaged,) = read(log)
    assert not damaged.in_order(large=True)
