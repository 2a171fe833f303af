# SPDX-License-Identifier: Apache-2.0
"""ID: what a stranger, and what our user learns of us; and what the log learns of a program, which can forge no line of it.

Obeys RFC 2971.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from moatmail.core.events import Event
from moatmail.core.limits.endpoints import CLIENT_WORD
from moatmail.endpoints.imap.identify import describe
from tests.unit.endpoints.imap.lab import Lab, imap_lab, quick

STRANGER = b'ID ("name" "Moatmail" "support-url" "mailto:postmaster@mx.example.test")'
USER = b'ID ("name" "Moatmail" "version" "9.8.7" "support-url" "mailto:postmaster@mx.example.test")'


def named(lab: Lab) -> list[Event]:
    return [event for event in lab.events.seen if event.name == "client.named"]


async def test_a_stranger_is_told_no_version(lab: Lab) -> None:
    client = await lab.client(login=False)
    assert await client.ok("ID NIL") == [STRANGER]
    assert await client.ok('ID ("name" "scanner" "version" "1")') == [STRANGER]
    assert b"9.8.7" not in client.greeting
    await client.no('LOGIN alice@example.test "wrong"')
    assert await client.ok("ID NIL") == [STRANGER]
    assert not named(lab)


async def test_our_user_is_told_the_version(lab: Lab) -> None:
    client = await lab.client()
    assert await client.ok("ID NIL") == [USER]
    assert await client.ok("ID ()") == [USER]
    await client.ok("SELECT INBOX")
    assert await client.ok('ID ("name" NIL)') == [USER]


async def test_an_administrator_says_where_help_is(furnished: Path, tmp_path: Path) -> None:
    async with imap_lab(furnished, tmp_path / "other", settings=quick(support_url="https://example.test/help")) as lab:
        client = await lab.client(login=False)
        assert await client.ok("ID NIL") == [b'ID ("name" "Moatmail" "support-url" "https://example.test/help")']


@pytest.mark.parametrize("before", [pytest.param(True, id="said before login"), pytest.param(False, id="said after login")])
async def test_the_log_names_the_program_once_a_session(lab: Lab, before: bool) -> None:
    client = await lab.client(login=not before)
    await client.ok('ID ("name" "Thunderbird" "VERSION" "128.5.0" "os" "Linux" "os-version" "6.1" "vendor" "x" "x-device-id" "0815")')
    if before:
        await client.ok('LOGIN alice@example.test "correct horse battery"')
    for _ in range(3):
        await client.ok('ID ("name" "Another")')
    (event,) = named(lab)
    assert event.text == 'alice@example.test uses "Thunderbird 128.5.0 (Linux 6.1)"'
    assert dict(event.facts) == {
        "account": "alice@example.test",
        "client": "Thunderbird 128.5.0 (Linux 6.1)",
        "peer": event.facts["peer"],
        "door": "imap",
    }


async def test_who_says_nothing_is_not_named(lab: Lab) -> None:
    client = await lab.client()
    await client.ok("ID NIL")
    await client.ok("ID ()")
    await client.ok('ID ("x-device-id" "0815")')
    assert not named(lab)
    await client.ok('ID ("name" "late")')
    assert [event.facts["client"] for event in named(lab)] == ["late"]


async def test_a_client_writes_no_line_of_the_log(lab: Lab) -> None:
    client = await lab.client()
    value = b'x"\r\n12:00 bob@example.test logged in\x1b[2K\xe2\x80\xae'
    await client.ok(b'ID ("name" {%d+}\r\n%b "version" {%d+}\r\n%b)' % (len(value), value, 1024, b"\xff" * 1024))
    (event,) = named(lab)
    assert event.text.isprintable()
    assert event.text.count('"') == 2
    assert len(event.facts["client"]) <= 12 * CLIENT_WORD


DESCRIBED = {
    "all of it": (((b"name", b"A"), (b"version", b"1"), (b"os", b"B"), (b"os-version", b"2")), "A 1 (B 2)"),
    "a system without release": (((b"name", b"A"), (b"os", b"B")), "A (B)"),
    "a system alone": (((b"os", b"B"),), "(B)"),
    "a version alone": (((b"version", b"1"),), "1"),
    "nothing of what is kept": (((b"vendor", b"C"), (b"name", None)), ""),
    "the first of two": (((b"name", b"A"), (b"NAME", b"B")), "A"),
    "quotes and blanks": (((b"name", b' "A" '),), "'A'"),
    "octets that are no UTF-8": (((b"name", b"\xff"),), "\N{REPLACEMENT CHARACTER}"),
    "more than a name": (((b"name", b"n" * 1024),), "n" * CLIENT_WORD),
}


@pytest.mark.parametrize(("pairs", "text"), DESCRIBED.values(), ids=DESCRIBED.keys())
def test_what_is_kept_of_a_client(pairs: tuple[tuple[bytes, bytes | None], ...], text: str) -> None:
    assert describe(pairs) == text
