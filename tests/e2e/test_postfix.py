# SPDX-License-Identifier: Apache-2.0
"""With a real Postfix: it relays into us, we send out through it, by MX and by smart host, and what it refuses or delays."""

from __future__ import annotations

import re
import smtplib
import subprocess
import time
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.e2e.postfix import Postfix, needs_postfix
from tests.e2e.raw_smtp import kept, until_kept
from tests.e2e.traffic import moatmail, settings
from tests.e2e.trial import Trial

pytestmark = [needs_postfix, pytest.mark.timeout(120)]

RELAYED = 50
ZOE, YUKI, FAR = "zoe@friend.test", "yuki@friend.test", "far@distant.test"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for mail.friend.test that vouches for itself."""
    folder = tmp_path_factory.mktemp("certificate")
    made, key = folder / "host.pem", folder / "host.key"
    names = ["-subj", "/CN=mail.friend.test", "-addext", "subjectAltName=DNS:mail.friend.test"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", *kind, *names, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True)
    return made, key


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[Trial]:
    """A server that trusts that certificate as it would trust the world's authorities, and has little patience with its queue."""
    folder = tmp_path_factory.mktemp("trial") / "moatmail-try"
    one = Trial(folder, environment={"SSL_CERT_FILE": str(certificate[0])}).start()
    try:
        settings(one, delivery__retry_minutes="0.01, 0.02")
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def postfix(server: Trial, certificate: tuple[Path, Path]) -> Iterator[Postfix]:
    """Takes mail for friend.test and distant.test; sends mail for example.test to us, over TLS that it verifies."""
    one = Postfix(("friend.test", "distant.test"), (ZOE, YUKI, FAR, "later@friend.test"))
    try:
        one.configure(certificate=certificate, ca=Path(server.ca), transport=f"example.test smtp:[127.0.0.1]:{server.address('smtp')[1]}\n")
        settings(server, delivery__port=str(one.receiving))
        one.start()
        yield one
    finally:
        one.remove()


def submit(server: Trial, recipients: list[str], subject: str, body: str = "hello\n", *, utf8: bool = False) -> EmailMessage:
    address, password = server.account()
    letter = EmailMessage(policy=policy.SMTPUTF8 if utf8 else policy.SMTP)
    letter["From"], letter["To"], letter["Subject"] = address, ", ".join(recipients), subject
    letter.set_content(body, cte="8bit" if not body.isascii() else None)
    with smtplib.SMTP_SSL(*server.address("submissions"), context=server.tls(), timeout=20) as client:
        client.login(address, password)
        client.send_message(letter, address, recipients)
    return letter


