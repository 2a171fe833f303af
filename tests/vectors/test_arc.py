# SPDX-License-Identifier: Apache-2.0
"""The ARC test suite, read in place: 171 chains to validate, 17 messages to seal; one chain of another implementation; the case of users' trouble."""

from __future__ import annotations

import json
import lzma
import tomllib
from typing import Any

import pytest
import yaml

from moatmail.mailauth.arc import check_arc
from moatmail.mailauth.arc_seal import Statement, own_results, seal
from moatmail.mailauth.sign import load_signing_key
from moatmail.mailauth.signed import read_message
from moatmail.message.header import Header
from moatmail.net.resolver_table import TableResolver
from tests.unit.mailauth.signing import arc, crlf, split
from tests.unit.message.reading import CASES, DATA

SUITE = DATA / "arc"
# "" is a chain that a seal calls failed: it fails, and no set may be added.
RESULTS = {"None": "none", "Pass": "pass", "Fail": "fail", "": "fail"}

pytestmark = pytest.mark.skipif(not SUITE.is_dir(), reason="the ARC suite (data/arc) is not here")


def documents(name: str) -> list[dict[str, Any]]:
    path = SUITE / name
    if not path.is_file():
        return []
    text = lzma.decompress(path.read_bytes()) if name.endswith(".xz") else path.read_bytes()
    return [one for one in yaml.safe_load_all(text) if one]


def zone(document: dict[str, Any]) -> TableResolver:
    return TableResolver({name: {"TXT": [text]} for name, text in (document.get("txt-records") or {}).items()})


def rows(name: str) -> list[Any]:
    return [
        pytest.param(document, test, id=f"{document['description'].strip()}: {key}, {test['description']}")
        for document in documents(name)
        for key, test in document["tests"].items()
    ]


VALIDATION = rows("arc-draft-validation-tests.yml")
SIGNING = rows("arc-draft-sign-tests.yml.xz")


def test_the_suite_has_its_171_and_17_cases() -> None:
    assert (len(VALIDATION), len(SIGNING)) == (171, 17)
    print(f"ARC suite: {len(VALIDATION)} validations, {len(SIGNING)} seals")  # noqa: T201 - counts


@pytest.mark.parametrize(("document", "test"), VALIDATION)
async def test_validation(document: dict[str, Any], test: dict[str, Any]) -> None:
    found = await arc(crlf(test["message"].encode()), zone(document))
    assert found.result == RESULTS[test["cv"]], found
    assert found.sealed_as_failed is (test["cv"] == "")
    assert bool(found.reason) is (found.result == "fail")


def tags(value: str) -> list[str]:
    """A field's tags without white space, in any order."""
    return sorted("".join(value.split()).rstrip(";").split(";"))


@pytest.mark.parametrize(("document", "test"), SIGNING)
async def test_sealing(document: dict[str, Any], test: dict[str, Any]) -> None:
    header, body = split(crlf(test["message"].encode()))
    message = read_message(header, [body])
    found = await check_arc(zone(document), message)
    key = load_signing_key(document["domain"], document["sel"], document["privatekey"].encode())
    authserv_id = test["srv-id"].encode()
    said = Statement(authserv_id, own_results(message, authserv_id), test["t"], tuple(test["sig-headers"].encode().split(b":")))
    made = Header(seal(message, [body], key, found, said))
    for name, wanted in (("arc-seal", "AS"), ("arc-message-signature", "AMS")):
        assert tags((made.first(name.encode()) or b"").decode()) == tags(test[wanted]), name
    assert "".join((made.first(b"arc-authentication-results") or b"").decode().split()) == "".join(test["AAR"].split())
    assert len(made.names) == (3 if test["AS"] else 0)


async def test_a_chain_of_another_implementation_with_both_algorithms() -> None:
    head, _, content = (SUITE / "stalwart" / "002.txt").read_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")
    records = dict(line.decode().split(" ", 1) for line in head.splitlines() if line)
    found = await arc(crlf(content), TableResolver({name: {"TXT": [text]} for name, text in records.items()}))
    assert found.result == "pass", found
    assert [one.domain for one in found.sealers] == ["scamorza.org", "manchego.org"]


CASE = CASES / "auth" / "24-arc-seal-structure"
EXPECT = tomllib.loads((CASE / "case.toml").read_text())["expect"]["arc"] if CASE.is_dir() else []


@pytest.mark.parametrize("line", EXPECT)
async def test_auth_24_structure_is_judged_before_cryptography(line: str) -> None:
    name, _, wanted = line.partition("=")
    found = await arc((CASE / f"{name}.eml").read_bytes(), TableResolver(json.loads((CASE / "zone.json").read_text())))
    assert found.result == wanted, found
    assert wanted == "pass" or not found.lookups, "a broken structure asks the DNS nothing"
