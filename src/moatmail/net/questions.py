# SPDX-License-Identifier: Apache-2.0
"""The kinds of DNS questions: every resolver of ours answers `ask(kind, name)`, and has the methods of port Resolver from here.

Obeys RFC 1035 §3.2.2 and RFC 3596 §2 (the kinds).
Must never know where answers come from.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from moatmail.core.ports.resolver import Answer, DNSError


class Questions(ABC):
    """Port Resolver over one method."""

    @abstractmethod
    async def ask(self, kind: str, name: str) -> Answer:
        """Give the records of one kind: A, AAAA, MX, TXT or PTR. Raises `DNSError`."""

    def recall(self, kind: str, name: str) -> Answer | DNSError | None:  # noqa: ARG002 - who remembers nothing looks at nothing
        """Give what is remembered of a question, None where it must be asked: whoever knows need not be waited for."""
        return None

    async def a(self, name: str) -> Answer:
        """Give the A records of `name` as texts. Raises `DNSError`."""
        return await self.ask("A", name)

    async def aaaa(self, name: str) -> Answer:
        """Give the AAAA records of `name` as texts. Raises `DNSError`."""
        return await self.ask("AAAA", name)

    async def mx(self, name: str) -> Answer:
        """Give MX records as ``(preference, host)``; the null MX host is the empty text. Raises `DNSError`."""
        return await self.ask("MX", name)

    async def txt(self, name: str) -> Answer:
        """Give TXT records, each one octet string joined from its parts. Raises `DNSError`."""
        return await self.ask("TXT", name)

    async def ptr(self, name: str) -> Answer:
        """Give the host names that a reverse name points to. Raises `DNSError`."""
        return await self.ask("PTR", name)

    async def addresses(self, name: str) -> Answer:
        """Give the A and AAAA records of `name` as texts; one kind is enough if the other cannot be had. Raises `DNSError` if neither can."""
        found = await asyncio.gather(self.ask("A", name), self.ask("AAAA", name), return_exceptions=True)
        answers: list[Answer] = []
        failure: BaseException | None = None
        for one in found:
            if isinstance(one, Answer):
                answers.append(one)
            elif isinstance(one, DNSError):
                failure = one
            else:
                raise one
        records = tuple(record for answer in answers for record in answer.records)
        if failure is not None and not records:
            raise failure
        # Half an answer is not authentic: the missing half may be what matters.
        authentic = failure is None and all(one.authentic for one in answers)
        return Answer(records, any(one.exists for one in answers), authentic, ttl=min(one.ttl for one in answers))
