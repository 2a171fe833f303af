# SPDX-License-Identifier: Apache-2.0
"""Arrays are loaded once, followed, and dropped when nobody used them for a while."""

from __future__ import annotations

from typing import Any

from moatmail.core.limits.mailbox import PAGE, VIEW_UNUSED_SECONDS
from moatmail.mailbox.view import Views
from moatmail.store.operations import PlacementRow
from moatmail.store.queries import ChangesAnswer, GetMailbox, ListChanges, ListPlacements, MailboxRow


class Clock:
    """Time moves only when a test says so."""

    time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Box:
    """A store with one mailbox; counts how often its rows are listed."""

    def __init__(self, count: int) -> None:
        self.rows = [PlacementRow(uid, 0, (), uid) for uid in range(1, count + 1)]
        self.listed = 0
        self.gone = False

    async def read(self, query: Any) -> Any:  # noqa: ANN401 - as the store's face
        highest = self.rows[-1].modseq
        if isinstance(query, GetMailbox):
            return None if self.gone else MailboxRow(1, b"", b"", 1, self.rows[-1].uid + 1, highest, None, len(self.rows), 0, 0, 0)
        if isinstance(query, ListPlacements):
            self.listed += 1
            return tuple([row for row in self.rows if row.uid > query.after][: query.limit])
        assert isinstance(query, ListChanges)
        return None if self.gone else ChangesAnswer(tuple([row for row in self.rows if row.modseq > query.modseq]), (), highest, highest, False)

    async def write(self, operation: Any) -> Any:  # noqa: ANN401 - as the store's face
        raise NotImplementedError(operation)


async def test_pages_are_read_once_then_changes_only() -> None:
    box = Box(2 * PAGE + 3)
    views = Views(box, 7, Clock())
    view = await views.current(1)
    assert view is not None
    assert list(view.uids) == list(range(1, 2 * PAGE + 4))
    assert box.listed == 3
    box.rows.append(PlacementRow(2000, 8, ("$A",), 2000))
    assert await views.current(1) is view
    assert (view.uids[-1], view.flags[-1], view.modseq, view.uidnext) == (2000, 8, 2000, 2001)
    assert box.listed == 3


async def test_unused_views_are_dropped() -> None:
    clock = Clock()
    views = Views(Box(3), 7, clock)
    await views.current(1)
    clock.time += VIEW_UNUSED_SECONDS - 1
    views.sweep()
    assert len(views) == 1
    await views.current(1)
    clock.time += VIEW_UNUSED_SECONDS - 1
    views.sweep()
    assert len(views) == 1
    clock.time += 2
    views.sweep()
    assert len(views) == 0


async def test_a_mailbox_that_went_has_no_view() -> None:
    box = Box(3)
    views = Views(box, 7, Clock())
    await views.current(1)
    box.gone = True
    assert await views.current(1) is None
    assert len(views) == 0
