# SPDX-License-Identifier: Apache-2.0
"""One question to one DNS server: over UDP from a fresh port, over TCP when the answer was cut off; what is no answer to it is not heard.

Obeys RFC 1035 §4.2 (UDP and TCP), RFC 5452 §9 (answers that are forged), RFC 7766 §5 (TCP), RFC 9715 §3 (UDP size).
Must never know what records say: it compares the head and the question of a message and reads no further.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Final

from moatmail.core.limits import net as limits

HEADER: Final = 12  # RFC 1035 §4.1.1: octets before the question
_RESPONSE_AND_OPCODE: Final = 0xF8  # of the third octet; an answer to a plain question has 0x80 there
_CUT_OFF: Final = 0x02  # TC, in the same octet
_CODE: Final = 0x0F  # RCODE, of the fourth
_CODES_WITHOUT_QUESTION: Final = frozenset({1, 2, 4, 5})  # FORMERR, SERVFAIL, NOTIMP, REFUSED: who could not read a question cannot repeat it


@dataclass(frozen=True, slots=True)
class Server:
    """Where a DNS server is: a socket family and an address of it (host, port, and more for IPv6)."""

    family: int
    address: tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Query:
    """A message that asks one `question` (its octets: name, type and class), with an id that was drawn by chance."""

    message: bytes
    question: bytes


class ForgedError(OSError):
    """So many messages that answer nothing arrived that somebody must be guessing."""


def server_of(address: str, port: int) -> Server:
    """Give the server at an IP address (with its zone, if it is link-local). Raises `ValueError` for what is no address."""
    try:
        family, _, _, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV)[0]
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{address} is no address of a DNS server") from error
    return Server(family, where)  # type: ignore[arg-type]  # a number is given, so the address is of the internet


async def exchange(server: Server, query: Query, seconds: float) -> bytes:
    """Give the answer to `query` over all ways, within `seconds`. Raises `OSError` (`TimeoutError` among them) and `EOFError`."""
    deadline = asyncio.get_running_loop().time() + seconds
    try:
        answer = await _ask_by_udp(server, query, seconds)
    except ForgedError:
        answer = None  # RFC 5452 §9.3: over TCP, who cannot read the traffic cannot answer
    # RFC 9715 §3: what is larger than we offered to take may have been put together from fragments, which can be forged.
    if answer is None or len(answer) > limits.DNS_UDP_OCTETS or answer[2] & _CUT_OFF:
        async with asyncio.timeout_at(deadline):
            answer = await _ask_by_tcp(server, query)
    return answer


def answers(message: bytes, query: Query) -> bool:
    """Say whether `message` claims to answer `query`: id, direction, and the question word for word (letters of any case)."""
    if len(message) < HEADER or message[:2] != query.message[:2] or message[2] & _RESPONSE_AND_OPCODE != 0x80:
        return False
    if message[4:6] == b"\x00\x00":
        return message[3] & _CODE in _CODES_WITHOUT_QUESTION
    return message[4:6] == b"\x00\x01" and message[HEADER : HEADER + len(query.question)].lower() == query.question.lower()


class _Waiting:
    """A datagram socket that waits for the one answer to its question."""

    __slots__ = ("answer", "query", "refused", "sock")

    def __init__(self, sock: socket.socket, query: Query, answer: asyncio.Future[bytes]) -> None:
        self.sock = sock
        self.query = query
        self.answer = answer
        self.refused = 0

    def readable(self) -> None:
        """Take the answer if it is one; another message is forgotten, and the wait goes on (RFC 5452 §9.1)."""
        if self.answer.done():
            return
        try:
            message = self.sock.recv(limits.DNS_UDP_OCTETS + 1)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.answer.set_exception(error)
            return
        if answers(message, self.query):
            self.answer.set_result(message)
            return
        self.refused += 1
        if self.refused >= limits.DNS_FORGED_MAX:
            self.answer.set_exception(ForgedError("too many messages that answer no question"))

    def too_late(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(TimeoutError())


async def _ask_by_udp(server: Server, query: Query, seconds: float) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(server.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
        # RFC 5452 §9.2: a socket for each question, so that its port is another one that the kernel draws by chance;
        # connected, so that nothing from another address or port is heard.
        sock.connect(server.address)
        sock.send(query.message)
        waiting = _Waiting(sock, query, loop.create_future())
        timer = loop.call_later(seconds, waiting.too_late)
        loop.add_reader(sock, waiting.readable)
        try:
            return await waiting.answer
        finally:
            loop.remove_reader(sock)
            timer.cancel()


async def _ask_by_tcp(server: Server, query: Query) -> bytes:
    reader, writer = await asyncio.open_connection(str(server.address[0]), server.address[1])
    try:
        writer.write(len(query.message).to_bytes(2, "big") + query.message)  # RFC 7766 §8: length and message in one segment
        message = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.transport.abort()
    if not answers(message, query) or message[2] & _CUT_OFF:
        raise ForgedError("the answer over TCP is to another question, or no whole one")
    return message
