# SPDX-License-Identifier: Apache-2.0
"""Signing: keys, records, fields in lines that fit, oversigning, and never anything unsigned."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from moatmail.core.limits.mailauth import SIGNED_NAMES_MAX
from moatmail.mailauth.sign import OVERSIGNED, SigningError, SigningKey, fits_signature, key_record, load_signing_key, new_key, sign
from moatmail.message.header import Header
from tests.unit.mailauth.signing import BODY, HEADER, NOW, both, dkim, ed_key, pem_of, rsa_key, zone


def signed(header: bytes = HEADER, body: bytes = BODY) -> bytes:
    return sign(Header(header), [body], [rsa_key(), ed_key()], now=NOW) + header + body


async def test_both_algorithms_pass() -> None:
    found = await dkim(signed(), both())
    assert [(one.result.value, one.algorithm, one.key_bits) for one in found] == [("pass", "rsa-sha256", 2048), ("pass", "ed25519-sha256", 256)]


@pytest.mark.parametrize(
    "pieces", [pytest.param([BODY[at : at + 1] for at in range(len(BODY))], id="octet by octet"), pytest.param([b"", BODY, b""], id="whole")]
)
async def test_the_body_comes_in_pieces(pieces: list[bytes]) -> None:
    content = sign(Header(HEADER), pieces, [ed_key()], now=NOW) + HEADER + BODY
    assert [one.result.value for one in await dkim(content, both())] == ["pass"]


@pytest.mark.parametrize("name", OVERSIGNED)
async def test_an_added_field_that_readers_see_breaks_the_signature(name: bytes) -> None:
    """auth-07."""
    content = signed()
    for changed in (name.title() + b": added\r\n" + content, content.replace(b"Message-ID", name.upper() + b": added\r\nMessage-ID", 1)):
        assert {one.result.value for one in await dkim(changed, both())} == {"fail"}


async def test_fields_that_change_on_the_way_are_not_signed() -> None:
    content = b"Received: from c by d; x\r\nReturn-Path: <a@b>\r\nX-Spam: no\r\nAuthentication-Results: mx; none\r\n" + signed()
    assert {one.result.value for one in await dkim(content, both())} == {"pass"}


async def test_white_space_may_change_on_the_way() -> None:
    content = signed().replace(b"a  longer\r\n\tsubject ", b" a longer subject").replace(b"Hello  there \t you", b"Hello there you \t") + b"\r\n\r\n"
    assert {one.result.value for one in await dkim(content, both())} == {"pass"}


def test_fields_are_folded_and_say_what_they_should() -> None:
    subjects = b"".join(b"References: <%d@example.org>\r\n" % number for number in range(40))
    made = sign(Header(subjects + HEADER), [BODY], [rsa_key(), ed_key()], now=NOW, lifetime=3600)
    assert all(len(line) <= 78 for line in made.split(b"\r\n"))
    fields = Header(made)
    assert fields.names == [b"dkim-signature"] * 2
    for value in fields.all(b"dkim-signature"):
        assert value.startswith(b"v=1; a=")
        assert b"t=%d; x=%d;" % (NOW, NOW + 3600) in value
        assert b"c=relaxed/relaxed" in value
        assert b"l=" not in value.replace(b"b=", b"").split(b"h=")[0]


def test_the_record_is_what_the_dns_needs() -> None:
    record = key_record(rsa_key(), testing=True)
    assert record.name == "r._domainkey.example.org"
    assert record.text.startswith("v=DKIM1; k=rsa; t=y; p=MIIB")
    assert "".join(record.strings) == record.text
    assert all(len(part) <= 255 for part in record.strings)
    assert record.zone_line == f'r._domainkey.example.org. IN TXT "{record.strings[0]}" "{record.strings[1]}"'
    assert len(key_record(ed_key()).text) == len("v=DKIM1; k=ed25519; p=") + 44


async def test_a_key_goes_through_pem_and_back() -> None:
    for kind in ("rsa", "ed25519"):
        key = load_signing_key("Example.ORG", "S1", new_key(kind))
        assert (key.domain, key.selector) == ("example.org", "s1")
        content = sign(Header(HEADER), [BODY], [key], now=NOW) + HEADER + BODY
        assert [one.result.value for one in await dkim(content, zone(key_record(key)))] == ["pass"]


def test_a_key_never_shows_itself() -> None:
    assert "private" not in repr(rsa_key())
    with pytest.raises(ValueError, match="no type of key"):
        new_key("dsa")


def curve_pem() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("domain", "selector", "pem"),
    [
        pytest.param("example.org", "s", b"", id="no PEM"),
        pytest.param("example.org", "s", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", id="a damaged PEM"),
        pytest.param("example.org", "s", curve_pem(), id="a key of another kind"),
        pytest.param("example", "s", None, id="a domain of one label"),
        pytest.param("exa;mple.org", "s", None, id="a semicolon in the domain"),
        pytest.param("example.org", "", None, id="no selector"),
        pytest.param("example.org", "a;b", None, id="a semicolon in the selector"),
        pytest.param("\ud800.example.org", "s", None, id="a name that is no text"),
    ],
)
def test_keys_that_cannot_be_used_raise(domain: str, selector: str, pem: bytes | None) -> None:
    with pytest.raises(SigningError):
        load_signing_key(domain, selector, pem_of(rsa_key()) if pem is None else pem)


class _BrokenKey(SigningKey):
    def sign(self, digest: bytes) -> bytes:
        raise SigningError("broken")


@pytest.mark.parametrize(
    ("header", "keys"),
    [
        pytest.param(HEADER, [], id="no key"),
        pytest.param(HEADER.replace(b"From", b"Form"), None, id="no From"),
        pytest.param(b"From: x@y\r\n" + HEADER, None, id="two From"),
        pytest.param(b"Cc: x@y\r\n" * SIGNED_NAMES_MAX + HEADER, None, id="more fields than are signed"),
        pytest.param(HEADER, [rsa_key(), _BrokenKey("a.b", "s", "rsa-sha256", 2048, rsa_key().private)], id="one of two keys fails"),
    ],
)
def test_what_cannot_be_signed_raises_and_is_temporary(header: bytes, keys: list[SigningKey] | None) -> None:
    with pytest.raises(SigningError) as told:
        sign(Header(header), [BODY], [rsa_key()] if keys is None else keys, now=NOW)
    assert told.value.status == "4.7.5"


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_what_fits_a_signature_is_what_can_be_signed(more: int) -> None:
    header = b"From: ann@example.org\r\n" + b"Cc: a@b.example\r\nX-Other: x\r\n" * (SIGNED_NAMES_MAX - len(OVERSIGNED) - 1 + more) + b"\r\n"
    fits = fits_signature(Header(header).names)
    assert fits is (more <= 0)
    if fits:
        assert sign(Header(header), [BODY], [ed_key()], now=NOW)
    else:
        with pytest.raises(SigningError, match="too many fields"):
            sign(Header(header), [BODY], [ed_key()], now=NOW)
