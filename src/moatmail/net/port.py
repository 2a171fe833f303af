# SPDX-License-Identifier: Apache-2.0
"""TCP ports before anybody listens on them: is it free, bind it once per process, hand it on as a descriptor.

Obeys RFC 9293 (TCP); sharing a port among processes is Linux's SO_REUSEPORT (3.9).
Must never know what is spoken on a port.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

from moatmail.core.errors import ConfigError


def claim(address: str, port: int) -> None:
    """Bind `port` once, alone, and let it go: with SO_REUSEPORT a second server would silently get half of the connections.

    Raises ConfigError with one line when somebody listens there, or when we may not.
    """
    with _socket(address) as sock:
        _bind(sock, address, port)


def bind_shared(address: str, port: int) -> int:
    """Bind `port` for one of several processes; gives the descriptor, which does not listen yet. Raises ConfigError."""
    with _socket(address) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _bind(sock, address, port)
        return sock.detach()


def adopt(descriptor: int) -> socket.socket:
    """Give the socket of a descriptor that another process bound; the caller owns it, and closing it leaves the other's open."""
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return sock


def _socket(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    # Connections of the server before us may linger in TIME_WAIT; a listener that is alive is found all the same.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if address == "::":  # both families, as on any dual-stack host
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return sock


def _bind(sock: socket.socket, address: str, port: int) -> None:
    place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    try:
        sock.bind((address, port))
    except PermissionError:
        raise ConfigError(f"port {place}: not permitted to this user; use a port above 1023, or start as root") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"port {place} is in use by another program; stop it, or choose other ports") from None
        raise ConfigError(f"port {place}: {error.strerror}; choose another address") from None


STREAM: Final = socket.SOCK_STREAM
PACKETS: Final = socket.SOCK_SEQPACKET
"""Kinds of local sockets, for whoever opens the store's channel and bus without knowing sockets."""
