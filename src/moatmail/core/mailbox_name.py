# SPDX-License-Identifier: Apache-2.0
"""What a mailbox name is: levels parted by ``/``, INBOX in capitals, one form for names that look the same.

Obeys RFC 3501 §5.1, RFC 9051 §5.1, RFC 5198 §2 and §3 (Net-Unicode: no controls, normalisation form C).
Must never know how a client writes a name, nor which mailboxes exist.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final

DELIMITER: Final = "/"  # of the one hierarchy we have (RFC 3501 §5.1.1)
INBOX: Final = "INBOX"
_NOT_IN_NAMES: Final = frozenset(("Cc", "Zl", "Zp"))


def fold_inbox(name: str) -> str:
    """Write the first level in capitals where it is INBOX, in ASCII letters of either case.

    RFC 3501 §5.1: INBOX is one name in every spelling; so are its children, or two trees would look like one.
    """
    head, slash, rest = name.partition(DELIMITER)
    # ASCII only: the capital of a dotless i is an I too, and yet another letter.
    return INBOX + slash + rest if head.isascii() and head.upper() == INBOX else name


def canonical(name: str) -> str:
    """Give the one form of a name: what looks the same is the same (RFC 9051 §5.1, RFC 5198 §3: normalisation form C)."""
    return fold_inbox(name if name.isascii() else unicodedata.normalize("NFC", name))


def has_controls(name: str) -> bool:
    """Tell whether a name holds what none may: controls, separators of lines or paragraphs (RFC 9755 §3, RFC 9051 §5.1)."""
    return not name.isprintable() and any(unicodedata.category(character) in _NOT_IN_NAMES for character in name)


def superiors(name: str) -> Iterator[str]:
    """Give the names above a name, the highest first."""
    place = name.find(DELIMITER)
    while place >= 0:
        yield name[:place]
        place = name.find(DELIMITER, place + 1)
