# SPDX-License-Identifier: Apache-2.0
"""Which DNS servers the system asks, as /etc/resolv.conf says it now.

Obeys resolv.conf(5) in one word, `nameserver`; search lists and ndots are left alone, for a name in mail is always whole (RFC 5321 §2.3.5).
Must never know what is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from moatmail.core.limits import net as limits
from moatmail.core.ports.resolver import DNSError
from moatmail.net.dns_exchange import Server, server_of

_FILE: Final = Path("/etc/resolv.conf")
_PORT: Final = 53
_OCTETS: Final = 64 * 1024  # of the file that are read


class ServerList:
    """A list that does not change."""

    def __init__(self, addresses: Sequence[str], port: int) -> None:
        """Hold the servers at `addresses`. Raises `DNSError` for what is none."""
        try:
            self._servers = tuple(server_of(address, port) for address in addresses)
        except ValueError as error:
            raise DNSError(str(error)) from error

    def at(self, now: float) -> tuple[Server, ...]:  # noqa: ARG002 - as the system's list, which changes
        """Give the servers, the first to be asked first."""
        return self._servers


class SystemServers:
    """The system's list: read again when the file is another one (a laptop that moves, DHCP)."""

    def __init__(self, file: Path = _FILE) -> None:
        """Read `file`. Raises `DNSError` if it names no server."""
        self._file = file
        self._look_again = 0.0
        self._stamp = _stamp(file)
        self._servers = _read(file)
        if not self._servers:
            raise DNSError(f"no DNS server is configured: {file} names none")

    def at(self, now: float) -> tuple[Server, ...]:
        """Give the servers of the moment `now` (seconds of the loop's clock), the first to be asked first."""
        if now >= self._look_again:
            self._look_again = now + limits.DNS_SYSTEM_SECONDS
            stamp = _stamp(self._file)
            if stamp != self._stamp:
                self._stamp = stamp
                self._servers = _read(self._file) or self._servers  # half written or gone: the old ones may still answer
        return self._servers


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(file: Path) -> tuple[Server, ...]:
    try:
        with file.open("rb") as opened:
            text = opened.read(_OCTETS).decode("ascii", "replace")
    except OSError:
        return ()
    servers: list[Server] = []
    for words in map(str.split, text.splitlines()):
        if len(words) > 1 and words[0] == "nameserver":
            try:
                servers.append(server_of(words[1], _PORT))
            except ValueError:
                continue
    return tuple(servers[: limits.DNS_SERVERS_MAX])
