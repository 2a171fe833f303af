# SPDX-License-Identifier: Apache-2.0
"""A sought text as needles: what must stand in the words of every message that contains it.

Obeys RFC 3501 §6.4.4 (a substring, whatever the case) over words as `mailbox/index/words` cuts them.
Must never know a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from moatmail.core.limits import mailbox as limits
from moatmail.mailbox.index.words import OVERLAP

_RUN: Final = re.compile(r"\S+")
_WINDOW: Final = OVERLAP + 1
"""Characters that stand in one piece of a word whole, wherever the word was cut."""


@dataclass(frozen=True, slots=True)
class Sought:
    """Every message that contains the text has each of `needles` in its words; with `certain` the only needle also proves the contrary.

    A needle that begins or ends with a line feed begins or ends with its word. No needle at all: the words cannot tell.
    """

    needles: tuple[bytes, ...]
    certain: bool


def sought(folded: str) -> Sought:
    """Give what to look for, the most telling first, for a text as `criteria.fold` gives it."""
    if len(folded) <= _WINDOW and _RUN.fullmatch(folded) is not None:
        return Sought((_octets(folded),), certain=True)
    needles = sorted(dict.fromkeys(_needles(folded)), key=len, reverse=True)
    return Sought(tuple(needles[: limits.NEEDLES]), certain=False)


def _needles(folded: str) -> Iterator[bytes]:
    for run in _RUN.finditer(folded):
        word = run[0]
        # Where the text has a blank beside the run, so has the message: the word begins or ends there.
        left = b"\n" if run.start() > 0 else b""
        right = b"\n" if run.end() < len(folded) else b""
        last = max(len(word) - _WINDOW, 0)
        for start in (*range(0, last, _WINDOW), last):
            end = start + _WINDOW
            yield (left if start == 0 else b"") + _octets(word[start:end]) + (right if start == last else b"")


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
