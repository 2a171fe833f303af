# SPDX-License-Identifier: Apache-2.0
"""Trace fields by the grammar, whatever the peer said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.transaction import Identity, Session, TLSFacts
from moatmail.message.header import Header
from moatmail.message.trace import delivered_to, protocol, received, return_path

SESSION = Session(id="s1", door="mx", peer_ip="192.0.2.7", peer_port=25, helo_name="mail.example.org", extended=True)
TLS = TLSFacts(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384")
IDENTITY = Identity(account=1, address=Address("ann", "example.test"))
BOB, EVE = Recipient(Address("bob", "example.test")), Recipient(Address("eve", "example.test"))
ENVELOPE = Envelope(reverse_path=None, recipients=(BOB,))


def line(session: Session, envelope: Envelope = ENVELOPE) -> str:
    octets = received(session, envelope, by="mx.example.test", token="abc.1", now=1741158365)
    header = Header(octets + b"\r\n")
    assert header.names == [b"received"]
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    return (header.first(b"received") or b"").decode()


def test_the_whole_field() -> None:
    assert line(replace(SESSION, tls=TLS)) == (
        "from mail.example.org ([192.0.2.7])\tby mx.example.test with ESMTPS id abc.1\t(version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384)"
        "\tfor <bob@example.test>;\tWed, 5 Mar 2025 07:06:05 +0000"
    )


def test_several_recipients_are_not_named() -> None:
    assert "for <" not in line(SESSION, ENVELOPE.with_recipient(EVE))


@pytest.mark.parametrize(
    ("session", "utf8", "keyword"),
    [
        (replace(SESSION, extended=False), False, "SMTP"),
        (SESSION, False, "ESMTP"),
        (replace(SESSION, tls=TLS), False, "ESMTPS"),
        (replace(SESSION, identity=IDENTITY), False, "ESMTPA"),
        (replace(SESSION, tls=TLS, identity=IDENTITY), False, "ESMTPSA"),
        (SESSION, True, "UTF8SMTP"),
        (replace(SESSION, tls=TLS, identity=IDENTITY), True, "UTF8SMTPSA"),
    ],
)
def test_the_keyword(session: Session, keyword: str, *, utf8: bool) -> None:
    assert protocol(session, replace(ENVELOPE, smtputf8=utf8)) == keyword


@pytest.mark.parametrize(
    ("helo", "shown"),
    [
        ("[192.0.2.7]", "from [192.0.2.7] ([192.0.2.7])"),
        ("[IPv6:::1]", "from [IPv6:::1] ([192.0.2.7])"),
        ("", "from [192.0.2.7] ([192.0.2.7])"),
        ("x (evil) by y; date", "from [192.0.2.7] ([192.0.2.7])"),
        ("a\r\nX: y", "from [192.0.2.7] ([192.0.2.7])"),
        ("a" * 256, "from [192.0.2.7] ([192.0.2.7])"),
    ],
)
def test_a_helo_name_outside_the_grammar_is_left_out(helo: str, shown: str) -> None:
    assert line(replace(SESSION, helo_name=helo)).startswith(shown + "\tby ")


def test_an_ipv6_peer_is_a_literal() -> None:
    assert "([IPv6:2001:db8::1])" in line(replace(SESSION, peer_ip="2001:db8::1"))


def test_the_other_fields() -> None:
    assert return_path(None) == b"Return-Path: <>\r\n"
    assert return_path(Address("a b", "example.org")) == b'Return-Path: <"a b"@example.org>\r\n'
    assert delivered_to(Address("ann", "example.test")) == b"Delivered-To: ann@example.test\r\n"
