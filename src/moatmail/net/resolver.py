# SPDX-License-Identifier: Apache-2.0
"""Port Resolver over the DNS: questions to the configured or the system's servers, each in turn until a deadline, and what answers say.

Obeys RFC 1035 §2.3.4 and §4.1 (names, messages), RFC 2181 §8 (TTL), RFC 2308 §2 and §5 (no such name, no such data), RFC 5452 §9.2 (ids),
RFC 6840 §5.7 (AD in a question), RFC 6891 §6.1 (EDNS), RFC 7505 §3 (null MX).
Must never know what an answer is used for. The DNS library is imported when a resolver is made: only one role needs it. Its reader of octets and
names is used; its own messages and resolver would cost three times the CPU of all the rest of a question.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from moatmail.core.limits import net as limits
from moatmail.core.ports.resolver import Answer, DNSError
from moatmail.net.dns_exchange import HEADER, Query, exchange
from moatmail.net.questions import Questions
from moatmail.net.system_dns import ServerList, SystemServers

if TYPE_CHECKING:
    import dns.name
    import dns.wire

_KINDS: Final = {"A": 1, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}  # RFC 1035 §3.2.2, RFC 3596 §2.1
_CNAME: Final = 5
_SOA: Final = 6
_INTERNET: Final = 1
_NXDOMAIN: Final = 3
_NAMES_OF_CODES: Final = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}
_CODE: Final = 0x000F
_AD: Final = 0x0020
# Behind the id: RD and AD (RFC 6840 §5.7: without AD in the question a server need not tell), one question, one additional record.
_HEAD: Final = bytes.fromhex("0120 0001 0000 0000 0001")
# RFC 6891 §6.1.2: the root, type OPT, the UDP size we take, then version 0, no flags and no options.
_OPT: Final = b"\x00\x00\x29" + limits.DNS_UDP_OCTETS.to_bytes(2, "big") + bytes(6)
_TTL_UNKNOWN: Final = 5.0  # of "nothing there" without the SOA that says for how long


class _UnusableError(Exception):
    """An answer that says nothing: the server could not find out, or wrote nonsense."""


class DnsResolver(Questions):
    """Asks DNS servers; no answer is kept."""

    def __init__(self, servers: Sequence[str] = (), *, port: int = 53, trusted: bool = False, seconds: float = limits.DNS_SECONDS) -> None:
        """Ask `servers` (addresses), or the system's if none are given; `trusted` says that their AD bit is worth believing.

        A question takes `seconds` at most, over all servers and retries. Raises `DNSError` if the system names no server.
        """
        import dns.name  # noqa: PLC0415 - only the roles that ask need it
        import dns.wire  # noqa: F401, PLC0415

        self._servers = ServerList(servers, port) if servers else SystemServers()
        self._trusted = trusted
        self._seconds = seconds

    async def ask(self, kind: str, name: str) -> Answer:
        """Give the records of one kind: A, AAAA, MX, TXT or PTR. Raises `DNSError`."""
        asked = _name(name)
        if asked is None:  # RFC 1035 §2.3.4: no such name can exist
            return Answer(exists=False)
        question = asked.to_digestable() + _KINDS[kind].to_bytes(2, "big") + b"\x00\x01"
        # RFC 5452 §9.2: nobody can tell the id before; each try has a port of its own as well.
        query = Query(os.urandom(2) + _HEAD + question + _OPT, question)
        try:
            return await self._tries(query, lambda message: _read(message, kind, asked, trusted=self._trusted))
        except _UnusableError as error:
            raise DNSError(f"{name} {kind}: {error}") from error

    async def _tries(self, query: Query, read: Callable[[bytes], Answer]) -> Answer:
        """Ask one server after the other, those that did not answer again, until the time is over."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        deadline = now + self._seconds
        servers = list(self._servers.at(now))
        wait = limits.DNS_TRY_SECONDS
        failure = "no answer"
        while servers:
            for server in tuple(servers):
                left = deadline - loop.time()
                if left <= 0:
                    raise _UnusableError("no answer in time")
                try:
                    return read(await exchange(server, query, min(wait, left)))
                except TimeoutError:
                    continue
                except (_UnusableError, OSError, EOFError) as error:
                    failure = str(error) or type(error).__name__
                    servers.remove(server)  # asked again it would say the same
            wait = 2 * limits.DNS_TRY_SECONDS
        raise _UnusableError(failure)


def _name(name: str) -> dns.name.Name | None:
    """Give `name` as labels up to the root, so that no search list applies; none if it cannot be one. No escapes are read: they could hide a dot."""
    import dns.exception  # noqa: PLC0415
    import dns.name  # noqa: PLC0415

    try:
        return dns.name.Name([*(label.encode("ascii") for label in name.lower().removesuffix(".").split(".")), b""])
    except (dns.exception.DNSException, UnicodeEncodeError):
        return None


