# SPDX-License-Identifier: Apache-2.0
"""The reply of a mail server: code, enhanced status and text.

Obeys RFC 5321 §4.2 (reply codes) and RFC 3463 (enhanced status codes).
Must never know who sends it or why.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """One SMTP reply: `code` 200-599, `status` as ``"2.1.0"`` or empty, `lines` of text without CR, LF or NUL (RFC 5321 §4.2)."""

    code: int
    status: str
    lines: tuple[str, ...]

    @classmethod
    def of(cls, code: int, status: str, text: str) -> Reply:
        """Build a reply of one line of text."""
        return cls(code, status, (text,))

    @property
    def positive(self) -> bool:
        """Tell whether the reply is 2yz or 3yz (RFC 5321 §4.2.1)."""
        return 200 <= self.code < 400

    @property
    def temporary(self) -> bool:
        """Tell whether the reply is 4yz: the same command may work later (RFC 5321 §4.2.1)."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """Tell whether the reply is 5yz: the command will not work as it is (RFC 5321 §4.2.1)."""
        return self.code >= 500

    @property
    def text(self) -> str:
        """Give the text of all lines joined by blanks."""
        return " ".join(self.lines)

    def __str__(self) -> str:
        """Give the reply as a person reads it in a log: code, status and text in one line."""
        return " ".join(part for part in (str(self.code), self.status, self.text) if part)
