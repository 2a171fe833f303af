# SPDX-License-Identifier: Apache-2.0
"""What the repair of a damaged folder asks of the store beside the index: counts made anew from rows.

Obeys RFC 3501 §2.3.1.1 (the next UID is above every UID), RFC 7162 §3.1.2.1 (HIGHESTMODSEQ is no lower than any modseq).
Must never know how damage was found.
"""

from __future__ import annotations

from typing import Any, ClassVar

from moatmail.store.operations import Operation


class Recount(Operation[bool], frozen=True):
    """Count a mailbox anew from what lies in it and what vanished from it; with `mailbox` 0 the rooms that the account takes. Tells whether it was wrong.

    Messages, unseen, deleted, their octets; UIDNEXT and HIGHESTMODSEQ only ever rise. Raises NotFoundError.
    """

    result: ClassVar[Any] = bool

    account: int
    mailbox: int
