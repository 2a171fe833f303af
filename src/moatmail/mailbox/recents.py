# SPDX-License-Identifier: Apache-2.0
r"""Which messages were told as recent already, by one process: the first session that may change a mailbox is told, no other one.

Obeys RFC 3501 §2.3.2 (``\Recent``): what cannot be determined, because another process or an earlier one told it, counts as recent.
Must never know flags: recent is a session's view, and never stored.
"""

from __future__ import annotations

from collections import OrderedDict

from moatmail.core.limits.mailbox import RECENT_MAILBOXES


class Recents:
    """Remembers for each mailbox the first UID that nobody was told of."""

    __slots__ = ("_untold",)

    def __init__(self) -> None:
        self._untold: OrderedDict[int, int] = OrderedDict()

    def first(self, mailbox: int) -> int:
        """Give the first UID that is recent to whoever comes next."""
        return self._untold.get(mailbox, 1)

    def claim(self, mailbox: int, uidnext: int) -> int:
        """Take all untold messages below `uidnext` for one session; gives the first of them (`uidnext` for none)."""
        first = min(self.first(mailbox), uidnext)
        self._untold[mailbox] = max(uidnext, self.first(mailbox))
        self._untold.move_to_end(mailbox)
        while len(self._untold) > RECENT_MAILBOXES:
            self._untold.popitem(last=False)
        return first
