# SPDX-License-Identifier: Apache-2.0
"""The log: one line an event, alerts even when silent, never blocked by a reader that sleeps."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator

import pytest

from moatmail.core.events import Event
from moatmail.monitor.log import JSON, NONE, TEXT, Log


class Noon:
    def now(self) -> float:
        return 1_795_521_600.5  # 2026-11-24 12:00:00.5 UTC

    def monotonic(self) -> float:
        return 0.0


class Pipe:
    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        fcntl.fcntl(self.out, fcntl.F_SETPIPE_SZ, 4096)

    def read(self) -> str:
        os.set_blocking(self.out, False)
        try:
            return os.read(self.out, 1 << 20).decode()
        except BlockingIOError:
            return ""


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.out)
    os.close(made.into)


def test_an_event_is_one_sentence_with_its_time(pipe: Pipe) -> None:
    Log(Noon(), TEXT, out=pipe.into).emit(Event.of("smtp.accepted", "accepted from <a@b> because\r\nit was good", size=3))
    assert pipe.read() == "12:00:00 accepted from <a@b> because\\x0d\\x0ait was good\n"


def test_an_alert_is_marked(pipe: Pipe) -> None:
    Log(Noon(), TEXT, out=pipe.into).emit(Event.of("role.died", "role mx died", alert=True))
    assert pipe.read() == "12:00:00 ALERT role mx died\n"


def test_as_json_all_facts_are_there(pipe: Pipe) -> None:
    Log(Noon(), JSON, source="mx", out=pipe.into).emit(Event.of("smtp.accepted", "accepted", size=3))
    assert json.loads(pipe.read()) == {
        "time": "2026-11-24T12:00:00.500+00:00",
        "source": "mx",
        "event": "smtp.accepted",
        "text": "accepted",
        "alert": False,
        "facts": {"size": "3"},
    }


def test_json_that_would_not_leave_in_one_write_goes_without_its_facts(pipe: Pipe) -> None:
    Log(Noon(), JSON, out=pipe.into).emit(Event("x", "much", {f"fact{number}": "ä" * 200 for number in range(20)}))
    assert "facts" not in json.loads(pipe.read())


def test_silenced_only_alerts_remain_and_go_where_errors_go(pipe: Pipe) -> None:
    log = Log(Noon(), NONE, out=1, alerts=pipe.into)
    log.emit(Event.of("smtp.accepted", "accepted"))
    log.emit(Event.of("role.died", "role mx died", alert=True))
    assert pipe.read() == "12:00:00 ALERT role mx died\n"


def test_a_reader_that_sleeps_costs_lines_not_time_and_is_told_how_many(pipe: Pipe) -> None:
    log = Log(Noon(), TEXT, out=pipe.into)
    for _ in range(100):
        log.emit(Event.of("x", "y" * 200))
    first = pipe.read().count("\n")
    log.emit(Event.of("x", "after"))
    assert 0 < first < 100
    assert pipe.read().splitlines() == [f"12:00:00 {100 - first} lines of this log were lost: nobody read them in time", "12:00:00 after"]


def test_a_reader_that_went_away_is_no_fault_of_the_mail() -> None:
    out, into = os.pipe()
    os.close(out)
    Log(Noon(), TEXT, out=into).emit(Event.of("x", "y"))
    os.close(into)
