# SPDX-License-Identifier: Apache-2.0
"""Changes come whole: pages are joined, and a page torn by a change meanwhile is asked for again."""

from __future__ import annotations

from array import array
from typing import Any

from moatmail.mailbox.changes import Changes, Listeners, Since, fetch_changes
from moatmail.mailbox.view import View
from moatmail.store.index_items import ListNumbers, NumbersPage
from moatmail.store.operations import PlacementRow
from moatmail.store.queries import ChangesAnswer, MailboxRow


class Pages:
    """A store that answers with what it was given, one page after another."""

    def __init__(self, *pages: ChangesAnswer | None) -> None:
        self.pages = list(pages)

    async def read(self, query: Any) -> Any:  # noqa: ANN401 - as the store's face
        del query
        return self.pages.pop(0)

    async def write(self, operation: Any) -> Any:  # noqa: ANN401 - as the store's face
        raise NotImplementedError(operation)


def row(uid: int, modseq: int, flags: int = 0, *keywords: str) -> PlacementRow:
    return PlacementRow(uid, flags, keywords, modseq)


async def test_pages_are_joined() -> None:
    store = Pages(ChangesAnswer((row(1, 2), row(2, 3)), (), 9, 3, True), ChangesAnswer((row(1, 9, 8),), (2,), 9, 9, False))
    assert await fetch_changes(store, Since(1, 1, 1, 1)) == Changes((row(1, 9, 8),), (2,), 9, 3)


async def test_a_hole_among_new_messages_is_asked_for_again() -> None:
    torn = ChangesAnswer((row(11, 6),), (), 6, 6, False)
    whole = ChangesAnswer((row(11, 6), row(10, 7, 1)), (), 7, 7, False)
    assert await fetch_changes(Pages(torn, whole), Since(1, 1, 4, 10)) == Changes((row(10, 7, 1), row(11, 6)), (), 7, 12)


async def test_a_message_that_came_and_went_is_no_hole() -> None:
    answer = ChangesAnswer((row(11, 6),), (10,), 7, 7, False)
    assert await fetch_changes(Pages(answer), Since(1, 1, 4, 10)) == Changes((row(11, 6),), (10,), 7, 12)


async def test_a_mailbox_that_is_gone() -> None:
    assert await fetch_changes(Pages(None), Since(1, 1, 4, 10)) is None


def test_listeners_hear_of_their_mailbox_only_and_of_everything_after_a_loss() -> None:
    listeners, heard = Listeners(), []
    first, second = (lambda: heard.append(1)), (lambda: heard.append(2))
    listeners.add(7, first)
    listeners.add(8, second)
    listeners.tell([7, 9])
    listeners.resync()
    listeners.remove(7, first)
    listeners.remove(9, first)
    listeners.tell([7])
    assert heard == [1, 1, 2]


async def turn() -> None:
    """Let nobody have a turn: nobody is there."""


async def test_a_view_follows_changes() -> None:
    view = View(1, MailboxRow(5, b"", b"", 1, 4, 3, None, 3, 3, 0, 0))
    view.extend([row(1, 1), row(2, 2, 8, "$A"), row(3, 3)])
    await view.apply(Changes((row(3, 5, 4, "$B"), row(4, 4)), (1, 2), 6, 5), turn)
    assert (list(view.uids), list(view.flags), list(view.modseqs)) == ([3, 4], [4, 0], [5, 4])
    assert view.keywords == {3: (b"$B",)}
    assert view.deleted() == [3]
    assert view.first_unseen() == 1
    assert view.vanished_at == 6


class Compared(Pages):
    """Such a store, with UIDs that are there."""

    def __init__(self, there: list[int], *pages: ChangesAnswer | None) -> None:
        super().__init__(*pages)
        self.there = there

    async def read(self, query: Any) -> Any:  # noqa: ANN401 - as the store's face
        if isinstance(query, ListNumbers):
            uids = [uid for uid in self.there if uid > query.after][: query.limit]
            return NumbersPage(array("I", uids).tobytes(), b"")
        return await super().read(query)


async def test_where_not_all_is_remembered_what_is_known_is_compared_with_what_is_there() -> None:
    answer = ChangesAnswer((row(3, 8), row(12, 9)), (7,), 9, 9, more=False, compare_below=15)
    store = Compared([1, 3, 12], answer)
    found = await fetch_changes(store, Since(1, 1, 4, 10, lambda: [1, 2, 3, 5, 7]))
    assert found == Changes((row(3, 8), row(12, 9)), (7, 2, 5), 9, 15)


async def test_comparing_a_message_that_a_page_missed_is_asked_for_again() -> None:
    torn = ChangesAnswer((row(12, 9),), (), 9, 9, more=False, compare_below=13)
    whole = ChangesAnswer((row(12, 9), row(11, 10)), (), 10, 10, more=False, compare_below=13)
    found = await fetch_changes(Compared([1, 11, 12], torn, whole), Since(1, 1, 4, 10, lambda: [1]))
    assert found == Changes((row(11, 10), row(12, 9)), (), 10, 13)


async def test_comparing_goes_over_many_pages() -> None:
    there = list(range(1, 10_000, 2))
    answer = ChangesAnswer((), (), 9, 9, more=False, compare_below=10_000)
    found = await fetch_changes(Compared(there, answer), Since(1, 1, 4, 10_000, lambda: range(1, 10_000)))
    assert found is not None
    assert sorted(found.vanished) == list(range(2, 10_000, 2))
