# SPDX-License-Identifier: Apache-2.0
"""What was looked at lately is read once; what is kept is bounded and forgotten."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from moatmail.mailbox.known import Budget, KnownMessages
from moatmail.store.queries import GetMessages, MessageRow


class Rows:
    """A store that has messages 1 to 999 and counts which rows were read."""

    def __init__(self) -> None:
        self.read_: list[int] = []

    async def read(self, query: Any) -> Any:  # noqa: ANN401 - as the store's face
        assert isinstance(query, GetMessages)
        self.read_.extend(query.uids)
        return tuple(MessageRow(uid, b"i" * 16, b"c" * 16, b"cover", b"", b"s" * 300, 1, 0.0, 0.0) for uid in query.uids if uid < 1000)

    async def write(self, operation: Any) -> Any:  # noqa: ANN401 - as the store's face
        raise NotImplementedError(operation)


async def test_a_row_is_read_once() -> None:
    rows = Rows()
    known = KnownMessages(rows, 1, Budget())
    assert sorted(await known.find(5, (1, 2, 1000))) == [1, 2]
    assert sorted(await known.find(5, (1, 2, 3))) == [1, 2, 3]
    assert rows.read_ == [1, 2, 1000, 3]
    await known.find(6, (1,))  # another mailbox
    assert rows.read_ == [1, 2, 1000, 3, 1]


async def test_who_reads_a_whole_mailbox_does_not_keep_it() -> None:
    known = KnownMessages(Rows(), 1, Budget())
    with patch("moatmail.mailbox.known.KNOWN_MESSAGES", 100):
        for start in range(1, 900, 50):
            await known.find(5, range(start, start + 50))
            assert len(known) <= 100


async def test_over_the_budget_the_one_unused_for_longest_forgets() -> None:
    budget = Budget(10_000)  # six messages
    accounts = [KnownMessages(Rows(), number, budget) for number in range(3)]
    for account in accounts:
        await account.find(5, (1, 2))
    assert [len(account) for account in accounts] == [2, 2, 2]
    await accounts[0].find(5, (3,))
    assert [len(account) for account in accounts] == [3, 0, 2]
    await accounts[1].find(5, range(1, 9))  # more than all may keep
    assert [len(account) for account in accounts] == [0, 0, 0]


async def test_what_nobody_uses_is_forgotten_at_the_second_sweep() -> None:
    known = KnownMessages(Rows(), 1, Budget())
    await known.find(5, (1,))
    known.sweep()
    assert len(known) == 1
    known.sweep()
    assert len(known) == 0
