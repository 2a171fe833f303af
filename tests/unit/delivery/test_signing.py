# SPDX-License-Identifier: Apache-2.0
"""What leaves the queue is signed by its author's domain, once; what cannot be signed waits; what is forwarded is not signed, but may be sealed."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import dkim as dkimpy
import pytest

from moatmail.admin import accounts, aliases, domains, signing
from moatmail.core.address import Address
from moatmail.core.errors import NotPermittedError, SealBrokenError, StoreUnavailableError
from moatmail.core.settings.mail import Signing
from moatmail.crypto.content_seal import ContentOpener, seal_content
from moatmail.crypto.seal import new_id
from moatmail.mailauth.arc import ARCResult, check_arc
from moatmail.mailauth.dkim import check_dkim
from moatmail.mailauth.result import Result
from moatmail.mailauth.signed import read_message
from moatmail.mailqueue.spool import RELAYED, SUBMITTED
from moatmail.message.header import Header
from moatmail.net.resolver_table import TableResolver
from moatmail.store.operations import AddSigningKeys, NewSigningKey
from moatmail.store.queries import GetSigningKeys, ListSigningKeys, Query, SigningKeys
from tests.house.indoors import PASSWORD, Indoors, indoors
from tests.unit.delivery.peer import Peer, peer
from tests.unit.delivery.work import Queue

LETTER = "From: Ann <ann@example.test>\r\nTo: zoe@faraway.test\r\nSubject: hello\r\n\r\n.a dot\r\n"
FIELD = b"DKIM-Signature:"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path) as one:
        await one.open_door("submission")
        await one.open_door("mx")
        yield one


async def submit(house: Indoors, letter: str | bytes = LETTER, *, to: str = "zoe@faraway.test", sender: str = "ann@example.test") -> None:
    def run() -> None:
        with smtplib.SMTP("127.0.0.1", house.doors["submission"], "client.test", timeout=20) as client:
            client.starttls(context=ssl.create_default_context(cafile=str(house.ca)))
            client.login("ann@example.test", PASSWORD)
            client.sendmail(sender, [to], letter)

    await asyncio.to_thread(run)


async def receive(house: Indoors, content: bytes, to: str) -> None:
    def run() -> None:
        with smtplib.SMTP("127.0.0.1", house.doors["mx"], "stranger.test", timeout=20) as client:
            client.sendmail("carol@elsewhere.test", [to], content)

    await asyncio.to_thread(run)


async def zone(house: Indoors) -> TableResolver:
    """The DNS as it is once everything that is due was put into it."""
    rows = await house.store.read(ListSigningKeys())
    return TableResolver({f"{row.selector}._domainkey.{row.domain}": {"TXT": [row.record]} for row in rows})


def split(content: bytes) -> tuple[bytes, bytes]:
    header, line, body = content.partition(b"\r\n\r\n")
    return header + line, body


async def signatures(house: Indoors, content: bytes) -> list[tuple[str, str, Result]]:
    """The signatures of a message in the words of `mailauth`: domain, algorithm, result."""
    header, body = split(content)
    found = await check_dkim(await zone(house), read_message(header, [body]), house.clock.now())
    return [(one.domain, one.algorithm, one.result) for one in found]


GOOD = [("example.test", "rsa-sha256", Result.PASS), ("example.test", "ed25519-sha256", Result.PASS)]


# ---------------------------------------------------------------- signed


async def test_submitted_mail_arrives_with_two_signatures_that_verify_here_and_in_dkimpy(house: Indoors) -> None:
    house.clock.time = time.time()  # dkimpy has a clock of its own
    async with peer() as host:
        await submit(house)
        queue = Queue(house, host.port)
        await queue.work()
        (arrived,) = host.messages
        assert await signatures(house, arrived) == GOOD
        assert arrived.startswith(FIELD), "the signatures stand on top"
        for name in (b"from", b"to", b"subject", b"date"):
            present = Header(split(arrived)[0]).count(name)
            assert all(field.split(b"h=")[1].split(b";")[0].replace(b"\r\n ", b"").lower().split(b":").count(name) == present + 1 for field in fields(arrived))
        records = {f"{row.selector}._domainkey.{row.domain}.".encode(): row.record.encode() for row in await house.store.read(ListSigningKeys())}
        assert dkimpy.DKIM(arrived).verify(idx=rsa_place(arrived), dnsfunc=lambda name, timeout=5: records[name])


def fields(content: bytes) -> list[bytes]:
    header = Header(split(content)[0])
    return [header.block[start:end] for name, (_, start, end) in zip(header.names, header.spans, strict=True) if name == b"dkim-signature"]


def rsa_place(content: bytes) -> int:
    return next(number for number, field in enumerate(fields(content)) if b"a=rsa-sha256" in field)


async def test_the_size_that_is_announced_is_the_size_that_is_sent(house: Indoors) -> None:
    async with peer() as host:
        host.keywords = ("8BITMIME", "SIZE 1000000")
        await submit(house)
        await Queue(house, host.port).work()
        (command,) = [one for one in host.commands if one.startswith("MAIL")]
        assert f"SIZE={len(host.messages[0])}" in command


async def test_large_mail_is_signed_too(house: Indoors) -> None:
    body = "".join(f"line {number} \t of many\r\n" for number in range(120_000))
    async with peer() as host:
        await submit(house, LETTER + body)
        await Queue(house, host.port).work()
        (arrived,) = host.messages
        assert len(arrived) > 2_000_000
        assert await signatures(house, arrived) == GOOD


async def test_signing_holds_no_large_content_whole(house: Indoors) -> None:
    header, line = LETTER.encode().split(b"\r\n\r\n")[0] + b"\r\n\r\n", b"as many octets as it takes, \t and more \r\n"
    content_id = new_id(1)
    key, blob = seal_content(content_id, header, [line * (8 * 1024 * 1024 // len(line))])
    signer = Queue(house, 9).manager._signer
    await signer.sign(SUBMITTED, header, ContentOpener(blob, content_id, key))
    tracemalloc.start()
    try:
        signed = await signer.sign(SUBMITTED, header, ContentOpener(blob, content_id, key))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert signed.prefix.count(FIELD) == 2
    assert peak < 1024 * 1024, f"{peak} octets held at once"


async def test_a_smart_host_gets_it_signed(house: Indoors) -> None:
    async with peer() as host:
        await submit(house)
        await Queue(house, 9, smart_host=f"127.0.0.1:{host.port}", smart_host_tls="none").work()
        assert await signatures(house, host.messages[0]) == GOOD


async def test_two_authors_of_two_domains_are_both_signed_for(house: Indoors) -> None:
    await domains.add(house.desk, "other.test")
    await accounts.grant(house.desk, "ann@example.test", "ann@other.test")
    async with peer() as host:
        await submit(house, LETTER.replace("From: Ann <ann@example.test>", "From: ann@example.test, ann@other.test\r\nSender: ann@example.test"))
        await Queue(house, host.port).work()
        assert sorted(await signatures(house, host.messages[0])) == sorted([*GOOD, *(("other.test", algorithm, result) for _, algorithm, result in GOOD)])


async def test_an_internationalized_author_is_signed_for_by_the_a_labels_of_his_domain(house: Indoors) -> None:
    await domains.add(house.desk, "bücher.test")
    async with peer() as host:
        host.keywords = ("8BITMIME", "SMTPUTF8")
        queue = Queue(house, host.port)
        await queue.put("zoe@faraway.test", content="From: Jörg <jörg@bücher.test>\r\nSubject: Grüße\r\n\r\nx\r\n".encode(), kind=SUBMITTED)
        await queue.work()
        assert [(domain, result) for domain, _, result in await signatures(house, host.messages[0])] == [("xn--bcher-kva.test", Result.PASS)] * 2


async def test_each_destination_gets_the_same_signatures(house: Indoors) -> None:
    async with peer() as host:
        queue = Queue(house, host.port)
        await queue.put("zoe@faraway.test", "yan@implicit.test")
        await queue.work()
        one, two = host.messages
        assert one == two
        assert len(fields(one)) == 2


# ---------------------------------------------------------------- once


async def test_a_second_attempt_sends_the_very_same_signatures(house: Indoors) -> None:
    async with peer({"dot": ["451 4.7.1 greylisted", "250 2.0.0 ok"]}) as host:
        await submit(house)
        queue = Queue(house, host.port)
        await queue.work()
        assert await queue.waiting() == 1
        house.clock.time += 3600
        await queue.work()
        first, second = host.messages
        assert first == second
        assert await signatures(house, second) == GOOD


async def test_recipients_who_are_due_at_different_moments_get_the_same_signatures(house: Indoors) -> None:
    async with peer() as host:
        queue = Queue(house, host.port)
        with away(house, StoreUnavailableError("away")):
            await queue.put("zoe@faraway.test", "yan@implicit.test")
            await queue.work()
        for _ in range(200):
            house.clock.time += 1
            await queue.work()
            if len(host.messages) == 1:
                assert await queue.waiting() == 1
        first, second = host.messages
        assert first == second


async def test_keys_that_are_rotated_while_mail_waits_change_nothing_about_it(house: Indoors) -> None:
    async with peer({"dot": ["451 4.7.1 greylisted", "250 2.0.0 ok"]}) as host:
        await submit(house)
        queue = Queue(house, host.port)
        await queue.work()
        house.clock.time += 3600
        await signing.new(house.desk, "example.test")
        await signing.use(house.desk, "example.test")
        await signing.retire(house.desk, "example.test", at_once=True)
        queue.manager.forget_keys()
        await submit(house)
        await queue.work()
        first, *later = host.messages
        assert len(set(later)) == 2
        assert first in later, "the waiting mail kept the signatures of its first attempt"
        for content in later:
            assert [result for _, _, result in await signatures(house, content)] == [Result.PASS, Result.PASS], "the retired key's record is still there"
        selectors = {field.split(b" s=")[1].split(b";")[0] for content in later for field in fields(content)}
        assert len(selectors) == 4


async def test_mail_that_could_not_be_signed_yet_is_signed_by_the_key_of_its_day(house: Indoors) -> None:
    """Signed is on the first attempt that comes so far, with what is active then."""
    async with peer() as host:
        await submit(house)
        queue = Queue(house, host.port)
        with away(house, StoreUnavailableError("away")):
            await queue.work()
        await signing.new(house.desk, "example.test")
        await signing.use(house.desk, "example.test")
        house.clock.time += 3600
        await queue.work()
        assert len(await signatures(house, host.messages[0])) == 4


# ---------------------------------------------------------------- never unsigned because signing failed


def away(house: Indoors, error: Exception) -> AbstractContextManager[object]:
    """For the block the store answers everything but questions for signing keys."""
    ask = house.store.read

    async def read(query: Query[object]) -> object:
        if isinstance(query, GetSigningKeys):
            raise error
        return await ask(query)

    return patch.object(house.store, "read", read)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(StoreUnavailableError("away"), id="the store does not answer"),
        pytest.param(SealBrokenError("signing key 1: damaged"), id="the key does not open"),
        pytest.param(NotPermittedError("not for you"), id="the store refuses"),
    ],
)
async def test_without_keys_mail_waits_and_somebody_is_told(house: Indoors, error: Exception) -> None:
    async with peer() as host:
        await submit(house)
        queue = Queue(house, host.port)
        with away(house, error):
            await queue.work()
        assert (host.connections, await queue.waiting()) == (0, 1)
        (told,) = house.ear.named("signing.failed")
        assert told.alert
        (waits,) = house.ear.named("delivery.queued")
        assert "451 4.7.5 message cannot be signed now" in waits.text
        house.clock.time += 3600
        await queue.work()
        assert await signatures(house, host.messages[0]) == GOOD


@pytest.mark.parametrize("private", [pytest.param(b"no key at all", id="no PEM"), pytest.param(b"", id="nothing")])
async def test_one_broken_key_stops_the_mail_of_its_domain_not_that_of_others(house: Indoors, private: bytes) -> None:
    await domains.add(house.desk, "other.test")
    await accounts.grant(house.desk, "ann@example.test", "ann@other.test")
    await house.desk.apply(AddSigningKeys("example.test", (NewSigningKey("broken", "rsa-sha256", "v=DKIM1; k=rsa; p=", private),)))
    async with peer() as host:
        await submit(house)
        await submit(house, LETTER.replace("ann@example.test", "ann@other.test"))
        queue = Queue(house, host.port)
        await queue.work()
        (arrived,) = host.messages
        assert {domain for domain, _, _ in await signatures(house, arrived)} == {"other.test"}
        assert await queue.waiting() == 1
        assert any(event.alert for event in house.ear.named("signing.failed"))


async def test_a_local_copy_does_not_wait_for_keys(house: Indoors) -> None:
    async with peer() as host:
        queue = Queue(house, host.port)
        with away(house, StoreUnavailableError("away")):
            await queue.put("bob@example.test", "zoe@faraway.test")
            await queue.work()
        (kept,) = await house.messages_of("bob@example.test")
        assert FIELD not in kept
        assert await queue.waiting() == 1


async def test_a_domain_whose_keys_went_while_mail_waited_sends_nothing_bare(house: Indoors) -> None:
    async with peer() as host:
        await submit(house)
        queue = Queue(house, host.port)
        with without_keys(house):
            await queue.work()
        assert (host.connections, await queue.waiting()) == (0, 1)
        (told,) = house.ear.named("signing.failed")
        assert "moatmail dkim new" in told.text


def without_keys(house: Indoors) -> AbstractContextManager[object]:
    ask = house.store.read

    async def read(query: Query[object]) -> object:
        return SigningKeys(()) if isinstance(query, GetSigningKeys) else await ask(query)

    return patch.object(house.store, "read", read)


# ---------------------------------------------------------------- author domains without keys


async def test_an_unlisted_author_domain_is_sent_bare_and_marked_where_the_setting_says_so(house: Indoors) -> None:
    await accounts.grant(house.desk, "ann@example.test", "ann@unlisted.test")
    house.settings = replace(house.settings, signing=Signing(unlisted="send"))
    async with peer() as host:
        await submit(house, LETTER.replace("ann@example.test", "ann@unlisted.test"))
        queue = Queue(house, host.port)
        queue.mail = replace(queue.mail, signing=Signing(unlisted="send"))
        await queue.work()
        assert FIELD not in host.messages[0]
        (sent,) = house.ear.named("delivery.relayed")
        assert sent.facts["unsigned"] == "unlisted.test"
        assert "(unsigned: no signing key of unlisted.test)" in sent.text


# ---------------------------------------------------------------- mail of the server itself


async def test_a_bounce_is_signed_by_the_domain_above_our_host_name(house: Indoors) -> None:
    async with peer() as host:
        queue = Queue(house, host.port)
        await queue.put("nobody@nowhere.test", sender=Address("zoe", "faraway.test"))
        await queue.work()
        (notice,) = host.messages
        assert b"multipart/report" in notice
        assert b"From: " in notice
        assert b"postmaster@mx.example.test" in notice
        assert await signatures(house, notice) == GOOD


async def test_mail_of_a_host_below_no_domain_of_ours_goes_unsigned_and_is_marked(house: Indoors) -> None:
    async with peer() as host:
        queue = Queue(house, host.port)
        await queue.put("zoe@faraway.test", content=b"From: postmaster@mx.provider.test\r\n\r\nx\r\n")
        await queue.work()
        assert FIELD not in host.messages[0]
        assert house.ear.named("delivery.relayed")[0].facts["unsigned"] == "mx.provider.test"


# ---------------------------------------------------------------- forwarded


@pytest.fixture
async def forwarding(house: Indoors) -> Indoors:
    await aliases.add(house.desk, "away@example.test", ["zoe@faraway.test"])
    return house


FORWARDED = b"From: carol@elsewhere.test\r\nTo: away@example.test\r\nSubject: on its way\r\n\r\nx\r\n"


@pytest.mark.parametrize("author", [b"carol@elsewhere.test", b"ann@example.test"])
async def test_forwarded_mail_is_never_signed_whoever_it_claims_to_be_from(forwarding: Indoors, author: bytes) -> None:
    async with peer() as host:
        await receive(forwarding, FORWARDED.replace(b"carol@elsewhere.test", author), "away@example.test")
        await Queue(forwarding, host.port).work()
        assert FIELD not in host.messages[0]
        assert b"ARC-Seal:" not in host.messages[0]
        assert "unsigned" not in forwarding.ear.named("delivery.relayed")[0].facts


OURS = b"Authentication-Results: mx.example.test;\r\n\tspf=pass smtp.mailfrom=elsewhere.test;\r\n\tarc=none; dmarc=none\r\nReceived: from x by y; z\r\n"


async def relay(house: Indoors, host: Peer, content: bytes) -> Queue:
    """Work a queue that seals, with one message that is forwarded."""
    queue = Queue(house, host.port)
    queue.mail = replace(queue.mail, signing=Signing(arc=True))
    await queue.put("zoe@faraway.test", sender=Address("carol", "elsewhere.test"), content=content, kind=RELAYED)
    await queue.work()
    return queue


async def chain(house: Indoors, content: bytes) -> ARCResult:
    header, body = split(content)
    return await check_arc(await zone(house), read_message(header, [body]))


async def test_forwarded_mail_is_sealed_where_the_setting_says_so(house: Indoors) -> None:
    async with peer() as host:
        await relay(house, host, OURS + FORWARDED)
        (arrived,) = host.messages
        found = await chain(house, arrived)
        assert (found.result, found.reason) == (Result.PASS, "")
        (sealer,) = found.sealers
        assert (sealer.domain, sealer.selector) == ("example.test", "rsa20270115")
        assert sealer.results == b"mx.example.test; spf=pass smtp.mailfrom=elsewhere.test; arc=none; dmarc=none"
        assert arrived.startswith(b"ARC-Seal:")
        assert arrived.endswith(OURS + FORWARDED)
        assert FIELD not in arrived


@pytest.mark.parametrize(
    ("verdict", "result"), [pytest.param(b"pass", b"cv=pass", id="a chain that held"), pytest.param(b"fail", b"cv=fail", id="a chain that was broken")]
)
async def test_a_chain_goes_on_as_we_found_it_when_it_came(house: Indoors, verdict: bytes, result: bytes) -> None:
    async with peer() as host:
        await relay(house, host, OURS + FORWARDED)
        sealed = host.messages[0].replace(OURS, b"")
        await relay(house, host, OURS.replace(b"arc=none", b"arc=" + verdict) + sealed)
        seal = host.messages[1].partition(b"ARC-Message-Signature")[0]
        assert b"i=2;" in seal
        assert result in seal
        if verdict == b"pass":
            found = await chain(house, host.messages[1])
            assert (found.result, found.instance) == (Result.PASS, 2)


async def test_a_chain_that_was_sealed_as_broken_ends_there(house: Indoors) -> None:
    async with peer() as host:
        broken = OURS.replace(b"arc=none", b"arc=fail")
        await relay(house, host, OURS + FORWARDED)
        await relay(house, host, broken + host.messages[0].replace(OURS, b""))
        again = broken + host.messages[1].replace(broken, b"")
        await relay(house, host, again)
        assert host.messages[2] == again


@pytest.mark.parametrize(
    "results",
    [
        pytest.param(b"", id="no results at all"),
        pytest.param(OURS.replace(b"mx.example.test", b"mx.other.test"), id="another's results on top"),
        pytest.param(b"Received: from p by q; r\r\n" + OURS, id="results below what another server wrote: a stranger's claim"),
        pytest.param(OURS.replace(b"arc=none; ", b""), id="results that say nothing of the chain"),
        pytest.param(OURS.replace(b"arc=none", b"arc=temperror"), id="a chain that could not be judged when it came"),
    ],
)
async def test_what_we_did_not_find_ourselves_is_not_sealed(house: Indoors, results: bytes) -> None:
    async with peer() as host:
        queue = await relay(house, host, results + FORWARDED)
        assert host.messages == [results + FORWARDED]
        assert await queue.waiting() == 0


async def test_a_seal_is_kept_and_sent_again_as_it_was(house: Indoors) -> None:
    async with peer({"dot": ["451 4.7.1 greylisted", "250 2.0.0 ok"]}) as host:
        queue = await relay(house, host, OURS + FORWARDED)
        house.clock.time += 3600
        await queue.work()
        first, second = host.messages
        assert first == second
        assert first.startswith(b"ARC-Seal:")


async def test_without_keys_forwarded_mail_waits_for_its_seal(house: Indoors) -> None:
    async with peer() as host:
        with away(house, StoreUnavailableError("away")):
            queue = await relay(house, host, OURS + FORWARDED)
        assert (host.connections, await queue.waiting()) == (0, 1)


async def test_a_host_below_no_domain_of_ours_seals_by_our_first_domain(house: Indoors) -> None:
    async with peer() as host:
        await domains.add(house.desk, "another.test")
        queue = Queue(house, host.port, hostname="mx.provider.test")
        queue.mail = replace(queue.mail, signing=Signing(arc=True))
        content = OURS.replace(b"mx.example.test", b"mx.provider.test") + FORWARDED
        await queue.put("zoe@faraway.test", content=content, kind=RELAYED)
        await queue.work()
        assert [one.domain for one in (await chain(house, host.messages[0])).sealers] == ["another.test"]


async def test_mail_that_came_through_the_door_is_sealed_with_what_was_found_there(forwarding: Indoors) -> None:
    async with peer() as host:
        forged = b"Authentication-Results: mx.example.test; arc=pass; dkim=pass header.d=bank.test\r\n"
        await receive(forwarding, forged + FORWARDED, "away@example.test")
        queue = Queue(forwarding, host.port)
        queue.mail = replace(queue.mail, signing=Signing(arc=True))
        await queue.work()
        found = await chain(forwarding, host.messages[0])
        assert (found.result, found.reason) == (Result.PASS, "")
        (sealer,) = found.sealers
        assert sealer.results.startswith(b"mx.example.test; ")
        assert b"arc=none" in sealer.results
        assert b"bank.test" not in sealer.results


# ---------------------------------------------------------------- the table of keys


async def test_keys_are_asked_once_for_many_and_again_when_something_changed(house: Indoors) -> None:
    async with peer() as host:
        queue = Queue(house, host.port)
        ask = house.store.read
        asked: list[str] = []

        async def read(query: Query[object]) -> object:
            if isinstance(query, GetSigningKeys):
                asked.append(query.domain)
            return await ask(query)

        with patch.object(house.store, "read", read):
            for _ in range(5):
                await queue.put("zoe@faraway.test")
            await queue.work()
            assert asked == ["example.test"]
            queue.manager.forget_keys()
            await queue.put("zoe@faraway.test")
            await queue.work()
            assert asked == ["example.test", "example.test"]
