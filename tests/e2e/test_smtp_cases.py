# SPDX-License-Identifier: Apache-2.0
"""The case bank's area "guard" on a live server: bans, logins, TLS. Cases about what is not built yet are named as skipped by the bank's own runner."""

from __future__ import annotations

import imaplib
import json
import ssl
import subprocess
import sys
import time
import tomllib
from typing import Any

import pytest

from moatmail.app.clock import SystemClock
from moatmail.certs.authority import Authority, ensure
from tests.e2e.raw_smtp import DOORS, Peer
from tests.e2e.test_cases import FOLDER
from tests.e2e.trial import Trial

CASES = {
    str(case["id"]): str(case["title"])
    for case in (tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / "guard").glob("*/case.toml")))
    if not case.get("holdout")
}
PASSWORD = "Grüße, мир 密码"

pytestmark = pytest.mark.skipif(not CASES, reason="the case bank is not here")


@pytest.fixture(scope="module")
def results(server: Trial, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Play the area in one run; the facts have a third account, whose password has letters outside ASCII."""
    folder = tmp_path_factory.mktemp("guard")
    command = [sys.executable, "-m", "moatmail.app.cli", "account", "add", "umlaut@example.test", "--password-stdin", "--dir", str(server.folder)]
    subprocess.run(command, input=PASSWORD + "\n", text=True, check=True, capture_output=True, timeout=60)
    facts, out = folder / "try.json", folder / "results.json"
    facts.write_text(json.dumps({**server.facts, "accounts": [*server.facts["accounts"], {"address": "umlaut@example.test", "password": PASSWORD}]}))
    played = [sys.executable, str(FOLDER / "run.py"), "--facts", str(facts), "--only", "guard", "--json", str(out)]
    done = subprocess.run(played, capture_output=True, text=True, timeout=250, check=False)
    assert out.exists(), done.stdout + done.stderr
    return {case["id"]: case for case in json.loads(out.read_text())["cases"]}


@pytest.mark.parametrize("case", CASES)
def test_the_trouble_that_others_had_is_none_here(case: str, results: dict[str, dict[str, Any]]) -> None:
    result = results[case]
    if result["verdict"] in ("skip", "manual"):
        pytest.skip(f"{case} ({CASES[case]}): {result['evidence']}")
    assert result["verdict"] == "pass", f"{CASES[case]}: {result['evidence']}"


def serials(server: Trial) -> dict[str, str]:
    """Give the serial number that each service shows now."""
    shown = {}
    for door in DOORS:
        with Peer(server, door) as peer:
            if door != "submissions":
                peer.answer()
                peer.ask(b"EHLO peer")
                peer.ask(b"STARTTLS")
                peer.start_tls()
            shown[door] = _serial(peer.sock)
    with imaplib.IMAP4_SSL(*server.address("imaps"), ssl_context=server.tls()) as client:
        shown["imaps"] = _serial(client.sock)
    with imaplib.IMAP4(*server.address("imap")) as client:
        client.starttls(server.tls())
        shown["imap"] = _serial(client.sock)
    return shown


def _serial(sock: object) -> str:
    assert isinstance(sock, ssl.SSLSocket)
    return str((sock.getpeercert() or {})["serialNumber"])


@pytest.mark.timeout(100)
def test_guard_10_a_renewed_certificate_is_on_every_wire_within_a_minute_and_nobody_is_disturbed(own_server: Trial) -> None:
    before = serials(own_server)
    assert len(set(before.values())) == 1
    with imaplib.IMAP4_SSL(*own_server.address("imaps"), ssl_context=own_server.tls()) as reader:
        reader.login(*own_server.account())
        reader.select()
        reader.send(b"x IDLE\r\n")
        assert reader.readline().startswith(b"+ ")
        (own_server.folder / "keys" / "server.pem").unlink()
        ensure(Authority.at(own_server.folder), SystemClock().now())
        end, now = time.monotonic() + 60, before
        while time.monotonic() < end:
            now = serials(own_server)
            if len(set(now.values())) == 1 and not set(now.values()) & set(before.values()):
                break
            time.sleep(0.2)
        else:
            pytest.fail(f"still the old certificate: {now}")
        reader.send(b"DONE\r\n")
        assert reader.readline().startswith(b"x OK")
