# SPDX-License-Identifier: Apache-2.0
"""Which answers the journal must tell of: keys that sign mail, and what was found out about a message.

Obeys no RFC.
Must never know how an answer leaves, or what is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from moatmail.core.limits import store as limits
from moatmail.store.queries import DecisionRow, GetDecision, GetSigningKeys, Query, SigningKeys

_ALWAYS: Final = 0.0


class Witness:
    """Says what is to be written before an answer leaves."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Take the clock by which keys are told of once an hour: who holds them asks again and again."""
        self._now = now
        self._told: dict[tuple[str, str], float] = {}

    def entry(self, who: str, query: Query[Any], answer: object) -> str | None:
        """Give the journal entry for this answer; None where nothing is to be told."""
        if isinstance(query, GetDecision) and isinstance(answer, DecisionRow):
            return f"read the evidence of decision {answer.code} ({answer.id.hex()})"
        if isinstance(query, GetSigningKeys) and isinstance(answer, SigningKeys) and answer.keys:
            what = f"took the signing keys of {query.domain}: {', '.join(key.selector for key in answer.keys)}"
            return what if self._now() >= self._told.get((who, what), _ALWAYS) else None
        return None

    def written(self, who: str, entry: str) -> None:
        """Take note that an entry is durable, and not before: keys must not leave untold because the journal failed the first time."""
        if len(self._told) >= limits.KEYS_TOLD:
            # Forgetting means telling again.
            self._told.clear()
        self._told[who, entry] = self._now() + limits.KEYS_TOLD_EVERY
