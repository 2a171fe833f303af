# SPDX-License-Identifier: Apache-2.0
"""The settings of a process: swapped whole when they change, kept when what is stored does not fit or the store is away."""

from __future__ import annotations

import asyncio
from typing import TypeVar, cast

import pytest

from moatmail.app import snapshot
from moatmail.app.snapshot import Snapshot
from moatmail.core.errors import StoreUnavailableError
from moatmail.core.events import Event
from moatmail.store.operations import Operation
from moatmail.store.queries import Query, SettingsAnswer

R = TypeVar("R")


class Shelf:
    """A store that holds settings only; `away` times it does not answer."""

    def __init__(self, version: int = 1, away: int = 0, **values: str) -> None:
        self.answer = SettingsAnswer(version, {key.replace("__", "."): value for key, value in values.items()})
        self.away = away
        self.asked = 0

    async def read(self, query: Query[R]) -> R:
        self.asked += 1
        if self.away:
            self.away -= 1
            raise StoreUnavailableError("away")
        await asyncio.sleep(0)
        return cast("R", self.answer)

    async def write(self, operation: Operation[R]) -> R:
        raise AssertionError("settings are never written here")


class Told:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


async def test_it_waits_for_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_AGAIN_SECONDS", 0)
    shelf = Shelf(away=3, smtp__max_recipients="200")
    settings = Snapshot(shelf, Told())
    await settings.begin()
    assert settings().smtp.max_recipients == 200
    assert shelf.asked == 4


async def test_listeners_hear_of_a_new_version_and_of_no_other() -> None:
    shelf = Shelf(smtp__max_recipients="200")
    settings = Snapshot(shelf, Told())
    heard: list[int] = []
    settings.on_change(lambda: heard.append(settings().smtp.max_recipients))
    await settings.refresh()
    await settings.refresh()
    shelf.answer = SettingsAnswer(2, {"smtp.max_recipients": "300"})
    await settings.refresh()
    assert heard == [200, 300]


async def test_what_does_not_fit_leaves_the_old_ones_and_is_told() -> None:
    shelf, told = Shelf(smtp__max_recipients="200"), Told()
    settings = Snapshot(shelf, told)
    await settings.refresh()
    shelf.answer = SettingsAnswer(2, {"smtp.max_recipients": "-1", "of.the_future": "1"})
    await settings.refresh()
    assert settings().smtp.max_recipients == 200
    assert [(event.name, event.alert) for event in told.events] == [("settings.bad", True)]


async def test_many_hints_cost_one_more_question_and_the_last_is_never_lost() -> None:
    shelf = Shelf()
    settings = Snapshot(shelf, Told())
    await settings.begin()
    settings.refresh_soon()
    await asyncio.sleep(0)  # the first question is under way
    shelf.answer = SettingsAnswer(2, {"smtp.max_recipients": "300"})
    for _ in range(100):
        settings.refresh_soon()
    for _ in range(10):
        await asyncio.sleep(0)
    assert settings().smtp.max_recipients == 300
    assert shelf.asked <= 4
