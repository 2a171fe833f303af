# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from moatmail.core.errors import AlreadyExistsError, ConflictError, MoatmailError, NotFoundError, NotPermittedError
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.interface import Store
from tests.store_contract.given import NOW, arrival, box, change, house, new_id

VERIFIER = (o.Credential("argon2id", "password", b"verifier"),)


async def test_a_lookup_tells_accounts_aliases_and_strangers_in_the_order_asked(store: Store) -> None:
    alice = await house(store)
    await store.write(
        change(o.AddAlias("info", "example.test", ("alice@example.test", "bob@elsewhere.test")), o.SetDomain("example.test", "alice@example.test"))
    )
    answer = await store.read(q.LookupAddresses("example.test", ("nobody", "info", "alice")))
    assert answer.ours
    assert answer.catch_all == "alice@example.test"
    assert [(hit.localpart, hit.account and hit.account.id, hit.targets) for hit in answer.hits] == [
        ("nobody", None, ()),
        ("info", None, ("alice@example.test", "bob@elsewhere.test")),
        ("alice", alice.account, ()),
    ]
    assert answer.hits[2].account is not None
    assert len(answer.hits[2].account.public) == 1216
    stranger = await store.read(q.LookupAddresses("stranger.test", ("alice",)))
    assert (stranger.ours, stranger.catch_all, stranger.hits) == (False, None, (q.AddressHit("alice", None),))


async def test_a_login_gets_opened_verifiers_and_grants(store: Store) -> None:
    alice = await house(store)
    await store.write(change(o.Grant("alice@example.test", "info@example.test", on=True), o.Grant("alice@example.test", "press@example.test", on=True)))
    await store.write(change(o.Grant("alice@example.test", "press@example.test", on=False)))
    facts = await store.read(q.FetchLogin("alice", "example.test"))
    assert facts is not None
    assert (facts.account.id, facts.credentials, facts.granted) == (alice.account, (("argon2id", b"verifier"),), ("info@example.test",))
    await store.write(change(o.SetCredentials("alice@example.test", (o.Credential("scram-sha-256", "password", b"other"),))))
    facts = await store.read(q.FetchLogin("alice", "example.test"))
    assert facts is not None
    assert facts.credentials == (("scram-sha-256", b"other"),)
    assert await store.read(q.FetchLogin("nobody", "example.test")) is None


@pytest.mark.parametrize(
    ("item", "error"),
    [
        pytest.param(o.AddDomain("example.test"), AlreadyExistsError, id="a domain that exists"),
        pytest.param(o.SetDomain("stranger.test", None), NotFoundError, id="a domain that is not ours"),
        pytest.param(o.RemoveDomain("stranger.test"), NotFoundError, id="removing a stranger's domain"),
        pytest.param(o.RemoveDomain("example.test"), ConflictError, id="removing a domain in use"),
        pytest.param(o.AddAccount("alice", "example.test", VERIFIER), AlreadyExistsError, id="an account that exists"),
        pytest.param(o.AddAccount("info", "example.test", VERIFIER), AlreadyExistsError, id="an account where an alias is"),
        pytest.param(o.AddAccount("alice", "stranger.test", VERIFIER), NotFoundError, id="an account of a stranger's domain"),
        pytest.param(o.AddAlias("alice", "example.test", ("x@y.test",)), AlreadyExistsError, id="an alias where an account is"),
        pytest.param(o.AddAlias("info", "example.test", ("x@y.test",)), AlreadyExistsError, id="an alias that exists"),
        pytest.param(o.AddAlias("new", "example.test", ()), ConflictError, id="an alias to nobody"),
        pytest.param(o.RemoveAlias("nobody@example.test"), NotFoundError, id="removing no alias"),
        pytest.param(o.RemoveAccount("nobody@example.test"), NotFoundError, id="removing no account"),
        pytest.param(o.SetCredentials("nobody@example.test", VERIFIER), NotFoundError, id="a password for nobody"),
        pytest.param(o.SetAccount("alice@example.test", "sleepy", 0), ConflictError, id="no such status"),
        pytest.param(o.Grant("nobody@example.test", "x@y.test", on=True), NotFoundError, id="a grant to nobody"),
    ],
)
async def test_a_change_that_fails_in_one_item_changes_nothing(store: Store, item: o.ChangeItem, error: type[MoatmailError]) -> None:
    await house(store)
    await store.write(change(o.AddAlias("info", "example.test", ("alice@example.test",))))
    before = await store.read(q.GetSettings())
    with pytest.raises(error):
        await store.write(change(o.SetSetting("first", "1"), o.AddDomain("new.test"), item))
    assert await store.read(q.GetSettings()) == before
    assert not (await store.read(q.LookupAddresses("new.test", ()))).ours


async def test_every_change_is_recorded_with_before_and_after_and_no_secret(store: Store) -> None:
    await house(store)
    version = await store.write(change(o.SetAccount("alice@example.test", "frozen", 9), o.SetSetting("size", "50"), o.SetSetting("size", None)))
    recorded = await store.read(q.ListRecorded())
    assert len(recorded) == version == 3
    assert (recorded[0].actor, recorded[0].door, recorded[0].at) == ("admin@example.test", "cli", NOW)
    assert json.loads(recorded[0].items) == [
        {
            "item": "SetAccount",
            "object": "alice@example.test",
            "before": {"status": "active", "quota_octets": 0},
            "after": {"status": "frozen", "quota_octets": 9},
        },
        {"item": "SetSetting", "object": "size", "before": None, "after": "50"},
        {"item": "SetSetting", "object": "size", "before": "50", "after": None},
    ]
    assert not any("verifier" in row.items for row in recorded)


