# SPDX-License-Identifier: Apache-2.0
"""Method dkim: what passes, what fails and why, what cannot be judged, and the facts told with each result."""

from __future__ import annotations

import asyncio
import base64
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from moatmail.core.limits.mailauth import DKIM_SIGNATURES_MAX, SIGNED_AHEAD_SECONDS, SIGNED_NAMES_MAX
from moatmail.core.ports.resolver import Answer, Resolver
from moatmail.mailauth.dkim import check_dkim
from moatmail.mailauth.dkim_key import parse_key
from moatmail.mailauth.result import Result
from moatmail.mailauth.sign import SigningKey, key_record, load_signing_key, sign
from moatmail.mailauth.signed import SignedMessage, read_message
from moatmail.message.header import Header
from moatmail.net.resolver_table import TableResolver
from tests.unit.mailauth.signing import BODY, DOMAIN, HEADER, NOW, both, dkim, ed_key, hand_signed, pem_of, rsa_key, table, zone

PLAIN = b"v=1; a=rsa-sha256; d=example.org; s=r; h=from:to:subject:date; bh={bh}"


async def one(content: bytes, resolver: Resolver | None = None, now: float = NOW) -> tuple[str, str]:
    found = await dkim(content, resolver or both(), now)
    assert len(found) == 1
    assert bool(found[0].reason) is (found[0].result is not Result.PASS)
    return found[0].result.value, found[0].reason


