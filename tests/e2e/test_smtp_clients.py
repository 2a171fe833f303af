# SPDX-License-Identifier: Apache-2.0
"""The SMTP doors with the clients that people use: swaks, curl, smtplib, and a SCRAM client that is not ours."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import smtplib
import ssl
import subprocess
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.raw_smtp import DOORS, USERS, Peer, kept, subjects, until_kept
from tests.e2e.trial import Trial

needs_swaks = pytest.mark.skipif(shutil.which("swaks") is None, reason="needs swaks")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

TLS_OF = {"smtp": ["--tls"], "submission": ["--tls"], "submissions": ["--tls-on-connect"]}


def swaks(server: Trial, door: str, subject: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    host, port = server.address(door)
    trust = ["--tls-ca-path", server.ca, "--tls-verify"]
    addresses = ["--from", server.account()[0] if door in USERS else server.facts["sender"], "--to", server.account(1)[0]]
    command = ["swaks", "--server", host, "--port", str(port), *trust, *addresses, "--header", f"Subject: {subject}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def login_of(server: Trial, mechanism: str, password: str = "") -> list[str]:
    address, secret = server.account()
    return ["--auth", mechanism, "--auth-user", address, "--auth-password", password or secret]


# ---------------------------------------------------------------- swaks


@needs_swaks
@pytest.mark.parametrize("extra", [[], ["--pipeline"], ["--ehlo", "[127.0.0.1]"], ["--protocol", "SMTP"]], ids=["plain", "pipelined", "literal", "HELO"])
def test_swaks_as_a_stranger(server: Trial, extra: list[str]) -> None:
    subject = "swaks " + "".join(extra)
    told = swaks(server, "smtp", subject, *([] if "SMTP" in extra else TLS_OF["smtp"]), *extra)
    assert told.returncode == 0, told.stdout
    until_kept(server, subject)


@needs_swaks
@pytest.mark.parametrize("door", USERS)
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_logs_in_and_submits(server: Trial, door: str, mechanism: str) -> None:
    subject = f"swaks {door} {mechanism}"
    told = swaks(server, door, subject, *TLS_OF[door], *login_of(server, mechanism), "--pipeline")
    assert told.returncode == 0, told.stdout
    assert f"\r\nReceived: from {server.account()[0]}" not in until_kept(server, subject).decode()


@needs_swaks
@pytest.mark.parametrize("door", USERS)
def test_swaks_with_a_wrong_password_is_refused(server: Trial, door: str) -> None:
    told = swaks(server, door, "wrong", *TLS_OF[door], *login_of(server, "PLAIN", "wrong"))
    assert told.returncode == 28, told.stdout  # swaks: the login failed
    assert "535 5.7.8 " in told.stdout


@needs_swaks
def test_a_login_without_tls_and_at_the_door_of_strangers_is_never_offered(server: Trial) -> None:
    for door, tls in (("submission", []), ("smtp", []), ("smtp", TLS_OF["smtp"])):
        told = swaks(server, door, "wrong", *tls, *login_of(server, "PLAIN"))
        assert told.returncode == 28, told.stdout
        assert "AUTH" not in "".join(re.findall(r"^<.*", told.stdout, re.MULTILINE)), told.stdout


@needs_swaks
@pytest.mark.parametrize("door", DOORS)
def test_swaks_with_a_large_attachment(server: Trial, door: str, tmp_path: Path) -> None:
    file, subject = tmp_path / "attachment.bin", f"large {door}"
    file.write_bytes(os.urandom(6 * 1024 * 1024))
    login = login_of(server, "PLAIN") if door in USERS else []
    told = swaks(server, door, subject, *TLS_OF[door], *login, "--attach", f"@{file}")
    assert told.returncode == 0, told.stdout[-2000:]
    message = BytesParser(policy=policy.default).parsebytes(until_kept(server, subject))
    assert [part.get_content() for part in message.walk() if part.get_content_type() == "application/octet-stream"] == [file.read_bytes()]


# ---------------------------------------------------------------- curl


@needs_curl
@pytest.mark.parametrize(("scheme", "door"), [("smtp", "smtp"), ("smtp", "submission"), ("smtps", "submissions")])
def test_curl_sends(server: Trial, scheme: str, door: str, tmp_path: Path) -> None:
    address, password = server.account()
    sender = address if door in USERS else server.facts["sender"]
    subject = f"curl {door}"
    letter = tmp_path / "letter"
    letter.write_bytes(f"From: {sender}\r\nSubject: {subject}\r\n\r\n.a dot at the front\r\n..two\r\n".encode())
    command = ["curl", "-sS", "--ssl-reqd", "--cacert", server.ca, "--mail-from", sender, "--mail-rcpt", server.account(1)[0]]
    command += [*(["--user", f"{address}:{password}"] if door in USERS else []), f"{scheme}://{server.facts[door]}", "--upload-file", str(letter)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    assert until_kept(server, subject).endswith(b"\r\n\r\n.a dot at the front\r\n..two\r\n")


@needs_curl
def test_curl_does_not_trust_a_server_that_the_authority_did_not_vouch_for(server: Trial) -> None:
    told = subprocess.run(["curl", "-sS", f"smtps://{server.facts['submissions']}"], capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 60, told


# ---------------------------------------------------------------- smtplib


def test_smtplib_with_an_address_outside_ascii(server: Trial) -> None:
    letter = EmailMessage(policy=policy.SMTPUTF8)
    letter["From"], letter["To"], letter["Subject"] = "jörg@friend.test", server.account(1)[0], "grüße an die blume"
    letter.set_content("schöne grüße\n")
    with smtplib.SMTP(*server.address("smtp"), timeout=10) as client:
        client.starttls(context=server.tls())
        client.ehlo()
        assert client.has_extn("smtputf8")
        client.send_message(letter, "jörg@friend.test", [server.account(1)[0]])
    # RFC 6855 §7 lets a client that did not ask for UTF8=ACCEPT see a message in ASCII: the subject as an encoded word (RFC 6858 §2).
    found = [one for one in map(BytesParser(policy=policy.default).parsebytes, kept(server)) if str(one["Subject"]).startswith("grüße an die")]
    assert len(found) == 1, subjects(server)
    assert found[0].get_content() == "schöne grüße\r\n"


def test_smtplib_with_octets_above_ascii_in_the_body(server: Trial) -> None:
    body = bytes(range(128, 256)) * 3
    head = b"From: carol@friend.test\r\nSubject: 8bit\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    with smtplib.SMTP(*server.address("smtp"), timeout=10) as client:
        client.ehlo()
        assert client.has_extn("8bitmime")
        client.sendmail("carol@friend.test", [server.account(1)[0]], head + b"Content-Transfer-Encoding: 8bit\r\n\r\n" + body + b"\r\n", ["BODY=8BITMIME"])
    assert until_kept(server, "8bit").endswith(b"\r\n\r\n" + body + b"\r\n")


def test_smtplib_logs_in_with_what_it_finds_and_submits_to_several(server: Trial) -> None:
    address, password = server.account()
    letter = f"From: {address}\r\nBcc: hidden@example.test\r\nSubject: smtplib submits\r\n\r\nhello\r\n"
    with smtplib.SMTP_SSL(*server.address("submissions"), context=server.tls(), timeout=10) as client:
        client.login(address, password)
        refused = client.sendmail(address, [address, server.account(1)[0], "nobody@example.test"], letter)
    assert {name: code for name, (code, _) in refused.items()} == {"nobody@example.test": 550}
    for number in (0, 1):
        one = until_kept(server, "smtplib submits", number)
        assert b"\r\nBcc:" not in one
        assert re.search(rb"^Date: ", one, re.MULTILINE)
        assert re.search(rb"^Message-ID: <.+@localhost>\r$", one, re.MULTILINE | re.IGNORECASE)


def test_a_foreign_sender_is_refused_at_submission(server: Trial) -> None:
    address, password = server.account()
    with smtplib.SMTP_SSL(*server.address("submissions"), context=server.tls(), timeout=10) as client:
        client.login(address, password)
        with pytest.raises(smtplib.SMTPSenderRefused, match=r"5\.7\.1"):
            client.sendmail(server.account(1)[0], [address], "Subject: x\r\n\r\nx\r\n")
        with pytest.raises(smtplib.SMTPDataError, match=r"5\.7\.1"):
            client.sendmail(address, [address], f"From: {server.account(1)[0]}\r\nSubject: x\r\n\r\nx\r\n")
        with pytest.raises(smtplib.SMTPDataError, match=r"5\.6\.0"):
            client.sendmail(address, [address], "Subject: x\r\n\r\nx\r\n")


def test_subaddresses_postmaster_abuse_and_any_case_reach_an_account(server: Trial) -> None:
    wanted = ["bob+lists@example.test", "BOB@EXAMPLE.TEST", "postmaster@example.test", "abuse@example.test", "Postmaster"]
    with Peer(server, "smtp") as peer:
        peer.hello()
        assert peer.ask(b"MAIL FROM:<carol@friend.test>").code == 250
        assert [peer.ask(f"RCPT TO:<{one}>".encode()).code for one in wanted] == [250] * len(wanted)


# ---------------------------------------------------------------- SCRAM, with a client that is not ours


def scram(server: Trial, door: str, mechanism: str, password: str = "", *, tamper: bytes = b"") -> bytes:
    """Log in by SCRAM with the client of package scramp; gives the server's last line. `tamper` replaces the channel's binding."""
    scramp: Any = pytest.importorskip("scramp")
    address, secret = server.account()
    binding = None
    with Peer(server, door) as peer:
        peer.answer()
        peer.ask(b"EHLO peer")
        if door == "submission":
            peer.ask(b"STARTTLS")
            peer.start_tls()
            peer.ask(b"EHLO peer")
        if mechanism.endswith("-PLUS"):
            assert isinstance(peer.sock, ssl.SSLSocket)
            # RFC 5929 §4.1: the hash of the certificate; ours is signed with SHA-256.
            binding = ("tls-server-end-point", tamper or hashlib.sha256(peer.sock.getpeercert(binary_form=True) or b"").digest())
        client = scramp.ScramClient([mechanism], address, password or secret, channel_binding=binding)
        told = peer.ask(f"AUTH {mechanism} ".encode() + base64.b64encode(client.get_client_first().encode()))
        if told.code != 334:
            return told.octets
        client.set_server_first(base64.b64decode(told.octets[4:]).decode())
        told = peer.ask(base64.b64encode(client.get_client_final().encode()))
        if told.code != 334:
            return told.octets
        client.set_server_final(base64.b64decode(told.octets[4:]).decode())  # raises unless the server proved itself
        return peer.ask(b"").octets


@pytest.mark.parametrize("door", USERS)
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
def test_scram_proves_both_sides(server: Trial, door: str, mechanism: str) -> None:
    assert scram(server, door, mechanism).startswith(b"235 2.7.0 ")
    assert scram(server, door, mechanism, "wrong").startswith(b"535 5.7.8 ")


def test_scram_plus_refuses_a_channel_that_is_not_the_clients(server: Trial) -> None:
    assert scram(server, "submissions", "SCRAM-SHA-256-PLUS", tamper=bytes(32)).startswith(b"535 5.7.8 ")


# ---------------------------------------------------------------- TLS


def handshake(server: Trial, door: str, version: ssl.TLSVersion) -> str | None:
    context = server.tls()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # the client's own floor is taken away, so that it is the server that refuses
    context.minimum_version = context.maximum_version = version
    with Peer(server, "smtp" if door == "smtp" else "submission") as peer:
        peer.answer()
        peer.ask(b"EHLO peer")
        peer.ask(b"STARTTLS")
        with context.wrap_socket(peer.sock, server_hostname="localhost") as sock:
            return sock.version()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("door", ["smtp", "submission"])
def test_tls_below_1_2_is_refused(server: Trial, door: str) -> None:
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version|alert"):
            handshake(server, door, version)
    assert handshake(server, door, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    assert handshake(server, door, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"


@pytest.mark.parametrize("cipher", ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "NULL-SHA256"])
def test_ciphers_without_forward_secrecy_or_authenticated_encryption_are_refused(server: Trial, cipher: str) -> None:
    context = server.tls()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    with Peer(server, "smtp") as peer:
        peer.answer()
        peer.ask(b"EHLO peer")
        peer.ask(b"STARTTLS")
        with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
            context.wrap_socket(peer.sock, server_hostname="localhost")
