# SPDX-License-Identifier: Apache-2.0
"""One mail transaction as everybody sees it: session, envelope, content and findings; frozen, grown only by `evolve`.

Obeys RFC 5321 §3.3 (mail transaction) and RFC 5598 (names of the actors).
Must never know sockets, rows or verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope
from moatmail.core.verdict import Finding


@dataclass(frozen=True, slots=True)
class TLSFacts:
    """What is known of a TLS connection: version ("TLSv1.3"), cipher suite, SNI name, end-point hashes for channel binding."""

    version: str
    cipher: str
    server_name: str | None = None
    end_points: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who logged in: the account's number and primary address, and the addresses it may author mail as."""

    account: int
    address: Address
    granted: frozenset[Address] = frozenset()

    def may_use(self, address: Address) -> bool:
        """Tell whether mail may be sent as `address`: its own, a granted one, or a subaddress of either (RFC 5233)."""
        wanted = address.canonical
        mine = {self.address.canonical, *(one.canonical for one in self.granted)}
        return wanted in mine or wanted.base in mine


@dataclass(frozen=True, slots=True)
class Session:
    """The facts of a connection: door ("mx", "submission", "imap" ...), peer address and port, TLS, EHLO name, identity."""

    id: str
    door: str
    peer_ip: str
    peer_port: int
    helo_name: str = ""
    extended: bool = False
    tls: TLSFacts | None = None
    identity: Identity | None = None


class Content(Protocol):
    """The received octets, wherever they lie; `structure` is the push parser's result (`message.structure.Structure`)."""

    @property
    def id(self) -> bytes:
        """Give the content id: 16 octets."""

    @property
    def size(self) -> int:
        """Give the octets of header and body together."""

    @property
    def header(self) -> bytes:
        """Give the header block with its closing empty line."""

    @property
    def structure(self) -> Any:  # noqa: ANN401 - the type lives one floor up, in `message`
        """Give the structure found while the octets came in."""

    @property
    def signed(self) -> Any:  # noqa: ANN401 - the type lives two floors up, in `mailauth`
        """Give what is signed in the message, its body hashed (`mailauth.signed.SignedMessage`)."""

    def body(self) -> Iterator[bytes]:
        """Give the body's octets in pieces."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One mail transaction (RFC 5321 §3.3); `now` is its time of arrival in epoch seconds."""

    session: Session
    envelope: Envelope
    now: float
    content: Content | None = None
    findings: tuple[Finding, ...] = ()

    def evolve(self, *, envelope: Envelope | None = None, content: Content | None = None, findings: tuple[Finding, ...] = ()) -> Transaction:
        """Give a copy with another envelope or content, or with more findings."""
        return Transaction(
            self.session,
            envelope or self.envelope,
            self.now,
            content if content is not None else self.content,
            self.findings + findings,
        )