def _read(message: bytes, kind: str, asked: dns.name.Name, *, trusted: bool) -> Answer:
    """Read an answer whose head and question were compared with ours. Raises `_UnusableError`."""
    import dns.exception  # noqa: PLC0415

    flags = int.from_bytes(message[2:4], "big")
    code = flags & _CODE
    if code not in {0, _NXDOMAIN}:
        raise _UnusableError(_NAMES_OF_CODES.get(code, f"code {code}"))
    try:
        reply = _Reply(message, kind)
        end = reply.follow(asked)
        records, ttl = reply.found.get(end, ((), 0))
        if records and code == _NXDOMAIN:
            raise _UnusableError("records of a name that does not exist")
        if not records:
            ttl = reply.nothing_for(end)
    except dns.exception.DNSException as error:
        raise _UnusableError("a message that cannot be read") from error
    authentic = trusted and bool(flags & _AD)
    return Answer(tuple(dict.fromkeys(records)), code != _NXDOMAIN, authentic, ttl=min(ttl, reply.chain_ttl))


class _Reply:
    """The sections of an answer: what it says of the kind that was asked, and of aliases; no more records are read than a limit says."""

    def __init__(self, message: bytes, kind: str) -> None:
        import dns.wire  # noqa: PLC0415

        self.found: dict[dns.name.Name, tuple[list[object], float]] = {}
        self.chain_ttl = limits.DNS_TTL_MAX
        self._aliases: dict[dns.name.Name, tuple[dns.name.Name, float]] = {}
        self._parser = parser = dns.wire.Parser(message, HEADER)
        self._counts = (int.from_bytes(message[6:8], "big"), int.from_bytes(message[8:10], "big"))
        _next_name(parser)
        parser.get_bytes(4)
        wanted, form = _KINDS[kind], _FORMS[kind]
        for _ in range(min(self._counts[0], limits.DNS_RECORDS)):
            owner = _next_name(parser)
            kind_, class_, ttl, size = _fields(parser)
            with parser.restrict_to(size):
                if class_ == _INTERNET and kind_ == wanted:
                    records, least = self.found.get(owner, ([], ttl))
                    records.append(form(parser))
                    self.found[owner] = (records, min(least, ttl))
                elif class_ == _INTERNET and kind_ == _CNAME:
                    self._aliases.setdefault(owner, (_next_name(parser), ttl))
                else:
                    parser.get_remaining()

    def follow(self, name: dns.name.Name) -> dns.name.Name:
        """Give the name where the aliases end. Raises `_UnusableError` if they do not."""
        for _ in range(limits.DNS_CHAIN_MAX):
            if name in self.found or name not in self._aliases:
                return name
            name, ttl = self._aliases[name]
            self.chain_ttl = min(self.chain_ttl, ttl)
        raise _UnusableError("a chain of aliases without end")

    def nothing_for(self, name: dns.name.Name) -> float:
        """Give for how many seconds the answer that there is nothing at `name` may be kept."""
        if self._counts[0] > limits.DNS_RECORDS:
            return 0.0  # what follows the answers was not read
        for _ in range(min(self._counts[1], limits.DNS_RECORDS)):
            owner = _next_name(self._parser)
            kind, class_, ttl, size = _fields(self._parser)
            with self._parser.restrict_to(size):
                if kind == _SOA and class_ == _INTERNET and name.is_subdomain(owner):
                    _next_name(self._parser)
                    _next_name(self._parser)
                    *_, minimum = self._parser.get_struct("!IIIII")
                    return min(ttl, float(minimum))  # RFC 2308 §5
                self._parser.get_remaining()
        return _TTL_UNKNOWN


def _next_name(parser: dns.wire.Parser) -> dns.name.Name:
    import dns.name  # noqa: PLC0415

    return dns.name.from_wire_parser(parser)


def _fields(parser: dns.wire.Parser) -> tuple[int, int, float, int]:
    kind, class_, ttl, size = parser.get_struct("!HHIH")
    return kind, class_, float(ttl) if ttl < 1 << 31 else 0.0, size  # RFC 2181 §8: the highest bit set means none


def _host(parser: dns.wire.Parser) -> str:
    """Give a name as the field writes it: lower-case, no trailing dot; the root is the empty text (RFC 7505 §3)."""
    text = _next_name(parser).to_text(omit_final_dot=True).lower()
    return "" if text == "." else text


def _text(parser: dns.wire.Parser) -> bytes:
    """Join the strings of a TXT record (RFC 1035 §3.3.14)."""
    parts = [parser.get_counted_bytes()]
    while parser.remaining():
        parts.append(parser.get_counted_bytes())
    return b"".join(parts)


_FORMS: Final[dict[str, Callable[[dns.wire.Parser], object]]] = {
    "A": lambda parser: socket.inet_ntop(socket.AF_INET, parser.get_bytes(4)),
    "AAAA": lambda parser: socket.inet_ntop(socket.AF_INET6, parser.get_bytes(16)),
    "MX": lambda parser: (parser.get_uint16(), _host(parser)),
    "TXT": _text,
    "PTR": _host,
}
