# SPDX-License-Identifier: Apache-2.0
"""Which messages of a mailbox went since a modseq: asked in pages, given in batches, however many they are.

Obeys RFC 7162 §3.2 (what was expunged is remembered with its mod-sequence).
Must never know what a client was told.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass

from moatmail.core.errors import NotFoundError
from moatmail.core.limits.mailbox import VANISHED_BATCH
from moatmail.mailbox.opened import Opened
from moatmail.store.queries import ListVanished


class ForgottenError(Exception):
    """Not all that vanished is remembered: every UID that is not there may have gone since."""


@dataclass(frozen=True, slots=True)
class Batch:
    """UIDs that went (rising, at most VANISHED_BATCH and a page), the last of them at `modseq`."""

    uids: array[int]
    modseq: int


async def vanished_since(opened: Opened, mailbox: int, since: int, first: int, last: int) -> AsyncIterator[Batch]:
    """Give the UIDs `first` to `last` that vanished after `since`, in batches; raises NotFoundError when the mailbox is gone, ForgottenError at any time."""
    question = ListVanished(opened.id, mailbox, since, first=first, last=last)
    uids: list[int] = []
    while True:
        page = await opened.store.read(question)
        if page is None:
            raise NotFoundError(public="the mailbox was deleted")
        if page.forgotten:
            raise ForgottenError
        uids.extend(page.uids)
        await asyncio.sleep(0)  # a page is a slice of work; others have their turn
        if uids and (not page.more or len(uids) >= VANISHED_BATCH):
            # A batch is in order: what went one by one is told in ranges all the same.
            yield Batch(array("I", sorted(uids)), page.modseq)
            uids.clear()
        if not page.more:
            return
        question = ListVanished(opened.id, mailbox, page.modseq, page.uid, first, last)
