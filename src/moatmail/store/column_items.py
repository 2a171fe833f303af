# SPDX-License-Identifier: Apache-2.0
"""A whole mailbox asked of the store in columns: no object for a message, for whoever loads a hundred thousand of them.

Obeys RFC 3501 §2.3 (message attributes) through `mailbox/view`.
Must never know what is done with it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from moatmail.store.queries import Query
from moatmail.store.record import Record


class ColumnsPage(Record, frozen=True):
    """Placements in columns: equal places of `uids` (``array("I")``), `flags` (``array("H")``) and `modseqs` (``array("Q")``), packed, are of one message.

    `keywords` are those of the messages that have any, by UID.
    """

    uids: bytes
    flags: bytes
    modseqs: bytes
    keywords: tuple[tuple[int, tuple[str, ...]], ...] = ()


class ListColumns(Query[ColumnsPage], frozen=True):
    """Placements by UID, after `after`, at most `limit` (<= 2,000), in columns: for who loads a whole mailbox."""

    result: ClassVar[Any] = ColumnsPage

    account: int
    mailbox: int
    after: int = 0
    limit: int = 2000
