# SPDX-License-Identifier: Apache-2.0
"""Port Filter: the user's own filter, run before the 250 and free of side effects (`mailbox` now, `sieve` later).

Obeys RFC 5228 §2.10 (actions; the implicit keep).
Must never write, send or raise for a script's fault: a broken script keeps the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from moatmail.core.address import Address
from moatmail.core.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the user's filter puts the message: mailbox names, flags to set."""

    mailboxes: tuple[str, ...] = ("INBOX",)
    flags: int = 0


class Filter(Protocol):
    """Judges where a recipient's copy goes."""

    async def place(self, recipient: Address, transaction: Transaction) -> Placement:
        """Give the placement for one local recipient; side-effect free."""
