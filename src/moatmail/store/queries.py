# SPDX-License-Identifier: Apache-2.0
"""Every question the store answers, as plain structs; each names its result type.

Obeys RFC 3501 §2.3 (message attributes), RFC 7162 §3.1 (what changed since a modseq).
Must never know keys, except in answers that only the `store` role gives.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from moatmail.store.operations import PlacementRow, Record

R_co = TypeVar("R_co", covariant=True)


class Query(msgspec.Struct, Generic[R_co], frozen=True, array_like=True, gc=False, tag=True):
    """A question; `result` is the type of the answer; `at_store` says that only the `store` role can answer (it needs the Vault)."""

    result: ClassVar[Any] = type(None)
    at_store: ClassVar[bool] = False


# ---------------------------------------------------------------- directory


class AccountRow(Record, frozen=True):
    """An account as receivers and administrators see it; `public` is its HPKE public half."""

    id: int
    localpart: str
    domain: str
    status: str
    quota_octets: int
    used_octets: int
    public: bytes


class AddressHit(Record, frozen=True):
    """What an address is: an account, or an alias with targets."""

    localpart: str
    account: AccountRow | None
    targets: tuple[str, ...] = ()


class AddressAnswer(Record, frozen=True):
    """Answer to LookupAddresses: whether the domain is ours, the hits in the order asked, the catch-all."""

    ours: bool
    hits: tuple[AddressHit, ...]
    catch_all: str | None


class LookupAddresses(Query[AddressAnswer], frozen=True):
    """Ask for several localparts (canonical) of one domain (A-label) at once."""

    result: ClassVar[Any] = AddressAnswer

    domain: str
    localparts: tuple[str, ...]


class PostmasterAnswer(Record, frozen=True):
    """Answer to GetPostmaster: the domain asked for (our first one when none was named), and the account, None when there is nobody at all."""

    domain: str
    account: AccountRow | None


class GetPostmaster(Query[PostmasterAnswer], frozen=True):
    """Ask who gets the mail that RFC 5321 §4.5.1 wants taken: the first active account of `domain`, else the first active of all."""

    result: ClassVar[Any] = PostmasterAnswer

    domain: str = ""


class LoginFacts(Record, frozen=True):
    """What judges a login: the account, its verifiers (opened: kind -> value), the addresses granted to it."""

    account: AccountRow
    credentials: tuple[tuple[str, bytes], ...]
    granted: tuple[str, ...]


class FetchLogin(Query["LoginFacts | None"], frozen=True):
    """Ask for an account by its primary address (canonical localpart, A-label domain); None when there is none."""

    result: ClassVar[Any]
    at_store: ClassVar[bool] = True

    localpart: str
    domain: str


class DomainRow(Record, frozen=True):
    """A domain of ours."""

    name: str
    catch_all: str | None
    accounts: int
    aliases: int


class ListDomains(Query[tuple[DomainRow, ...]], frozen=True):
    """All domains, by name."""

    result: ClassVar[Any] = tuple[DomainRow, ...]


class ListAccounts(Query[tuple[AccountRow, ...]], frozen=True):
    """Accounts by address, of one domain or of all; pages of `limit` after the address `after`."""

    result: ClassVar[Any] = tuple[AccountRow, ...]

    domain: str | None = None
    after: str = ""
    limit: int = 500


class AliasRow(Record, frozen=True):
    """An alias."""

    localpart: str
    domain: str
    targets: tuple[str, ...]


class ListAliases(Query[tuple[AliasRow, ...]], frozen=True):
    """Aliases by address, of one domain or of all."""

    result: ClassVar[Any] = tuple[AliasRow, ...]

    domain: str | None = None
    after: str = ""
    limit: int = 500


class SettingsAnswer(Record, frozen=True):
    """The settings that differ from their defaults (key -> JSON text), and the version of the whole."""

    version: int
    values: dict[str, str]


class GetSettings(Query[SettingsAnswer], frozen=True):
    """Ask for the settings."""

    result: ClassVar[Any] = SettingsAnswer


# ---------------------------------------------------------------- mailboxes and messages


class MailboxRow(Record, frozen=True):
    """A mailbox; its name is sealed under the account's mailbox key with `object_id`."""

    id: int
    object_id: bytes
    sealed_name: bytes
    uidvalidity: int
    uidnext: int
    highestmodseq: int
    special_use: str | None
    messages: int
    unseen: int
    deleted: int
    octets: int
    deleted_octets: int = 0


class SubscriptionRow(Record, frozen=True):
    """A subscribed name."""

    object_id: bytes
    sealed_name: bytes
    tag: bytes


class MailboxesAnswer(Record, frozen=True):
    """All mailboxes and subscriptions of an account."""

    mailboxes: tuple[MailboxRow, ...]
    subscriptions: tuple[SubscriptionRow, ...]


class ListMailboxes(Query[MailboxesAnswer], frozen=True):
    """Ask for an account's mailboxes."""

    result: ClassVar[Any] = MailboxesAnswer

    account: int


