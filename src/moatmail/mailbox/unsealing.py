# SPDX-License-Identifier: Apache-2.0
"""A summary opened for its account: two seals, and nothing kept between.

Obeys docs/security.md (keys of a message under its cover).
Must never know where rows come from.
"""

from __future__ import annotations

from moatmail.core.errors import SealBrokenError
from moatmail.crypto.cover import AccountKeys, open_cover
from moatmail.crypto.seal import Purpose, open_sealed
from moatmail.message.summary import Summary, decode
from moatmail.store.index_items import UnindexedRow
from moatmail.store.queries import MessageRow
from moatmail.store.thread_items import UnthreadedRow


def open_summary(keys: AccountKeys, account: int, row: MessageRow | UnindexedRow | UnthreadedRow) -> Summary:
    """Give the summary of a row read with it, and nothing else of the message; raises SealBrokenError."""
    message_key = open_cover(keys, account, row.id, row.cover).message_key
    return decoded(open_sealed(message_key, Purpose.SUMMARY, account, row.id, row.summary), row.id)


def decoded(octets: bytes, message_id: bytes) -> Summary:
    """Read a summary; raises SealBrokenError."""
    try:
        return decode(octets)
    except ValueError as error:
        raise SealBrokenError(f"summary of {message_id.hex()}: {error}") from None
