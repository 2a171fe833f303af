# SPDX-License-Identifier: Apache-2.0
"""Makes every line end CRLF, in pieces as they come.

Obeys RFC 5322 §2.3 (CR and LF stand together only), RFC 9051 §6.3.12 (a message of APPEND is in that format): what were stored bare
could end a message where another server sends it on (SMTP smuggling).
Must never know where the octets come from.
"""

from __future__ import annotations

import re
from typing import Final

_BARE: Final = re.compile(rb"\r\n|\r|\n")


class Newlines:
    """Give it pieces in order; `take` gives what is ready, `finish` the rest."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = False  # a CR at the end of the last piece: its LF may follow

    def take(self, data: bytes) -> bytes:
        """Give the piece with every bare CR and LF made CRLF."""
        if not data:
            return b""
        if self._held:
            data = b"\r" + data
        self._held = data.endswith(b"\r")
        if self._held:
            data = data[:-1]
        pairs = data.count(b"\r\n")
        if data.count(b"\r") == pairs and data.count(b"\n") == pairs:
            return data
        return _BARE.sub(b"\r\n", data)

    def finish(self) -> bytes:
        """Give what was held back."""
        held, self._held = self._held, False
        return b"\r\n" if held else b""
