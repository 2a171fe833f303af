# SPDX-License-Identifier: Apache-2.0
"""Port Connector over TCP: links we open, plain at first and TLS when asked.

Obeys RFC 3207 §4 and §4.2 (what was read before the handshake is not trusted), RFC 7672 §2.2 and RFC 8461 §4.2 (server name and its check).
Must never know a protocol, or which of several addresses is worth a try: that is the caller's.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from functools import cached_property

from moatmail.core.errors import RemoteProtocolError, TemporaryError
from moatmail.core.limits import net as limits
from moatmail.core.transaction import TLSFacts
from moatmail.net import tls
from moatmail.net.stream import DeadlinePassedError, Stream


class StrayOctetsError(RemoteProtocolError, TemporaryError):
    """Octets came in clear behind the go-ahead of STARTTLS: somebody on the way tries to speak for the peer."""

    status = "4.7.5"
    public = "TLS could not be trusted"


class TCPConnector:
    """Opens links, from a chosen address of ours if one is set; keeps the TLS contexts, which are made when first needed."""

    def __init__(self, *, source_ipv4: str | None = None, source_ipv6: str | None = None, authorities: bytes | None = None) -> None:
        """Bind links to the source addresses where given; `authorities` (PEM) replace the system's in verified handshakes."""
        self._sources = {4: source_ipv4, 6: source_ipv6}
        self._authorities = authorities
        self._read_buffer = memoryview(bytearray(limits.READ_BUFFER))

    @cached_property
    def opportunistic(self) -> ssl.SSLContext:
        """Give the context that trusts any certificate."""
        return tls.opportunistic()

    @cached_property
    def verified(self) -> ssl.SSLContext:
        """Give the context that wants a valid one."""
        return tls.verified(self._authorities)

    async def open(self, ip: str, port: int, deadline: float) -> TCPLink:
        """Open a TCP link to `ip`; raises `TemporaryError` when it cannot be had within `deadline` seconds."""
        try:
            source = self._sources[ipaddress.ip_address(ip).version]
        except ValueError as error:
            raise TemporaryError(f"not an address: {ip}", status="4.4.1") from error
        local = (source, 0) if source is not None else None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadline):
                _, stream = await loop.create_connection(lambda: Stream(self._read_buffer), ip, port, local_addr=local)
        except TimeoutError as error:
            raise DeadlinePassedError(f"no connection to {ip} port {port} in {deadline:g} s", status="4.4.1") from error
        except OSError as error:
            raise TemporaryError(f"no connection to {ip} port {port}: {error.strerror or error}", status="4.4.1", public="connection refused") from error
        return TCPLink(stream, self)


class TCPLink:
    """Port Link over one stream."""

    __slots__ = ("_connector", "_stream")

    def __init__(self, stream: Stream, connector: TCPConnector) -> None:
        """Speak over `stream`."""
        self._stream = stream
        self._connector = connector

    @property
    def peer(self) -> str:
        """Give the peer as ``ip:port``, an IPv6 address in brackets (RFC 3986 §3.2.2)."""
        ip = self._stream.peer_ip
        return f"[{ip}]:{self._stream.peer_port}" if ":" in ip else f"{ip}:{self._stream.peer_port}"

    @property
    def local_ip(self) -> str:
        """Give our own address on this link."""
        return self._stream.local_ip

    @property
    def tls(self) -> TLSFacts | None:
        """Give the facts of TLS, None while the link is plain."""
        return self._stream.tls

    async def receive(self, deadline: float) -> bytes:
        """Give the next octets, at most 16 KiB; empty at the end. Raises `TemporaryError`."""
        return await self._stream.receive(deadline)

    async def send(self, data: bytes, deadline: float) -> None:
        """Write `data` in slices that wait for room, so that large content never lies in the buffer whole. Raises `TemporaryError`."""
        if len(data) <= limits.OUTPUT_HIGH:
            self._stream.write(data)
            await self._stream.drain(deadline)
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline
        for start in range(0, len(data), limits.OUTPUT_HIGH):
            self._stream.write(data[start : start + limits.OUTPUT_HIGH])
            await self._stream.drain(end - loop.time())

    async def start_tls(self, server_name: str, *, verify: bool, deadline: float) -> TLSFacts:
        """Turn the link into TLS 1.2 or later; with `verify`, the certificate must be valid for `server_name`.

        Raises `StrayOctetsError` if octets are here that the engine did not ask for, `HandshakeFailedError`, `DeadlinePassedError`,
        `PeerGoneError`, all of them `TemporaryError`; the link is then aborted.
        """
        try:
            # RFC 3207 §4.2: the client trusts nothing that was said in clear; the server has nothing to say before our hello.
            if self._stream.unread:
                raise StrayOctetsError
            context = self._connector.verified if verify else self._connector.opportunistic
            return await self._stream.handshake(context, deadline, server_side=False, server_name=server_name or None)
        except TemporaryError:
            self._stream.abort()
            raise

    def close(self) -> None:
        """End the link in order: what waits is sent, TLS is closed."""
        self._stream.close()

    def abort(self) -> None:
        """Close at once."""
        self._stream.abort()
