# SPDX-License-Identifier: Apache-2.0
"""When a recipient is tried again, and when we give up. Pure.

Obeys RFC 5321 §4.5.4.1 (at least 30 minutes between later tries, give up after 4-5 days).
Must never know the queue or the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from moatmail.core.ports.random import Random

_JITTER: Final = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """How long we wait: `delays` in seconds after the 1st, 2nd ... failed attempt (the last repeats), `give_up` seconds after arrival the end."""

    delays: tuple[float, ...]
    give_up: float

    def next_attempt(self, attempts: int, arrived_at: float, now: float, random: Random) -> float | None:
        """Give the epoch second of the attempt after `attempts` (>= 1) failed ones, or None when it is time to give up."""
        last = arrived_at + self.give_up
        if now >= last:
            return None
        delay = self.delays[min(attempts, len(self.delays)) - 1]
        # A tenth later at most, never earlier: many recipients of one dead host do not come back in one moment, and RFC 5321's 30 minutes hold.
        return min(now + delay * random.uniform(1.0, 1.0 + _JITTER), last)
