# SPDX-License-Identifier: Apache-2.0
"""The queue against remote hosts of every temper: what is sent, retried, returned, and never returned."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import patch

import pytest

from moatmail.admin import accounts
from moatmail.core.address import Address
from moatmail.core.envelope import Notify
from tests.house.indoors import Indoors, indoors
from tests.unit.delivery.peer import peer
from tests.unit.delivery.work import ANN, MESSAGE, Queue


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path) as one:
        yield one


async def test_a_message_arrives_as_it_was_with_the_null_envelope_kept_apart(house: Indoors) -> None:
    async with peer() as host:
        queue = Queue(house, host.port)
        await queue.put("zoe@faraway.test")
        await queue.work()
        (arrived,) = host.messages
        signatures, content = arrived[: -len(MESSAGE)], arrived[-len(MESSAGE) :]
        assert content == MESSAGE
        assert [line.partition(b":")[0] for line in signatures.splitlines() if not line.startswith(b" ")] == [b"DKIM-Signature", b"DKIM-Signature"]
        assert "MAIL FROM:<ann@example.test>" in host.commands[1]
        assert await queue.waiting() == 0
        assert await house.messages_of("ann@example.test") == []


async def test_a_refused_recipient_is_returned_once_with_the_remote_words(house: Indoors) -> None:
    async with peer({"RCPT": "550-5.1.1 nobody\n550 5.1.1 of that name"}) as host:
        queue = Queue(house, host.port)
        await queue.put("zoe@faraway.test")
        await queue.work()
        await queue.work()
        (notice,) = await house.messages_of("ann@example.test")
        assert notice.startswith(b"Return-Path: <>\r\n")
        assert b"Final-Recipient: rfc822; zoe@faraway.test" in notice
        assert b"Status: 5.1.1" in notice
        assert b"Remote-MTA: dns; mx1.faraway.test" in notice
        assert b"of that name" in notice
        assert b"Subject: to the far side" in notice
        assert host.messages == []
        assert await queue.waiting() == 0


@pytest.mark.parametrize(
    ("sender", "notify"),
    [pytest.param(None, None, id="a null reverse-path is never answered"), pytest.param(ANN, Notify.NEVER, id="NOTIFY=NEVER is not answered")],
)
async def test_no_notice(house: Indoors, sender: Address | None, notify: Notify | None) -> None:
    async with peer({"RCPT": "550 5.1.1 no"}) as host:
        queue = Queue(house, host.port)
        await queue.put("zoe@faraway.test", sender=sender, notify=notify)
        await queue.work()
        assert await queue.waiting() == 0
        assert await house.messages_of("ann@example.test") == []


async def test_a_temporary_refusal_waits_and_is_tried_again_and_given_up_after_five_days(house: Indoors) -> None:
    async with peer({"RCPT": "451 4.7.1 greylisted"}) as host:
        queue = Queue(house, host.port)
        await queue.put("zoe@faraway.test")
        await queue.work()
        assert (await queue.waiting(), host.connections) == (1, 1)
        await queue.work()
        assert host.connections == 1
        house.clock.time += 140
        await queue.work()
        assert host.connections == 2
        house.clock.time += 5 * 86400
        await queue.work()
        assert await queue.waiting() == 0
        (notice,) = await house.messages_of("ann@example.test")
        assert b"greylisted" in notice


async def test_four_recipients_four_fates(house: Indoors) -> None:
    answers: dict[str, str | list[str]] = {
        "RCPT TO:<one@faraway.test>": "250 2.1.5 ok",
        "RCPT TO:<two@faraway.test>": "550 5.1.1 no",
        "RCPT TO:<three@faraway.test>": "450 4.2.1 busy",
        "RCPT TO:<four@faraway.test>": ["452 4.5.3 too many", "250 2.1.5 ok"],
    }
    async with peer(answers) as host:
        queue = Queue(house, host.port)
        await queue.put("one@faraway.test", "two@faraway.test", "three@faraway.test", "four@faraway.test")
        await queue.work()
        assert len(host.messages) == 2
        assert await queue.waiting() == 1
        (notice,) = await house.messages_of("ann@example.test")
        assert b"two@faraway.test" in notice
        assert b"three@faraway.test" not in notice


async def test_what_we_found_ourselves_is_not_put_into_a_remote_servers_mouth(house: Indoors) -> None:
    async with peer({"greeting": "drop"}) as host:
        queue = Queue(house, host.port)
        await queue.put("zoe@faraway.test")
        await queue.work()
        (told,) = house.ear.named("delivery.queued")
        assert told.text.endswith("for zoe@faraway.test because 451 4.4.2 mx1.faraway.test: the connection was lost before the server answered")
        house.clock.time += 6 * 86400
        await queue.work()
        (notice,) = await house.messages_of("ann@example.test")
        assert b"mx1.faraway.test: the connection was lost before the server answered" in notice
        assert b"Status: 4.4.2" in notice
        assert b"Diagnostic-Code" not in notice
        assert b"said:" not in notice


async def test_the_next_host_is_tried_when_the_first_is_away(house: Indoors) -> None:
    async with peer(ip="127.0.0.2") as host:
        queue = Queue(house, host.port)
        await queue.put("zoe@faraway.test")
        await queue.work()
        assert len(host.messages) == 1


@pytest.mark.parametrize(
    ("first", "fate"),
    [
        pytest.param({"greeting": "554 no service here"}, "second", id="greeted with 554 the other host is asked"),
        pytest.param({"greeting": "421 busy"}, "second", id="421 at the greeting means the other host"),
        pytest.param({"MAIL": "421 4.3.2 going down"}, "second", id="421 at MAIL means the other host at once"),
        pytest.param({"RCPT": "drop"}, "second", id="a lost connection means the other host"),
        pytest.param({"RCPT": "550 5.1.1 no"}, "none", id="a verdict is a verdict: no other host is asked"),
    ],
)
async def test_two_hosts(house: Indoors, first: dict[str, str | list[str]], fate: str) -> None:
    async with peer(first) as one, peer(port=one.port, ip="127.0.0.2") as two:
        queue = Queue(house, one.port)
        await queue.put("zoe@faraway.test")
        await queue.work()
        assert len(two.messages) == (1 if fate == "second" else 0)


async def test_hosts_that_all_greet_with_554_return_the_mail_at_once(house: Indoors) -> None:
    refusing: dict[str, str | list[str]] = {"greeting": "554 5.3.2 this machine takes no mail"}
    async with peer(refusing) as one, peer(dict(refusing), port=one.port, ip="127.0.0.2"):
        queue = Queue(house, one.port)
        await queue.put("zoe@faraway.test")
        await queue.work()
        (notice,) = await house.messages_of("ann@example.test")
        assert b"this machine takes no mail" in notice


@pytest.mark.parametrize(
    ("domain", "status"),
    [
        pytest.param("null.test", b"5.1.10", id="a null MX bounces at once"),
        pytest.param("nowhere.test", b"5.1.2", id="a domain that does not exist bounces at once"),
        pytest.param("ourselves.test", b"5.4.6", id="a domain that points to us and is not ours bounces"),
    ],
)
async def test_no_route(house: Indoors, domain: str, status: bytes) -> None:
    queue = Queue(house, 9)
    await queue.put(f"zoe@{domain}")
    await queue.work()
    (notice,) = await house.messages_of("ann@example.test")
    assert b"Status: " + status in notice


async def test_a_dns_failure_is_tried_again_and_never_falls_back_to_the_address(house: Indoors) -> None:
    async with peer() as host:
        queue = Queue(house, host.port)
        await queue.put("zoe@silent.test")
        await queue.work()
        assert (await queue.waiting(), host.connections) == (1, 0)


@pytest.mark.parametrize("domain", ["implicit.test", "mixed.test"])
async def test_routes_that_work(house: Indoors, domain: str) -> None:
    async with peer() as host:
        queue = Queue(house, host.port)
        await queue.put(f"zoe@{domain}")
        await queue.work()
        assert len(host.messages) == 1


async def test_generated_mail_to_one_of_us_is_delivered_here(house: Indoors) -> None:
    queue = Queue(house, 9)
    await queue.put("bob@example.test", sender=None)
    await queue.work()
    (kept,) = await house.messages_of("bob@example.test")
    assert kept.endswith(MESSAGE)


async def test_a_lost_connection_after_the_dot_sends_again_not_returns(house: Indoors) -> None:
    async with peer({"dot": "drop"}) as host:
        queue = Queue(house, host.port)
        await queue.put("zoe@implicit.test")
        await queue.work()
        assert await queue.waiting() == 1
        assert await house.messages_of("ann@example.test") == []


async def test_a_smart_host_takes_everything(house: Indoors) -> None:
    async with peer() as host:
        queue = Queue(house, 9, smart_host=f"127.0.0.1:{host.port}", smart_host_tls="none")
        await queue.put("zoe@nowhere.test", "yan@faraway.test")
        await queue.work()
        assert len(host.messages) == 2


async def test_a_remote_host_that_hangs_costs_no_questions_meanwhile(house: Indoors) -> None:
    """Fault: while a remote host hung, role `back` asked for the same entry twenty times a second."""
    held: list[asyncio.StreamWriter] = []  # a writer that nobody holds closes its connection
    hanging = await asyncio.start_server(lambda _reader, writer: held.append(writer), "127.0.0.1", 0)
    queue = Queue(house, hanging.sockets[0].getsockname()[1])
    await queue.put("zoe@implicit.test")
    with patch.object(house.store, "write", wraps=house.store.write) as write:
        work = asyncio.create_task(queue.manager.run())
        await asyncio.sleep(0.5)
        assert write.call_count <= 3
        work.cancel()
    await queue.manager.drain(0)
    assert len(held) == 1
    held[0].close()
    hanging.close()


async def test_a_full_mailbox_behind_an_alias_gets_its_mail_when_there_is_room(house: Indoors) -> None:
    await accounts.set_state(house.desk, "bob@example.test", quota_octets=10)
    port = await house.open_door("mx")

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
            client.sendmail("carol@elsewhere.test", ["team@example.test"], MESSAGE.replace(b"ann@", b"carol@"))

    await asyncio.to_thread(send)
    assert len(await house.messages_of("ann@example.test")) == 1
    queue = Queue(house, 9)
    await queue.work()
    assert (await queue.waiting(), len(await house.messages_of("bob@example.test"))) == (1, 0)
    await accounts.set_state(house.desk, "bob@example.test", quota_octets=0)
    house.clock.time += 3600
    await queue.work()
    assert (await queue.waiting(), len(await house.messages_of("bob@example.test"))) == (0, 1)