async def test_an_unsigned_message_has_no_results() -> None:
    assert await dkim(HEADER + BODY, both()) == ()


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param(PLAIN, id="simple in both where c= is missing"),
        pytest.param(PLAIN + b"; c=relaxed", id="c= with one word leaves the body simple"),
        pytest.param(PLAIN + b"; c=relaxed/relaxed", id="relaxed in both"),
        pytest.param(PLAIN + b"; c=simple/relaxed", id="a mixed pair"),
        pytest.param(PLAIN + b"; i=@example.org", id="the identity is the domain"),
        pytest.param(PLAIN + b"; i=ann@sub.example.org", id="the identity lies below the domain"),
        pytest.param(PLAIN + b"; q=dns/txt:other", id="a known query method among others"),
        pytest.param(PLAIN + b"; t=%d; x=%d" % (NOW - 5, NOW + 5), id="signed before now, expires behind it"),
        pytest.param(PLAIN + b"; t=%d" % (NOW + SIGNED_AHEAD_SECONDS), id="a clock of local time"),
        pytest.param(PLAIN + b"; z=From:x; unknown=1", id="tags that nobody needs"),
        pytest.param(PLAIN.replace(b"d=example.org", b"d=Example.ORG"), id="a domain in capitals"),
        pytest.param(PLAIN.replace(b"h=from:to", b"h=FROM :\r\n\tTo\r\n :received:received:nothing"), id="odd names and folding in h="),
        pytest.param(PLAIN.replace(b"date;", b"date:dkim-signature;"), id="its own name in h= does not mean itself"),
    ],
)
async def test_what_passes(tags: bytes) -> None:
    assert await one(hand_signed(tags)) == ("pass", "")


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        pytest.param(PLAIN.replace(b"v=1", b"v=2"), "version is not 1", id="another version"),
        pytest.param(PLAIN.replace(b"v=1; ", b""), "tag v is missing", id="no version"),
        pytest.param(PLAIN.replace(b"rsa-sha256", b"rsa-sha1"), "rsa-sha1 does not count any more", id="SHA-1"),
        pytest.param(PLAIN.replace(b"rsa-sha256", b"RSA-SHA256"), "algorithm unknown", id="an algorithm in capitals"),
        pytest.param(PLAIN + b"; c=relaxed/loose", "canonicalization unknown", id="an unknown form"),
        pytest.param(PLAIN.replace(b"from:", b""), "From is not signed", id="From not signed"),
        pytest.param(PLAIN.replace(b"h=from:to:subject:date; ", b""), "tag h is missing", id="no h="),
        pytest.param(PLAIN.replace(b"from:", b"from:" * (SIGNED_NAMES_MAX + 1)), "too many names in tag h", id="endless h="),
        pytest.param(PLAIN.replace(b"{bh}", b"?"), "tag bh is not base64", id="bh= is no base64"),
        pytest.param(PLAIN.replace(b"d=example.org", b"d=org"), "tag d is no domain name", id="one label"),
        pytest.param(PLAIN.replace(b"d=example.org", b"d=example.org(.evil.example"), "tag d is no domain name", id="a parenthesis in d="),
        pytest.param(PLAIN.replace(b"d=example.org", b'd="example.org"'), "tag d is no domain name", id="quotes in d="),
        pytest.param(PLAIN.replace(b"d=example.org", b"d=a_b.example.org"), "tag d is no domain name", id="an underscore in d="),
        pytest.param(PLAIN.replace(b"s=r", b"s=a..b"), "tag s is no selector", id="an empty label in s="),
        pytest.param(PLAIN.replace(b"s=r", b"s=a/b"), "tag s is no selector", id="a slash in s="),
        pytest.param(PLAIN.replace(b"s=r", b"s=" + b".".join([b"a" * 60] * 4)), "tag s is too long", id="a selector that makes no question"),
        pytest.param(PLAIN + b"; i=@example.com", "tag i is not within tag d", id="a foreign identity"),
        pytest.param(PLAIN + b"; i=@badexample.org", "tag i is not within tag d", id="an identity that only ends alike"),
        pytest.param(PLAIN + b"; i=example.org", "tag i is no identity", id="no @ in i="),
        pytest.param(PLAIN + b"; q=http", "query method unknown", id="an unknown query method"),
        pytest.param(PLAIN + b"; t=soon", "tag t is no time", id="a word for a time"),
        pytest.param(PLAIN + b"; x=", "tag x is no time", id="an empty time"),
        pytest.param(PLAIN + b"; t=20; x=20", "expires before it was signed", id="no lifetime"),
        pytest.param(PLAIN + b"; l=-1", "tag l is no length", id="a negative length"),
        pytest.param(PLAIN + b"; s=r", "tag s stands twice", id="a tag twice"),
        pytest.param(PLAIN + b";; a=b", "no tag list", id="an empty tag"),
    ],
)
async def test_what_cannot_be_read_is_a_permanent_error_and_asks_nothing(tags: bytes, reason: str) -> None:
    content = hand_signed(PLAIN).replace(PLAIN.replace(b"{bh}", b""), b"", 1)
    _, _, rest = content.partition(b"\r\n")
    found = await dkim(b"DKIM-Signature: " + tags.replace(b"{bh}", b"AAAA") + b"; b=AAAA\r\n" + rest, both())
    assert [(one.result.value, one.reason, one.lookup) for one in found] == [("permerror", reason, None)]


async def test_an_octet_zero_in_a_domain_never_becomes_a_question() -> None:
    found = await dkim(b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org\0.evil.example; s=r; h=from; bh=AAAA; b=AAAA\r\n" + HEADER + BODY, both())
    assert [(one.result.value, one.domain, one.lookup) for one in found] == [("permerror", "", None)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param((b"Ann", b"Anna"), "signature does not fit what is signed", id="a signed field changed"),
        pytest.param((b"end", b"End"), "body is not the one that was signed", id="the body changed"),
        pytest.param((b"From: Ann", b"Subject: more\r\nFrom: Ann"), "", id="a field named once is added above: it holds, and is told"),
        pytest.param((b"Received", b"X: y\r\nReceived"), "", id="an unsigned field added"),
    ],
)
async def test_changes_on_the_way(change: tuple[bytes, bytes], reason: str) -> None:
    found = await dkim(hand_signed(PLAIN).replace(*change, 1), both())
    assert [one.reason for one in found] == [reason]
    assert found[0].uncovered == (("subject", "message-id") if b"more" in change[1] else ("message-id",))


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        pytest.param(b"; x=%d" % (NOW - 1), "signature expired", id="expired"),
        pytest.param(b"; t=%d" % (NOW + SIGNED_AHEAD_SECONDS + 1), "signed in the future", id="signed in the future"),
    ],
)
async def test_times(times: bytes, reason: str) -> None:
    assert await one(hand_signed(PLAIN + times)) == ("fail", reason)


