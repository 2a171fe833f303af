# SPDX-License-Identifier: Apache-2.0
"""DKIM and ARC beside dkimpy, both ways and however a message is changed; damage that never raises."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from functools import cache
from typing import Any

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import assume, given
from hypothesis import strategies as st

from moatmail.mailauth.arc_seal import Statement, seal
from moatmail.mailauth.result import Result
from moatmail.mailauth.sign import SigningKey, key_record, sign
from moatmail.mailauth.signed import read_message
from moatmail.message.header import Header
from tests.fuzz import fuzz_dkim
from tests.unit.mailauth.signing import NOW, arc, both, dkim, ed_key, hand_signed, pem_of, rsa_key, split

# Octets of headers and bodies that canonical forms care about, among others.
_WORDS = st.text("ab \t.;:=<>@é", max_size=8).map(str.encode)
_NAMES = st.sampled_from([b"Subject", b"To", b"Cc", b"X-Odd", b"SUBJECT", b"Reply-To", b"Date", b"Message-ID", b"List-Id"])
_LINES = st.lists(st.text("ab \t.é", max_size=8).map(str.encode), max_size=8)


@st.composite
def fields(draw: st.DrawFn) -> bytes:
    """One field, folded anywhere."""
    parts = draw(st.lists(_WORDS, min_size=1, max_size=3))
    blanks = draw(st.sampled_from([b"", b" ", b"\t", b"  "]))
    # A folded line of blanks alone is obsolete syntax that the oracle takes for the end of the header.
    folded = b"\r\n\t".join(part if number == 0 else part + b"." for number, part in enumerate(parts))
    return draw(_NAMES) + b":" + blanks + folded + b"\r\n"


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message with one From among any fields, over any body of lines."""
    above, below = (b"".join(draw(st.lists(fields(), max_size=4))) for _ in range(2))
    body = b"".join(line + b"\r\n" for line in draw(_LINES))
    return above + b"From: Ann <ann@example.org>\r\n" + below + b"\r\n" + body


@cache
def records() -> dict[bytes, bytes]:
    return {f"{one.name}.".encode(): one.text.encode() for one in map(key_record, (rsa_key(), ed_key()))}


def lookup(name: bytes | str, timeout: float = 5) -> bytes:
    return records()[name if isinstance(name, bytes) else name.encode()]


def their_key(key: SigningKey) -> bytes:
    if isinstance(key.private, Ed25519PrivateKey):
        return base64.b64encode(key.private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    return pem_of(key)


KEYS = [pytest.param(rsa_key, id="RSA"), pytest.param(ed_key, id="Ed25519")]


@pytest.mark.parametrize("key", KEYS)
@given(content=messages())
def test_what_we_sign_the_oracle_verifies(key: Callable[[], SigningKey], content: bytes) -> None:
    header, body = split(content)
    signed = sign(Header(header), [body], [key()], now=NOW) + content
    assert dkimpy.DKIM(signed).verify(dnsfunc=lookup)
    assert [one.result for one in asyncio.run(dkim(signed, both()))] == [Result.PASS]


@pytest.mark.parametrize("key", KEYS)
@given(content=messages(), forms=st.tuples(*[st.sampled_from([b"simple", b"relaxed"])] * 2))
def test_what_the_oracle_signs_we_verify(key: Callable[[], SigningKey], content: bytes, forms: tuple[bytes, bytes]) -> None:
    ours = key()
    signature = dkimpy.DKIM(content, signature_algorithm=ours.algorithm.encode()).sign(
        ours.selector.encode(), b"example.org", their_key(ours), canonicalize=forms
    )
    found = asyncio.run(dkim(signature + content, both(), now=2_000_000_000))
    assert [(one.result, one.reason) for one in found] == [(Result.PASS, "")]


@given(content=messages(), forms=st.tuples(*[st.sampled_from([b"simple", b"relaxed"])] * 2), place=st.integers(0, 400), octet=st.sampled_from(b" \tabx.:;="))
def test_one_changed_octet_is_judged_as_the_oracle_judges_it(content: bytes, forms: tuple[bytes, bytes], place: int, octet: int) -> None:
    signed = hand_signed(b"v=1; a=rsa-sha256; c=%b/%b; d=example.org; s=r; h=from:subject:subject:to:date; bh={bh}" % forms, *split(content))
    start = len(signed) - len(content) + place % len(content)
    assume(signed[start] not in b"\r\n")
    changed = signed[:start] + bytes([octet]) + signed[start + 1 :]
    ours = asyncio.run(dkim(changed, both()))[0].result is Result.PASS
    theirs = oracle(changed)
    assume(theirs is not None)
    assert ours == theirs, changed


def oracle(content: bytes) -> bool | None:
    """Its judgment; None where it does not read the header at all (blanks before a colon, RFC 5322 §4.5.3; lines that are no field)."""
    try:
        return bool(dkimpy.DKIM(content).verify(dnsfunc=lookup))
    except dkimpy.MessageFormatError:
        return None
    except dkimpy.DKIMException:
        return False


@given(content=messages(), sets=st.integers(1, 4))
def test_chains_that_we_seal_hold_for_the_oracle(content: bytes, sets: int) -> None:
    async def run() -> bytes:
        header, body = split(content)
        for _ in range(sets):
            message = read_message(header, [body])
            found = await arc(header + body, both())
            header = seal(message, [body], rsa_key(), found, Statement(b"mx.example.org", b"arc=none; spf=none", NOW)) + header
        return header + body

    sealed = asyncio.run(run())
    validation, results, reason = dkimpy.ARC(sealed).verify(dnsfunc=lookup)
    assert validation == b"pass", (reason, results)
    assert asyncio.run(arc(sealed, both())).instance == sets


def damaged(content: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, instead in cuts:
        at = place % (len(content) + 1)
        content = content[:at] + instead + content[at + length :]
    return content


_CUTS: Any = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 9), st.binary(max_size=5)), min_size=1, max_size=4)


@given(cuts=_CUTS)
def test_damaged_messages_never_raise_and_never_pass_where_the_oracle_fails(cuts: list[tuple[int, int, bytes]]) -> None:
    content = b"From: Ann <ann@example.org>\r\nSubject: s\r\n\r\nbody\r\n"
    header, body = split(content)
    signed = sign(Header(header), [body], [rsa_key()], now=NOW) + content
    changed = damaged(signed, cuts)
    found = asyncio.run(dkim(changed, both()))
    asyncio.run(arc(b"ARC-Seal: i=1; cv=none\r\n" + changed, both()))
    if any(one.result is Result.PASS for one in found) and b"\n" not in changed.replace(b"\r\n", b"") and b"\r" not in changed.replace(b"\r\n", b""):
        assert oracle(changed) is not False, changed


@pytest.mark.parametrize("seed", range(3))
def test_the_fuzz_target_holds_over_seeded_inputs(seed: int) -> None:
    fuzz_dkim.TARGET.plain(150, seed)
