# SPDX-License-Identifier: Apache-2.0
"""Published DKIM messages, read in place: RFC 6376 and RFC 8463 examples, those of three implementations, and the cases of users' trouble."""

from __future__ import annotations

import json
import tarfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from moatmail.mailauth.dkim import DKIMResult
from moatmail.mailauth.dkim_key import parse_key
from moatmail.mailauth.sign import load_signing_key, sign
from moatmail.message.header import Header
from moatmail.net.resolver_table import TableResolver
from tests.unit.mailauth.signing import NOW, crlf, dkim, split
from tests.unit.message.reading import CASES, DATA

SUITE = DATA / "dkim"
KEYS = SUITE / "published-test-keys.tar.xz"
DKIMPY = SUITE / "dkimpy"

pytestmark = pytest.mark.skipif(not SUITE.is_dir(), reason="the DKIM messages (data/dkim) are not here")


def stalwart(name: str) -> tuple[TableResolver, bytes]:
    """One of its files: records, an empty line, the message."""
    head, _, content = (SUITE / "stalwart" / name).read_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")
    records = dict(line.decode().split(" ", 1) for line in head.splitlines() if line)
    return TableResolver({name: {"TXT": [text]} for name, text in records.items()}), crlf(content)


def tables(path: Path) -> TableResolver:
    return TableResolver(json.loads(path.read_text()))


def published(name: str) -> bytes:
    with tarfile.open(KEYS) as archive:
        member = archive.extractfile(name)
        assert member is not None
        return member.read()


def results(found: tuple[DKIMResult, ...]) -> list[str]:
    return [one.result.value for one in found]


def football(**overrides: str) -> TableResolver:
    """The zone of RFC 8463 appendix A with the records that lie beside dkimpy's messages."""
    names: Mapping[str, str] = {
        "brisbane._domainkey.football.example.com": "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        "test._domainkey.football.example.com": (DKIMPY / overrides.get("test", "test.txt")).read_text().strip(),
        "test._domainkey.example.com": (DKIMPY / overrides.get("test", "test.txt")).read_text().strip(),
        "test._domainkey.legitimate.com(.attacker.com": (DKIMPY / "test.txt").read_text().strip(),
        "sed._domainkey.test.ex": (DKIMPY / "eximtest.dns").read_text().strip(),
        "20120113._domainkey.gmail.com": (DKIMPY / "test2.txt").read_text().strip(),
    }
    return TableResolver({name: {"TXT": [text]} for name, text in names.items()})


async def test_rfc_8463_appendix_a_both_signatures() -> None:
    resolver, content = stalwart("001.txt")
    found = await dkim(content, resolver)
    assert [(one.result.value, one.algorithm, one.selector, one.key_bits) for one in found] == [
        ("pass", "ed25519-sha256", "brisbane", 256),
        ("pass", "rsa-sha256", "test", 1024),
    ]
    assert {one.identity for one in found} == {"@football.example.com"}
    assert found[0].oversigned == ("from", "subject", "date")


async def test_simple_simple() -> None:
    resolver, content = stalwart("002.txt")
    assert results(await dkim(content, resolver)) == ["pass"]


async def test_the_records_may_come_in_pieces() -> None:
    assert results(await dkim(crlf((SUITE / "mailauth" / "signed.eml").read_bytes()), tables(SUITE / "mailauth" / "dns.json"))) == ["pass", "pass"]


