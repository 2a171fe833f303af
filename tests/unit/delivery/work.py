# SPDX-License-Identifier: Apache-2.0
"""The queue of a house without roles, worked when a test says so, towards peers on loopback."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import msgspec

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Notify, Recipient
from moatmail.core.settings.mail import Mail
from moatmail.delivery.manager import Manager, Ports
from moatmail.mailqueue import spool
from moatmail.mailqueue.spool import GENERATED
from moatmail.net.connector import TCPConnector
from moatmail.net.resolver_table import TableResolver, Zone
from moatmail.store.operations import Accept
from moatmail.store.queries import CountQueue
from tests.house.indoors import Indoors

ANN = Address("ann", "example.test")
MESSAGE = b"From: ann@example.test\r\nSubject: to the far side\r\n\r\n.a dot, and gr\xc3\xbc\xc3\x9fe\r\n"
TABLE: Zone = {
    "faraway.test": {"MX": [[10, "mx1.faraway.test"], [20, "mx2.faraway.test"]]},
    "mx1.faraway.test": {"A": ["127.0.0.1"]},
    "mx2.faraway.test": {"A": ["127.0.0.2"]},
    "implicit.test": {"A": ["127.0.0.1"]},
    "null.test": {"MX": [[0, ""]]},
    "mixed.test": {"MX": [[0, ""], [5, "mx1.faraway.test"]]},
    "silent.test": {"MX": "SERVFAIL", "A": ["127.0.0.1"]},
    "ourselves.test": {"MX": [[10, "mx.example.test"]]},
}


class Queue:
    """One house's queue, worked when a test says so."""

    def __init__(self, house: Indoors, port: int, hostname: str = "mx.example.test", **settings: object) -> None:
        self.house = house
        mail = Mail()
        self.mail = replace(mail, delivery=replace(mail.delivery, port=port, connect_seconds=2.0, **settings))  # type: ignore[arg-type]
        ports = Ports(
            house.store,
            house.ports.files,
            TableResolver(TABLE),
            TCPConnector(),
            house.clock,
            random.Random(1),
            house.ear,
            hostname,
            "me",
            lambda: self.mail,
        )
        self.manager = Manager(ports)

    async def put(self, *recipients: str, sender: Address | None = ANN, notify: Notify | None = None, content: bytes = MESSAGE, kind: str = GENERATED) -> None:
        """Put a message into the queue as one that was made here, or that came in another way (`kind`)."""
        rows = tuple(Recipient(Address(*one.split("@")), notify=notify) for one in recipients)
        public = await self.house.ports.queue_key.get()
        made, entry = spool.generated(public, content, Envelope(sender, rows), self.house.clock.now())
        await self.house.store.write(Accept((made,), (), (msgspec.structs.replace(entry, kind=kind),)))

    async def work(self) -> None:
        """Work until nothing is due."""
        while await self.manager._work() == 0.0:
            await asyncio.wait(self.manager._tasks)
            for event in self.house.ear.named("queue.failed"):
                raise AssertionError(event.text)

    async def waiting(self) -> int:
        return (await self.house.store.read(CountQueue())).recipients
