# SPDX-License-Identifier: Apache-2.0
"""The SMTP doors where the rooms behind them fail."""

from __future__ import annotations

import asyncio
import base64
import smtplib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moatmail.core.errors import StoreUnavailableError
from tests.house.indoors import PASSWORD, Indoors, indoors


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path) as one:
        await one.open_door("submissions")
        yield one


LOGINS = {
    "PLAIN": base64.b64encode(f"\0ann@example.test\0{PASSWORD}".encode()).decode(),
    "SCRAM-SHA-256": base64.b64encode(b"n,,n=ann@example.test,r=fyko+d2lbbFgONRv9qkxdawL").decode(),
}


@pytest.mark.parametrize("mechanism", LOGINS)
@pytest.mark.parametrize(("error", "code"), [(StoreUnavailableError("gone"), 454), (RuntimeError("a fault"), 451)], ids=["no directory", "a fault of ours"])
async def test_a_login_that_nobody_can_judge_is_refused_for_now_and_the_session_goes_on(
    house: Indoors, monkeypatch: pytest.MonkeyPatch, mechanism: str, error: Exception, code: int
) -> None:
    async def fail(_self: object, _name: str, *_rest: object) -> None:
        raise error

    def ask() -> tuple[int, int]:
        context = ssl.create_default_context(cafile=str(house.ca))
        with smtplib.SMTP_SSL("127.0.0.1", house.doors["submissions"], "client.test", timeout=10, context=context) as client:
            client.ehlo()
            told = [client.docmd("AUTH", f"{mechanism} {LOGINS[mechanism]}")[0] for _ in range(5)]
            assert len(set(told)) == 1
            return told[0], client.noop()[0]

    monkeypatch.setattr("moatmail.directory.login.Login.verifier", fail)
    monkeypatch.setattr("moatmail.directory.login.Login.with_password", fail)
    assert await asyncio.to_thread(ask) == (code, 250)