@pytest.mark.parametrize(
    ("name", "wanted", "reason"),
    [
        pytest.param("rfc6376.signed.msg", ["pass", "pass"], "", id="RFC 6376 signed twice in simple form"),
        pytest.param("rfc6376.signed.rsa.msg", ["pass"], "", id="RFC 6376 signed with RSA"),
        pytest.param("rfc6376.signed.no_t.msg", ["fail"], "fit", id="RFC 6376 with tags changed after signing"),
        pytest.param("ed25519test2.msg", ["pass"], "", id="Exim's Ed25519 with folding before a semicolon"),
        pytest.param("test.message.baddomain", ["permerror"], "tag d is no domain name", id="a parenthesis in d="),
        pytest.param("test2.message", ["fail"], "", id="a large service's folding is read, under another key"),
        pytest.param("test.message", [], "", id="an unsigned message"),
    ],
)
async def test_dkimpys_messages(name: str, wanted: list[str], reason: str) -> None:
    found = await dkim(crlf((DKIMPY / name).read_bytes()), football())
    assert results(found) == wanted, found
    assert all(reason in one.reason for one in found)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        pytest.param("test.txt", "", id="an unknown tag g= is no harm"),
        pytest.param("test2.txt", "", id="k= may be missing"),
        pytest.param("test_bad.txt", "cannot be read", id="a damaged key"),
        pytest.param("badk.txt", "key type unknown", id="an unknown type"),
        pytest.param("badversion.txt", "version", id="a colon in the place of a semicolon"),
        pytest.param("test_tlsrpt.txt", "not for mail", id="a key for TLS reports"),
        pytest.param("1024_testkey_wo_markers.pub.txt", "", id="1024 bits, SubjectPublicKeyInfo"),
        pytest.param("1024_testkey_wo_markers.pub.rsa.txt", "", id="1024 bits, RSAPublicKey"),
        pytest.param("2048_testkey_wo_markers.pub.txt", "", id="2048 bits, SubjectPublicKeyInfo"),
        pytest.param("2048_testkey_wo_markers.pub.rsa.txt", "", id="2048 bits, RSAPublicKey"),
        pytest.param("2048_testkey_PKCS8.key.pub.txt", "", id="2048 bits, of a PKCS #8 key"),
    ],
)
def test_published_key_records(record: str, problem: str) -> None:
    text = (DKIMPY / record).read_bytes().strip()
    key = parse_key(text if text.startswith(b"v=") else b"v=DKIM1; p=" + b"".join(text.split()))
    assert problem in key.problem
    assert bool(problem) is bool(key.problem)
    assert bool(problem) or key.bits == (2048 if "2048" in record else 1024)


@pytest.mark.skipif(not KEYS.is_file(), reason="the published test keys are not here")
@pytest.mark.parametrize(
    ("name", "record"),
    [
        pytest.param("dkimpy/1024_testkey.key", "1024_testkey_wo_markers.pub.txt", id="1024 bits, PKCS #1"),
        pytest.param("dkimpy/2048_testkey.key", "2048_testkey_wo_markers.pub.rsa.txt", id="2048 bits, PKCS #1"),
        pytest.param("dkimpy/2048_testkey_PKCS8.key", "2048_testkey_PKCS8.key.pub.txt", id="2048 bits, PKCS #8"),
        pytest.param("dkimpy/test.private", "test.txt", id="the key of dkimpy's messages"),
    ],
)
async def test_published_keys_sign_and_their_published_records_verify(name: str, record: str) -> None:
    key = load_signing_key("example.com", "test", published(name))
    header, body = split(crlf((DKIMPY / "test.message").read_bytes()))
    text = (DKIMPY / record).read_text().strip()
    resolver = TableResolver({"test._domainkey.example.com": {"TXT": [text if text.startswith("v=") else "v=DKIM1; p=" + "".join(text.split())]}})
    found = await dkim(sign(Header(header), [body], [key], now=NOW) + header + body, resolver)
    assert results(found) == ["pass"], found


# ---------------------------------------------------------------- cases of users' trouble


def cases() -> list[Any]:
    found = []
    for folder in sorted((CASES / "auth").glob("*-dkim-*")):
        case = tomllib.loads((folder / "case.toml").read_text())
        found.append(pytest.param(folder, case["expect"], id=f"{case['id']}: {case['title']}"))
    return found


def test_the_five_cases_are_here() -> None:
    if not CASES.is_dir():
        pytest.skip("the cases (shared/cases) are not here")
    assert len(cases()) == 5
    print(f"auth cases about DKIM: {len(cases())}")  # noqa: T201 - counts


@pytest.mark.parametrize(("folder", "expect"), cases())
async def test_cases(folder: Path, expect: dict[str, Any]) -> None:
    found = await dkim((folder / "input.eml").read_bytes(), tables(folder / "zone.json"))
    if "dkim" in expect:
        assert results(found) == expect["dkim"], found
    for line in expect.get("dkim_by_domain", ()):
        domain, _, allowed = line.partition("=")
        assert [one.result.value in allowed.split("|") for one in found if one.domain == domain] == [True], found
