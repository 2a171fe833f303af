# SPDX-License-Identifier: Apache-2.0
"""UIDs as ranges: how a list of them is read with few statements.

Obeys RFC 3501 §9 (sequence sets are ranges).
Must never know what is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from moatmail.core.limits import store as limits


def ranges(uids: Collection[int]) -> Iterator[tuple[int, int]]:
    """Give ascending (first, last) pairs that cover `uids`; a small gap is cheaper to read over than to ask around, so filter what comes."""
    first = last = 0
    for uid in sorted(uids):
        if last and uid - last <= limits.UID_GAP:
            last = uid
            continue
        if last:
            yield first, last
        first = last = uid
    if last:
        yield first, last
