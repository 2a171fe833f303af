# SPDX-License-Identifier: Apache-2.0
"""Mail from our users through the real submission door: who may send as whom, and what is completed."""

from __future__ import annotations

import asyncio
import base64
import smtplib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import pytest

from moatmail.admin import accounts, domains, signing
from moatmail.core.errors import StoreUnavailableError
from moatmail.core.limits.mailauth import SIGNED_NAMES_MAX
from moatmail.store.operations import SetSigningKey
from moatmail.store.queries import CountQueue, ListSigningKeys, Query
from tests.house.indoors import PASSWORD, Indoors, indoors

T = TypeVar("T")

MESSAGE = "From: ann@example.test\r\nTo: bob@example.test\r\nBcc: hidden@example.test,\r\n secret@example.test\r\nSubject: hello\r\n\r\nbody\r\n"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path) as one:
        await one.open_door("submission")
        yield one


async def submit(house: Indoors, act: Callable[[smtplib.SMTP], T], user: str = "ann@example.test", secret: str = PASSWORD) -> T:
    def run() -> T:
        with smtplib.SMTP("127.0.0.1", house.doors["submission"], "client.test", timeout=20) as client:
            client.starttls(context=ssl.create_default_context(cafile=str(house.ca)))
            client.login(user, secret)
            return act(client)

    return await asyncio.to_thread(run)


async def test_a_message_is_completed_and_its_blind_recipients_stay_blind(house: Indoors) -> None:
    await submit(house, lambda client: client.sendmail("ann@example.test", ["bob@example.test"], MESSAGE))
    (kept,) = await house.messages_of("bob@example.test")
    assert b"bcc" not in kept.lower()
    assert b"secret@example.test" not in kept
    assert b"\r\nDate: " in kept
    assert b"\r\nMessage-ID: <" in kept
    assert b"with ESMTPSA" in kept
    assert kept.endswith(b"Subject: hello\r\n\r\nbody\r\n")


@pytest.mark.parametrize(
    ("sender", "author", "code"),
    [
        pytest.param("ann@example.test", "ann@example.test", 250, id="the own address"),
        pytest.param("ann+news@example.test", "Ann <ann+news@example.test>", 250, id="a subaddress of the own one"),
        pytest.param("ANN@example.test", "Ann@Example.Test", 250, id="the own address in other case"),
        pytest.param("", "ann@example.test", 250, id="the null reverse-path of a reader's notification"),
        pytest.param("bob@example.test", "ann@example.test", 550, id="another's reverse-path"),
        pytest.param("ann@example.test", "bob@example.test", 550, id="another's From"),
        pytest.param("ann@example.test", "ann@example.test, bob@example.test", 550, id="another beside the own in From"),
        pytest.param("ann@example.test", "ann@example.test <bob@example.test>", 550, id="the own address as a display name"),
        pytest.param("ann@example.test", "undisclosed:;", 550, id="a From without an address"),
    ],
)
async def test_identity(house: Indoors, sender: str, author: str, code: int) -> None:
    def act(client: smtplib.SMTP) -> int:
        first, _ = client.mail(sender)
        if first != 250:
            return first
        client.rcpt("bob@example.test")
        return client.data(f"From: {author}\r\n\r\nx\r\n")[0]

    assert await submit(house, act) == code


async def test_a_grant_lets_an_account_author_as_another_address(house: Indoors) -> None:
    await accounts.grant(house.desk, "ann@example.test", "team@example.test")
    message = MESSAGE.replace("From: ann@", "From: team@")
    await submit(house, lambda client: client.sendmail("team@example.test", ["bob@example.test"], message))
    assert len(await house.messages_of("bob@example.test")) == 1


async def test_mail_for_elsewhere_waits_in_the_queue_sealed(house: Indoors) -> None:
    await submit(house, lambda client: client.sendmail("ann@example.test", ["zoe@faraway.test", "bob@example.test"], MESSAGE))
    assert (await house.store.read(CountQueue())).recipients == 1
    assert len(await house.messages_of("bob@example.test")) == 1
    for path in (house.folder / "mail").glob("mail.sqlite*"):
        assert b"faraway" not in path.read_bytes()


