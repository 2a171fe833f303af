# SPDX-License-Identifier: Apache-2.0
"""The POP3 door over a real store: what a client fetches and removes, beside IMAP clients, and what must not happen."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
from collections.abc import Callable, Iterator
from itertools import islice
from typing import cast
from unittest.mock import patch

import pytest

from moatmail.core.errors import SealBrokenError, StoreUnavailableError
from moatmail.crypto.content_seal import ContentOpener
from moatmail.mailbox import maildrop, placements
from moatmail.mailbox.maildrop import Maildrop
from moatmail.store import operations as o
from moatmail.wire import sasl
from tests.unit.endpoints.imap.lab import HELLO, PASSWORD
from tests.unit.endpoints.pop3.conftest import ALICE, Client, House
from tests.unit.net.lab import trusting

DOTS = b"Subject: dots\r\n\r\n.\r\n..two\r\n.three\r\nfour\r\n"
BODY = b"".join(b"line %d of a body that goes on\r\n" % number for number in range(60_000))
LARGE = b"Subject: large\r\n\r\n" + BODY


async def test_what_was_delivered_is_fetched_with_sizes_as_told(house: House) -> None:
    await house.lab.deliver(HELLO, DOTS)
    client = await house.client()
    stat = (await client.ok("STAT")).split()
    sizes = [int(line.split()[1]) for line in (await client.lines("LIST")).splitlines()]
    fetched = [await client.lines(f"RETR {number}") for number in (1, 2)]
    assert [len(one) for one in fetched] == sizes
    assert stat[1:] == [b"2", b"%d" % sum(sizes)]
    assert fetched[0].endswith(HELLO)
    assert fetched[0].startswith(b"Return-Path: <bob@sender.test>\r\n")
    assert fetched[1].endswith(DOTS)
    assert (await client.ok("QUIT")).startswith(b"+OK bye, 0 removed")
    assert await client.end() == b""


async def test_the_same_octets_as_imap_gives(house: House) -> None:
    await house.lab.deliver(HELLO)
    imap = await house.lab.client(select="INBOX")
    (answer,) = await imap.ok("FETCH 1 BODY.PEEK[]")
    client = await house.client()
    assert (await client.lines("RETR 1")) in answer


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        pytest.param(0, b"", id="the header alone"),
        pytest.param(1, b".\r\n", id="one line, a dot"),
        pytest.param(3, b".\r\n..two\r\n.three\r\n", id="three lines"),
        pytest.param(4, b".\r\n..two\r\n.three\r\nfour\r\n", id="all lines"),
        pytest.param(999_999, b".\r\n..two\r\n.three\r\nfour\r\n", id="more than there are"),
        pytest.param(2**31 - 1, b".\r\n..two\r\n.three\r\nfour\r\n", id="as many as a number of 32 bits says"),
        pytest.param(10**200, b".\r\n..two\r\n.three\r\nfour\r\n", id="more than anybody counts"),
    ],
)
async def test_top(house: House, lines: int, body: bytes) -> None:
    await house.lab.deliver(DOTS)
    client = await house.client()
    top = await client.lines(f"TOP 1 {lines}")
    assert top.endswith(b"Subject: dots\r\n\r\n" + body)


async def test_a_large_message_comes_whole_and_its_top_ends_where_asked(house: House) -> None:
    await house.lab.deliver(LARGE)
    client = await house.client()
    assert (await client.lines("RETR 1")).endswith(LARGE)
    assert (await client.lines("TOP 1 50000")).endswith(b"\r\n\r\n" + b"".join(BODY.splitlines(keepends=True)[:50_000]))


async def test_deleted_is_gone_only_after_quit(house: House) -> None:
    await house.lab.deliver(HELLO, DOTS, HELLO)
    imap = await house.lab.client(select="INBOX")
    client = await house.client()
    await client.ok("DELE 1")
    await client.ok("DELE 3")
    assert not await imap.ok("NOOP")
    assert await client.ok("QUIT") == b"+OK bye, 2 removed"
    assert b"2 EXPUNGE" not in (told := await imap.ok("NOOP"))
    assert [line for line in told if line.endswith(b"EXPUNGE")] == [b"3 EXPUNGE", b"1 EXPUNGE"]
    client = await house.client()
    assert (await client.lines("RETR 1")).endswith(DOTS)


async def test_reset_removes_nothing(house: House) -> None:
    await house.lab.deliver(HELLO)
    client = await house.client()
    await client.ok("DELE 1")
    await client.ok("RSET")
    assert await client.ok("QUIT") == b"+OK bye, 0 removed"
    assert (await (await house.client()).ok("STAT")).startswith(b"+OK 1 ")


async def test_more_than_a_slice_is_removed(house: House) -> None:
    await house.lab.deliver(*[b"Subject: x\r\n\r\nx\r\n"] * 3)
    whole = placements.slices
    with patch("moatmail.mailbox.placements.slices", lambda uids, _size=0: whole(uids, 2)):
        client = await house.client()
        for number in (1, 2, 3):
            await client.ok(f"DELE {number}")
        assert await client.ok("QUIT") == b"+OK bye, 3 removed"
    assert await (await house.client()).ok("STAT") == b"+OK 0 0"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="right after the greeting"),
        pytest.param(b"USER alice@example.test\r\n", id="after USER"),
        pytest.param(b"USER alice@example.test\r\nPASS wr", id="in the middle of PASS"),
        pytest.param(b"USER alice@example.test\r\nPASS wrong\r\n", id="after a wrong password"),
        pytest.param(b"AUTH PLAIN\r\n", id="in an exchange"),
        pytest.param(b"LOGIN", id="after login"),
        pytest.param(b"LOGINDELE 1\r\n", id="after DELE"),
        pytest.param(b"LOGINDELE 1\r\nRETR 2\r\n", id="while a message comes"),
        pytest.param(b"LOGINDELE 1\r\nLIST\r\nUIDL\r\n", id="while lists come"),
        pytest.param(b"LOGINDELE 1\r\nTOP 2 10\r\n", id="while a top comes"),
        pytest.param(b"LOGINDELE 1\r\nQUIT", id="before QUIT is whole"),
    ],
)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_who_hangs_up_removes_nothing_and_leaves_nothing_behind(house: House, said: bytes, reset: bool) -> None:
    await house.lab.deliver(HELLO, LARGE)
    login = f"USER {ALICE}\r\nPASS {PASSWORD}\r\n".encode()
    client = await house.client(login=False)
    client.send(said.replace(b"LOGIN", login))
    if said:
        await asyncio.sleep(0.05)
    if reset:
        client.writer.transport.abort()
    else:
        await client.close()
    await house.idle()
    assert len(house.lab.door.accounts) == 0
    assert (await (await house.client()).ok("STAT")).startswith(b"+OK 2 ")
    assert not house.lab.events.alerts()


async def test_one_session_at_a_time(house: House) -> None:
    first = await house.client()
    second = await house.client(login=False)
    await second.ok(f"USER {ALICE}")
    assert (await second.say(f"PASS {PASSWORD}")).startswith(b"-ERR [IN-USE] ")
    # A wrong password is told as one, not as a busy maildrop: only who may know learns that somebody is there.
    await second.ok(f"USER {ALICE}")
    assert (await second.say("PASS wrong")).startswith(b"-ERR [AUTH] ")
    await second.login("bob@example.test")
    await first.ok("QUIT")
    await (await house.client()).ok("QUIT")


async def test_a_busy_maildrop_is_no_failed_login(house: House) -> None:
    first = await house.client()
    second = await house.client(login=False)
    for _ in range(5):
        await second.ok(f"USER {ALICE}")
        assert (await second.say(f"PASS {PASSWORD}")).startswith(b"-ERR [IN-USE] ")
    await first.ok("QUIT")
    await second.login()


async def test_imap_sessions_do_not_keep_pop3_out(house: House) -> None:
    house.change(sessions=2)
    for _ in range(2):
        await house.lab.client()
    await (await house.client()).ok("STAT")


async def test_three_wrong_passwords_end_the_session(house: House) -> None:
    client = await house.client(login=False)
    answers = []
    for _ in range(3):
        await client.ok("USER nobody@example.test")
        answers.append(await client.say("PASS wrong"))
    assert all(answer.startswith(b"-ERR [AUTH] authentication failed") for answer in answers)
    assert [answer.endswith(b"too many failed logins, closing") for answer in answers] == [False, False, True]
    assert await client.end() == b""
    assert [event.name for event in house.lab.events.seen][-4:] == ["login.failed"] * 3 + ["pop3.offence"]


async def test_a_frozen_account_stays_out_and_its_session_ends(house: House) -> None:
    await house.lab.deliver(HELLO)
    client = await house.client()
    await client.ok("DELE 1")
    house.lab.door.accounts.end(house.lab.alice.id)
    assert await client.end() == b""
    imap = await house.lab.client(select="INBOX")
    assert (await imap.ok("FETCH 1 UID")) == [b"1 FETCH (UID 1)"]


async def test_unique_ids_are_stable_and_never_given_again(house: House) -> None:
    await house.lab.deliver(HELLO, DOTS)
    client = await house.client()
    before = await client.lines("UIDL")
    one = (await client.ok("UIDL 2")).split()[2]
    await client.ok("DELE 2")
    await client.ok("QUIT")
    await house.lab.deliver(DOTS)
    client = await house.client()
    after = await client.lines("UIDL")
    assert after.splitlines()[0] == before.splitlines()[0]
    assert one not in after
    ids = [line.split()[1] for line in (before + after).splitlines()]
    assert all(0 < len(one) <= 70 and all(0x21 <= octet <= 0x7E for octet in one) for one in ids)


async def test_what_another_client_removed_is_told_and_the_rest_stays_served(house: House) -> None:
    await house.lab.deliver(HELLO, DOTS)
    client = await house.client()
    imap = await house.lab.client(select="INBOX")
    await imap.ok("STORE 1 +FLAGS (\\Deleted)")
    await imap.ok("EXPUNGE")
    assert await client.say("RETR 1") == b"-ERR this message was removed by another client"
    assert (await client.lines("RETR 2")).endswith(DOTS)
    await client.ok("DELE 1")
    assert (await client.ok("QUIT")).startswith(b"+OK")
    assert (await (await house.client()).ok("STAT")).startswith(b"+OK 1 ")


async def test_what_comes_during_a_session_is_seen_in_the_next_and_not_removed(house: House) -> None:
    await house.lab.deliver(HELLO)
    client = await house.client()
    await house.lab.deliver(DOTS)
    assert (await client.ok("STAT")).startswith(b"+OK 1 ")
    assert await client.say("RETR 2") == b"-ERR no such message"
    await client.ok("DELE 1")
    await client.ok("QUIT")
    assert (await (await house.client()).lines("RETR 1")).endswith(DOTS)


async def test_fetching_changes_no_flag(house: House) -> None:
    await house.lab.deliver(HELLO)
    client = await house.client()
    await client.lines("RETR 1")
    await client.ok("QUIT")
    imap = await house.lab.client(select="INBOX")
    assert b"\\Seen" not in (await imap.ok("FETCH 1 FLAGS"))[0]


# ---------------------------------------------------------------- STLS, SASL


async def start_tls(house: House, *behind: bytes) -> Client:
    """Say STLS and, in the same breath, what should be dropped; then shake hands."""
    client = await house.plain()
    client.send(b"STLS\r\n" + b"".join(behind))
    assert (await client.line()).startswith(b"+OK ")
    await client.writer.start_tls(trusting(), server_hostname="mx.example.test")
    return client


async def test_stls_and_login(house: House) -> None:
    await house.lab.deliver(HELLO)
    client = await start_tls(house)
    await client.login()
    assert (await client.lines("RETR 1")).endswith(HELLO)


async def test_what_comes_behind_stls_in_one_write_breaks_the_handshake_or_is_dropped(house: House) -> None:
    client = await house.plain()
    client.send(b"STLS\r\nUSER alice@example.test\r\nNOOP\r\n")
    assert (await client.line()).startswith(b"+OK ")
    await client.writer.start_tls(trusting(), server_hostname="mx.example.test")
    assert await client.say(f"PASS {PASSWORD}") == b"-ERR USER first"
    assert "pop3.offence" in [event.name for event in house.lab.events.seen]


async def test_a_handshake_that_fails_ends_the_session(house: House) -> None:
    client = await house.plain()
    await client.ok("STLS")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await client.writer.start_tls(ssl.create_default_context(), server_hostname="mx.example.test")
    await house.idle()


@pytest.mark.parametrize("plus", [False, True], ids=["scram", "scram bound to the channel"])
async def test_scram(house: House, plus: bool) -> None:
    client = await house.client(login=False)
    tls = client.writer.get_extra_info("ssl_object")
    end_point = hashlib.sha256(tls.getpeercert(binary_form=True)).digest() if plus else None
    exchange = sasl.ScramClient(ALICE, PASSWORD, end_point=end_point)
    answer = await client.say(f"AUTH {exchange.name.decode()} {base64.b64encode(exchange.initial()).decode()}")
    while answer.startswith(b"+ "):
        answer = await client.say(base64.b64encode(exchange.respond(base64.b64decode(answer[2:]))).decode())
    exchange.finish()
    assert answer.startswith(b"+OK ")


async def test_scram_with_a_wrong_password_and_with_no_account_look_alike(house: House) -> None:
    answers = []
    for name in (ALICE, "nobody@example.test"):
        client = await house.client(login=False)
        exchange = sasl.ScramClient(name, "wrong")
        answer = await client.say(f"AUTH SCRAM-SHA-256 {base64.b64encode(exchange.initial()).decode()}")
        answers.append(await client.say(base64.b64encode(exchange.respond(base64.b64decode(answer[2:]))).decode()))
    assert answers[0] == answers[1]
    assert answers[0].startswith(b"-ERR [AUTH] ")


# ---------------------------------------------------------------- time, store, peers that do not read


async def test_silence_ends_the_session_without_a_word_and_removes_nothing(house: House) -> None:
    await house.lab.deliver(HELLO)
    house.change(idle_seconds=0.2)
    client = await house.client()
    await client.ok("DELE 1")
    assert await client.end() == b""
    await house.idle()
    house.change()
    assert (await (await house.client()).ok("STAT")).startswith(b"+OK 1 ")


async def test_who_does_not_log_in_is_left(house: House) -> None:
    house.change(login_seconds=0.2)
    client = await house.plain()
    assert await client.end() == b""


async def test_while_the_server_goes_down_a_client_at_work_reaches_its_quit(house: House) -> None:
    await house.lab.deliver(HELLO)
    waiting = await house.plain()
    client = await house.client()
    await client.ok("DELE 1")
    draining = asyncio.create_task(house.listeners[1].drain(5))
    other = asyncio.create_task(house.listeners[0].drain(5))
    await asyncio.sleep(0.05)
    assert await waiting.end() == b""
    await waiting.close()
    assert await client.ok("QUIT") == b"+OK bye, 1 removed"
    await client.close()
    assert await draining == await other == 0


async def test_a_store_that_is_away_at_quit_is_told_and_nothing_called_removed(house: House) -> None:
    await house.lab.deliver(HELLO)
    client = await house.client()
    await client.ok("DELE 1")
    write = house.lab.store.write

    async def away(operation: o.Operation[object]) -> object:
        if isinstance(operation, o.Expunge):
            raise StoreUnavailableError
        return await write(operation)

    with patch.object(house.lab.store, "write", away):
        assert (await client.say("QUIT")).startswith(b"-ERR [SYS/TEMP] some messages were not removed")
    assert await client.end() == b""
    assert (await (await house.client()).ok("STAT")).startswith(b"+OK 1 ")


async def test_a_store_that_is_away_at_login_is_no_failed_login_and_leaves_no_lock(house: House) -> None:
    client = await house.client(login=False)

    async def away(opened: object) -> Maildrop:
        raise StoreUnavailableError

    with patch.object(maildrop.Maildrop, "open", away):
        for _ in range(4):
            await client.ok(f"USER {ALICE}")
            assert (await client.say(f"PASS {PASSWORD}")).startswith(b"-ERR [SYS/TEMP] ")
    await client.login()


async def test_a_fault_of_ours_is_told_and_the_session_goes_on(house: House) -> None:
    await house.lab.deliver(HELLO)
    client = await house.client()
    with patch.object(Maildrop, "message", side_effect=RuntimeError("quotes mail")):
        assert (await client.say("RETR 1")).startswith(b"-ERR [SYS/TEMP] internal error")
    (alert,) = house.lab.events.alerts()
    assert alert.name == "pop3.failed"
    assert "quotes mail" not in repr(alert)
    assert (await client.lines("RETR 1")).endswith(HELLO)


@pytest.mark.parametrize("command", ["RETR 1", "TOP 1 999999"])
async def test_a_message_that_does_not_open_is_refused_and_the_session_goes_on(house: House, command: str) -> None:
    await house.lab.deliver(LARGE, HELLO)
    client = await house.client()
    with patch.object(ContentOpener, "chunks", damaged_after(1)):
        assert (await client.say(command)).startswith(b"-ERR [SYS/PERM] message damaged")
    assert [event.name for event in house.lab.events.alerts()] == ["seal.broken"]
    assert (await client.lines("RETR 2")).endswith(HELLO)


async def test_damage_far_inside_ends_the_connection_before_the_last_dot(house: House) -> None:
    await house.lab.deliver(LARGE)
    client = await house.client()
    await client.ok("DELE 1")
    await client.ok("RSET")
    with patch.object(ContentOpener, "chunks", damaged_after(20)):
        client.send(b"RETR 1\r\n")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.rest()
    assert [event.name for event in house.lab.events.alerts()] == ["seal.broken"]
    await house.idle()


def damaged_after(pieces: int) -> Callable[[ContentOpener, int, int], Iterator[bytes]]:
    """Give what reads as many pieces as they are, and then finds that the seal is broken."""
    whole = ContentOpener.chunks

    def chunks(self: ContentOpener, start: int, length: int) -> Iterator[bytes]:
        yield from islice(whole(self, start, length), pieces)
        raise SealBrokenError("of the test")

    return chunks


async def test_a_reader_that_does_not_read_costs_a_bounded_buffer_and_is_left(house: House) -> None:
    await house.lab.deliver(LARGE)
    house.change(write_seconds=0.3)
    client = await house.client()
    cast("asyncio.Transport", client.writer.transport).pause_reading()
    held: list[int] = []
    connection = next(iter(house.listeners[1]._connections))
    client.send(b"RETR 1\r\n" * 20)
    while not connection.gone:
        assert connection._transport is not None
        held.append(connection._transport.get_write_buffer_size())
        await asyncio.sleep(0.01)
    assert 0 < max(held) < 600_000
    await house.idle()


async def test_a_burst_of_commands_with_long_answers_is_answered_whole(house: House) -> None:
    client = await house.client()
    client.send(b"CAPA\r\n" * 5000)
    for _ in range(5000):
        assert (await client.line()).startswith(b"+OK")
        await client.rest()
    await client.ok("QUIT")


@pytest.mark.parametrize("plain", [pytest.param(True, id="in clear"), pytest.param(False, id="within TLS")])
async def test_quit_before_login_ends_the_connection(house: House, plain: bool) -> None:
    """Who looks what is offered and leaves (Thunderbird's account set-up) kept a connection until the login time was over."""
    client = await (house.plain() if plain else house.client(login=False))
    await client.lines("CAPA")
    await client.ok("QUIT")
    assert await client.end() == b""
