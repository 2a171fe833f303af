# SPDX-License-Identifier: Apache-2.0
"""Mail from strangers through the real door into the real store."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moatmail.admin import accounts
from tests.house.indoors import Indoors, indoors

SECRET = "the eagle lands at dawn"
MESSAGE = f"From: carol@elsewhere.test\r\nTo: ann@example.test\r\nSubject: greetings\r\n\r\n{SECRET}\r\n"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path) as one:
        await one.open_door("mx")
        yield one


def _send(house: Indoors, recipients: list[str], message: str = MESSAGE, sender: str = "carol@elsewhere.test") -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP("127.0.0.1", house.doors["mx"], "client.elsewhere.test", timeout=10) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(house.ca)))
        return client.sendmail(sender, recipients, message)


async def send(house: Indoors, recipients: list[str], message: str = MESSAGE, sender: str = "carol@elsewhere.test") -> dict[str, tuple[int, bytes]]:
    return await asyncio.to_thread(_send, house, recipients, message, sender)


async def test_a_message_is_kept_with_its_trace_and_its_octets(house: Indoors) -> None:
    assert await send(house, ["ann@example.test"]) == {}
    (kept,) = await house.messages_of("ann@example.test")
    head, _, body = kept.partition(b"\r\n\r\n")
    assert head.startswith(b"Return-Path: <carol@elsewhere.test>\r\nDelivered-To: ann@example.test\r\nAuthentication-Results: mx.example.test;")
    assert b"\r\nReceived: from client.elsewhere.test ([127.0.0.1])" in head
    assert b"with ESMTPS" in head
    assert b"for <ann@example.test>" in head
    assert body == SECRET.encode() + b"\r\n"
    assert kept.endswith(MESSAGE.encode())


async def test_nothing_of_it_lies_on_the_disk_in_clear(house: Indoors) -> None:
    await send(house, ["ann@example.test"])
    files = [path for path in (house.folder / "mail").rglob("*") if path.is_file()]
    assert files
    for path in files:
        octets = path.read_bytes()
        assert SECRET.encode() not in octets, path
        assert b"greetings" not in octets, path


async def test_two_recipients_share_the_content_and_nothing_else(house: Indoors) -> None:
    await send(house, ["ann@example.test", "bob@example.test"])
    (ann,) = await house.messages_of("ann@example.test")
    (bob,) = await house.messages_of("bob@example.test")
    assert b"Delivered-To: ann@example.test" in ann
    assert b"bob@example.test" not in ann
    assert b"Delivered-To: bob@example.test" in bob
    assert b" for <" not in ann


@pytest.mark.parametrize(
    ("address", "code"),
    [
        pytest.param("nobody@example.test", 550, id="an unknown local part is refused at RCPT"),
        pytest.param("ann@elsewhere.test", 550, id="a foreign domain is never relayed to"),
        pytest.param("ann+list@example.test", 250, id="a subaddress reaches its owner"),
        pytest.param("ANN@EXAMPLE.test", 250, id="case does not matter"),
        pytest.param("team@example.test", 250, id="an alias is taken"),
        pytest.param("postmaster@example.test", 250, id="postmaster is always there"),
        pytest.param("abuse@example.test", 250, id="abuse is always there"),
        pytest.param("postmaster", 250, id="the bare postmaster is always there"),
    ],
)
async def test_recipient(house: Indoors, address: str, code: int) -> None:
    def ask() -> int:
        with smtplib.SMTP("127.0.0.1", house.doors["mx"], "client.elsewhere.test", timeout=10) as client:
            client.helo()
            client.mail("carol@elsewhere.test")
            return client.docmd("RCPT", f"TO:<{address}>")[0]

    assert await asyncio.to_thread(ask) == code


async def test_an_alias_makes_one_copy_for_each_account(house: Indoors) -> None:
    await send(house, ["team@example.test", "ann@example.test"])
    assert len(await house.messages_of("ann@example.test")) == 1
    assert len(await house.messages_of("bob@example.test")) == 1


async def test_a_frozen_account_is_told_at_rcpt(house: Indoors) -> None:
    await accounts.set_state(house.desk, "bob@example.test", status="frozen")
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        await send(house, ["bob@example.test"])
    assert refused.value.recipients["bob@example.test"][0] == 550


async def test_a_full_mailbox_is_a_temporary_refusal(house: Indoors) -> None:
    await accounts.set_state(house.desk, "bob@example.test", quota_octets=10)
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        await send(house, ["bob@example.test"])
    assert refused.value.recipients["bob@example.test"][0] == 452


async def test_large_content_that_a_full_mailbox_refuses_leaves_nothing_on_the_disk(house: Indoors) -> None:
    """smtplib declares the size; a liar does not, and could fill the disk with refused content."""
    await accounts.set_state(house.desk, "bob@example.test", quota_octets=1_000_000)

    def lie() -> tuple[int, bytes]:
        with smtplib.SMTP("127.0.0.1", house.doors["mx"], "client.elsewhere.test", timeout=10) as client:
            client.ehlo()
            client.mail("carol@elsewhere.test", ["SIZE=10"])
            assert client.rcpt("bob@example.test")[0] == 250
            return client.data(MESSAGE + "x" * 900 * 1000 + "\r\n" + "y" * 900 * 1000)

    code, text = await asyncio.to_thread(lie)
    assert (code, text[:6]) == (452, b"4.2.2 ")
    assert [path for path in (house.folder / "mail" / "content").rglob("*") if path.is_file()] == []


async def test_a_looping_message_is_refused_and_not_kept(house: Indoors) -> None:
    looping = "Received: from a by b; Fri, 1 Jan 2027 00:00:00 +0000\r\n" * 101 + MESSAGE
    with pytest.raises(smtplib.SMTPDataError) as refused:
        await send(house, ["ann@example.test"], looping)
    assert refused.value.smtp_code == 554
    assert await house.messages_of("ann@example.test") == []


async def test_large_content_goes_through_a_sealed_file(house: Indoors) -> None:
    body = "".join(f"line {number} of the eagle\r\n" for number in range(40_000))
    await send(house, ["ann@example.test"], MESSAGE.replace(SECRET + "\r\n", body))
    (kept,) = await house.messages_of("ann@example.test")
    assert kept.endswith(body.encode())
    files = [path for path in (house.folder / "mail" / "content").rglob("*") if path.is_file()]
    assert len(files) == 1
    assert b"of the eagle" not in files[0].read_bytes()


async def test_two_from_fields_are_refused(house: Indoors) -> None:
    with pytest.raises(smtplib.SMTPDataError) as refused:
        await send(house, ["ann@example.test"], "From: boss@example.test\r\n" + MESSAGE)
    assert refused.value.smtp_code == 550
    assert [event.name for event in house.ear.events if event.name.startswith("message.")] == ["message.refused"]
