# SPDX-License-Identifier: Apache-2.0
"""One FETCH response on its way: held while it is small, so that damage found meanwhile takes all of it back; beyond that it leaves as it is made.

Obeys RFC 3501 §7.4.2 (FETCH), RFC 9586 §3.3 (UIDFETCH); docs/flow.md (a slow reader costs a bounded buffer).
Must never know what the items say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits.endpoints import RESPONSE_OCTETS
from moatmail.endpoints.imap.binary import Streamed
from moatmail.endpoints.imap.conversation import Conversation
from moatmail.net.drive import PeerGoneError
from moatmail.wire.imap import responses


class FetchResponse:
    """The response of one message; `begun`: the first of it left, and nothing can be taken back."""

    def __init__(self, conversation: Conversation, number: int, *, by_uid: bool) -> None:
        """Begin with a message number, or `by_uid` with a UID."""
        self._conversation = conversation
        self._head = b"* " + responses.fetch_head(number, by_uid=by_uid)
        self._items: list[bytes] = []
        self._held = 0
        self.begun = False

    async def add(self, item: bytes | Streamed) -> None:
        """Take the next item; others have their turn. Raises SealBrokenError for what does not open, PeerGoneError where that is found too late."""
        if isinstance(item, Streamed):
            await self._stream(item)
            return
        self._items.append(item)
        self._held += len(item)
        if self._held > RESPONSE_OCTETS:
            await self._send()
        else:
            await self._conversation.pause()

    def end(self, items: Iterable[bytes]) -> int:
        """Take the last items, end the response and tell how many octets of it wait to leave."""
        self._items.extend(items)
        line = self._gathered(b")\r\n")
        self._conversation.engine.write(line)
        return len(line)

    def _gathered(self, end: bytes = b"") -> bytes:
        """Give what waits, with what has to stand before it and behind it: in one copy, for it may be a large message."""
        before = b"" if self.begun and not self._items else b" " if self.begun else self._head
        items = self._items
        octets = b"".join((before, items[0], end)) if len(items) == 1 else b"%b%b%b" % (before, b" ".join(items), end)
        self._items, self._held, self.begun = [], 0, True
        return octets

    async def _send(self) -> None:
        self._conversation.engine.write(self._gathered())
        await self._conversation.flush()

    async def _stream(self, item: Streamed) -> None:
        """Write large content in pieces, each awaited: memory stays bounded, however slow the reader."""
        engine = self._conversation.engine
        pieces = item.pieces
        first = next(pieces)  # what does not open at all is found before the literal is announced
        self._items.append(item.head + first)
        await self._send()
        try:
            for octets in pieces:
                engine.write(octets)
                await self._conversation.flush()
        except SealBrokenError as error:
            self.cut_off(error)

    def cut_off(self, error: Exception) -> NoReturn:
        """End the connection: in the middle of a response nothing can be said; a client that misses the rest knows that it has nothing."""
        self._conversation.alert(error)
        self._conversation.connection.abort()
        raise PeerGoneError from None
