# SPDX-License-Identifier: Apache-2.0
"""Addresses that were looked up a moment ago: the answer serves again while nothing in the directory was changed.

Obeys no RFC.
Must never know why an address is asked for, nor keep anything of one that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from moatmail.core.limits.directory import KNOWN_ADDRESSES, KNOWN_SECONDS
from moatmail.core.ports.clock import Clock
from moatmail.store.interface import Store
from moatmail.store.queries import AddressAnswer, LookupAddresses, Query

R = TypeVar("R")


class Numbered(Protocol):
    """What tells that something was changed (`store.generation.Generation`)."""

    @property
    def number(self) -> int:
        """Give the number of now: another one after every change."""


@dataclass(frozen=True, slots=True)
class _Known:
    answer: AddressAnswer
    number: int
    until: float


class KnownAddresses:
    """Reads as the store does, look-ups of addresses from memory where that holds them.

    How much of its quota an account has used changes with every message and is no change of the directory: that number may be KNOWN_SECONDS old. Who would
    refuse somebody for it asks the store itself; so does everybody for addresses that are not there.
    """

    def __init__(self, store: Store, generation: Numbered, clock: Clock) -> None:
        """Ask `store` for what is not known."""
        self._store = store
        self._generation = generation
        self._clock = clock
        self._known: dict[LookupAddresses, _Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    async def read(self, query: Query[R]) -> R:
        """Answer a question; raises what the store raises."""
        if not isinstance(query, LookupAddresses):
            return await self._store.read(query)
        answer: R = await self._look_up(query)  # type: ignore[assignment]  # what LookupAddresses is answered with
        return answer

    async def _look_up(self, query: LookupAddresses) -> AddressAnswer:
        # Before the question: what is changed while it is under way makes the answer one of before.
        number, now = self._generation.number, self._clock.monotonic()
        known = self._known.pop(query, None)
        if known is None or known.number != number or known.until <= now:
            answer = await self._store.read(query)
            if not answer.ours or not any(one.account is not None or one.targets for one in answer.hits):
                return answer
            known = _Known(answer, number, now + KNOWN_SECONDS)
        self._known[query] = known  # the last used is the last to go
        if len(self._known) > KNOWN_ADDRESSES:
            del self._known[next(iter(self._known))]
        return known.answer
