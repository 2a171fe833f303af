# SPDX-License-Identifier: Apache-2.0
"""Changes come whole: pages are joined, and a page torn by a change meanwhile is asked for again."""

from __future__ import annotations

from typing import Any

from moatmail.mailbox.changes import Changes, Listeners, fetch_changes
from moatmail.mailbox.view import View
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
    assert await fetch_changes(store, 1, 1, 1, 1) == Changes((row(1, 9, 8),), (2,), 9, 3)


async def test_a_hole_among_new_messages_is_asked_for_again() -> None:
    torn = ChangesAnswer((row(11, 6),), (), 6, 6, False)
    whole = ChangesAnswer((row(11, 6), row(10, 7, 1)), (), 7, 7, False)
    assert await fetch_changes(Pages(torn, whole), 1, 1, 4, 10) == Changes((row(10, 7, 1), row(11, 6)), (), 7, 12)


async def test_a_message_that_came_and_went_is_no_hole() -> None:
    answer = ChangesAnswer((row(11, 6),), (10,), 7, 7, False)
    assert await fetch_changes(Pages(answer), 1, 1, 4, 10) == Changes((row(11, 6),), (10,), 7, 12)


async def test_a_mailbox_that_is_gone() -> None:
    assert await fetch_changes(Pages(None), 1, 1, 4, 10) is None


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
