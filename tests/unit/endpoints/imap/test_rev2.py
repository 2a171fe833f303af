# SPDX-License-Identifier: Apache-2.0
"""IMAP4rev2 over a door: what changes for a client that enabled it, and for nobody else.

Obeys RFC 9051, appendix E above all.
"""

from __future__ import annotations

import re

from tests.unit.endpoints.imap.lab import HELLO, Client, Lab

# Composed and decomposed: two spellings that look the same.
COMPOSED, DECOMPOSED = "K\N{LATIN SMALL LETTER O WITH DIAERESIS}ln", "Ko\N{COMBINING DIAERESIS}ln"


async def rev2_client(lab: Lab, *, select: str = "") -> Client:
    client = await lab.client()
    assert await client.ok("ENABLE IMAP4rev2 X-UNKNOWN") == [b"ENABLED IMAP4rev2"]
    if select:
        await client.ok(f"SELECT {select}")
    return client


async def test_what_it_is_made_of_is_announced(lab: Lab) -> None:
    # RFC 9051 appendix E: extensions that became part of it stay announced for IMAP4rev1.
    client = await lab.client()
    (line,) = await client.ok("CAPABILITY")
    parts = b"IMAP4rev2 IMAP4rev1 NAMESPACE UNSELECT UIDPLUS ESEARCH SEARCHRES ENABLE IDLE SASL-IR LIST-EXTENDED LIST-STATUS MOVE LITERAL+ BINARY SPECIAL-USE"
    assert set(line.split()) >= {*parts.split(), b"STATUS=SIZE"}


async def test_select_says_the_name_and_nothing_of_recent_or_unseen(lab: Lab) -> None:
    # RFC 9051 §6.3.2, appendix E.
    await lab.deliver(HELLO)
    client = await rev2_client(lab)
    told = await client.ok("SELECT inbox")
    assert b'LIST () "/" INBOX' in told
    assert not [line for line in told if b"RECENT" in line or b"UNSEEN" in line]
    assert {line.split(b"[")[1].split()[0] for line in told if line.startswith(b"OK [")} >= {b"PERMANENTFLAGS", b"UIDNEXT", b"UIDVALIDITY"}
    assert await client.ok("FETCH 1 FLAGS") == [b"1 FETCH (FLAGS ())"]
    told = await client.ok("EXAMINE INBOX")
    assert told[0].startswith(b"OK [CLOSED]")
    await lab.deliver(HELLO)
    assert await client.ok("NOOP") == [b"2 EXISTS"]
    await client.ok("CLOSE")
    assert not any(b"CLOSED" in line for line in await client.ok("SELECT INBOX"))
    # Who did not enable it is told all of it, and the messages are still recent to him.
    told = await (await lab.client()).ok("SELECT INBOX")
    assert b"2 RECENT" in told
    assert any(b"[UNSEEN 1]" in line for line in told)
    assert not any(line.startswith(b"LIST") for line in told)


async def test_search_answers_in_the_extended_form_only(lab: Lab) -> None:
    # RFC 9051 §6.4.4.
    await lab.deliver(HELLO, HELLO)
    client = await rev2_client(lab, select="INBOX")
    assert await client.ok("SEARCH ALL") == [b'ESEARCH (TAG "t4") ALL 1:2']
    assert await client.ok("UID SEARCH SUBJECT nothing") == [b'ESEARCH (TAG "t5") UID']
    assert await client.ok("SEARCH RETURN (SAVE) 2") == []
    assert await client.ok("SEARCH RETURN (COUNT) $") == [b'ESEARCH (TAG "t7") COUNT 1']
    assert await client.ok("SORT (SIZE) UTF-8 ALL") == [b"SORT 1 2"]


async def test_what_is_told_unasked_has_its_uid(lab: Lab) -> None:
    # RFC 9051 §7.5.2.
    await lab.deliver(HELLO, HELLO)
    client = await rev2_client(lab, select="INBOX")
    other = await lab.client(select="INBOX")
    await other.ok("STORE 2 +FLAGS.SILENT (\\Flagged)")
    assert await client.ok("NOOP") == [b"2 FETCH (UID 2 FLAGS (\\Flagged))"]
    await client.ok("STORE 1 +FLAGS.SILENT (\\Seen)")
    assert await other.ok("NOOP") == [b"1 FETCH (FLAGS (\\Seen \\Recent))"]


