# SPDX-License-Identifier: Apache-2.0
"""A remote mail host that answers as a test says; written apart from our engines, so that both sides cannot be wrong together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

_LARGEST = 16 * 1024 * 1024
"""Octets of a message that a peer takes."""


@dataclass
class Peer:
    """Answers by verb: a text, or a list used one after the other; "drop" closes the connection. Keeps what was sent to it."""

    answers: dict[str, str | list[str]] = field(default_factory=dict)
    keywords: tuple[str, ...] = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES")
    messages: list[bytes] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    def _answer(self, verb: str, default: str) -> str:
        answer = self.answers.get(verb, default)
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
        return answer

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if await self._say(writer, self._answer("greeting", "220 peer.test ESMTP")):
                await self._loop(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _say(self, writer: asyncio.StreamWriter, answer: str) -> bool:
        if answer == "drop":
            writer.transport.abort()
            return False
        writer.write(answer.replace("\n", "\r\n").encode() + b"\r\n")
        await writer.drain()
        return not answer.startswith("421")

    async def _loop(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := (await reader.readline()).decode():
            self.commands.append(line.strip())
            verb = line.split(maxsplit=1)[0].upper()
            if verb == "EHLO":
                answer = "\n".join(["250-peer.test", *(f"250-{one}" for one in self.keywords), "250 HELP"])
            elif verb == "DATA":
                answer = self._answer("DATA", "354 go on")
            else:
                answer = self._answer(line.strip() if line.strip() in self.answers else verb, "221 bye" if verb == "QUIT" else "250 2.0.0 ok")
            if not await self._say(writer, answer) or verb == "QUIT":
                return
            if answer.startswith("354"):
                content = await reader.readuntil(b"\r\n.\r\n")
                self.messages.append(content[:-3].replace(b"\r\n..", b"\r\n."))
                if not await self._say(writer, self._answer("dot", "250 2.0.0 queued")):
                    return


@contextlib.asynccontextmanager
async def peer(answers: dict[str, str | list[str]] | None = None, port: int = 0, ip: str = "127.0.0.1") -> AsyncIterator[Peer]:
    """Run a peer on loopback for the block."""
    one = Peer(answers or {})
    server = await asyncio.start_server(one._serve, ip, port, limit=_LARGEST)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        await server.wait_closed()
