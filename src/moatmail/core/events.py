# SPDX-License-Identifier: Apache-2.0
"""What happened, told to whoever listens (port EventSink): a word, the facts, and a sentence for people.

Obeys no RFC; log lines carry envelope addresses and ids only, never header values or content.
Must never know who listens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


def safe(text: str) -> str:
    """Give `text` with everything unprintable written out, at most 200 characters before that: a log line stays one line and looks as it is.

    Terminals obey C1 controls too, some readers end lines at U+2028, and marks of writing direction show other words than stand there.
    """
    text = text[:200]
    return text if text.isprintable() else "".join(char if char.isprintable() else _written(ord(char)) for char in text)


def _written(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{{{code:x}}}"


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
