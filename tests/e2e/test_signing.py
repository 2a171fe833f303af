# SPDX-License-Identifier: Apache-2.0
"""Mail that went through the whole server, role by role, arrives signed; a key that is changed at the command line is used at once; OpenDKIM agrees."""

from __future__ import annotations

import asyncio
import json
import smtplib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moatmail.mailauth.dkim import check_dkim
from moatmail.mailauth.result import Result
from moatmail.mailauth.signed import read_message
from moatmail.net.resolver_table import TableResolver
from tests.e2e.test_opendkim import PROGRAM, opendkim
from tests.e2e.trial import Trial, trial
from tests.unit.delivery.peer import Peer, peer

FAR_FUTURE = 4_000_000_000


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Trial]:
    """A trial whose mail goes out through a peer on this machine."""
    with trial(tmp_path / "moatmail-try") as one:
        yield one


async def moatmail(server: Trial, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    from tests.e2e.test_cli import moatmail as run  # noqa: PLC0415

    told = await asyncio.to_thread(run, *arguments, "--dir", str(server.folder), "--json")
    assert told.returncode == 0, told
    return json.loads(told.stdout)


async def outward(server: Trial, host: Peer) -> None:
    await moatmail(server, "settings", "set", "delivery.smart_host_tls", "none")
    await moatmail(server, "settings", "set", "delivery.smart_host", f"127.0.0.1:{host.port}")


async def submit(server: Trial, subject: str) -> None:
    address, password = server.account()

    def run() -> None:
        with smtplib.SMTP(*server.address("submission"), timeout=20) as client:
            client.starttls(context=server.tls())
            client.login(address, password)
            client.sendmail(address, ["zoe@faraway.test"], f"From: {address}\r\nTo: zoe@faraway.test\r\nSubject: {subject}\r\n\r\nhello\r\n")

    await asyncio.to_thread(run)


async def arrival(host: Peer, number: int) -> bytes:
    async with asyncio.timeout(20):
        while len(host.messages) < number:  # noqa: ASYNC110 - the peer is no part of this house: it keeps a list and tells nobody
            await asyncio.sleep(0.02)
    return host.messages[number - 1]


async def judged(server: Trial, content: bytes) -> list[tuple[str, Result]]:
    due = await moatmail(server, "domain", "dns", "example.test")
    zone = TableResolver({one["name"]: {"TXT": [one["value"]]} for one in due["dns"] if one["purpose"] == "dkim"})
    header, line, body = content.partition(b"\r\n\r\n")
    return [(one.selector, one.result) for one in await check_dkim(zone, read_message(header + line, [body]), FAR_FUTURE)]


async def test_submitted_mail_leaves_signed_by_what_is_in_use_at_that_moment(server: Trial, tmp_path: Path) -> None:
    async with peer() as host:
        await outward(server, host)
        first = {row["selector"] for row in await moatmail(server, "dkim", "list", "example.test")}
        await submit(server, "before")
        arrived = await arrival(host, 1)
        found = await judged(server, arrived)
        assert {selector for selector, _ in found} == first
        assert [result for _, result in found] == [Result.PASS, Result.PASS]
        if PROGRAM:
            rsa = next(one for one in (await moatmail(server, "domain", "dns", "example.test"))["dns"] if "k=rsa" in one["value"])
            (tmp_path / "keys").write_text(f"{rsa['name']} {rsa['value']}\n")
            assert "d=example.test, 2048-bit key) succeeded" in opendkim(tmp_path, arrived, f"TestPublicKeys {tmp_path / 'keys'}", "Mode v")
        await asyncio.sleep(1.1)  # the new keys are younger by the clock of the machine
        second = set((await moatmail(server, "dkim", "new", "example.test"))["made"])
        await moatmail(server, "dkim", "use", "example.test")
        await moatmail(server, "dkim", "retire", "example.test", "--now")
        await submit(server, "after")
        found = await judged(server, await arrival(host, 2))
        assert {selector for selector, _ in found} == second
        assert [result for _, result in found] == [Result.PASS, Result.PASS]
        assert [result for _, result in await judged(server, arrived)] == [Result.PASS, Result.PASS], "the records of retired keys stay"
