# SPDX-License-Identifier: Apache-2.0
"""What is kept beside mail: signing keys, decisions with their evidence, observations, reports of others and of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import pytest

from moatmail.core.errors import AlreadyExistsError, ConflictError, MoatmailError, NotFoundError, SealBrokenError
from moatmail.core.ports.sealer import Purpose
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.interface import Store
from tests.store_contract.given import NOW, GlassVault, arrival, change, content, house, new_id

T = TypeVar("T")
DAY = int(NOW // 86400)
PRIVATE = b"-----BEGIN PRIVATE KEY-----"


def key(selector: str, state: str = "active") -> o.NewSigningKey:
    return o.NewSigningKey(selector, "ed25519-sha256", f"v=DKIM1; k=ed25519; p={selector}", PRIVATE + selector.encode(), state)


async def eventually(read: Callable[[], Awaitable[T]]) -> T:
    """Give the first answer that is not empty: soft state is written beside what people wait for."""
    for _ in range(500):
        if answer := await read():
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was kept")


# ---------------------------------------------------------------- signing keys


async def test_a_domains_keys_are_listed_without_and_given_to_the_signer_with_their_private_halves(store: Store) -> None:
    await store.write(change(o.AddDomain("example.test", None, (key("a"), key("b", "published")))))
    rows = await store.read(q.ListSigningKeys("example.test"))
    assert [(row.domain, row.selector, row.state, row.record) for row in rows] == [
        ("example.test", "a", "active", "v=DKIM1; k=ed25519; p=a"),
        ("example.test", "b", "published", "v=DKIM1; k=ed25519; p=b"),
    ]
    assert PRIVATE not in msgspec.msgpack.encode(rows)
    given = await store.read(q.GetSigningKeys("example.test"))
    assert given.keys == (q.SigningKey("a", "ed25519-sha256", PRIVATE + b"a", "active"),)
    assert (await store.read(q.GetSigningKeys("stranger.test"))).keys == ()


async def test_a_key_goes_from_published_over_active_and_retired_to_nothing(store: Store) -> None:
    await store.write(change(o.AddDomain("example.test"), o.AddSigningKeys("example.test", (key("n", "published"),))))
    states = []
    for state in ("active", "retired"):
        await store.write(change(o.SetSigningKey("example.test", "n", state)))
        (row,) = await store.read(q.ListSigningKeys())
        states.append((row.state, len((await store.read(q.GetSigningKeys("example.test"))).keys)))
        assert row.changed_at >= row.created_at
    assert states == [("active", 1), ("retired", 0)]
    await store.write(change(o.RemoveSigningKey("example.test", "n")))
    assert await store.read(q.ListSigningKeys()) == ()


async def test_with_a_domain_go_its_keys(store: Store) -> None:
    await store.write(change(o.AddDomain("example.test", None, (key("a"),)), o.AddDomain("other.test", None, (key("a"),))))
    await store.write(change(o.RemoveDomain("example.test")))
    assert [row.domain for row in await store.read(q.ListSigningKeys())] == ["other.test"]


@pytest.mark.parametrize(
    ("item", "error"),
    [
        pytest.param(o.AddSigningKeys("stranger.test", (key("n"),)), NotFoundError, id="a domain that is not ours"),
        pytest.param(o.AddSigningKeys("example.test", (key("a"),)), AlreadyExistsError, id="a selector that is taken"),
        pytest.param(o.AddSigningKeys("example.test", (key("n", "odd"),)), ConflictError, id="a new key in no known state"),
        pytest.param(o.SetSigningKey("example.test", "a", "odd"), ConflictError, id="no known state"),
        pytest.param(o.SetSigningKey("example.test", "n", "active"), NotFoundError, id="a key that is not there"),
        pytest.param(o.RemoveSigningKey("example.test", "n"), NotFoundError, id="removing a key that is not there"),
    ],
)
async def test_a_change_that_cannot_be_changes_no_key(store: Store, item: o.ChangeItem, error: type[MoatmailError]) -> None:
    await store.write(change(o.AddDomain("example.test", None, (key("a"),))))
    with pytest.raises(error):
        await store.write(change(item))
    assert len(await store.read(q.ListSigningKeys())) == 1


async def test_the_record_of_changes_names_keys_and_holds_none(store: Store) -> None:
    await store.write(change(o.AddDomain("example.test", None, (key("a"),)), o.AddSigningKeys("example.test", (key("b"),))))
    (row,) = await store.read(q.ListRecorded())
    assert "a ed25519-sha256 active" in row.items
    assert PRIVATE.decode() not in row.items


# ---------------------------------------------------------------- decisions


def decision(at: float = NOW, *, code: str = "abcdefgh", observed: tuple[o.Observed, ...] = (), evidence: bytes = b"evidence") -> o.Decision:
    vault, key_id = GlassVault(), new_id()
    private = vault.open_queue_keys(vault.new_queue_keys().wrapped)
    sealed = vault.wrap(Purpose.EVIDENCE, 0, (decision_id := new_id()), evidence)
    return o.Decision(decision_id, at, code, {"peer": "192.0.2.1"}, o.EvidenceKey(key_id, private + key_id), sealed, 7, "accept", observed)


async def test_a_decision_is_found_by_id_and_by_code_with_its_evidence(store: Store) -> None:
    alice = await house(store)
    taken, refused = decision(code="aaaaaaaa"), decision(code="bbbbbbbb")
    accept = arrival(alice.account)
    await store.write(o.Accept(accept.contents, accept.deliveries, (), taken))
    await store.write(o.RecordDecision(refused))
    by_id = await eventually(lambda: store.read(q.GetDecision(id=taken.id)))
    by_code = await eventually(lambda: store.read(q.GetDecision(code="bbbbbbbb")))
    assert by_id == q.DecisionRow(taken.id, NOW, "aaaaaaaa", {"peer": "192.0.2.1"}, 7, "accept", b"evidence")
    assert by_code is not None
    assert by_code.id == refused.id
    listed = await store.read(q.ListDecisions())
    assert {row.id: row.evidence for row in listed} == {taken.id: b"", refused.id: b""}
    assert await store.read(q.GetDecision(code="cccccccc")) is None


async def test_decisions_go_after_their_time_and_the_newest_are_listed_first(store: Store) -> None:
    old, new = decision(NOW - 40 * 86400, code="aaaaaaaa"), decision(NOW, code="bbbbbbbb")
    await store.write(o.RecordDecision(new))
    await store.write(o.RecordDecision(old))
    await eventually(lambda: store.read(q.GetDecision(id=old.id)))
    assert [row.id for row in await store.read(q.ListDecisions())] == [new.id, old.id]
    await store.write(o.EraseDecisions(NOW - 30 * 86400))

    async def gone() -> bool:
        return await store.read(q.GetDecision(id=old.id)) is None

    await eventually(gone)
    assert [row.id for row in await store.read(q.ListDecisions())] == [new.id]
    found = await store.read(q.GetDecision(id=new.id))
    assert found is not None
    assert found.evidence == b"evidence"


async def test_equal_observations_of_a_day_are_counted_until_their_report_is_sent(store: Store) -> None:
    one, other = o.Observed("bank.test", '{"ip":"192.0.2.1"}'), o.Observed("bank.test", '{"ip":"192.0.2.2"}')
    for observed in ((one,), (one, other), ()):
        await store.write(o.RecordDecision(decision(observed=observed)))
    await store.write(o.RecordDecision(last := decision(NOW + 86400, observed=(one,))))
    await eventually(lambda: store.read(q.GetDecision(id=last.id)))
    assert await store.read(q.ListObserved(DAY)) == ((one.domain, one.row, 2), (other.domain, other.row, 1))
    await store.write(o.ForgetObserved(DAY, "another.test"))
    await store.write(o.RecordDecision(marker := decision(NOW + 2 * 86400)))
    await eventually(lambda: store.read(q.GetDecision(id=marker.id)))
    assert len(await store.read(q.ListObserved(DAY))) == 2
    await store.write(o.ForgetObserved(DAY, one.domain))

    async def gone() -> bool:
        return not await store.read(q.ListObserved(DAY))

    await eventually(gone)
    assert len(await store.read(q.ListObserved(DAY + 1))) == 1


async def test_an_operation_that_is_sent_again_keeps_one_decision_and_counts_its_observations_once(store: Store) -> None:
    alice = await house(store)
    one = o.Observed("bank.test", "{}")
    accept = arrival(alice.account)
    taken = o.Accept(accept.contents, accept.deliveries, (), decision(observed=(one, one)))
    refused = o.RecordDecision(decision(observed=(one,)))
    for operation in (taken, refused) * 2:
        await store.write(operation)
    await store.write(o.RecordDecision(last := decision(NOW + 1)))
    await eventually(lambda: store.read(q.GetDecision(id=last.id)))
    assert len(await store.read(q.ListDecisions())) == 3
    assert await store.read(q.ListObserved(DAY)) == ((one.domain, one.row, 3),)


async def test_observations_come_in_pages_that_lose_and_repeat_nothing(store: Store) -> None:
    seen = tuple(o.Observed(f"bank{number % 3}.test", f'{{"n":{number:04}}}') for number in range(30))
    await store.write(o.RecordDecision(last := decision(observed=seen)))
    await eventually(lambda: store.read(q.GetDecision(id=last.id)))
    found: list[tuple[str, str, int]] = []
    after = ("", "")
    while page := await store.read(q.ListObserved(DAY, after, 7)):
        assert len(page) <= 7
        found += page
        after = page[-1][:2]
    assert found == sorted((one.domain, one.row, 1) for one in seen)
    assert found == list(await store.read(q.ListObserved(DAY)))


async def test_evidence_whose_key_is_lost_is_empty_and_foreign_evidence_is_refused(store: Store) -> None:
    private = decision()
    lost = msgspec.structs.replace(decision(), key=o.EvidenceKey(new_id(), b"cover of another queue"))
    await store.write(o.RecordDecision(private))
    await store.write(o.RecordDecision(lost))
    assert await eventually(lambda: store.read(q.GetDecision(id=private.id)))
    with pytest.raises(SealBrokenError):
        await store.read(q.GetDecision(id=lost.id))
    row = next(row for row in await store.read(q.ListDecisions()) if row.id == lost.id)
    assert row.facts == lost.facts


# ---------------------------------------------------------------- the journal


async def told(store: Store) -> list[str]:
    return [row.what for row in await store.read(q.ListJournal())]


async def test_who_reads_evidence_is_told_each_time_and_who_looks_at_lists_is_not(store: Store) -> None:
    await store.write(o.RecordDecision(one := decision(code="aaaaaaaa")))
    await eventually(lambda: store.read(q.ListDecisions()))
    assert await told(store) == []
    for _ in range(2):
        await store.read(q.GetDecision(code="aaaaaaaa"))
    await store.read(q.GetDecision(code="bbbbbbbb"))
    assert await told(store) == [f"read the evidence of decision aaaaaaaa ({one.id.hex()})"] * 2


async def test_keys_that_sign_are_told_of_when_they_leave_and_not_at_every_repetition(store: Store) -> None:
    await store.write(change(o.AddDomain("example.test", None, (key("a"), key("b"), key("c", "published")))))
    for domain in ("example.test", "example.test", "stranger.test"):
        await store.read(q.GetSigningKeys(domain))
    await store.read(q.ListSigningKeys("example.test"))
    assert await told(store) == ["took the signing keys of example.test: a, b"]
    await store.write(change(o.SetSigningKey("example.test", "c", "active")))
    await store.read(q.GetSigningKeys("example.test"))
    assert len(await told(store)) == 2


# ---------------------------------------------------------------- reports


def report(report_id: str, kind: str = "dmarc", domain: str = "example.test") -> o.NewReport:
    return o.NewReport(new_id(), kind, NOW, domain, "big.test", report_id, NOW - 86400, NOW, {"messages": 3, "passed": 2}, '[{"ip":"192.0.2.1"}]')


async def test_reports_of_others_go_after_a_year(store: Store) -> None:
    old = msgspec.structs.replace(report("old"), received_at=NOW - 401 * 86400.0)
    await store.write(o.Accept((), reports=(old, report("new"))))
    await store.write(o.EraseDecisions(NOW - 30 * 86400.0))
    assert [row.report_id for row in await store.read(q.ListReports())] == ["new"]


async def test_a_report_is_kept_once_with_the_mail_that_brought_it(store: Store) -> None:
    alice = await house(store)
    for reports in ((report("1"),), (report("1"), report("2", kind="tls")), (report("1", domain="other.test"),)):
        accept = arrival(alice.account)
        await store.write(o.Accept(accept.contents, accept.deliveries, reports=reports))
    rows = await store.read(q.ListReports())
    assert sorted((row.kind, row.report_id, row.domain) for row in rows) == [
        ("dmarc", "1", "example.test"),
        ("dmarc", "1", "other.test"),
        ("tls", "2", "example.test"),
    ]
    assert {row.rows for row in rows} == {""}
    assert rows[0].totals == {"messages": 3, "passed": 2}
    assert [row.kind for row in await store.read(q.ListReports(kind="tls"))] == ["tls"]
    assert [row.domain for row in await store.read(q.ListReports(domain="other.test"))] == ["other.test"]
    whole = await store.read(q.GetReport(rows[0].id))
    assert whole is not None
    assert whole.rows == '[{"ip":"192.0.2.1"}]'
    assert await store.read(q.GetReport(new_id())) is None


async def test_a_report_of_ours_is_queued_once(store: Store) -> None:
    sent = o.SentReport(DAY, "bank.test", "example.test")
    for _ in range(2):
        one = content()
        await store.write(o.Accept((one,), (), (o.NewSpool(new_id(), one.id, b"key", b"envelope", NOW, (NOW,), "generated"),), sent=sent))
    assert (await store.read(q.CountQueue())).entries == 1
    await store.write(o.EraseDecisions((DAY + 1) * 86400.0))
    one = content()
    await store.write(o.Accept((one,), (), (o.NewSpool(new_id(), one.id, b"key", b"envelope", NOW, (NOW,), "generated"),), sent=sent))
    assert (await store.read(q.CountQueue())).entries == 2


async def test_signatures_stay_with_an_entry_that_is_tried_again(store: Store) -> None:
    one = content()
    entry = o.NewSpool(new_id(), one.id, b"key", b"envelope", NOW, (NOW,), "submitted")
    await store.write(o.Accept((one,), (), (entry,)))
    (claimed,) = await store.write(o.ClaimSpool(NOW, NOW + 60, "me", 10))
    assert claimed.sealed_prefix == b""
    again = o.RecipientOutcome(0, "queued", NOW + 1)
    await store.write(o.SettleSpool(entry.id, "me", (again,), sealed_prefix=b"signatures"))
    (claimed,) = await store.write(o.ClaimSpool(NOW + 2, NOW + 60, "me", 10))
    assert claimed.sealed_prefix == b"signatures"
    await store.write(o.SettleSpool(entry.id, "me", (again,)))
    (claimed,) = await store.write(o.ClaimSpool(NOW + 3, NOW + 60, "me", 10))
    assert claimed.sealed_prefix == b"signatures"