async def test_l_covers_what_it_covers_and_what_stands_behind_it_makes_no_pass() -> None:
    signed = hand_signed(PLAIN + b"; l=%d" % len(BODY.rstrip(b"\r\n") + b"\r\n"))
    found = (await dkim(signed, both()))[0]
    assert (found.result.value, found.length, found.beyond) == ("pass", len(BODY) - 2, 0)
    longer = (await dkim(signed.removesuffix(b"\r\n") + b"<p>buy\r\n", both()))[0]
    assert (longer.result.value, longer.beyond, longer.reason) == ("policy", 8, "8 octets of the body are not signed")
    shorter = (await dkim(hand_signed(PLAIN + b"; l=9999"), both()))[0]
    assert (shorter.result.value, shorter.reason) == ("fail", "tag l is longer than the body")


@pytest.mark.parametrize(
    ("record", "result", "reason"),
    [
        pytest.param(None, "permerror", "no key record", id="no record"),
        pytest.param("v=spf1 -all", "permerror", "key record: version is not DKIM1", id="a text of something else"),
        pytest.param("v=DKIM1; p=", "permerror", "key record: key is revoked", id="a revoked key"),
        pytest.param("v=DKIM1; k=rsa", "permerror", "key record: tag p is missing", id="no key in the record"),
        pytest.param("v=DKIM2; {p}", "permerror", "key record: version is not DKIM1", id="another version"),
        pytest.param("k=rsa; v=DKIM1; {p}", "permerror", "key record: version is not DKIM1", id="a version that does not come first"),
        pytest.param("v=DKIM1; h=sha1; {p}", "permerror", "key record: key is not for sha256", id="a key for SHA-1"),
        pytest.param("v=DKIM1; h=sha1:sha256; {p}", "pass", "", id="a key for both hashes"),
        pytest.param("v=DKIM1; s=tlsrpt; {p}", "permerror", "key record: key is not for mail", id="a key for something else"),
        pytest.param("v=DKIM1; s=other:email; {p}", "pass", "", id="a key for mail among others"),
        pytest.param("v=DKIM1; k=ed25519; {e}", "permerror", "key is of another type than the signature", id="a key of the other type"),
        pytest.param("v=DKIM1; k=ed25519; {p}", "permerror", "key record: key cannot be read", id="an RSA key that says Ed25519"),
        pytest.param("v=DKIM1; p=AAAA", "permerror", "key record: key cannot be read", id="no key at all"),
        pytest.param("v=DKIM1; p=???", "permerror", "key record: key is not base64", id="no base64"),
        pytest.param("{p}", "pass", "", id="the key alone"),
        pytest.param("v=DKIM1; k=rsa; t=y:s; n=note; {p}", "pass", "", id="flags and notes"),
    ],
)
async def test_key_records(record: str | None, result: str, reason: str) -> None:
    parts = {kind: key_record(key).text.rpartition("; ")[2] for kind, key in (("p", rsa_key()), ("e", ed_key()))}
    resolver = table({} if record is None else {"r._domainkey.example.org": record.format(**parts)})
    assert await one(hand_signed(PLAIN), resolver) == (result, reason)


async def test_the_key_may_stand_beside_a_text_of_something_else() -> None:
    resolver = TableResolver({"r._domainkey.example.org": {"TXT": ["v=spf1 -all", "v=DKIM1; p=", key_record(rsa_key()).text]}})
    assert (await one(hand_signed(PLAIN), resolver))[0] == "pass"


