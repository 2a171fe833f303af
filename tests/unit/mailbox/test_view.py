# SPDX-License-Identifier: Apache-2.0
"""Arrays are loaded once, followed, and dropped when nobody used them for a while."""

from __future__ import annotations

from array import array
from typing import Any

from moatmail.core.limits.mailbox import VIEW_PAGE, VIEW_UNUSED_SECONDS
from moatmail.mailbox.view import KeptViews, Views
from moatmail.store.column_items import ColumnsPage, ListColumns
from moatmail.store.operations import PlacementRow
from moatmail.store.queries import ChangesAnswer, GetMailbox, ListChanges, MailboxRow


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
        if isinstance(query, ListColumns):
            self.listed += 1
            rows = [row for row in self.rows if row.uid > query.after][: query.limit]
            uids, flags, modseqs = array("I", [row.uid for row in rows]), array("H", [row.flags for row in rows]), array("Q", [row.modseq for row in rows])
            marked = tuple([(row.uid, row.keywords) for row in rows if row.keywords])
            return ColumnsPage(uids.tobytes(), flags.tobytes(), modseqs.tobytes(), marked)
        assert isinstance(query, ListChanges)
        return None if self.gone else ChangesAnswer(tuple([row for row in self.rows if row.modseq > query.modseq]), (), highest, highest, False)

    async def write(self, operation: Any) -> Any:  # noqa: ANN401 - as the store's face
        raise NotImplementedError(operation)


async def test_pages_are_read_once_then_changes_only() -> None:
    box = Box(2 * VIEW_PAGE + 3)
    box.rows[VIEW_PAGE] = PlacementRow(VIEW_PAGE + 1, 8, ("$Work", "later"), VIEW_PAGE + 1)
    views = Views(box, 7, Clock())
    view = await views.current(1)
    assert view is not None
    assert list(view.uids) == list(view.modseqs) == list(range(1, 2 * VIEW_PAGE + 4))
    assert (sum(view.flags), view.flags[VIEW_PAGE]) == (8, 8)
    assert view.keywords == {VIEW_PAGE + 1: (b"$Work", b"later")}
    assert view.spellings == {b"$work": b"$Work", b"later": b"later"}
    assert box.listed == 3
    box.rows.append(PlacementRow(5000, 8, ("$A",), 5000))
    assert await views.current(1) is view
    assert (view.uids[-1], view.flags[-1], view.modseq, view.uidnext) == (5000, 8, 5000, 5001)
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


async def test_views_wait_for_the_next_session_of_their_account_for_a_while() -> None:
    clock, kept = Clock(), KeptViews()
    views = Views(Box(3), 7, clock)
    await views.current(1)
    kept.keep(7, views)
    assert kept.take(8) is None
    assert kept.take(7) is views
    assert kept.take(7) is None
    kept.keep(7, views)
    clock.time += VIEW_UNUSED_SECONDS - 1
    kept.sweep()
    assert len(kept) == 1
    clock.time += 2
    kept.sweep()
    assert len(kept) == 0


async def test_views_that_wait_are_bounded_and_those_that_wait_longest_go() -> None:
    kept = KeptViews(messages=100)
    views = Views(Box(10), 0, Clock())
    for account in range(1, 21):
        views = Views(Box(10), account, Clock())
        await views.current(1)
        kept.keep(account, views)
        kept.keep(account, views)  # counted once
    assert [account for account in range(1, 21) if kept.take(account) is not None] == list(range(11, 21))
    kept.keep(1, views)
    assert len(kept) == 1


async def test_messages_with_the_same_keywords_share_them() -> None:
    box = Box(3)
    words = (("$Label1", "later"), ("$Label1", "later"), ("other",))
    box.rows = [PlacementRow(row.uid, 0, keywords, row.modseq) for row, keywords in zip(box.rows, words, strict=True)]
    view = await Views(box, 7, Clock()).current(1)
    assert view is not None
    assert view.keywords == {1: (b"$Label1", b"later"), 2: (b"$Label1", b"later"), 3: (b"other",)}
    assert view.keywords[1] is view.keywords[2]
    assert set(view.spellings) == {b"$label1", b"later", b"other"}
