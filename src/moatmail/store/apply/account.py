# SPDX-License-Identifier: Apache-2.0
"""Handing out an account's keys, and the journal that says who had them.

Obeys no RFC.
Must never know what the keys open.
"""

from __future__ import annotations

from typing import Final

from moatmail.core.errors import NotFoundError, NotPermittedError
from moatmail.store.apply.work import Work
from moatmail.store.operations import Journal, OpenAccount, OpenedKeys
from moatmail.store.sql import directory, state

_STORE: Final = "store"


def open_account(work: Work, operation: OpenAccount) -> OpenedKeys:
    """Give the keys; the journal entry is durable before they leave."""
    row = work.db.one(directory.ACCOUNT_STATUS, {"account": operation.account})
    wrapped = work.keys.get(operation.account)
    if row is None or wrapped is None:
        raise NotFoundError(f"account {operation.account} is gone")
    if row[0] == "frozen":
        raise NotPermittedError(f"account {operation.account} is frozen")
    opened = work.vault.open_account(operation.account, wrapped)
    _write(work, _asker(work), f"opened account {operation.account}: {operation.reason}")
    return OpenedKeys(opened.private, opened.mailbox_key)


def journal(work: Work, operation: Journal) -> None:
    """Write an entry; only the store itself may write one about somebody else."""
    asker = _asker(work)
    _write(work, operation.who if asker == _STORE else asker, operation.what)


def _asker(work: Work) -> str:
    return work.asker or _STORE


def _write(work: Work, who: str, what: str) -> None:
    # Our own clock: a process that was taken over shall not date what it does.
    work.db.run(state.ADD_JOURNAL, {"at": work.now, "who": who, "what": what})
