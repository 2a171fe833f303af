# SPDX-License-Identifier: Apache-2.0
"""What happened, told to whoever listens (port EventSink): a word, the facts, and a sentence for people.

Obeys no RFC; log lines carry envelope addresses and ids only, never header values or content.
Must never know who listens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


def safe(text: str) -> str:
    """Give `text` with control characters written out, at most 200 characters: a log line stays one line."""
    return text[:200].translate(_CONTROL)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: `name` a dotted word, `text` a sentence, `facts` short values, `alert` when a person should look."""

    name: str
    text: str
    facts: Mapping[str, str] = field(default_factory=dict)
    alert: bool = False

    @classmethod
    def of(cls, name: str, text: str, *, alert: bool = False, **facts: object) -> Event:
        """Build an event; every value is made safe for a log line."""
        return cls(name, safe(text), {key: safe(str(value)) for key, value in facts.items()}, alert)
