# SPDX-License-Identifier: Apache-2.0
"""What a remote server did with our session and our message: frozen events of the SMTP client.

Obeys RFC 5321 §4.2.1 (what a reply's first digit means), §4.5.3.1.10 (452 for too many recipients), §3.8 (421).
Must never know when something is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from moatmail.core.envelope import Recipient
from moatmail.core.status import Reply
from moatmail.wire.smtp.reply_reader import Extensions


class Stage(Enum):
    """What was awaited when something happened."""

    GREETING = "greeting"
    EHLO = "EHLO"
    HELO = "HELO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    IDLE = "between messages"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CHUNK = "BDAT"
    CONTENT = "content"
    END = "end of content"
    RSET = "RSET"
    QUIT = "QUIT"


class Cause(Enum):
    """Why a session ended before its time."""

    REFUSED = "the server said so"
    PROTOCOL = "the server broke the protocol"
    LOST = "the connection was lost"
    HANDSHAKE = "the TLS handshake failed"
    NO_TLS = "the server offers no TLS and TLS is required"
    NO_AUTH = "no mechanism that we may use"


class Fate(Enum):
    """What became of one recipient in one transaction."""

    DELIVERED = "the server took responsibility"
    REFUSED = "the server will never take it as it is"
    DEFERRED = "try again later"
    NEXT_TRANSACTION = "send again at once, in a transaction of its own"


@dataclass(frozen=True, slots=True)
class Result:
    """The fate of a recipient; `reply` is the server's, or ours when the message cannot go there; None when the connection was lost."""

    recipient: Recipient
    fate: Fate
    stage: Stage
    reply: Reply | None


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """The root of the client's events."""


@dataclass(frozen=True, slots=True)
class HandshakeDue(ClientEvent):
    """Shake hands now, then call `tls_started` or `tls_failed`; nothing may be written before."""


@dataclass(frozen=True, slots=True)
class Ready(ClientEvent):
    """The session stands: `send` may be called."""

    extensions: Extensions
    tls: bool


@dataclass(frozen=True, slots=True)
class ContentWanted(ClientEvent):
    """The server takes the content: call `send_content` for each piece while `wants_content`, then `end_content`."""


@dataclass(frozen=True, slots=True)
class Outcome(ClientEvent):
    """The transaction is over and the next may begin: one result per recipient, in the order of the envelope."""

    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class SessionFailed(ClientEvent):
    """The session is over before QUIT; an Outcome came before if a transaction was open.

    `reply` is the server's when there is one: 5yz at the greeting or EHLO means this host, not the recipients; 421 means later.
    """

    stage: Stage
    cause: Cause
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class Closed(ClientEvent):
    """QUIT was answered, or the server left after it."""