async def test_names_are_utf8_once_it_is_enabled(lab: Lab) -> None:
    # RFC 9051 §5.1; until then they are in modified UTF-7.
    client = await rev2_client(lab)
    old = await lab.client()
    await client.ok(f'CREATE "a&b {COMPOSED}"')
    assert f'LIST (\\HasNoChildren) "/" "a&b {COMPOSED}"'.encode() in await client.ok('LIST "" a*')
    assert b'LIST (\\HasNoChildren) "/" "a&-b K&APY-ln"' in await old.ok('LIST "" a*')
    assert await client.ok(f'STATUS "a&b {COMPOSED}" (MESSAGES DELETED SIZE)') == [f'STATUS "a&b {COMPOSED}" (MESSAGES 0 DELETED 0 SIZE 0)'.encode()]
    assert f'LIST () "/" "a&b {COMPOSED}"'.encode() in await client.ok(f'SELECT "a&b {COMPOSED}"')
    assert (await client.ok('LIST "" "a&b K%" RETURN (STATUS (UNSEEN))'))[1] == f'STATUS "a&b {COMPOSED}" (UNSEEN 0)'.encode()
    await client.ok(f'SUBSCRIBE "a&b {COMPOSED}"')
    assert any(COMPOSED.encode() in line for line in await client.ok('LSUB "" *'))
    assert await old.ok('STATUS "a&-b K&APY-ln" (MESSAGES)') == [b'STATUS "a&-b K&APY-ln" (MESSAGES 0)']
    await client.command(b'CREATE "\xff"')
    assert client.tagged.startswith(b"BAD a mailbox name is not in UTF-8"), client.tagged
    await client.ok("CREATE a&AOk-")  # no UTF-7 any more
    assert b'LIST (\\HasNoChildren) "/" a&-AOk-' in await old.ok('LIST "" a&-A*')


async def test_new_names_are_normalised_and_told(lab: Lab) -> None:
    # RFC 9051 §5.1, §6.3.9.7.
    client = await rev2_client(lab)
    assert await client.ok(f'CREATE "{DECOMPOSED}"') == [f'LIST () "/" "{COMPOSED}" ("OLDNAME" ("{DECOMPOSED}"))'.encode()]
    await client.ok(f'SELECT "{COMPOSED}"')
    # RFC 9051 §6.3.6, §6.3.5: the old name is the one that was, as it was written.
    assert await client.ok(f'RENAME "{COMPOSED}" "x{DECOMPOSED}"') == [f'LIST () "/" "x{COMPOSED}" ("OLDNAME" ("{COMPOSED}"))'.encode()]
    assert await client.ok(f'RENAME "x{DECOMPOSED}" plain') == [f'LIST () "/" plain ("OLDNAME" ("x{DECOMPOSED}"))'.encode()]
    assert await client.ok(f'RENAME plain "{COMPOSED}"') == []
    assert await client.ok(f'DELETE "{DECOMPOSED}"') == [
        b"OK [CLOSED] the selected mailbox was deleted",
        f'LIST (\\NonExistent) "/" "{COMPOSED}" ("OLDNAME" ("{DECOMPOSED}"))'.encode(),
    ]


async def test_deleted_messages_are_counted(lab: Lab) -> None:
    # RFC 9051 §6.3.11.
    await lab.deliver(HELLO, HELLO)
    client = await rev2_client(lab, select="INBOX")
    await client.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
    assert await client.ok("STATUS INBOX (DELETED)") == [b"STATUS INBOX (DELETED 1)"]


async def test_enabled_with_a_mailbox_selected(lab: Lab) -> None:
    # RFC 5161 §3.1 wants it before; some clients come late.
    await lab.deliver(HELLO)
    client = await lab.client(select="INBOX")
    assert await client.ok("FETCH 1 FLAGS") == [b"1 FETCH (FLAGS (\\Recent))"]
    await client.ok("ENABLE IMAP4rev2")
    assert await client.ok("FETCH 1 FLAGS") == [b"1 FETCH (FLAGS ())"]
    assert re.fullmatch(rb'ESEARCH \(TAG "t[0-9]+"\) ALL 1', (await client.ok("SEARCH ALL"))[0])


async def test_idle_tells_arrivals_without_recent(lab: Lab) -> None:
    client = await rev2_client(lab, select="INBOX")
    client.send(b"i IDLE\r\n")
    assert (await client.line()).startswith(b"+ ")
    await lab.deliver(HELLO)
    assert await client.line() == b"* 1 EXISTS"
    client.send(b"DONE\r\n")
    assert await client.rest(b"i") == []
