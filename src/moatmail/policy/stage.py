# SPDX-License-Identifier: Apache-2.0
"""What a stage is: a function that looks at a transaction and returns findings.

Obeys no RFC of its own; each stage cites what it checks.
Must never know replies or dispositions: a stage finds, `policy/verdict` decides. A stage never writes, sends, sleeps or logs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from moatmail.core.limits.policy import EVIDENCE_MAX, RECEIVED_MAX
from moatmail.core.ports.filter import Filter
from moatmail.core.ports.resolver import Resolver
from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Finding
from moatmail.policy.memory import Beside


class Phase(Enum):
    """The moments at which a message is judged (RFC 5321 §3)."""

    CONNECT = "connect"
    HELO = "helo"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"


@dataclass(frozen=True, slots=True)
class Tools:
    """What stages may use: ports and numbers, never rooms that act; `memory` where what was found before may serve again."""

    filter: Filter
    resolver: Resolver
    hostname: str = "localhost"
    received_max: int = RECEIVED_MAX
    memory: Beside | None = None


Stage = Callable[[Transaction, Tools], Awaitable[tuple[Finding, ...]]]
Group = tuple[Stage, ...]
Order = dict[Phase, tuple[Group, ...]]


def shown(**facts: object) -> Mapping[str, str]:
    """Give facts as evidence: each as a short text, those that say nothing left out; lists joined by commas."""
    texts: dict[str, str] = {}
    for name, fact in facts.items():
        if fact is not None and fact is not False:
            text = fact if isinstance(fact, str) else ", ".join(map(str, fact)) if isinstance(fact, tuple) else str(fact)
            if text:
                texts[name] = str(text[:EVIDENCE_MAX])  # a word of an enumeration is kept as the plain text it is
    return texts
