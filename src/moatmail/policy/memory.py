# SPDX-License-Identifier: Apache-2.0
"""What was found before, kept as long as the DNS still gives the very answers that it was found by.

Obeys RFC 7208 §4, RFC 8601 §3 and RFC 9989 §4 only in that an equal question with equal answers has an equal result.
Must never know what is checked: a stage says what its findings depend on, besides the answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final

from moatmail.core.limits import policy as limits
from moatmail.core.ports.resolver import Answer, Lookup, MessageLookups
from moatmail.core.verdict import Finding

Findings = tuple[Finding, ...]
Made = tuple[Findings, Sequence[Lookup] | None]
"""What a stage found, and every question it asked for it, with what came; None where it depends on more than its key and these."""

_RECORD_OCTETS: Final = 80


class Memory:
    """The findings of one process, by the stage and what it looked at; the last used are the last to go."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        """Begin with nothing."""
        self._kept: dict[Hashable, tuple[Findings, Sequence[Lookup]]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Hashable, lookups: MessageLookups) -> Findings | None:
        """Give what was found for `key` if each of its questions has the same answer now, asked through `lookups`; None to look anew."""
        made = self._kept.pop(key, None)
        if made is None or not lookups.still(made[1]):
            return None
        self._kept[key] = made
        return made[0]

    def keep(self, key: Hashable, made: Made) -> None:
        """Keep what was found, where it may serve again: nothing that could not be checked, no part of an answer that did not come, nothing large."""
        found, lookups = made
        if lookups is None or len(lookups) > limits.MEMORY_LOOKUPS or any(one.temporary for one in found):
            return
        if sum(_octets(one.answer) for one in lookups) > limits.MEMORY_OCTETS:
            return
        self._kept[key] = found, lookups
        if len(self._kept) > limits.MEMORY_FINDINGS:
            del self._kept[next(iter(self._kept))]


def _octets(answer: Answer | None) -> int:
    """Give about what an answer takes; one that did not come is too much."""
    if answer is None:
        return limits.MEMORY_OCTETS + 1
    return sum(len(record) + _RECORD_OCTETS if isinstance(record, bytes | str) else 4 * _RECORD_OCTETS for record in answer.records)


class Beside:
    """The memory as one message sees it: through the message's own view of the DNS."""

    __slots__ = ("_lookups", "_memory")

    def __init__(self, memory: Memory, lookups: MessageLookups) -> None:
        """Look into `memory` through `lookups`."""
        self._memory = memory
        self._lookups = lookups

    def find(self, key: Hashable) -> Findings | None:
        """Give what was found for `key`, None to look anew."""
        return self._memory.find(key, self._lookups)

    def keep(self, key: Hashable, made: Made) -> None:
        """Keep what was found for `key`."""
        self._memory.keep(key, made)


async def remembered(beside: Beside | None, key: Hashable, look: Callable[[], Awaitable[Made]]) -> Findings:
    """Give what was found for `key` before, or what `look` finds now."""
    found = beside.find(key) if beside is not None else None
    if found is not None:
        return found
    made = await look()
    if beside is not None:
        beside.keep(key, made)
    return made[0]
