# SPDX-License-Identifier: Apache-2.0
"""The supervisor: order of birth and death, replacement of the dead, what a role inherits, what an orphan does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.house.timing import assert_within

FAMILY = Path(__file__).with_name("family.py")


class Family:
    """A running supervisor and what it says."""

    def __init__(self, mode: str) -> None:
        self.process = subprocess.Popen([sys.executable, str(FAMILY), mode], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said: list[dict[str, Any]] = []

    def hear(self, key: str) -> dict[str, Any]:
        """Give the next line that has `key`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))
            if key in self.said[-1]:
                return self.said[-1]
        pytest.fail(f"it ended without saying {key}: {self.said}")

    def until_ready(self) -> dict[str, list[dict[str, Any]]]:
        """Wait until all serve; give the births by role."""
        self.hear("ready")
        births: dict[str, list[dict[str, Any]]] = {}
        for one in self.said:
            if "pid" in one:
                births.setdefault(one["role"], []).append(one)
        return births

    def read(self, pipe: IO[str] | None) -> str:
        assert pipe is not None
        return pipe.read()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


Start = Callable[..., Family]


@pytest.fixture
def start() -> Iterator[Start]:
    families: list[Family] = []

    def begin(mode: str = "steady") -> Family:
        families.append(Family(mode))
        return families[-1]

    yield begin
    for family in families:
        if family.process.poll() is None:
            family.process.kill()
        family.process.wait()
        for pipe in (family.process.stdout, family.process.stderr):
            assert pipe is not None
            pipe.close()


def gone(pid: int, seconds: float = 2.0) -> bool:
    """Wait until no process `pid` runs (a zombie does not run)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.005)
    return False


def test_the_store_serves_before_the_others_are_born(start: Start) -> None:
    family = start()
    births = family.until_ready()
    assert next(one["role"] for one in family.said if "pid" in one) == "store"
    assert {role: len(found) for role, found in births.items()} == {"store": 1, "mx": 1, "access": 2, "back": 1}


def test_every_role_finds_itself_in_the_roster(start: Start) -> None:
    births = start().until_ready()
    assert all(one["seen"] == one["role"] for found in births.values() for one in found)


def test_a_role_inherits_its_own_sockets_and_nobody_elses(start: Start) -> None:
    births = start().until_ready()
    for role, found in births.items():
        for one in found:
            kept = 2 if role == "store" else 1  # the roster's mapping, and the folder's lock
            assert len(one["fds"]) == 3 + len(one["sockets"]) + kept, (role, one)
            assert set(one["sockets"].values()) <= set(one["fds"])
    first, second = births["access"]
    assert first["sockets"] != second["sockets"]


def test_a_killed_role_is_replaced_within_a_second_with_the_same_socket(start: Start) -> None:
    family = start()
    old = max(family.until_ready()["access"], key=lambda one: one["sockets"]["1"])
    living = [old["pid"]]

    def replace() -> float:
        begun = time.monotonic()
        os.kill(living[-1], signal.SIGKILL)
        told = family.hear("event")
        new = family.hear("pid")
        took = time.monotonic() - begun
        assert (new["role"], new["sockets"], new["seen"]) == ("access", old["sockets"], "access")
        assert told["alert"]
        assert told["text"].startswith("role access-2 was killed by signal 9 after ")
        living.append(new["pid"])
        return took

    assert_within(1.0, replace)


def test_even_the_store_is_replaced(start: Start) -> None:
    family = start()
    os.kill(family.until_ready()["store"][0]["pid"], signal.SIGKILL)
    assert family.hear("pid")["role"] == "store"


def test_a_role_that_keeps_crashing_is_started_ever_more_slowly_and_told_each_time(start: Start) -> None:
    family = start("crashing")
    texts = [family.hear("event")["text"] for _ in range(4)]
    assert [text.rpartition("; ")[2] for text in texts] == ["started again", "starting again in 0.2 s", "starting again in 0.4 s", "starting again in 0.8 s"]
    assert family.end() == 0


def test_what_can_never_work_ends_the_start_with_status_2_and_one_line(start: Start) -> None:
    family = start("cannot")
    assert family.process.wait(10) == 2
    assert family.read(family.process.stderr) == "moatmail: the key does not fit; name another\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_ends_the_store_last(start: Start, number: int) -> None:
    family = start("slow")
    family.until_ready()
    assert family.end(number) == 0
    ended = [json.loads(line)["ended"] for line in family.read(family.process.stdout).splitlines()]
    assert ended[-1] == "store"
    assert sorted(ended) == ["access", "access", "back", "mx", "store"]


def test_a_second_signal_hastens(start: Start) -> None:
    family = start("deaf")
    family.until_ready()
    family.process.send_signal(signal.SIGTERM)
    family.hear("ended")
    begun = time.monotonic()
    assert family.end(signal.SIGTERM) == 0
    assert time.monotonic() - begun < 5


def test_a_hangup_is_told_to_every_role(start: Start) -> None:
    family = start()
    family.until_ready()
    family.process.send_signal(signal.SIGHUP)
    assert sorted(family.hear("reload")["reload"] for _ in range(5)) == ["access", "access", "back", "mx", "store"]


def test_a_closed_terminal_ends_what_was_started_from_it(start: Start) -> None:
    family = start("terminal")
    family.until_ready()
    assert family.end(signal.SIGHUP) == 0


def test_orphans_die_with_their_supervisor(start: Start) -> None:
    family = start()
    births = family.until_ready()
    family.process.kill()
    family.process.wait()
    assert all(gone(one["pid"]) for found in births.values() for one in found)


def test_nobody_may_look_into_a_role_and_it_leaves_no_core(start: Start) -> None:
    family = start()
    births = family.until_ready()
    for found in births.values():
        for one in found:
            assert (one["dumpable"], one["core"], one["umask"]) == (0, [0, 0], 0o077), one
            environ = Path(f"/proc/{one['pid']}/environ")
            assert environ.stat().st_uid == 0, "the kernel gives the files of a process that may be read to its user"
            if os.geteuid() != 0:
                with pytest.raises(PermissionError):
                    environ.read_bytes()
