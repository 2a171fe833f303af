# SPDX-License-Identifier: Apache-2.0
"""With a real OpenDKIM: what we sign it verifies, what it signs we verify, and what was changed both refuse."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from moatmail.mailauth.result import Result
from moatmail.mailauth.sign import key_record, sign
from moatmail.message.header import Header
from tests.unit.mailauth.signing import BODY, HEADER, both, dkim, pem_of, rsa_key

PROGRAM = shutil.which("opendkim", path="/usr/sbin:/usr/bin:/sbin:/bin") or ""
SIGNED_AT = 1_700_000_000

pytestmark = pytest.mark.skipif(not PROGRAM, reason="needs OpenDKIM (Debian package opendkim)")

MESSAGES = [
    pytest.param(HEADER, BODY, id="odd white space"),
    pytest.param(HEADER, b"", id="no body (auth-01)"),
    pytest.param(HEADER, b"Hello  there \t you\r\n \r\n\t\t\r\nend\r\n  \t\r\n \r\n\r\n", id="lines of blanks at the end (auth-03)"),
    pytest.param(HEADER.replace(b"Subject", b"Cc: a@b.example\r\nCC: c@d.example\r\nsubject"), BODY * 3000, id="repeated fields, a large body"),
]


def opendkim(folder: Path, content: bytes, *settings: str) -> str:
    """Run it over one message in its test mode, without a socket and without the DNS; give what it says."""
    message, configuration = folder / "message.eml", folder / "opendkim.conf"
    message.write_bytes(content)
    configuration.write_text("\n".join(["Syslog no", "RequireSafeKeys no", *settings]) + "\n")
    done = subprocess.run([PROGRAM, "-x", str(configuration), "-t", str(message), "-v"], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


def verification(folder: Path, content: bytes) -> str:
    record = key_record(rsa_key())
    keys = folder / "keys"
    keys.write_text(f"{record.name} {record.text}\n")
    return opendkim(folder, content, f"TestPublicKeys {keys}", "Mode v")


@pytest.mark.parametrize(("header", "body"), MESSAGES)
def test_what_we_sign_it_verifies(tmp_path: Path, header: bytes, body: bytes) -> None:
    content = sign(Header(header), [body], [rsa_key()], now=SIGNED_AT) + header + body
    assert "(s=r, d=example.org, 2048-bit key) succeeded" in verification(tmp_path, content)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b"Ann", b"Bea", id="a field"),
        pytest.param(b"end", b"End", id="the body"),
        pytest.param(b"To:", b"Subject: more\r\nTo:", id="a field added"),
    ],
)
def test_what_was_changed_both_refuse(tmp_path: Path, old: bytes, new: bytes) -> None:
    content = (sign(Header(HEADER), [BODY], [rsa_key()], now=SIGNED_AT) + HEADER + BODY).replace(old, new)
    assert "failed" in verification(tmp_path, content)


@pytest.mark.parametrize("forms", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
@pytest.mark.parametrize(("header", "body"), MESSAGES)
async def test_what_it_signs_we_verify(tmp_path: Path, header: bytes, body: bytes, forms: str) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(pem_of(rsa_key()))
    key.chmod(0o600)
    settings = [
        f"KeyFile {key}",
        "Domain example.org",
        "Selector r",
        "Mode s",
        f"Canonicalization {forms}",
        "SignatureAlgorithm rsa-sha256",
        "OversignHeaders From",
    ]
    said = opendkim(tmp_path, header + body, *settings)
    _, start, field = said.partition("DKIM-Signature: ")
    lines = field.split("\n")
    more = next(number for number, line in enumerate([*lines, ""]) if number and not line.startswith(("\t", " ")))
    content = (start + "\r\n".join(lines[:more]) + "\r\n").encode() + header + body
    found = await dkim(content, both(), now=4_000_000_000)
    assert [(one.result, one.reason) for one in found] == [(Result.PASS, "")], said
    assert [one.result for one in await dkim(content.replace(b"Ann", b"Bea"), both(), now=4_000_000_000)] == [Result.FAIL]
