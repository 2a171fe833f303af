# SPDX-License-Identifier: Apache-2.0
"""Flags of a message: the system flags as bits, keywords as octets.

Obeys RFC 3501 §2.3.2 and RFC 9051 §2.3.2.
Must never know which message carries them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

ANSWERED: Final = 1
FLAGGED: Final = 2
DELETED: Final = 4
SEEN: Final = 8
DRAFT: Final = 16
RECENT: Final = 32  # never stored, never set by a client: a session's view, only for rendering (RFC 3501 §2.3.2; RFC 9051 drops it)

# RFC 3501 §2.3.2: system flags are compared without regard to case.
SYSTEM_FLAGS: Final[dict[bytes, int]] = {
    b"\\ANSWERED": ANSWERED,
    b"\\FLAGGED": FLAGGED,
    b"\\DELETED": DELETED,
    b"\\SEEN": SEEN,
    b"\\DRAFT": DRAFT,
}


class StoreMode(Enum):
    """What STORE does with the given flags (RFC 3501 §6.4.6)."""

    REPLACE = "replace"
    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class FlagList:
    """Flags of a command: `bits` of the constants above, `keywords` as sent, without repetition (compare without regard to case)."""

    bits: int = 0
    keywords: tuple[bytes, ...] = ()