@pytest.mark.parametrize(
    ("identity", "result"), [pytest.param(b"@example.org", "pass", id="the domain"), pytest.param(b"@a.example.org", "permerror", id="below it")]
)
async def test_flag_s_keeps_identities_below_the_domain_out(identity: bytes, result: str) -> None:
    record = key_record(rsa_key()).text.replace("k=rsa", "t=s; k=rsa")
    assert (await one(hand_signed(PLAIN + b"; i=" + identity), table({"r._domainkey.example.org": record})))[0] == result


async def test_testing_is_told_at_pass_and_at_fail() -> None:
    resolver = zone(key_record(rsa_key(), testing=True))
    found = [(await dkim(content, resolver))[0] for content in (hand_signed(PLAIN), hand_signed(PLAIN).replace(b"end", b"End"))]
    assert [(one.result.value, one.testing, one.key_bits) for one in found] == [("pass", True, 2048), ("fail", True, 2048)]


@pytest.mark.parametrize("outcome", ["SERVFAIL", "TIMEOUT"])
async def test_a_key_that_cannot_be_had_now_is_temporary(outcome: str) -> None:
    found = (await dkim(hand_signed(PLAIN), TableResolver({"r._domainkey.example.org": {"TXT": outcome}})))[0]
    assert (found.result.value, found.reason) == ("temperror", "key cannot be had now")
    assert found.lookup is not None
    assert found.lookup.outcome == "no answer"


async def test_each_signature_has_its_own_result_and_each_key_is_asked_once() -> None:
    asked: list[str] = []

    class Counting(TableResolver):
        async def ask(self, kind: str, name: str) -> Answer:
            asked.append(name)
            return await super().ask(kind, name)

    resolver = Counting({key_record(key).name: {"TXT": [key_record(key).text]} for key in (rsa_key(), ed_key())})
    header = sign(Header(HEADER), [BODY], [rsa_key(), ed_key(), rsa_key()], now=NOW)
    broken = b"DKIM-Signature: v=1\r\n"
    found = await dkim(broken + header + HEADER + BODY, resolver)
    assert [one.result.value for one in found] == ["permerror", "pass", "pass", "pass"]
    assert sorted(asked) == ["e._domainkey.example.org", "r._domainkey.example.org"]


async def test_others_have_their_turn_between_two_signatures() -> None:
    """RSA of 8192 bits with four keys at each name took 85 ms of the loop in one piece, for a message of 24 KB."""
    message = read_message(sign(Header(HEADER), [BODY], [ed_key()], now=NOW) * DKIM_SIGNATURES_MAX + HEADER, [BODY])
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    await check_dkim(both(), message, NOW)
    waiting.cancel()
    assert turns >= DKIM_SIGNATURES_MAX - 1


async def test_signatures_beyond_the_bound_are_counted_and_left() -> None:
    header = sign(Header(HEADER), [BODY], [ed_key()], now=NOW) * (DKIM_SIGNATURES_MAX + 3)
    message = read_message(header + HEADER, [BODY])
    assert message.ignored == 3
    assert len(await check_dkim(both(), message, NOW)) == DKIM_SIGNATURES_MAX


async def test_a_body_fed_as_it_arrives_gives_the_same() -> None:
    content = sign(Header(HEADER), [BODY], [rsa_key()], now=NOW) + HEADER
    message = SignedMessage(Header(content))
    assert message.needs_body
    for octet in BODY:
        message.feed(bytes([octet]))
    assert [one.result.value for one in await check_dkim(both(), message, NOW)] == ["pass"]


def _prime(rnd: random.Random, bits: int) -> int:
    while True:
        number = rnd.getrandbits(bits) | (3 << (bits - 2)) | 1
        if number % 65537 != 1 and all(pow(rnd.randrange(2, number - 1), number - 1, number) == 1 for _ in range(8)):
            return number


