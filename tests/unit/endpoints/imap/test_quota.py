# SPDX-License-Identifier: Apache-2.0
"""Quotas over a door: what is told, who may change them, and what happens at the limit.

Obeys RFC 9208.
"""

from __future__ import annotations

from moatmail.store import operations as o
from moatmail.store import queries as q
from tests.unit.endpoints.imap.lab import HELLO, NOW, Lab


async def limit(lab: Lab, octets: int) -> None:
    await lab.store.write(o.Change("admin", "cli", NOW, (o.SetAccount("alice@example.test", "active", octets),)))


async def used_octets(lab: Lab) -> int:
    answer = await lab.store.read(q.LookupAddresses("example.test", ("alice",)))
    assert answer.hits[0].account is not None
    return answer.hits[0].account.used_octets


async def test_usage_and_limit_are_told_in_units_of_1024(lab: Lab) -> None:
    # RFC 9208 §4.1.1, §4.1.2, §5.1.
    await limit(lab, 10 * 1024 * 1024)
    await lab.deliver(HELLO * 40)
    client = await lab.client()
    used = -(-await used_octets(lab) // 1024)
    assert used > 5
    told = b'QUOTA "" (STORAGE %d 10240)' % used
    assert await client.ok('GETQUOTA ""') == [told]
    assert await client.ok("GETQUOTAROOT INBOX") == [b'QUOTAROOT INBOX ""', told]
    # A mailbox that does not exist has the root that it would have.
    assert await client.ok("GETQUOTAROOT a/&APY-") == [b'QUOTAROOT a/&APY- ""', told]
    assert (await client.no("GETQUOTA other")).startswith(b"NO [NONEXISTENT]")


async def test_an_account_without_limit_has_no_root(lab: Lab) -> None:
    # RFC 9208 §3.2, §4.2.2.
    client = await lab.client()
    assert await client.ok("GETQUOTAROOT INBOX") == [b"QUOTAROOT INBOX"]
    assert (await client.no('GETQUOTA ""')).startswith(b"NO [NONEXISTENT]")


async def test_full_to_the_last_octet_shows_as_full(lab: Lab) -> None:
    client = await lab.client()
    await client.append("INBOX", HELLO)
    used = await used_octets(lab)
    await limit(lab, used)
    units = -(-used // 1024)
    assert await client.ok('GETQUOTA ""') == [b'QUOTA "" (STORAGE %d %d)' % (units, units)]


async def test_clients_cannot_set_limits(lab: Lab) -> None:
    # RFC 9208 §4.1.3: QUOTASET is not announced, and the refusal says who can.
    await limit(lab, 1024 * 1024)
    client = await lab.client()
    (capabilities,) = await client.ok("CAPABILITY")
    assert {b"QUOTA", b"QUOTA=RES-STORAGE"} <= set(capabilities.split())
    assert b"QUOTASET" not in capabilities
    assert (await client.no('SETQUOTA "" (STORAGE 999999)')) == b"NO [NOPERM] limits are set by the administrator of this server"
    assert await client.ok('GETQUOTA ""') == [b'QUOTA "" (STORAGE 0 1024)']


async def test_at_the_limit_nothing_is_added_and_everything_can_be_moved(lab: Lab) -> None:
    # RFC 9208 §4.3.1; a copy is the same message and takes no room.
    client = await lab.client()
    await client.append("INBOX", HELLO)
    await limit(lab, await used_octets(lab))
    assert (await client.append("INBOX", HELLO)).startswith(b"NO [OVERQUOTA]")
    await client.ok("SELECT INBOX")
    await client.ok("COPY 1 Archive")
    await client.ok("MOVE 1 Trash")
    assert b'QUOTA "" (STORAGE 1 1)' in await client.ok('GETQUOTA ""')
    # Room comes back when the last place of a message is expunged.
    for name in ("Archive", "Trash"):
        assert (await client.append("INBOX", HELLO)).startswith(b"NO [OVERQUOTA]")
        await client.ok(f"SELECT {name}")
        await client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        await client.ok("EXPUNGE")
    assert (await client.append("INBOX", HELLO)).startswith(b"OK ")


async def test_what_an_expunge_would_give_back_is_told(lab: Lab) -> None:
    # RFC 9208 §4.1.4, RFC 5819.
    client = await lab.client()
    for _ in range(3):
        await client.append("INBOX", HELLO)
    assert await client.ok("STATUS INBOX (DELETED DELETED-STORAGE)") == [b"STATUS INBOX (DELETED 0 DELETED-STORAGE 0)"]
    await client.ok("SELECT INBOX")
    await client.ok("STORE 1,3 +FLAGS.SILENT (\\Deleted)")
    told = b"STATUS INBOX (DELETED 2 DELETED-STORAGE %d)" % (2 * len(HELLO))
    assert await client.ok("STATUS INBOX (DELETED DELETED-STORAGE)") == [told]
    assert (await client.ok('LIST "" INBOX RETURN (STATUS (DELETED DELETED-STORAGE))'))[1] == told