class GetMailbox(Query["MailboxRow | None"], frozen=True):
    """Ask for one mailbox of an account, by its number, or by the tag of its name where that is given; None when it is gone."""

    result: ClassVar[Any]

    account: int
    mailbox: int
    tag: bytes = b""


class ListPlacements(Query[tuple[PlacementRow, ...]], frozen=True):
    """Placements by UID, after `after`, at most `limit` (<= 500 keeps the loop free)."""

    result: ClassVar[Any] = tuple[PlacementRow, ...]

    account: int
    mailbox: int
    after: int = 0
    limit: int = 500


class ChangesAnswer(Record, frozen=True):
    """What changed: rows new or changed, UIDs that vanished, HIGHESTMODSEQ; `more` when `limit` cut it (ask again from `upto`).

    Where `compare_below` is not 0, not all that vanished is remembered: of the UIDs below it those went that are not there.
    """

    rows: tuple[PlacementRow, ...]
    vanished: tuple[int, ...]
    highestmodseq: int
    upto: int
    more: bool
    compare_below: int = 0


class ListChanges(Query["ChangesAnswer | None"], frozen=True):
    """Ask what changed in a mailbox after `modseq` (RFC 7162); None when the mailbox is gone."""

    result: ClassVar[Any]

    account: int
    mailbox: int
    modseq: int
    limit: int = 500


class VanishedPage(Record, frozen=True):
    """UIDs that vanished, in the order in which they went; with `more`, ask again from `modseq` and `uid`.

    With `forgotten` there are none: not all that went is remembered, and every UID that is not there may have gone since.
    """

    uids: tuple[int, ...]
    modseq: int
    uid: int
    more: bool
    forgotten: bool = False


class ListVanished(Query["VanishedPage | None"], frozen=True):
    """Ask which UIDs `first` to `last` vanished after a modseq (RFC 7162 §3.2.5.1); None when the mailbox is gone.

    `after` is the last UID told of those that went at `modseq`: its default stands behind all of them. At most `limit` (<= 2,000).
    """

    result: ClassVar[Any]

    account: int
    mailbox: int
    modseq: int
    after: int = 2**32
    first: int = 1
    last: int = 2**32 - 1
    limit: int = 2000


class DeletedOctets(Query[int], frozen=True):
    r"""Ask for the octets of a mailbox's messages that bear \Deleted (RFC 9208 §5.1, DELETED-STORAGE); 0 when it is gone."""

    result: ClassVar[Any] = int

    account: int
    mailbox: int


class MessageRow(Record, frozen=True):
    """One placed message with what its owner needs to read it; `summary` and `prefix` are empty unless asked for."""

    uid: int
    id: bytes
    content: bytes
    cover: bytes
    prefix: bytes
    summary: bytes
    size: int
    received_at: float
    saved_at: float


class GetMessages(Query[tuple[MessageRow, ...]], frozen=True):
    """Ask for messages of a mailbox by UID (<= 500), with `prefix` or `summary` as wanted."""

    result: ClassVar[Any] = tuple[MessageRow, ...]

    account: int
    mailbox: int
    uids: tuple[int, ...]
    prefix: bool = False
    summary: bool = False


class FindMessages(Query[tuple[tuple[bytes, int], ...]], frozen=True):
    """Ask where messages (by id, <= 500) lie in a mailbox of their account: (id, uid) of each placement there."""

    result: ClassVar[Any] = tuple[tuple[bytes, int], ...]

    account: int
    mailbox: int
    ids: tuple[bytes, ...]


class MessageSizes(Query[tuple[tuple[int, int, float, float], ...]], frozen=True):
    """Ask for (uid, size, received_at, saved_at) of a mailbox after `after`: what SIZE, INTERNALDATE, SAVEDATE and date searches need."""

    result: ClassVar[Any] = tuple[tuple[int, int, float, float], ...]

    account: int
    mailbox: int
    after: int = 0
    limit: int = 500


class ContentRow(Record, frozen=True):
    """A content: its plain size; `blob` inline, or None when it lies in the file named by its id."""

    size: int
    blob: bytes | None


class GetContent(Query["ContentRow | None"], frozen=True):
    """Ask for a content by id (only ids from a message row or a queue entry of the asker's are useful: it is sealed)."""

    result: ClassVar[Any]

    content: bytes


class OldCovers(Query[tuple[MessageRow, ...]], frozen=True):
    """Ask for messages of an account that still have a 0x01 or 0x03 cover (<= `limit`), without prefix and summary."""

    result: ClassVar[Any] = tuple[MessageRow, ...]

    account: int
    limit: int = 500


# ---------------------------------------------------------------- queue and state


class QueueCounts(Record, frozen=True):
    """How much waits: entries, recipients, the earliest moment at which one can be claimed (epoch seconds, past the lease of whoever holds it) or 0."""

    entries: int
    recipients: int
    next_attempt: float


class CountQueue(Query[QueueCounts], frozen=True):
    """Ask how much waits in the queue."""

    result: ClassVar[Any] = QueueCounts


class QueueKeys(Record, frozen=True):
    """The queue's key pair; `private` is empty unless the asker may have it (role `back`)."""

    public: bytes
    private: bytes


