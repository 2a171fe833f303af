# SPDX-License-Identifier: Apache-2.0
"""Which operations are done beside the store's loop: those that touch more rows than a slice of its work."""

from __future__ import annotations

import pytest

from moatmail.core.limits.store import LONG_ROWS
from moatmail.store.group import _is_long
from moatmail.store.operations import RenamedMailbox, RenameMailboxes


@pytest.mark.parametrize(
    ("count", "long"),
    [pytest.param(1, False, id="one mailbox"), pytest.param(LONG_ROWS // 2, False, id="a tree"), pytest.param(LONG_ROWS, True, id="a wood")],
)
def test_a_rename_of_many_mailboxes_keeps_nobody_waiting(count: int, long: bool) -> None:
    renamed = tuple(RenamedMailbox(number, b"sealed", b"tag") for number in range(count))
    assert _is_long(RenameMailboxes(1, renamed), erases=False) is long
