# SPDX-License-Identifier: Apache-2.0
"""Port Connector: connections we open (implemented in `net/connector`).

Obeys RFC 5321 §4.5.3.2 (the client's time limits are the caller's) and RFC 3207 (STARTTLS).
Must never know a protocol.
"""

from __future__ import annotations

from typing import Protocol

from moatmail.core.transaction import TLSFacts


class Link(Protocol):
    """A connection to a peer; every method raises `TemporaryError` when the link broke or its deadline passed."""

    @property
    def peer(self) -> str:
        """Give the peer as ``ip:port`` for logs and Received fields."""

    @property
    def local_ip(self) -> str:
        """Give our own address on this link."""

    async def receive(self, deadline: float) -> bytes:
        """Give the next octets; empty at the end; `deadline` in seconds from now."""

    async def send(self, data: bytes, deadline: float) -> None:
        """Write `data` and wait until the buffer has room again; `deadline` in seconds from now."""

    async def start_tls(self, server_name: str, *, verify: bool, deadline: float) -> TLSFacts:
        """Turn the link into TLS 1.2 or later; with `verify`, the certificate must be valid for `server_name`."""

    def abort(self) -> None:
        """Close at once."""


class Connector(Protocol):
    """Opens links."""

    async def open(self, ip: str, port: int, deadline: float) -> Link:
        """Open a TCP link to `ip`; raises `TemporaryError` when it cannot be had within `deadline` seconds."""
