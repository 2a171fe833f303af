# SPDX-License-Identifier: Apache-2.0
"""The answers to queries, each a few statements on a reading connection.

Obeys RFC 7162 §3.1 and §3.2.5 (what changed, what vanished).
Must never know keys, but for the answers of `answer_at_store`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import takewhile
from typing import Any, Final, NamedTuple

import msgspec

from moatmail.core.errors import LocalProtocolError, StoreUnavailableError
from moatmail.core.limits import store as limits
from moatmail.core.ports.sealer import Purpose
from moatmail.core.ports.vault import SealedEvidenceKey, Vault
from moatmail.store import answer_index, answer_threads
from moatmail.store import queries as q
from moatmail.store.apply.change import ACTIVE, split
from moatmail.store.apply.placements import placement_row
from moatmail.store.apply.uids import ranges
from moatmail.store.apply.work import KeyStore
from moatmail.store.column_items import ColumnsPage, ListColumns
from moatmail.store.operations import PlacementRow
from moatmail.store.sql import directory, mailboxes, messages, queue, signing, soft, state
from moatmail.store.sql.statement import Statement
from moatmail.store.sqlite import Database, Row

_ALL: Final = 2**62
_LAST_UID: Final = 2**32 - 1
QUEUE_SECRET: Final = "queue"  # noqa: S105  the name of a row, not a secret


# ---------------------------------------------------------------- directory


def _lookup_addresses(db: Database, query: q.LookupAddresses) -> q.AddressAnswer:
    if len(query.localparts) > limits.ADDRESSES:
        raise LocalProtocolError(f"{len(query.localparts)} localparts in one look-up")
    domain = db.one(directory.FIND_DOMAIN, {"domain": query.domain})
    if domain is None:
        return q.AddressAnswer(False, tuple(q.AddressHit(localpart, None) for localpart in query.localparts), None)
    return q.AddressAnswer(True, tuple(_hit(db, query.domain, localpart) for localpart in query.localparts), domain[0])


def _hit(db: Database, domain: str, localpart: str) -> q.AddressHit:
    key = {"domain": domain, "localpart": localpart}
    account = db.one(directory.FIND_ACCOUNT, key)
    if account is not None:
        return q.AddressHit(localpart, q.AccountRow(*account))
    return q.AddressHit(localpart, None, _targets(db, key))


def _targets(db: Database, key: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[0] for row in db.all(directory.TARGETS, key))


def _get_postmaster(db: Database, query: q.GetPostmaster) -> q.PostmasterAnswer:
    first = db.one(directory.FIRST_DOMAIN) if not query.domain else None
    domain = first[0] if first else query.domain
    row = db.one(directory.FIRST_ACCOUNT_OF, {"status": ACTIVE, "domain": domain}) or db.one(directory.FIRST_ACCOUNT, {"status": ACTIVE})
    return q.PostmasterAnswer(domain, q.AccountRow(*row) if row else None)


def _list_domains(db: Database, _query: q.ListDomains) -> tuple[q.DomainRow, ...]:
    return tuple(q.DomainRow(*row) for row in db.all(directory.LIST_DOMAINS))


def _page(db: Database, query: q.ListAccounts | q.ListAliases, of_all: Statement, of_one: Statement) -> list[Row]:
    localpart, domain = split(query.after)
    rows = min(query.limit, limits.ROWS)
    if query.domain is None:
        return db.all(of_all, {"after_domain": domain, "after_localpart": localpart, "rows": rows})
    return db.all(of_one, {"domain": query.domain, "after_localpart": localpart, "rows": rows})


def _list_accounts(db: Database, query: q.ListAccounts) -> tuple[q.AccountRow, ...]:
    return tuple(q.AccountRow(*row) for row in _page(db, query, directory.LIST_ACCOUNTS, directory.LIST_ACCOUNTS_OF))


def _list_aliases(db: Database, query: q.ListAliases) -> tuple[q.AliasRow, ...]:
    rows = _page(db, query, directory.LIST_ALIASES, directory.LIST_ALIASES_OF)
    return tuple(q.AliasRow(localpart, domain, _targets(db, {"domain": domain, "localpart": localpart})) for localpart, domain in rows)


def _get_settings(db: Database, _query: q.GetSettings) -> q.SettingsAnswer:
    version = db.one(state.GET_META, {"counter": "settings"})
    return q.SettingsAnswer(version[0] if version else 0, dict(db.all(state.LIST_SETTINGS)))


# ---------------------------------------------------------------- mailboxes and messages


def _list_mailboxes(db: Database, query: q.ListMailboxes) -> q.MailboxesAnswer:
    key = {"account": query.account}
    return q.MailboxesAnswer(
        tuple(q.MailboxRow(*row) for row in db.all(mailboxes.LIST_MAILBOXES, key)),
        tuple(q.SubscriptionRow(*row) for row in db.all(mailboxes.SUBSCRIPTIONS, key)),
    )


def _get_mailbox(db: Database, query: q.GetMailbox) -> q.MailboxRow | None:
    if query.tag:
        row = db.one(mailboxes.GET_TAGGED, {"account": query.account, "tag": query.tag})
    else:
        row = db.one(mailboxes.GET_MAILBOX, {"account": query.account, "mailbox": query.mailbox})
    return q.MailboxRow(*row) if row else None


def _list_placements(db: Database, query: q.ListPlacements) -> tuple[PlacementRow, ...]:
    rows = min(query.limit, limits.ROWS)
    found = db.all(mailboxes.PLACEMENTS_AFTER, {"account": query.account, "mailbox": query.mailbox, "after": query.after, "rows": rows})
    return tuple(map(placement_row, found))


def _list_columns(db: Database, query: ListColumns) -> ColumnsPage:
    rows = min(query.limit, limits.NUMBERS)
    found = db.all(mailboxes.PLACEMENTS_AFTER, {"account": query.account, "mailbox": query.mailbox, "after": query.after, "rows": rows})
    uids, flags, keywords, modseqs = zip(*found, strict=True) if found else ((), (), (), ())
    marked = [(uid, tuple(words.split(" "))) for uid, words in zip(uids, keywords, strict=True) if words] if any(keywords) else ()
    return ColumnsPage(array("I", uids).tobytes(), array("H", flags).tobytes(), array("Q", modseqs).tobytes(), tuple(marked))


def _list_changes(db: Database, query: q.ListChanges) -> q.ChangesAnswer | None:
    """Give changes in the order of their modseqs, cut at a whole modseq, so that `upto` is a place from which to ask again."""
    box = db.one(mailboxes.MAILBOX_STATE, {"account": query.account, "mailbox": query.mailbox})
    if box is None:
        return None
    if box[2] == query.modseq:
        # Nearly every question is this one: one statement instead of five.
        return q.ChangesAnswer((), (), query.modseq, query.modseq, more=False)
    # A change between two of the statements would be told as none: its modseq is behind us when the next question comes.
    with db.snapshot():
        return _changes(db, query)


def _changes(db: Database, query: q.ListChanges) -> q.ChangesAnswer | None:
    box = db.one(mailboxes.MAILBOX_STATE, {"account": query.account, "mailbox": query.mailbox})
    if box is None:
        return None
    highest: int = box[2]
    changed, upto = _up_to_a_whole_modseq(db, mailboxes.CHANGED_SINCE, query, highest)
    gone, upto = _up_to_a_whole_modseq(db, mailboxes.VANISHED_SINCE, query, upto)
    changed = list(takewhile(lambda row: row[0] <= upto, changed))
    rows = tuple(placement_row((uid, flags, keywords, modseq)) for modseq, uid, flags, keywords in changed)
    compare_below = box[1] if query.modseq < box[4] else 0
    return q.ChangesAnswer(rows, tuple(uid for _modseq, uid in gone), highest, upto, upto < highest, compare_below)


def _up_to_a_whole_modseq(db: Database, statement: Statement, query: q.ListChanges, upto: int) -> tuple[list[Row], int]:
    key = {"mailbox": query.mailbox, "since": query.modseq, "upto": upto}
    limit = max(1, min(query.limit, limits.ROWS))
    rows = db.all(statement, key | {"rows": limit + 1})
    if len(rows) <= limit:
        return rows, upto
    last = rows[-1][0]
    whole = [row for row in rows if row[0] < last]
    if whole:
        return whole, last - 1
    # One change touched more rows than a page holds: all of it, or none could ever be told.
    return db.all(statement, key | {"upto": last, "rows": _ALL}), last


def _get_messages(db: Database, query: q.GetMessages) -> tuple[q.MessageRow, ...]:
    if len(query.uids) > limits.ROWS:
        raise LocalProtocolError(f"{len(query.uids)} messages in one query")
    statement = messages.MESSAGES_IN[query.prefix, query.summary]
    wanted = frozenset(query.uids)
    return tuple(
        q.MessageRow(*row)
        for first, last in ranges(query.uids)
        for row in db.all(statement, {"account": query.account, "mailbox": query.mailbox, "first": first, "last": last})
        if row[0] in wanted
    )


def _find_messages(db: Database, query: q.FindMessages) -> tuple[tuple[bytes, int], ...]:
    if len(query.ids) > limits.ROWS:
        raise LocalProtocolError(f"{len(query.ids)} messages in one query")
    key = {"account": query.account, "mailbox": query.mailbox}
    return tuple((id_, uid) for id_ in query.ids for (uid,) in db.all(mailboxes.PLACED_AS, key | {"id": id_}))


def _list_vanished(db: Database, query: q.ListVanished) -> q.VanishedPage | None:
    # What is forgotten between the two statements would be told as never gone.
    with db.snapshot():
        return _vanished(db, query)


def _vanished(db: Database, query: q.ListVanished) -> q.VanishedPage | None:
    box = db.one(mailboxes.MAILBOX_STATE, {"account": query.account, "mailbox": query.mailbox})
    if box is None:
        return None
    if (query.modseq, query.after) < (box[4], _LAST_UID):
        return q.VanishedPage((), query.modseq, query.after, more=False, forgotten=True)
    limit = max(1, min(query.limit, limits.NUMBERS))
    key = {"mailbox": query.mailbox, "since": query.modseq, "after": query.after, "first": query.first, "last": query.last}
    rows = db.all(mailboxes.VANISHED_BETWEEN, key | {"rows": limit + 1})
    more = len(rows) > limit
    del rows[limit:]
    modseq, uid = rows[-1] if rows else (query.modseq, query.after)
    return q.VanishedPage(tuple(gone for _modseq, gone in rows), modseq, uid, more)


def _deleted_octets(db: Database, query: q.DeletedOctets) -> int:
    row = db.one(mailboxes.DELETED_OCTETS, {"account": query.account, "mailbox": query.mailbox})
    return int(row[0]) if row else 0


def _message_sizes(db: Database, query: q.MessageSizes) -> tuple[tuple[int, int, float, float], ...]:
    rows = min(query.limit, limits.ROWS)
    return tuple(db.all(messages.SIZES_AFTER, {"account": query.account, "mailbox": query.mailbox, "after": query.after, "rows": rows}))


def _get_content(db: Database, query: q.GetContent) -> q.ContentRow | None:
    row = db.one(messages.GET_CONTENT, {"id": query.content})
    return q.ContentRow(*row) if row else None


def _old_covers(db: Database, query: q.OldCovers) -> tuple[q.MessageRow, ...]:
    rows = min(query.limit, limits.ROWS)
    return tuple(q.MessageRow(*row) for row in db.all(messages.OLD_COVERS, {"account": query.account, "rows": rows}))


# ---------------------------------------------------------------- queue and state


def _count_queue(db: Database, _query: q.CountQueue) -> q.QueueCounts:
    row = db.one(queue.COUNT_QUEUE)
    return q.QueueCounts(*row) if row else q.QueueCounts(0, 0, 0.0)


def _get_ledger(db: Database, query: q.GetLedger) -> tuple[q.LedgerRow, ...]:
    return tuple(q.LedgerRow(*row) for row in db.all(state.LEDGER_SINCE, {"since": query.day}))


def _list_recorded(db: Database, query: q.ListRecorded) -> tuple[q.ChangeRow, ...]:
    return tuple(q.ChangeRow(*row) for row in db.all(state.LIST_CHANGES, {"rows": min(query.limit, limits.ROWS)}))


def _list_journal(db: Database, query: q.ListJournal) -> tuple[q.JournalRow, ...]:
    return tuple(q.JournalRow(*row) for row in db.all(state.LIST_JOURNAL, {"rows": min(query.limit, limits.ROWS)}))


def _list_signing_keys(db: Database, query: q.ListSigningKeys) -> tuple[q.SigningKeyRow, ...]:
    rows = db.all(signing.LIST_KEYS) if query.domain is None else db.all(signing.LIST_KEYS_OF, {"domain": query.domain})
    return tuple(q.SigningKeyRow(*row) for row in rows)


def _list_reports(db: Database, query: q.ListReports) -> tuple[q.ReportRow, ...]:
    wanted = {"any_kind": not query.kind, "kind": query.kind, "any_domain": not query.domain, "domain": query.domain}
    return tuple(map(_report, db.all(signing.LIST_REPORTS, {**wanted, "rows": min(query.limit, limits.ROWS)})))


def _get_report(db: Database, query: q.GetReport) -> q.ReportRow | None:
    row = db.one(signing.GET_REPORT, {"id": query.id})
    return _report(row[:-1], row[-1]) if row else None


def _report(row: Row, rows: str = "") -> q.ReportRow:
    report_id, kind, received_at, domain, reporter, its_id, begin, end, totals = row
    sums = msgspec.json.decode(totals, type=dict[str, int])
    return q.ReportRow(report_id, kind, received_at, domain, reporter, its_id, begin, end, sums, rows)


_TABLE: Final[dict[type, Callable[[Database, Any], Any]]] = {
    q.LookupAddresses: _lookup_addresses,
    q.GetPostmaster: _get_postmaster,
    q.ListDomains: _list_domains,
    q.ListAccounts: _list_accounts,
    q.ListAliases: _list_aliases,
    q.GetSettings: _get_settings,
    q.ListMailboxes: _list_mailboxes,
    q.GetMailbox: _get_mailbox,
    q.ListPlacements: _list_placements,
    ListColumns: _list_columns,
    q.ListChanges: _list_changes,
    q.ListVanished: _list_vanished,
    q.DeletedOctets: _deleted_octets,
    q.GetMessages: _get_messages,
    q.FindMessages: _find_messages,
    q.MessageSizes: _message_sizes,
    q.GetContent: _get_content,
    q.OldCovers: _old_covers,
    q.CountQueue: _count_queue,
    q.GetLedger: _get_ledger,
    q.ListRecorded: _list_recorded,
    q.ListJournal: _list_journal,
    q.ListSigningKeys: _list_signing_keys,
    q.ListReports: _list_reports,
    q.GetReport: _get_report,
    **answer_index.TABLE,
    **answer_threads.TABLE,
}


def answer(db: Database, query: q.Query[Any]) -> Any:  # noqa: ANN401  the query names its result type
    """Answer a query that needs no key."""
    function = _TABLE.get(type(query))
    if function is None:
        raise LocalProtocolError(f"no such query: {type(query).__name__}")
    return function(db, query)


# ---------------------------------------------------------------- what needs the Vault


class Keys(NamedTuple):
    """What the `store` role answers with besides the database."""

    vault: Vault
    store: KeyStore
    soft: Database


def _fetch_login(db: Database, keys: Keys, query: q.FetchLogin) -> q.LoginFacts | None:
    row = db.one(directory.FIND_ACCOUNT, {"domain": query.domain, "localpart": query.localpart})
    if row is None:
        return None
    account = q.AccountRow(*row)
    key = {"account": account.id}
    credentials = tuple(
        (kind, keys.vault.open_credential(account.id, credential_id, sealed)) for credential_id, kind, _label, sealed in db.all(directory.CREDENTIALS, key)
    )
    return q.LoginFacts(account, credentials, tuple(granted[0] for granted in db.all(directory.GRANTS, key)))


def _get_queue_keys(db: Database, keys: Keys, query: q.GetQueueKeys) -> q.QueueKeys:
    row = db.one(state.GET_SECRET, {"secret": QUEUE_SECRET})
    if row is None:
        raise StoreUnavailableError("the queue has no keys")
    public, wrapped = row
    return q.QueueKeys(public, keys.vault.open_queue_keys(wrapped) if query.private else b"")


def _get_database_key(_db: Database, keys: Keys, _query: q.GetDatabaseKey) -> q.DatabaseKey:
    return q.DatabaseKey(keys.vault.database_key("mail"))


def _get_signing_keys(db: Database, keys: Keys, query: q.GetSigningKeys) -> q.SigningKeys:
    rows = db.all(signing.ACTIVE_KEYS, {"domain": query.domain})
    return q.SigningKeys(
        tuple(
            q.SigningKey(selector, algorithm, keys.vault.unwrap(Purpose.SIGNING_KEY, 0, key_id, wrapped), state)
            for key_id, selector, algorithm, wrapped, state in rows
        )
    )


# ---------------------------------------------------------------- soft state


def _get_decision(db: Database, keys: Keys, query: q.GetDecision) -> q.DecisionRow | None:
    row = keys.soft.one(soft.BY_ID, {"id": query.id}) if query.id else keys.soft.one(soft.BY_CODE, {"code": query.code})
    if row is None:
        return None
    *facts, sealed, key_id, cover = row
    decision = _decision(tuple(facts))
    queue_keys = db.one(state.GET_SECRET, {"secret": QUEUE_SECRET})
    if cover is None or queue_keys is None:
        return decision
    evidence = keys.vault.open_evidence(queue_keys[1], SealedEvidenceKey(key_id, cover), decision.id, sealed)
    return msgspec.structs.replace(decision, evidence=evidence)


def _decision(row: Row) -> q.DecisionRow:
    decision_id, at, code, facts, version, verdict = row
    return q.DecisionRow(decision_id, at, code, msgspec.json.decode(facts, type=dict[str, str]), version, verdict)


def _list_decisions(_db: Database, keys: Keys, query: q.ListDecisions) -> tuple[q.DecisionRow, ...]:
    return tuple(map(_decision, keys.soft.all(soft.NEWEST, {"rows": min(query.limit, limits.ROWS)})))


def _list_observed(_db: Database, keys: Keys, query: q.ListObserved) -> tuple[tuple[str, str, int], ...]:
    domain, row = query.after
    return tuple(keys.soft.all(soft.OBSERVED_ON, {"of_day": query.day, "domain": domain, "after": row, "rows": min(query.limit, limits.ROWS)}))


_AT_STORE: Final[dict[type, Callable[[Database, Keys, Any], Any]]] = {
    q.FetchLogin: _fetch_login,
    q.GetQueueKeys: _get_queue_keys,
    q.GetDatabaseKey: _get_database_key,
    q.GetSigningKeys: _get_signing_keys,
    q.GetDecision: _get_decision,
    q.ListDecisions: _list_decisions,
    q.ListObserved: _list_observed,
}


def answer_at_store(db: Database, keys: Keys, query: q.Query[Any]) -> Any:  # noqa: ANN401  the query names its result type
    """Answer any query; raises what `answer` raises, and SealBrokenError for a damaged key."""
    function = _AT_STORE.get(type(query))
    return answer(db, query) if function is None else function(db, keys, query)
