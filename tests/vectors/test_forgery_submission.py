# SPDX-License-Identifier: Apache-2.0
"""The published cases of forged headers at submission: nobody says something false in another's name, and no forged mark travels."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import smtplib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moatmail.admin import accounts, aliases, domains
from tests.house.indoors import PASSWORD, Indoors, indoors

yaml = pytest.importorskip("yaml")
FOLDER = Path(os.environ.get("MOATMAIL_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "forgery"
SUITE: dict[str, Any] = yaml.safe_load((FOLDER / "cases.yaml").read_text()) if FOLDER.is_dir() else {"cases": []}
CASES: list[dict[str, Any]] = [case for case in SUITE["cases"] if case["side"] == "sub"]
pytestmark = pytest.mark.skipif(not CASES, reason="the suite forgery is not here")
_REPEAT = re.compile(r"\{repeat:(.*?):(\d+)\}", re.DOTALL)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path) as one:
        await domains.add(one.desk, "victim.example")
        await domains.add(one.desk, "other.example", catch_all="ann@example.test")  # so that what was sent can be read here
        for name in ("user", "boss", "ceo"):
            await accounts.add(one.desk, f"{name}@victim.example", PASSWORD, with_scram=False)
        await aliases.add(one.desk, "u.alias@victim.example", ["user@victim.example"])
        await accounts.grant(one.desk, "user@victim.example", "u.alias@victim.example")
        await one.open_door("submission")
        yield one


def content_of(case: dict[str, Any]) -> bytes:
    if "header_b64" in case:
        header = base64.b64decode(case["header_b64"])
    else:
        header = _REPEAT.sub(lambda found: found[1] * int(found[2]), case["header"]).replace("\n", "\r\n").encode()
    body: bytes = case.get("body", "hello\n").replace("\n", "\r\n").encode()
    return header + b"\r\n" + body


def _submit(house: Indoors, case: dict[str, Any]) -> tuple[int, str]:
    envelope = case["envelope"]
    utf8 = " SMTPUTF8" if envelope.get("smtputf8") else ""
    with smtplib.SMTP("127.0.0.1", house.doors["submission"], "laptop.victim.example", timeout=20) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(house.ca)))
        client.login(case["connection"]["auth_user"], PASSWORD)
        for command in (f"MAIL FROM:<{envelope['mail_from']}>{utf8}", *(f"RCPT TO:<{one}>" for one in envelope["rcpt_to"]), "DATA"):
            client.send(command.encode() + b"\r\n")
            code, text = client.getreply()
            if code >= 400:
                return code, text.decode()
        client.send(content_of(case).replace(b"\r\n.", b"\r\n..") + b".\r\n")
        code, text = client.getreply()
        return code, text.decode()


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
async def test_submission(house: Indoors, case: dict[str, Any]) -> None:
    code, text = await asyncio.to_thread(_submit, house, case)
    outcomes = [case["expect"], *({**case["expect"], **other} for other in case.get("also_allowed", []))]
    fitting = [one for one in outcomes if one["submission_allowed"] == (code == 250)]
    assert fitting, (code, text)
    if code != 250:
        refuse = fitting[0]["refuse"]
        assert code in refuse["code"]
        assert any(text.startswith(beginning) for beginning in refuse["enhanced_starts_with"]), text
        return
    (kept,) = await house.messages_of("ann@example.test")
    header = kept.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    below = header[header.index("\r\nReceived:") :]
    for name in fitting[0].get("fields_added", []):
        assert re.search(rf"(?im)^{name}:", header)
    for name in fitting[0].get("fields_absent_in_copies", []):
        assert not re.search(rf"(?im)^{name}\s*:", below)
    for mark in fitting[0].get("fields_removed", []):
        assert mark not in header
    if fitting[0].get("sender_removed"):
        assert not re.search(r"(?im)^sender\s*:", header)