class SmallKey:
    """Textbook RSA: the library makes no keys this short."""

    def __init__(self, bits: int, exponent: int = 65537) -> None:
        rnd = random.Random(bits)
        p, q = _prime(rnd, bits // 2), _prime(rnd, bits // 2)
        self.n, self.e, self.bits = p * q, exponent, bits
        self.d = pow(exponent, -1, (p - 1) * (q - 1))

    def sign(self, digest: bytes) -> bytes:
        info = bytes.fromhex("3031300d060960864801650304020105000420") + digest
        size = self.bits // 8
        padded = b"\0\1" + b"\xff" * (size - len(info) - 3) + b"\0" + info
        return pow(int.from_bytes(padded, "big"), self.d, self.n).to_bytes(size, "big")

    def record(self) -> str:
        return "v=DKIM1; p=" + base64.b64encode(_der(self.n, self.e)).decode()


def _der(n: int, e: int) -> bytes:
    """RSAPublicKey (RFC 8017 appendix A.1.1), written by hand."""

    def item(tag: int, octets: bytes) -> bytes:
        count = len(octets)
        size = bytes([count]) if count < 0x80 else bytes([0x81, count]) if count < 0x100 else b"\x82" + count.to_bytes(2, "big")
        return bytes([tag]) + size + octets

    numbers = b"".join(item(2, number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in (n, e))
    return item(0x30, numbers)


@pytest.mark.parametrize(
    ("bits", "result"), [pytest.param(768, "fail", id="768 bits"), pytest.param(1016, "fail", id="1016 bits"), pytest.param(1024, "pass", id="1024 bits")]
)
async def test_keys_under_1024_bits_do_not_count_though_the_signature_is_right(bits: int, result: str) -> None:
    key = SmallKey(bits)
    content = hand_signed(PLAIN, key=key)  # type: ignore[arg-type]  # a key of our own with the same method
    found = (await dkim(content, table({"r._domainkey.example.org": key.record()})))[0]
    assert (found.result.value, found.key_bits) == (result, bits), found


def test_keys_that_would_cost_too_much_are_not_used() -> None:
    large = (1 << 8200) + 1
    assert "too large" in parse_key(b"p=" + base64.b64encode(_der(large, 65537))).problem
    n = SmallKey(1024).n
    assert "too large" in parse_key(b"p=" + base64.b64encode(_der(n, (1 << 1000) + 1))).problem


async def test_u_labels_are_asked_as_a_labels() -> None:
    """RFC 8616 §5: d=, s= and i= in UTF-8."""
    key = load_signing_key("xn--bcher-kva.example", "xn--schlssel-95a", pem_of(rsa_key()))
    tags = "v=1; a=rsa-sha256; d=bücher.example; s=schlüssel; i=grüße@post.bücher.example; h=from; bh={bh}".encode()
    found = (await dkim(hand_signed(tags), zone(key_record(key))))[0]
    assert (found.result.value, found.domain, found.selector) == ("pass", "xn--bcher-kva.example", "xn--schlssel-95a"), found
    assert found.identity == "grüße@post.xn--bcher-kva.example"


async def test_the_facts_of_a_result() -> None:
    content = sign(Header(HEADER), [BODY], [rsa_key()], now=NOW, lifetime=60) + b"Reply-To: x@example.net\r\nCc: y@example.net\r\n" + HEADER + BODY
    found = (await dkim(content, both()))[0]
    assert (found.domain, found.selector, found.identity, found.algorithm) == (DOMAIN, "r", "@example.org", "rsa-sha256")
    assert (found.signed_at, found.expires, found.length, found.beyond) == (NOW, NOW + 60, None, 0)
    assert found.result is Result.FAIL  # Reply-To is oversigned
    assert found.uncovered == ("cc",)
    assert set(found.oversigned) == {"from", "to", "subject", "date"}
    assert found.covered.count("from") == 2
    assert found.signature == base64.b64encode(base64.b64decode(found.signature)).decode()
    assert found.lookup is not None
    assert found.lookup.name == "r._domainkey.example.org"


def test_the_signing_key_of_the_tests_is_rsa() -> None:
    key: SigningKey = rsa_key()
    assert isinstance(key.private, RSAPrivateKey)
    numbers = key.private.public_key().public_numbers()
    spki = RSAPublicNumbers(numbers.e, numbers.n).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert base64.b64encode(spki).decode() in key_record(key).text
