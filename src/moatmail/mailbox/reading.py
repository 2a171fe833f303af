# SPDX-License-Identifier: Apache-2.0
"""Messages opened for their owner: keys from the cover, summary, and the octets that clients see.

Obeys RFC 3501 §6.4.5 (sections count from the first octet that a client sees: prefix, then content), RFC 9755 §3 (who reads UTF-8 sees
internationalized messages as they are).
Must never know a protocol; what does not open raises SealBrokenError and is never served.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from moatmail.core.errors import NotFoundError, SealBrokenError
from moatmail.crypto.content_seal import ContentOpener
from moatmail.crypto.cover import AccountKeys, MessageKeys, open_cover
from moatmail.crypto.seal import Purpose, SealKey
from moatmail.mailbox import unsealing
from moatmail.mailbox.prefix import Prefix
from moatmail.mailbox.unsealing import decoded
from moatmail.message.summary import Summary, for_utf8
from moatmail.store.content import ContentFiles
from moatmail.store.index_items import UnindexedRow
from moatmail.store.interface import Store
from moatmail.store.queries import GetContent, GetMessages, MessageRow


class Owner(Protocol):
    """An open account, as far as reading its messages needs it."""

    id: int
    keys: AccountKeys
    store: Store
    files: ContentFiles


async def fetch_rows(opened: Owner, mailbox: int, uids: Sequence[int], *, prefix: bool = False, summary: bool = False) -> dict[int, MessageRow]:
    """Give the rows of at most 500 messages by UID; those that are gone are not there."""
    rows = await opened.store.read(GetMessages(opened.id, mailbox, tuple(uids), prefix, summary))
    return {row.uid: row for row in rows}


def open_summary(opened: Owner, row: MessageRow | UnindexedRow) -> Summary:
    """Give the summary of a row read with it, and nothing else of the message; raises SealBrokenError."""
    return unsealing.open_summary(opened.keys, opened.id, row)


class OpenMessage:
    """One message under its keys, opened as far as it is asked: `size` in octets as its owner sees it.

    For who reads UTF-8 (`utf8`) the row may tell another size: `told_size` is right in any case, `size` once the content is open.
    """

    __slots__ = ("_account", "_keys", "_opener", "_prefix", "_sealing", "_skipped", "_summary", "_utf8", "row", "size")

    def __init__(self, opened: Owner, row: MessageRow, summary: Summary | None = None, *, utf8: bool = False) -> None:
        """Open the cover; `summary` where it is open already, as everybody sees it. Raises SealBrokenError."""
        self.row = row
        self.size = row.size
        self._utf8 = utf8
        self._account = opened.id
        self._keys: MessageKeys = open_cover(opened.keys, opened.id, row.id, row.cover)
        self._sealing = SealKey(self._keys.message_key)
        self._summary = None if summary is None else self._shown(summary)
        self._opener: ContentOpener | None = None
        self._prefix = b""
        self._skipped = 0  # octets of the content's own header, where the prefix stands in its place

    @property
    def summary(self) -> Summary:
        """Give the summary (of a row read with it); raises SealBrokenError."""
        if self._summary is None:
            self._summary = self._shown(decoded(self._sealing.open(Purpose.SUMMARY, self._account, self.row.id, self.row.summary), self.row.id))
        return self._summary

    async def open(self, opened: Owner) -> OpenMessage:
        """Make the content readable (of a row read with its prefix); raises SealBrokenError, NotFoundError."""
        if self._opener is None:
            found = await opened.store.read(GetContent(self.row.content))
            if found is None:
                raise NotFoundError(f"content {self.row.content.hex()} is gone")
            source = opened.files.open(self.row.content) if found.blob is None else found.blob
            self._opener = ContentOpener(source, self.row.content, self._keys.content_key)
            if self.row.prefix:
                prefix = Prefix.decode(self._sealing.open(Purpose.PREFIX, self._account, self.row.id, self.row.prefix))
                prefix = prefix.for_utf8() if self._utf8 else prefix
                self._prefix = prefix.octets
                self._skipped = self._opener.header_size if prefix.replaces else 0
            self.size = len(self._prefix) + self._opener.size - self._skipped
        return self

    def _shown(self, summary: Summary) -> Summary:
        return for_utf8(summary) if self._utf8 else summary

    @property
    def told_size(self) -> int:
        """Give the size in octets; for who reads UTF-8 it needs a row read with its summary, or open content."""
        return self.summary.size if self._utf8 and self._opener is None else self.size

    @property
    def header_size(self) -> int:
        """Give the octets of the header block, prefix included."""
        return len(self._prefix) + self._opened().header_size - self._skipped

    def header(self) -> bytes:
        """Give the header block with its closing empty line, prefix included: chunk 0 only is opened."""
        opener = self._opened()
        return self._prefix if self._skipped else self._prefix + opener.read(0, opener.header_size)

    def read(self, start: int, length: int) -> Iterator[bytes]:
        """Give octets `start` to `start + length` in pieces of at most 64 KiB, fewer where the message ends; raises SealBrokenError."""
        opener = self._opened()
        end = min(start + length, self.size)
        if start < len(self._prefix) and start < end:
            yield self._prefix[start:end]
        before = len(self._prefix)
        if end > before:
            first = max(start - before, 0)
            yield from opener.chunks(first + self._skipped, end - before - first)

    def _opened(self) -> ContentOpener:
        if self._opener is None:
            raise SealBrokenError("content is read before it was opened")
        return self._opener
