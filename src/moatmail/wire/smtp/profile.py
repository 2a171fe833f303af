# SPDX-License-Identifier: Apache-2.0
"""What an SMTP server is: its name, its door, what it announces and where it stops.

Obeys RFC 5321 §4.1.1.1 (the answer to EHLO), RFC 6409 §4.3 (submission wants authentication), RFC 3207 §4, RFC 4954 §4.
Must never know a setting's source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from moatmail.core.limits import smtp as limits
from moatmail.core.limits.crypto import SCRAM_ROUNDS_HUMAN
from moatmail.wire.smtp.content import ContentLimits


class Door(Enum):
    """Which door the connection came through."""

    MX = "mx"
    SUBMISSION = "submission"
    SUBMISSIONS = "submissions"


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How much of what one session may do before it is closed with 421."""

    recipients: int = limits.RECIPIENTS_MAX
    errors: int = limits.ERRORS_MAX
    refusals: int = limits.REFUSALS_MAX
    idle_commands: int = limits.IDLE_COMMANDS_MAX
    smuggled: int = limits.SMUGGLED_MAX
    auth_failures: int = limits.AUTH_FAILURES_MAX
    transactions: int = limits.TRANSACTIONS_MAX
    overrun: int = limits.OVERRUN_MAX


@dataclass(frozen=True, slots=True)
class Profile:
    """The server as one connection sees it; `mechanisms` in the order of preference, -PLUS first; `decoy_key` see `sasl.Context`."""

    hostname: bytes
    door: Door
    tls_available: bool = True
    mechanisms: tuple[bytes, ...] = ()
    content: ContentLimits = field(default_factory=ContentLimits)
    session: SessionLimits = field(default_factory=SessionLimits)
    decoy_key: bytes = field(default=b"", repr=False)
    decoy_iterations: int = SCRAM_ROUNDS_HUMAN

    @property
    def needs_auth(self) -> bool:
        """Tell whether mail is taken from logged-in clients only (RFC 6409 §4.3)."""
        return self.door is not Door.MX

    def keywords(self, *, tls: bool, mechanisms: tuple[bytes, ...]) -> Iterator[bytes]:
        """Give the EHLO keywords of a connection in this state; `mechanisms` are those that would work now."""
        yield b"PIPELINING"  # RFC 2920 §3
        yield b"SIZE %d" % self.content.size  # RFC 1870 §3
        yield b"8BITMIME"  # RFC 6152 §2
        yield b"SMTPUTF8"  # RFC 6531 §3.1
        yield b"CHUNKING"  # RFC 3030 §2
        yield b"ENHANCEDSTATUSCODES"  # RFC 2034 §2
        # RFC 3207 §4.2: never again inside TLS.
        if self.tls_available and not tls:
            yield b"STARTTLS"
        # RFC 4954 §4: a password in clear is never asked for, so the keyword waits for TLS.
        if mechanisms:
            yield b"AUTH " + b" ".join(mechanisms)
