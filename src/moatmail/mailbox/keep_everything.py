# SPDX-License-Identifier: Apache-2.0
"""The filter of an account without rules: the implicit keep (port Filter).

Obeys RFC 5228 §2.10.2 (implicit keep).
Must never know scripts: those are `sieve`'s.
"""

from __future__ import annotations

from moatmail.core.address import Address
from moatmail.core.ports.filter import Placement
from moatmail.core.transaction import Transaction

_KEEP = Placement()


class KeepEverything:
    """Places every message into the inbox."""

    async def place(self, recipient: Address, transaction: Transaction) -> Placement:
        """Give the implicit keep."""
        del recipient, transaction
        return _KEEP