async def test_a_wrong_password_is_refused_and_told(house: Indoors) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        await submit(house, lambda _client: None, secret="wrong")
    assert refused.value.smtp_code == 535
    assert house.ear.named("login.failed")


async def test_an_unknown_account_gets_the_same_answer(house: Indoors) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        await submit(house, lambda _client: None, user="nobody@example.test")
    assert refused.value.smtp_code == 535


async def test_a_frozen_account_is_told_so_after_the_right_password_only(house: Indoors) -> None:
    await accounts.set_state(house.desk, "ann@example.test", status="frozen")
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        await submit(house, lambda _client: None)
    assert refused.value.smtp_code == 525
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        await submit(house, lambda _client: None, secret="wrong")
    assert refused.value.smtp_code == 535


async def test_nothing_is_taken_without_login(house: Indoors) -> None:
    def run() -> int:
        with smtplib.SMTP("127.0.0.1", house.doors["submission"], timeout=20) as client:
            client.starttls(context=ssl.create_default_context(cafile=str(house.ca)))
            client.ehlo()
            return client.mail("ann@example.test")[0]

    assert await asyncio.to_thread(run) == 530


async def test_another_authorisation_identity_is_refused_the_own_is_fine(house: Indoors) -> None:
    def run(authzid: str) -> int:
        with smtplib.SMTP("127.0.0.1", house.doors["submission"], timeout=20) as client:
            client.starttls(context=ssl.create_default_context(cafile=str(house.ca)))
            client.ehlo()
            proof = base64.b64encode(f"{authzid}\0ann@example.test\0{PASSWORD}".encode()).decode()
            return client.docmd("AUTH", "PLAIN " + proof)[0]

    assert await asyncio.to_thread(run, "ann@example.test") == 235
    assert await asyncio.to_thread(run, "bob@example.test") == 535


async def test_an_account_frozen_in_the_middle_of_a_session_sends_no_more(house: Indoors) -> None:
    """Hardening: a right is asked for again where it is used, not only at login."""
    loop = asyncio.get_running_loop()

    def act(client: smtplib.SMTP) -> tuple[int, int]:
        before = client.mail("ann@example.test")[0]
        client.rset()
        asyncio.run_coroutine_threadsafe(accounts.set_state(house.desk, "ann@example.test", status="frozen"), loop).result(10)
        return before, client.mail("ann@example.test")[0]

    assert await submit(house, act) == (250, 550)


async def test_bare_newlines_are_refused_unless_the_administrator_wants_them_mended(house: Indoors) -> None:
    """Hardening: old scanners send bare LF; mended before sizes are taken, and never at the door of strangers."""
    scanned = b"From: ann@example.test\nSubject: scan\r\n\nline\rother\n.\nend\r\n"

    def act(client: smtplib.SMTP) -> int:
        client.mail("ann@example.test")
        client.rcpt("bob@example.test")
        client.docmd("DATA")
        client.send(scanned + b".\r\n")
        return client.getreply()[0]

    assert await submit(house, act) == 550
    house.settings = replace(house.settings, submission=replace(house.settings.submission, normalise_bare_newlines=True))
    assert await submit(house, act) == 250
    (kept,) = await house.messages_of("bob@example.test")
    assert kept.endswith(b"From: ann@example.test\r\nSubject: scan\r\n\r\nline\r\nother\r\n.\r\nend\r\n")
    scanned += b"\0\r\n"
    assert await submit(house, act) == 550


async def test_a_large_message_is_completed_too_although_its_body_is_sealed_already(house: Indoors) -> None:
    body = "".join(f"line {number} of the eagle\r\n" for number in range(20_000))
    await submit(house, lambda client: client.sendmail("ann@example.test", ["bob@example.test"], MESSAGE.replace("body\r\n", body)))
    (kept,) = await house.messages_of("bob@example.test")
    assert b"bcc" not in kept[:2000].lower()
    assert b"\r\nMessage-ID: <" in kept[:2000]
    assert kept.endswith(b"Subject: hello\r\n\r\n" + body.encode())


