# SPDX-License-Identifier: Apache-2.0
"""The states of an SMTP session, and which of them a set of commands needs.

Obeys RFC 5321 §4.1.4 (order of commands).
Must never know what a command does.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, NamedTuple


class State(Enum):
    """Where the session stands: which commands are in order (RFC 5321 §4.1.4)."""

    OPENING = auto()  # the greeting is not sent
    REFUSED = auto()  # greeted with 554: only QUIT is left
    GREETED = auto()  # no HELO or EHLO yet, or TLS has just begun
    IDENTIFIED = auto()  # no transaction
    MAIL = auto()  # a reverse-path, no recipient
    RCPT = auto()  # at least one recipient
    CHUNKS = auto()  # between two BDAT


class Mode(Enum):
    """What the next octets are."""

    COMMAND = auto()
    RESPONSE = auto()  # a line of a SASL exchange
    DATA = auto()
    CHUNK = auto()
    SWALLOW = auto()  # a chunk that was refused
    HANDSHAKE = auto()  # of TLS: no octet is ours
    CLOSED = auto()


class Command(NamedTuple):
    """When a command is in order, what runs it, and whether it moves no mail."""

    states: frozenset[State]
    run: Callable[[Any, bytes], None]
    idle: bool = False


TRANSACTION: Final = frozenset({State.MAIL, State.RCPT, State.CHUNKS})
OPEN: Final = frozenset({State.GREETED, State.IDENTIFIED}) | TRANSACTION
ANY: Final = OPEN | {State.REFUSED}
QUIET: Final = frozenset({State.GREETED, State.IDENTIFIED})

# Words of HTTP: a browser made to talk to us, or a scanner; nothing it says may become a command.
FOREIGN: Final = frozenset({b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"CONNECT", b"PATCH", b"TRACE", b"PRI"})