async def test_settings_that_differ_are_given_with_the_version_that_the_change_answered(store: Store) -> None:
    version = await store.write(change(o.SetSetting("a", "1"), o.SetSetting("b", '"two"')))
    assert await store.read(q.GetSettings()) == q.SettingsAnswer(version, {"a": "1", "b": '"two"'})


async def test_a_change_repeated_under_its_id_is_done_once(store: Store) -> None:
    once = o.Change("admin", "web", NOW, (o.AddDomain("example.test"),), new_id())
    assert await store.write(once) == await store.write(once) == 1
    assert len(await store.read(q.ListRecorded())) == 1


async def test_lists_come_by_address_in_pages(store: Store) -> None:
    await store.write(change(o.AddDomain("b.test"), o.AddDomain("a.test")))
    for localpart, domain in (("z", "a.test"), ("m", "b.test"), ("a", "b.test")):
        await store.write(change(o.AddAccount(localpart, domain, VERIFIER), o.AddAlias(f"alias-{localpart}", domain, (f"{localpart}@{domain}",))))

    def names(rows: tuple[q.AccountRow, ...] | tuple[q.AliasRow, ...]) -> list[str]:
        return [f"{row.localpart}@{row.domain}" for row in rows]

    assert names(await store.read(q.ListAccounts())) == ["z@a.test", "a@b.test", "m@b.test"]
    assert names(await store.read(q.ListAccounts(after="z@a.test", limit=1))) == ["a@b.test"]
    assert names(await store.read(q.ListAccounts("b.test", after="a@b.test"))) == ["m@b.test"]
    assert names(await store.read(q.ListAliases())) == ["alias-z@a.test", "alias-a@b.test", "alias-m@b.test"]
    assert (await store.read(q.ListAliases("a.test")))[0].targets == ("z@a.test",)
    assert await store.read(q.ListDomains()) == (q.DomainRow("a.test", None, 1, 1), q.DomainRow("b.test", None, 2, 2))


async def test_postmaster_is_the_first_active_account_of_the_domain_or_of_all(store: Store) -> None:
    async def postmaster(domain: str = "") -> tuple[str, str]:
        answer = await store.read(q.GetPostmaster(domain))
        return answer.domain, f"{answer.account.localpart}@{answer.account.domain}" if answer.account else ""

    assert await postmaster() == ("", "")
    await store.write(change(o.AddDomain("b.test"), o.AddDomain("a.test"), o.AddDomain("empty.test")))
    assert await postmaster("b.test") == ("b.test", "")
    await store.write(change(*(o.AddAccount(localpart, domain, VERIFIER) for localpart, domain in (("z", "a.test"), ("m", "b.test"), ("n", "b.test")))))
    assert await postmaster() == ("a.test", "z@a.test")
    assert await postmaster("b.test") == ("b.test", "m@b.test")
    assert await postmaster("empty.test") == ("empty.test", "z@a.test")
    await store.write(change(o.SetAccount("m@b.test", "frozen", 0)))
    assert await postmaster("b.test") == ("b.test", "n@b.test")


async def test_an_alias_and_an_empty_domain_can_be_removed(store: Store) -> None:
    await store.write(change(o.AddDomain("a.test"), o.AddAlias("x", "a.test", ("y@z.test",))))
    await store.write(change(o.RemoveAlias("x@a.test"), o.RemoveDomain("a.test")))
    assert await store.read(q.ListDomains()) == ()


async def test_keys_are_handed_out_with_a_journal_entry_and_never_for_a_frozen_account(store: Store) -> None:
    alice = await house(store)
    first = await store.write(o.OpenAccount(alice.account, "imap login", NOW))
    assert (len(first.private), len(first.mailbox_key)) == (96, 32)
    assert await store.write(o.OpenAccount(alice.account, "imap login", NOW)) == first
    journal = await store.read(q.ListJournal())
    assert len(journal) == 2
    assert f"opened account {alice.account}: imap login" in journal[0].what
    await store.write(change(o.SetAccount("alice@example.test", "frozen", 0)))
    with pytest.raises(NotPermittedError):
        await store.write(o.OpenAccount(alice.account, "imap login", NOW))
    with pytest.raises(NotFoundError):
        await store.write(o.OpenAccount(77, "imap login", NOW))


async def test_a_removed_account_leaves_nothing_and_its_number_is_not_given_again(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    accept = arrival(alice.account)
    shared = o.Delivery(o.NewMessage(new_id(), bob.account, accept.contents[0].id, b"\x02c", b"", b"", 2_000, NOW))
    await store.write(o.Accept(accept.contents, (*accept.deliveries, shared)))
    own = arrival(alice.account, flags=4)
    await store.write(own)
    await store.write(o.Expunge(alice.account, alice.inbox, None, NOW))
    await store.write(change(o.RemoveAccount("alice@example.test")))
    assert (await store.read(q.LookupAddresses("example.test", ("alice",)))).hits[0].account is None
    assert await store.read(q.ListMailboxes(alice.account)) == q.MailboxesAnswer((), ())
    assert await store.read(q.GetContent(own.contents[0].id)) is None
    assert await store.read(q.GetContent(accept.contents[0].id)) is not None
    assert (await box(store, bob)).messages == 1
    with pytest.raises(NotFoundError):
        await store.write(arrival(alice.account))
    with pytest.raises(NotFoundError):
        await store.write(o.OpenAccount(alice.account, "imap login", NOW))
    again = await house(store)
    assert again.account > bob.account


async def test_the_queue_has_keys_from_the_first_start(store: Store) -> None:
    assert await store.read(q.GetQueueKeys()) == q.QueueKeys(b"queue-public", b"")
    assert await store.read(q.GetQueueKeys(private=True)) == q.QueueKeys(b"queue-public", b"queue-private")