def until_told(server: Trial, words: str, *, seconds: float = 30.0) -> str:
    """Wait for an event."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for line in server.log:
            if words in line:
                return line
        time.sleep(0.05)
    raise AssertionError(f"never told: {words}\n" + "".join(server.log[-20:]))


# ---------------------------------------------------------------- into us


def test_postfix_relays_into_us_over_tls_that_it_verifies(server: Trial, postfix: Postfix) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.sending, timeout=20) as client:
        for number in range(RELAYED):
            body = "".join(f".line {line} of {number}\r\n" for line in range(number * number))
            client.sendmail("carol@friend.test", ["bob@example.test"], f"From: carol@friend.test\r\nSubject: relayed {number}\r\n\r\n{body}")
    until_kept(server, f"relayed {RELAYED - 1}")
    end = time.monotonic() + 30
    here: list[bytes] = []
    while len(here) < RELAYED and time.monotonic() < end:
        here = [one for one in kept(server) if b"\r\nSubject: relayed " in one]
        time.sleep(0.1)
    numbers = sorted(int(found[1]) for one in here if (found := re.search(rb"^Subject: relayed (\d+)\r$", one, re.MULTILINE)))
    assert numbers == list(range(RELAYED)), postfix.log()[-3000:]
    for one in here:
        assert b"with ESMTPS" in one
        assert one.count(b"\r\n.line ") == int(re.search(rb"relayed (\d+)\r", one)[1]) ** 2  # type: ignore[index]
    assert "Untrusted TLS" not in postfix.log()


def test_postfix_relays_what_only_travels_with_smtputf8(server: Trial, postfix: Postfix) -> None:
    letter = EmailMessage(policy=policy.SMTPUTF8)
    letter["From"], letter["To"], letter["Subject"] = "jörg@friend.test", "bob@example.test", "by way of postfix"
    letter.set_content("schöne grüße\n", cte="8bit")
    with smtplib.SMTP("127.0.0.1", postfix.sending, timeout=20) as client:
        client.send_message(letter, "jörg@friend.test", ["bob@example.test"])
    assert "schöne grüße".encode() in until_kept(server, "by way of postfix")


def test_an_unknown_recipient_is_refused_to_postfix_which_writes_the_bounce(server: Trial, postfix: Postfix) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.sending, timeout=20) as client:
        client.sendmail("bob@example.test", ["nobody@example.test"], "From: bob@example.test\r\nSubject: to nobody\r\n\r\nx\r\n")
    bounce = message_from_bytes(until_kept(server, "Undelivered Mail Returned to Sender"))
    assert bounce["Return-Path"] == "<>"
    assert "550 5.1.1" in re.sub(r"\s+", " ", bounce.as_string())


# ---------------------------------------------------------------- out of us


def test_mail_goes_out_by_mx_with_tls_and_arrives_as_it_was_written(server: Trial, postfix: Postfix) -> None:
    body = "..two dots\n.one dot\n\nschöne grüße\n" + "x" * 900 + "\nto the end\n"
    submit(server, [ZOE, YUKI], "by mx", body)
    for address in (ZOE, YUKI):
        (one,) = postfix.until_delivered(address, 1)
        arrived = message_from_bytes(one, policy=policy.default)
        assert isinstance(arrived, EmailMessage)
        assert arrived.get_content() == body
        assert arrived["Return-Path"] == "<alice@example.test>"
        assert "using TLSv1.3" in str(arrived["Received"])
        assert "bcc" not in {name.lower() for name in arrived}
    assert "sent on from alice@example.test for zoe@friend.test by mail.friend.test because 250 2.0.0" in until_told(server, "for zoe@friend.test by")


def test_one_transaction_serves_all_recipients_of_a_domain(server: Trial, postfix: Postfix) -> None:
    before = postfix.log().count("connect from")
    zoe, yuki = len(postfix.delivered(ZOE)), len(postfix.delivered(YUKI))
    submit(server, [ZOE, YUKI], "together")
    ids = {re.search(rb"ESMTPS id (\w+)", postfix.until_delivered(one, count + 1)[-1])[1] for one, count in ((ZOE, zoe), (YUKI, yuki))}  # type: ignore[index]
    assert len(ids) == 1
    assert postfix.log().count("connect from") - before <= 2 + 1  # "disconnect from" counts too


def test_what_postfix_refuses_comes_back_once_and_as_a_report(server: Trial, postfix: Postfix) -> None:
    submit(server, ["nobody@friend.test", ZOE], "half refused")
    until_told(server, "failed from alice@example.test for nobody@friend.test")
    bounces: list[bytes] = []
    end = time.monotonic() + 20
    while not bounces and time.monotonic() < end:
        bounces = [one for one in kept(server, 0) if b"nobody@friend.test" in one and one.startswith(b"Return-Path: <>\r\n")]
        time.sleep(0.1)
    assert len(bounces) == 1, "".join(server.log[-20:])
    report = message_from_bytes(bounces[0], policy=policy.default)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    parts = [part for part in report.walk() if part.get_content_type() == "message/delivery-status"]
    assert len(parts) == 1
    status = parts[0].as_string()
    assert "rfc822; nobody@friend.test" in status
    assert "Action: failed" in status
    assert "Status: 5.1.1" in status
    assert "zoe@friend.test" not in status
    assert postfix.delivered(ZOE)
    time.sleep(1.5)  # a second notice would come with the next try
    assert len([one for one in kept(server, 0) if b"nobody@friend.test" in one and one.startswith(b"Return-Path: <>\r\n")]) == 1


def test_a_null_reverse_path_causes_no_notice(server: Trial, postfix: Postfix) -> None:
    del postfix
    moatmail(server, "alias", "add", "away@example.test", "nobody@friend.test")
    with smtplib.SMTP(*server.address("smtp"), timeout=20) as client:
        client.sendmail("", ["away@example.test"], "From: robot@friend.test\r\nSubject: from nobody\r\n\r\nx\r\n")
    until_told(server, "failed from <> for nobody@friend.test")
    time.sleep(1.0)
    assert len([line for line in server.log if "failed from <> for nobody@friend.test" in line]) == 1
    assert not [line for line in server.log if "from <> for <>" in line or "ALERT" in line]
    assert not [one for one in (*kept(server, 0), *kept(server, 1)) if b"from nobody" in one]


def test_what_is_put_off_is_sent_later(server: Trial, postfix: Postfix) -> None:
    postfix.stop()
    postfix.refuse({"later@friend.test": "450 4.2.0 not now"})
    postfix.start()
    submit(server, ["later@friend.test"], "put off")
    assert "450 4.2.0" in until_told(server, "deferred from alice@example.test for later@friend.test")
    assert postfix.delivered("later@friend.test") == []
    postfix.stop()
    postfix.refuse({})
    postfix.start()
    postfix.until_delivered("later@friend.test", 1)


def test_mail_waits_for_a_peer_that_is_down_even_over_a_restart_of_ours(server: Trial, postfix: Postfix) -> None:
    before = len(postfix.delivered(ZOE))
    postfix.stop()
    for number in range(5):
        submit(server, [ZOE], f"while it was down {number}")
    until_told(server, "deferred from alice@example.test for zoe@friend.test because 451 4.4.1")
    assert server.stop() == 0
    server.start()
    until_told(server, "deferred from alice@example.test for zoe@friend.test because 451 4.4.1")
    postfix.start()
    arrived = postfix.until_delivered(ZOE, before + 5)[before:]
    assert sorted(message_from_bytes(one)["Subject"] for one in arrived) == [f"while it was down {number}" for number in range(5)]
    time.sleep(1.0)
    assert len(postfix.delivered(ZOE)) == before + 5


def test_a_domain_without_a_mail_host_is_told_at_once(server: Trial, postfix: Postfix) -> None:
    del postfix
    submit(server, ["victim@bank.test", "someone@nowhere.test"], "no such place")
    assert "5.1.10" in until_told(server, "failed from alice@example.test for victim@bank.test")
    assert "5.1.2" in until_told(server, "failed from alice@example.test for someone@nowhere.test")


# ---------------------------------------------------------------- by way of a smart host


def test_a_smart_host_takes_everything_and_only_if_its_certificate_is_good(server: Trial, postfix: Postfix) -> None:
    try:
        # Its address is right, but the certificate bears another name: nothing is sent in clear, nothing is lost.
        settings(server, delivery__smart_host=f"friend.test:{postfix.receiving}")
        submit(server, [FAR], "by way of a host")
        assert "451 4.7.4" in until_told(server, f"deferred from alice@example.test for {FAR}")
        assert postfix.delivered(FAR) == []
        settings(server, delivery__smart_host=f"mail.friend.test:{postfix.receiving}")
        (one,) = postfix.until_delivered(FAR, 1)
        assert b"using TLSv1.3" in one
    finally:
        moatmail(server, "settings", "set", "delivery.smart_host", "--default")
