# SPDX-License-Identifier: Apache-2.0
"""Who may come in at a door: how many at once, for now; numbers per address come with *Who may come in*.

Obeys RFC 5321 §3.1 and §4.5.3.2 (421 when the service is closing or overloaded), RFC 9051 §7.1.5 (BYE), RFC 1939 §4 (-ERR as a greeting).
Must never know what is said inside.
"""

from __future__ import annotations


class Gate:
    """Admits up to `limit` connections at once; the others get `refusal`, in clear."""

    def __init__(self, limit: int, refusal: bytes) -> None:
        self.limit = limit
        self.inside = 0
        self._refusal = refusal

    def admit(self, ip: str) -> bytes | None:
        """Give None to let `ip` in, or the refusal."""
        del ip
        if self.inside >= self.limit:
            return self._refusal
        self.inside += 1
        return None

    def release(self, ip: str) -> None:
        """Take note that an admitted connection is over."""
        del ip
        self.inside -= 1


SMTP_REFUSAL = b"421 4.3.2 too many connections, please try again later\r\n"
IMAP_REFUSAL = b"* BYE [UNAVAILABLE] too many connections, please try again later\r\n"
POP3_REFUSAL = b"-ERR [SYS/TEMP] too many connections, please try again later\r\n"