class GetQueueKeys(Query[QueueKeys], frozen=True):
    """Ask for the queue's keys."""

    result: ClassVar[Any] = QueueKeys
    at_store: ClassVar[bool] = True

    private: bool = False


class DatabaseKey(Record, frozen=True):
    """The raw key (32 octets) of the mail database, for a reading connection."""

    key: bytes


class GetDatabaseKey(Query[DatabaseKey], frozen=True):
    """Ask for the database's key: roles `access`, `web` and `back` read by themselves."""

    result: ClassVar[Any] = DatabaseKey
    at_store: ClassVar[bool] = True


class ChangeRow(Record, frozen=True):
    """A recorded change: its number, when, who, by which door, and its items as JSON (object, before, after; never a secret)."""

    id: int
    at: float
    actor: str
    door: str
    items: str


class ListRecorded(Query[tuple[ChangeRow, ...]], frozen=True):
    """The last changes of administrators, newest first."""

    result: ClassVar[Any] = tuple[ChangeRow, ...]

    limit: int = 100


class JournalRow(Record, frozen=True):
    """A journal entry."""

    at: float
    who: str
    what: str


class ListJournal(Query[tuple[JournalRow, ...]], frozen=True):
    """The last journal entries, newest first."""

    result: ClassVar[Any] = tuple[JournalRow, ...]

    limit: int = 100


class LedgerRow(Record, frozen=True):
    """R20, per day (epoch day): recipients accepted, delivered, queued (waiting now or then), relayed, bounced."""

    day: int
    accepted: int
    delivered: int
    queued: int
    relayed: int
    bounced: int


class GetLedger(Query[tuple[LedgerRow, ...]], frozen=True):
    """Ask for the ledger since `day`."""

    result: ClassVar[Any] = tuple[LedgerRow, ...]

    day: int = 0


# ---------------------------------------------------------------- signing keys, decisions, reports


class SigningKey(Record, frozen=True):
    """A signing key with its private half (PEM)."""

    selector: str
    algorithm: str
    private: bytes
    state: str


class SigningKeys(Record, frozen=True):
    """The active signing keys of a domain; none: it is not in the signing table."""

    keys: tuple[SigningKey, ...]


class GetSigningKeys(Query[SigningKeys], frozen=True):
    """Ask for the active keys of a domain, private halves in clear: role `back` alone."""

    result: ClassVar[Any] = SigningKeys
    at_store: ClassVar[bool] = True

    domain: str


class SigningKeyRow(Record, frozen=True):
    """A signing key as everybody may know it; times in epoch seconds."""

    domain: str
    selector: str
    algorithm: str
    state: str
    record: str
    created_at: float
    changed_at: float


class ListSigningKeys(Query[tuple[SigningKeyRow, ...]], frozen=True):
    """Ask for the signing keys of a domain, or of all."""

    result: ClassVar[Any] = tuple[SigningKeyRow, ...]

    domain: str | None = None


class DecisionRow(Record, frozen=True):
    """A kept decision; `evidence` is opened where it was asked for one by one, empty in lists and where it is lost."""

    id: bytes
    at: float
    code: str
    facts: dict[str, str]
    settings_version: int
    verdict: str
    evidence: bytes = b""


class GetDecision(Query["DecisionRow | None"], frozen=True):
    """Ask for a decision by content id or by code (the newest of that code)."""

    result: ClassVar[Any]
    at_store: ClassVar[bool] = True

    id: bytes = b""
    code: str = ""


class ListDecisions(Query[tuple[DecisionRow, ...]], frozen=True):
    """Ask for the newest decisions, without evidence."""

    result: ClassVar[Any] = tuple[DecisionRow, ...]
    at_store: ClassVar[bool] = True

    limit: int = 100


class ListObserved(Query[tuple[tuple[str, str, int], ...]], frozen=True):
    """Ask for what was observed on a day (epoch day): (policy domain, row, how often), by both; a page after the pair `after`."""

    result: ClassVar[Any] = tuple[tuple[str, str, int], ...]
    at_store: ClassVar[bool] = True

    day: int
    after: tuple[str, str] = ("", "")
    limit: int = 500


class ReportRow(Record, frozen=True):
    """A report that somebody sent us; `rows` is empty in lists."""

    id: bytes
    kind: str
    received_at: float
    domain: str
    reporter: str
    report_id: str
    begin: float
    end: float
    totals: dict[str, int]
    rows: str = ""


class ListReports(Query[tuple[ReportRow, ...]], frozen=True):
    """Ask for the newest reports of a kind and a domain (empty: any), without their rows."""

    result: ClassVar[Any] = tuple[ReportRow, ...]

    kind: str = ""
    domain: str = ""
    limit: int = 100


class GetReport(Query["ReportRow | None"], frozen=True):
    """Ask for one report with its rows."""

    result: ClassVar[Any]

    id: bytes


FetchLogin.result = LoginFacts | None
GetMailbox.result = MailboxRow | None
ListChanges.result = ChangesAnswer | None
ListVanished.result = VanishedPage | None
GetContent.result = ContentRow | None
GetDecision.result = DecisionRow | None
GetReport.result = ReportRow | None
