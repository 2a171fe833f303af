# SPDX-License-Identifier: Apache-2.0
"""What a client of our POP3 server asks for: frozen events, in the order of the session.

Obeys RFC 1939 §5 and §7 (commands), RFC 2595 §4 (STLS), RFC 5034 (AUTH).
Must never know what is answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from moatmail.wire.sasl import Failure, NeedsPassword, NeedsVerifier, Success


class Offence(Enum):
    """What a client did that no honest client does; for the guard's ledger."""

    STLS_INJECTION = "octets behind STLS"
    LONG_LINE = "a line over the limit"
    BARE_LINE_END = "a line that does not end in CR LF"
    FOREIGN_PROTOCOL = "another protocol than POP3"
    TOO_MANY_ERRORS = "too many errors"
    TOO_MANY_LOGINS = "too many failed logins"


@dataclass(frozen=True, slots=True)
class Event:
    """The root of the events; `awaits` tells that the engine stands still until it is answered."""

    awaits: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Login(Event):
    """A step of a login, by USER and PASS or by AUTH; NeedsVerifier waits for `answer_verifier`, the others for `ok` or `err`.

    NeedsPassword: judge the password. Success: the mechanism proved it; judge only whether the identity may come in.
    Failure: a failed login to be counted; the answer is never `ok`.
    """

    mechanism: bytes
    step: NeedsPassword | NeedsVerifier | Success | Failure


@dataclass(frozen=True, slots=True)
class StartTLS(Event):
    """STLS: `ok`, flush the output, shake hands, then `tls_started`; or `err` (RFC 2595 §4)."""


@dataclass(frozen=True, slots=True)
class Stat(Event):
    """How many messages there are and how large (RFC 1939 §5)."""


@dataclass(frozen=True, slots=True)
class List(Event):
    """The size of one message, or of all (`number` None)."""

    number: int | None


@dataclass(frozen=True, slots=True)
class Uidl(Event):
    """The unique-id of one message, or of all (RFC 1939 §7)."""

    number: int | None


@dataclass(frozen=True, slots=True)
class Retr(Event):
    """A message."""

    number: int


@dataclass(frozen=True, slots=True)
class Top(Event):
    """The header of a message and `lines` lines of its body (RFC 1939 §7)."""

    number: int
    lines: int


@dataclass(frozen=True, slots=True)
class Dele(Event):
    """A message to be removed at QUIT."""

    number: int


@dataclass(frozen=True, slots=True)
class Rset(Event):
    """Nothing is to be removed after all."""


@dataclass(frozen=True, slots=True)
class Quit(Event):
    """QUIT after login: now is removed what was marked, and only now (RFC 1939 §6); either answer ends the session."""


@dataclass(frozen=True, slots=True)
class Flush(Event):
    """Much is waiting to be sent: send it, as fast as the peer reads, before asking for the next event."""

    awaits: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Violation(Event):
    """An offence; the reply to it, if any, waits in the output, and `closing` tells whether the session ends."""

    awaits: ClassVar[bool] = False
    offence: Offence
