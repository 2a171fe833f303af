# SPDX-License-Identifier: Apache-2.0
"""The DNS records that are due: lines that a zone file takes, that our own resolver reads back, and that say the right thing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dns.zone
import pytest

from moatmail.admin.dns import records
from moatmail.core.settings.mail import Mail
from moatmail.mailauth.dkim_key import fetch_keys
from moatmail.mailauth.sign import key_record, load_signing_key, new_key
from moatmail.net.resolver_table import TableResolver
from moatmail.store.queries import SigningKeyRow

KEYS = {kind: load_signing_key("example.org", kind, new_key(kind)) for kind in ("rsa", "ed25519")}


def row(kind: str, state: str) -> SigningKeyRow:
    key = KEYS[kind]
    return SigningKeyRow("example.org", key.selector, key.algorithm, state, key_record(key).text, 0.0, 0.0)


def mail(**changed: Any) -> Mail:  # noqa: ANN401 - fields of two groups
    base = Mail()
    host, address = changed.get("smart_host", ""), changed.get("address", "")
    return replace(base, delivery=replace(base.delivery, smart_host=host), reports=replace(base.reports, address=address))


def by_purpose(hostname: str = "mx.example.org", **changed: Any) -> dict[str, str]:  # noqa: ANN401
    return {one.purpose: f"{one.name} {one.type} {one.value}" for one in records("example.org", [], hostname, mail(**changed))}


@pytest.mark.parametrize(
    ("hostname", "changed", "purpose", "said"),
    [
        pytest.param("mx.example.org", {}, "mx", "example.org MX 10 mx.example.org.", id="mail comes to this host"),
        pytest.param("mx.example.org", {}, "spf", "example.org TXT v=spf1 mx -all", id="mail comes from this host and no other"),
        pytest.param("mx.example.org", {"smart_host": "s.test:587"}, "spf", "example.org TXT v=spf1 mx ~all", id="a smart host sends too"),
        pytest.param("mx.example.org", {}, "helo", "mx.example.org TXT v=spf1 a -all", id="notices have the name of the host alone"),
        pytest.param("mx.provider.test", {}, "helo", None, id="the host's name is in another zone"),
        pytest.param("example.org", {}, "helo", None, id="the host has the domain's name"),
        pytest.param("mx.notexample.org", {}, "helo", None, id="a name that only ends like the domain"),
        pytest.param("mx.example.org", {}, "dmarc", "_dmarc.example.org TXT v=DMARC1; p=quarantine", id="no reports"),
        pytest.param(
            "mx.example.org",
            {"address": "dmarc@example.org"},
            "dmarc",
            "_dmarc.example.org TXT v=DMARC1; p=quarantine; rua=mailto:dmarc@example.org",
            id="reports",
        ),
        pytest.param(
            "mx.example.org",
            {"address": "a,b!c@example.org"},
            "dmarc",
            "_dmarc.example.org TXT v=DMARC1; p=quarantine; rua=mailto:a%2Cb%21c@example.org",
            id="what would end the address is written out",
        ),
        pytest.param("mx.example.org", {"address": "d@reports.example.org"}, "dmarc-consent", None, id="reports within the organization"),
        pytest.param(
            "mx.example.org", {"address": "d@other.test"}, "dmarc-consent", "example.org._report._dmarc.other.test TXT v=DMARC1", id="reports elsewhere"
        ),
    ],
)
def test_what_is_due(hostname: str, changed: dict[str, Any], purpose: str, said: str | None) -> None:
    assert by_purpose(hostname, **changed).get(purpose) == said


@pytest.mark.parametrize("state", ["published", "active", "retired"])
async def test_the_record_of_a_key_is_due_as_long_as_the_key_is_known(state: str) -> None:
    (found,) = [one for one in records("example.org", [row("rsa", state)], "mx.example.org", Mail()) if one.purpose == "dkim"]
    answers = await fetch_keys(TableResolver({found.name: {"TXT": [found.value]}}), [found.name])
    assert [key.bits for key in answers[found.name].keys] == [2048]
    assert found.note


def test_the_lines_make_a_zone_that_says_the_same() -> None:
    due = records("example.org", [row("rsa", "active"), row("ed25519", "published")], "mx.example.org", mail(address="d@example.org"))
    text = "\n".join(["$ORIGIN example.org.", "$TTL 300", "@ IN SOA ns hostmaster 1 2 3 4 5", "@ IN NS ns", *(one.line for one in due)])
    zone = dns.zone.from_text(text, relativize=False, check_origin=False)
    for one in due:
        found = zone.get_rdataset(f"{one.name}.", one.type)
        assert found is not None
        texts = [b"".join(rdata.strings).decode() if one.type == "TXT" else rdata.to_text() for rdata in found]
        assert one.value in texts
        assert all(len(part) <= 255 for rdata in found if one.type == "TXT" for part in rdata.strings)
