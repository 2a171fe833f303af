# SPDX-License-Identifier: Apache-2.0
"""Answers as long as a mailbox: SEARCH, SORT, ESEARCH and THREAD rendered and sent in slices.

Obeys RFC 3501 §7.2.5, RFC 4731 §3.1, RFC 5256 §4, RFC 9394 §3.1; docs/flow.md (a slice of work on the loop is at most 10 ms).
Must never know how anything was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

from moatmail.core.limits.endpoints import NUMBERS
from moatmail.endpoints.imap.conversation import Conversation
from moatmail.wire.imap import events, responses
from moatmail.wire.imap.search import SearchReturn
from moatmail.wire.imap.sequence import Ranges


class Numbers(Sequence[int]):
    """Message numbers, or UIDs, of places in a snapshot, made when they are asked for."""

    def __init__(self, places: Sequence[int], make: Callable[[Sequence[int]], list[int]]) -> None:
        """Take places in the order to be told, and what turns some of them into numbers."""
        self._places = places
        self._make = make

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> list[int]: ...
    def __getitem__(self, place: int | slice) -> int | list[int]:
        if isinstance(place, slice):
            return self._make(self._places[place])
        return self._make([self._places[place]])[0]

    def parts(self) -> Iterator[list[int]]:
        """Give all of them, some at a time."""
        return (self[start : start + NUMBERS] for start in range(0, len(self), NUMBERS))


async def put_numbers(conversation: Conversation, response: bytes, numbers: Numbers, modseq: int | None) -> None:
    """Write SEARCH or SORT; nothing else is written before the line is whole, because only its command writes while it is at work."""
    engine = conversation.engine
    engine.write(b"* " + response)
    for part in numbers.parts():
        engine.write(responses.numbers(part))
        if len(part) == NUMBERS:
            await conversation.flush()
    engine.write(b"\r\n" if modseq is None else b" (MODSEQ %d)\r\n" % modseq)


async def put_extended(conversation: Conversation, command: events.Search | events.Sort, numbers: Numbers, modseq: int | None) -> None:
    """Write ESEARCH; what names everything is made in slices."""
    everything: bytes | None = None
    if len(numbers) > NUMBERS and SearchReturn.ALL in (command.returns or ()):
        everything = await written_ranges(conversation, numbers)
        await conversation.flush()
    conversation.untagged(responses.extended_search(command, numbers, modseq, everything))


async def written_ranges(conversation: Conversation, numbers: Sequence[int]) -> bytes:
    """Write numbers in their order, rising runs as ranges."""
    ranges = Ranges()
    for start in range(0, len(numbers), NUMBERS):
        ranges.add(numbers[start : start + NUMBERS])
        await conversation.pause()
    return bytes(ranges)


async def put_threads(conversation: Conversation, items: Iterable[int | str], make: Callable[[Sequence[int]], list[int]]) -> None:
    """Write THREAD of places and parentheses in their order (RFC 5256 §4: a blank between what would run together)."""
    engine = conversation.engine
    engine.write(b"* THREAD")
    head, after_number = " ", False
    items = iter(items)
    while part := list(islice(items, NUMBERS)):
        told = iter(make([item for item in part if isinstance(item, int)]))
        pieces: list[str] = [head]
        for item in part:
            # A blank between numbers, and between a number and the lists of those that answer it.
            if after_number and item != ")":
                pieces.append(" ")
            after_number = isinstance(item, int)
            pieces.append(item if isinstance(item, str) else str(next(told)))
        engine.write("".join(pieces).encode("ascii"))
        head = ""
        await conversation.flush()
    engine.write(b"\r\n")