async def test_a_sender_field_that_names_somebody_else_is_refused_and_forged_marks_do_not_travel(house: Indoors) -> None:
    def act(fields: str) -> Callable[[smtplib.SMTP], int]:
        def send(client: smtplib.SMTP) -> int:
            client.mail("ann@example.test")
            client.rcpt("bob@example.test")
            return client.data(fields + MESSAGE)[0]

        return send

    assert await submit(house, act("Sender: bob@example.test\r\n")) == 550
    forged = "Sender: ann+desk@example.test\r\nReturn-Path: <x@y.test>\r\nAuthentication-Results: mx.example.test; auth=pass\r\nX-Moatmail-Verdict: accept\r\n"
    assert await submit(house, act(forged)) == 250
    (kept,) = await house.messages_of("bob@example.test")
    below = kept[kept.index(b"Received:") :].lower()
    assert b"return-path" not in below
    assert b"authentication-results" not in below
    assert b"x-moatmail" not in below
    assert b"sender: ann+desk" in below


# ---------------------------------------------------------------- author domains that cannot be signed for


UNLISTED = MESSAGE.replace("From: ann@example.test", "From: ann@unlisted.test")


async def refusal_of(house: Indoors, message: str) -> tuple[int, str]:
    """Give code and text that the end of the content meets; 250 for a message that was taken."""
    try:
        await submit(house, lambda client: client.sendmail("ann@example.test", ["bob@example.test"], message))
    except smtplib.SMTPDataError as refused:
        text = refused.smtp_error
        return refused.smtp_code, text if isinstance(text, str) else text.decode()
    return 250, ""


@pytest.fixture
async def granted(house: Indoors) -> Indoors:
    """The house in which ann may write as an address of a domain that is not ours."""
    await accounts.grant(house.desk, "ann@example.test", "ann@unlisted.test")
    return house


async def test_an_author_domain_without_a_signing_key_is_refused_with_what_to_do(granted: Indoors) -> None:
    code, text = await refusal_of(granted, UNLISTED)
    assert (code, text.partition(" ")[0]) == (550, "5.7.20")
    assert "no DKIM signature can be made for the domain unlisted.test in From" in text
    assert "ask the administrator for a signing key" in text
    assert await granted.messages_of("bob@example.test") == []
    assert "unlisted.test" in granted.ear.named("submission.refused")[0].text


async def test_it_is_taken_where_the_setting_says_send(granted: Indoors) -> None:
    granted.settings = replace(granted.settings, signing=replace(granted.settings.signing, unlisted="send"))
    assert await refusal_of(granted, UNLISTED) == (250, "")


async def test_one_author_domain_of_two_without_a_key_is_refused(granted: Indoors) -> None:
    code, text = await refusal_of(granted, MESSAGE.replace("From: ann@example.test", "From: ann@example.test, ann@unlisted.test\r\nSender: ann@example.test"))
    assert (code, "the domain unlisted.test in From" in text) == (550, True)


async def test_a_key_that_is_only_published_does_not_count(house: Indoors) -> None:
    await domains.add(house.desk, "young.test")
    await accounts.grant(house.desk, "ann@example.test", "ann@young.test")
    message = MESSAGE.replace("From: ann@example.test", "From: ann@young.test")
    assert await refusal_of(house, message) == (250, "")
    for row in await signing.listing(house.desk, "young.test"):
        await house.desk.apply(SetSigningKey("young.test", row.selector, "published"))
    assert (await refusal_of(house, message))[0] == 550


async def test_when_the_table_of_keys_cannot_be_read_the_author_tries_again(house: Indoors) -> None:
    ask = house.store.read

    async def read(query: Query[object]) -> object:
        if isinstance(query, ListSigningKeys):
            raise StoreUnavailableError("away")
        return await ask(query)

    with patch.object(house.store, "read", read):
        assert (await refusal_of(house, MESSAGE))[0] == 451
    assert await refusal_of(house, MESSAGE) == (250, "")


async def test_a_header_that_no_signature_covers_is_refused_not_left_in_the_queue(house: Indoors) -> None:
    message = "".join(f"Cc: someone{number}@elsewhere.test\r\n" for number in range(SIGNED_NAMES_MAX)) + MESSAGE
    code, text = await refusal_of(house, message)
    assert code == 550
    assert "more fields than a signature can cover" in text
