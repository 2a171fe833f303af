# SPDX-License-Identifier: Apache-2.0
"""What a door tells its POP3 engine, and what is announced by CAPA.

Obeys RFC 2449 §6 (capabilities), RFC 2595 §4 (STLS), RFC 3206 §4 (AUTH-RESP-CODE), RFC 5034 §3 (SASL).
Must never know a socket or an account.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from moatmail.core.limits import pop3 as limits
from moatmail.core.limits.endpoints import FAILED_LOGINS

# RFC 2449 §6.9: IMPLEMENTATION is left out, a stranger need not know what serves him. RFC 6856: UTF8 too, for every message is shown in ASCII headers.
_ALWAYS: Final = (
    b"TOP",
    b"UIDL",
    b"RESP-CODES",  # RFC 2449 §6.4
    b"AUTH-RESP-CODE",  # RFC 3206 §4
    b"PIPELINING",  # RFC 2449 §6.6
    b"EXPIRE NEVER",  # RFC 2449 §6.7: what is not deleted stays
)


@dataclass(frozen=True, slots=True)
class Profile:
    """The facts of a listener; `mechanisms` in capitals, best first. `decoy_key` as in `sasl.Context`."""

    hostname: bytes
    tls_available: bool = True
    mechanisms: tuple[bytes, ...] = (b"PLAIN",)
    decoy_key: bytes = field(default=b"", repr=False)
    errors: int = limits.ERRORS
    failed_logins: int = FAILED_LOGINS

    def capabilities(self, mechanisms: tuple[bytes, ...], *, tls: bool) -> tuple[bytes, ...]:
        """List what is offered now; `mechanisms` are those that work on this connection."""
        if not tls:
            # RFC 2449 §6.2, §6.3: what cannot be used is not announced, so no client sends a password in clear (RFC 8314 §4.1).
            return (*_ALWAYS, b"STLS") if self.tls_available else _ALWAYS
        return (*_ALWAYS, b"USER", b"SASL " + b" ".join(mechanisms)) if mechanisms else (*_ALWAYS, b"USER")
