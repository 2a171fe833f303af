# SPDX-License-Identifier: Apache-2.0
"""What tests of DKIM and ARC share: keys made once, a message, signing and verifying over a table of records."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from moatmail.core.ports.resolver import Resolver
from moatmail.mailauth.arc import ARCResult, check_arc
from moatmail.mailauth.canonical import BodyForm, BodyHashes, Canonicalization, SignedHeader
from moatmail.mailauth.dkim import DKIMResult, check_dkim
from moatmail.mailauth.sign import KeyRecord, SigningKey, key_record, load_signing_key, new_key
from moatmail.mailauth.signed import read_message
from moatmail.mailauth.tags import Tags
from moatmail.message.header import Header
from moatmail.net.resolver_table import TableResolver

NOW = 1_740_000_000
DOMAIN = "example.org"
HEADER = (
    b"Received: from a.example by b.example; Wed, 5 Mar 2025 07:06:05 +0000\r\n"
    b"From: Ann <ann@example.org>\r\n"
    b"To: bob@example.net\r\n"
    b"Subject: a  longer\r\n\tsubject \r\n"
    b"Date: Wed, 5 Mar 2025 07:06:05 +0000\r\n"
    b"Message-ID: <1@example.org>\r\n"
    b"\r\n"
)
BODY = b"Hello  there \t you\r\n \r\n\t\t\r\nend\r\n\r\n"


@cache
def rsa_key() -> SigningKey:
    return load_signing_key(DOMAIN, "r", new_key("rsa"))


@cache
def ed_key() -> SigningKey:
    return load_signing_key(DOMAIN, "e", new_key("ed25519"))


def pem_of(key: SigningKey) -> bytes:
    return key.private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def zone(*records: KeyRecord) -> TableResolver:
    return TableResolver({record.name: {"TXT": [record.text]} for record in records})


def table(records: Mapping[str, str]) -> TableResolver:
    return TableResolver({name: {"TXT": [text]} for name, text in records.items()})


def both() -> TableResolver:
    return zone(key_record(rsa_key()), key_record(ed_key()))


def split(content: bytes) -> tuple[bytes, bytes]:
    """Header block with its empty line, and body."""
    if content.startswith(b"\r\n"):
        return content[:2], content[2:]
    header, line, body = content.partition(b"\r\n\r\n")
    return header + line, body


def crlf(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


async def dkim(content: bytes, resolver: Resolver, now: float = NOW) -> tuple[DKIMResult, ...]:
    header, body = split(content)
    return await check_dkim(resolver, read_message(header, [body]), now)


async def arc(content: bytes, resolver: Resolver) -> ARCResult:
    header, body = split(content)
    return await check_arc(resolver, read_message(header, [body]))


def body_digest(body: Iterable[bytes], form: Canonicalization, length: int | None = None) -> bytes | None:
    wanted = BodyForm(form, length)
    hashes = BodyHashes((wanted,))
    for piece in body:
        hashes.feed(piece)
    return hashes.digest(wanted)


def hand_signed(tags: bytes, header: bytes = HEADER, body: bytes = BODY, key: SigningKey | None = None, name: bytes = b"DKIM-Signature") -> bytes:
    """A message under a signature field made of `tags` as they stand; `{bh}` is the right hash of the body, b= is computed and put behind them."""
    forms = dict(part.strip().split(b"=", 1) for part in tags.replace(b"\r\n", b"").split(b";") if b"=" in part).get(b"c", b"simple/simple").split(b"/")
    header_form = Canonicalization.RELAXED if forms[0] == b"relaxed" else Canonicalization.SIMPLE
    body_form = Canonicalization.RELAXED if forms[1:] == [b"relaxed"] else Canonicalization.SIMPLE
    digest = base64.b64encode(body_digest([body], body_form) or b"")
    value = b" " + tags.replace(b"{bh}", digest) + b"; b="
    signed = SignedHeader(Header(name + b":" + value + b"\r\n" + header))
    names = [name.strip().lower() for part in value.split(b";") if part.strip().startswith(b"h=") for name in part.strip()[2:].split(b":")]
    read = Tags(value)
    hashed = hashlib.sha256()
    field = signed.relaxed if header_form is Canonicalization.RELAXED else signed.simple
    for at in signed.select(names, 0):
        hashed.update(field(at))
    hashed.update(signed.unsigned(0, read, header_form))
    made = base64.b64encode((key or rsa_key()).sign(hashed.digest()))
    return name + b":" + value + made + b"\r\n" + header + body
