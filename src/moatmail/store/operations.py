# SPDX-License-Identifier: Apache-2.0
"""Every change the store knows, as plain structs of ids, numbers, addresses and opaque octets; each names its result type.

Obeys RFC 5321 §6.1 (nothing is acknowledged before it is durable), RFC 3501 §2.3.1.1 (UIDs are given in the delivering transaction),
RFC 7162 §3.1 (modification sequences).
Must never know plain text of a person: what was written comes sealed.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from moatmail.store.change_items import (
    AddAccount,
    AddAlias,
    AddDomain,
    AddSigningKeys,
    ChangeItem,
    Credential,
    Grant,
    NewSigningKey,
    RemoveAccount,
    RemoveAlias,
    RemoveDomain,
    RemoveSigningKey,
    SetAccount,
    SetCredentials,
    SetDomain,
    SetSetting,
    SetSigningKey,
)
from moatmail.store.kept import Decision, EvidenceKey, NewReport, Observed, SentReport
from moatmail.store.record import Record

R_co = TypeVar("R_co", covariant=True)

INBOX = "inbox"
"""The special use of the one mailbox that every account has (RFC 3501 §5.1); other uses are those of RFC 6154 without backslash, lower case."""


class Operation(msgspec.Struct, Generic[R_co], frozen=True, array_like=True, gc=False, tag=True):
    """A change, done whole or not at all.

    `result` is the type of the answer. `once` names the field with the id (16 octets) under which the store remembers the answer for
    10 minutes, so that the same operation sent again answers instead of acting twice; empty where repetition is harmless by itself.
    """

    result: ClassVar[Any] = type(None)
    once: ClassVar[str] = ""


# ---------------------------------------------------------------- content and messages


class NewContent(Record, frozen=True):
    """Sealed content: `size` of the plain octets; `blob` inline (<= 128 KiB), else None and the file named by `id` was synced before."""

    id: bytes
    size: int
    blob: bytes | None


class NewMessage(Record, frozen=True):
    """One account's copy: the cover over its two keys, sealed prefix, summary and words (none yet: empty), size as its owner sees it.

    `links` are digests of 16 octets, one after another, at most 8: a message belongs to the thread of the first that another one of the account
    has too. None: its thread is given later. `real_size` is that which a reader of UTF-8 is told, 0 where it is `size`.
    """

    id: bytes
    account: int
    content: bytes
    cover: bytes
    prefix: bytes
    summary: bytes
    size: int
    received_at: float
    words: bytes = b""
    links: bytes | None = None
    real_size: int = 0


class Delivery(Record, frozen=True):
    """A message put into a mailbox: by number, or by special use (`INBOX`, "junk" ...) where `mailbox` is 0."""

    message: NewMessage
    mailbox: int = 0
    special_use: str = INBOX
    flags: int = 0
    keywords: tuple[str, ...] = ()


class NewSpool(Record, frozen=True):
    """A queue entry: content key and envelope sealed to the queue's public half; one `spool_recipient` row per envelope recipient.

    `due` gives each recipient's first attempt in epoch seconds; `kind` is "submitted", "relayed" or "generated".
    """

    id: bytes
    content: bytes
    sealed_key: bytes
    sealed_envelope: bytes
    arrived_at: float
    due: tuple[float, ...]
    kind: str = "submitted"
    sealed_prefix: bytes = b""


class Placed(Record, frozen=True):
    """Where a message went: mailbox, UID, modification sequence, UIDVALIDITY."""

    mailbox: int
    uid: int
    modseq: int
    uidvalidity: int


class Accept(Operation[tuple[Placed, ...]], frozen=True):
    """Take over mail: contents, local deliveries, queue entries and read reports in one transaction; quota is checked inside it.

    `sent` is the report of ours that the queue entry holds: where it was sent before, nothing is done at all.

    Repeatable: entries whose ids exist answer as if just done. Raises OverQuotaError, NotFoundError (account or mailbox gone).
    """

    result: ClassVar[Any] = tuple[Placed, ...]

    contents: tuple[NewContent, ...]
    deliveries: tuple[Delivery, ...] = ()
    spools: tuple[NewSpool, ...] = ()
    decision: Decision | None = None
    reports: tuple[NewReport, ...] = ()
    sent: SentReport | None = None


class RecordDecision(Operation[None], frozen=True):
    """Keep the decision over a message that was not taken."""

    decision: Decision


class Append(Operation[tuple[Placed, ...]], frozen=True):
    """IMAP APPEND: one or several messages into one mailbox; `id` makes the repetition harmless for 10 minutes (RFC 3502: all or none)."""

    result: ClassVar[Any] = tuple[Placed, ...]

    once: ClassVar[str] = "id"

    id: bytes
    contents: tuple[NewContent, ...]
    deliveries: tuple[Delivery, ...]


class Replaced(Record, frozen=True):
    """Where the new message went, and the modseq of the mailbox that the old one left."""

    placed: Placed
    source_modseq: int


class Replace(Operation[Replaced], frozen=True):
    """IMAP REPLACE (RFC 8508 §3): the message `uid` of `mailbox` goes, and `delivery` comes, both or neither; the new one takes the old one's room.

    Raises NotFoundError when the old one is gone (or the target), OverQuotaError.
    """

    result: ClassVar[Any] = Replaced

    once: ClassVar[str] = "id"

    id: bytes
    account: int
    mailbox: int
    uid: int
    contents: tuple[NewContent, ...]
    delivery: Delivery


class Copy(Operation["Copied"], frozen=True):
    """Put the messages `uids` of `source` into `target` too (same account), flags and keywords kept."""

    result: ClassVar[Any]  # Copied, set below

    once: ClassVar[str] = "id"

    id: bytes
    account: int
    source: int
    target: int
    uids: tuple[int, ...]


class Move(Operation["Copied"], frozen=True):
    """Copy and expunge in one transaction (RFC 6851)."""

    result: ClassVar[Any]

    once: ClassVar[str] = "id"

    id: bytes
    account: int
    source: int
    target: int
    uids: tuple[int, ...]


class Copied(Record, frozen=True):
    """Answer to Copy and Move: which UIDs went where, in pairs, and the modseq of both sides."""

    uidvalidity: int
    source_uids: tuple[int, ...]
    target_uids: tuple[int, ...]
    target_modseq: int
    source_modseq: int = 0


class PlacementRow(Record, frozen=True):
    """One message in a mailbox: UID, system flags as bits, keywords, modseq."""

    uid: int
    flags: int
    keywords: tuple[str, ...]
    modseq: int


class StoreFlags(Operation["FlagsStored"], frozen=True):
    r"""Change flags (RFC 3501 §6.4.6): `mode` "add", "remove" or "replace"; `unchanged_since` is 0 or the bound of RFC 7162 §3.1.3.

    Bits: \Answered 1, \Flagged 2, \Deleted 4, \Seen 8, \Draft 16.
    """

    result: ClassVar[Any]

    once: ClassVar[str] = "id"

    id: bytes
    account: int
    mailbox: int
    uids: tuple[int, ...]
    mode: str
    flags: int
    keywords: tuple[str, ...] = ()
    unchanged_since: int = -1


class FlagsStored(Record, frozen=True):
    """The rows after the change (also those that were so before: `modseq` unchanged), and UIDs that failed UNCHANGEDSINCE."""

    rows: tuple[PlacementRow, ...]
    failed: tuple[int, ...]
    highestmodseq: int


class Expunge(Operation["Expunged"], frozen=True):
    r"""Remove placements that bear \Deleted (all of them when `uids` is None); a message without placements becomes recoverable.

    Give `uids` in slices of some 500: an operation is one slice of the writer's work.
    """

    result: ClassVar[Any]
    once: ClassVar[str] = "operation_id"

    account: int
    mailbox: int
    uids: tuple[int, ...] | None
    at: float
    operation_id: bytes = b""


class Expunged(Record, frozen=True):
    """The UIDs that went, and the mailbox's HIGHESTMODSEQ after it."""

    uids: tuple[int, ...]
    highestmodseq: int


class NewCover(Record, frozen=True):
    """A message's new cover; taken only if the old one is still there."""

    message: bytes
    old: bytes
    new: bytes


class Rewrap(Operation[int], frozen=True):
    """Replace 0x01 and 0x03 covers by 0x02 ones (at most 500); answers how many changed."""

    result: ClassVar[Any] = int

    account: int
    covers: tuple[NewCover, ...]


# ---------------------------------------------------------------- mailboxes


class CreateMailbox(Operation[int], frozen=True):
    """Make a mailbox; raises AlreadyExistsError. `tag` is the keyed hash of the name, `object_id` 16 octets (RFC 8474 MAILBOXID later)."""

    result: ClassVar[Any] = int

    account: int
    object_id: bytes
    sealed_name: bytes
    tag: bytes
    special_use: str | None = None


class RenamedMailbox(Record, frozen=True):
    """One mailbox of a rename: its number, sealed new name and tag."""

    mailbox: int
    sealed_name: bytes
    tag: bytes


class RenameMailboxes(Operation[None], frozen=True):
    """Rename a mailbox and its inferiors in one transaction (RFC 3501 §6.3.5); raises AlreadyExistsError."""

    account: int
    renamed: tuple[RenamedMailbox, ...]


class DeleteMailbox(Operation[None], frozen=True):
    """Delete a mailbox and its placements; messages without another placement become recoverable. Raises NotFoundError."""

    once: ClassVar[str] = "operation_id"

    account: int
    mailbox: int
    at: float
    operation_id: bytes = b""


class Subscribe(Operation[None], frozen=True):
    """Subscribe (or with `on` false unsubscribe) a name, whether it exists or not (RFC 3501 §6.3.6)."""

    account: int
    object_id: bytes
    sealed_name: bytes
    tag: bytes
    on: bool


# ---------------------------------------------------------------- accounts' keys


class OpenAccount(Operation["OpenedKeys"], frozen=True):
    """Hand out an account's keys to a role that serves it; journaled with `reason` and the asking role."""

    result: ClassVar[Any]

    account: int
    reason: str
    at: float


class OpenedKeys(Record, frozen=True):
    """An account's private half and mailbox key."""

    private: bytes
    mailbox_key: bytes


# ---------------------------------------------------------------- queue


class ClaimSpool(Operation["tuple[ClaimedSpool, ...]"], frozen=True):
    """Lease entries that have recipients due at `now`, until `lease_until`; `owner` is (boot id, process start id) as one text."""

    result: ClassVar[Any]
    once: ClassVar[str] = "operation_id"

    now: float
    lease_until: float
    owner: str
    limit: int
    operation_id: bytes = b""


class SpoolRecipient(Record, frozen=True):
    """One recipient of a queue entry: its place in the envelope, state "queued|delivered|bounced|relayed", attempts made."""

    number: int
    state: str
    attempts: int
    next_attempt: float


class ClaimedSpool(Record, frozen=True):
    """A leased queue entry with the recipients that are due."""

    id: bytes
    content: bytes
    sealed_key: bytes
    sealed_envelope: bytes
    arrived_at: float
    kind: str
    due: tuple[SpoolRecipient, ...]
    sealed_prefix: bytes = b""


class RecipientOutcome(Record, frozen=True):
    """What became of one recipient: `state` as above ("queued" = try again at `next_attempt`), the sealed last reply."""

    number: int
    state: str
    next_attempt: float
    sealed_reply: bytes = b""


class ReleaseLeases(Operation[int], frozen=True):
    """Free every lease that is not `owner`'s: role `back` says it at its start, because a lease dies with the process that had it."""

    result: ClassVar[Any] = int

    owner: str


class SettleSpool(Operation[tuple[Placed, ...]], frozen=True):
    """Write the outcome of attempts, with the local deliveries and the bounce that follow from them, in one transaction.

    An entry whose recipients are all final goes, and its content with the last reference; `sealed_prefix` (signatures made for it) is kept
    with one that stays. Raises ConflictError when the lease is not `owner`'s.
    """

    result: ClassVar[Any] = tuple[Placed, ...]
    once: ClassVar[str] = "operation_id"

    id: bytes
    owner: str
    outcomes: tuple[RecipientOutcome, ...]
    deliveries: tuple[Delivery, ...] = ()
    contents: tuple[NewContent, ...] = ()
    spools: tuple[NewSpool, ...] = ()
    operation_id: bytes = b""
    sealed_prefix: bytes | None = None


# ---------------------------------------------------------------- directory and settings


class Change(Operation[int], frozen=True):
    """An administrator's change, whole or not at all, recorded with who, door, when, before and after; answers the settings version."""

    result: ClassVar[Any] = int
    once: ClassVar[str] = "operation_id"

    actor: str
    door: str
    at: float
    items: tuple[ChangeItem, ...]
    operation_id: bytes = b""


# ---------------------------------------------------------------- housekeeping


class EraseDue(Operation[int], frozen=True):
    """Delete the keys and rows of messages recoverable until before `now`; unreferenced contents go; answers how many messages.

    `crowded` accounts may have too many that are not due yet: of these the oldest go too.
    """

    result: ClassVar[Any] = int

    now: float
    limit: int = 500
    crowded: tuple[int, ...] = ()


class EraseDecisions(Operation[None], frozen=True):
    """Forget decisions, keys of evidence, observations, and which reports were sent, from before `before`; reports of others a year later."""

    before: float


class ForgetObserved(Operation[None], frozen=True):
    """Forget the observations of a day (epoch day), of one policy domain or of all: what was to be reported is sent."""

    day: int
    domain: str = ""


class TruncateWAL(Operation[None], frozen=True):
    """Checkpoint and truncate the write-ahead log, so that erased pages do not linger in it."""


class Journal(Operation[None], frozen=True):
    """Write a journal entry (an asked right that was refused, an opened account ...)."""

    at: float
    who: str
    what: str


Copy.result = Copied
Move.result = Copied
StoreFlags.result = FlagsStored
Expunge.result = Expunged
OpenAccount.result = OpenedKeys
ClaimSpool.result = tuple[ClaimedSpool, ...]

__all__ = [
    "INBOX",
    "Accept",
    "AddAccount",
    "AddAlias",
    "AddDomain",
    "AddSigningKeys",
    "Append",
    "Change",
    "ChangeItem",
    "ClaimSpool",
    "ClaimedSpool",
    "Copied",
    "Copy",
    "CreateMailbox",
    "Credential",
    "Decision",
    "DeleteMailbox",
    "Delivery",
    "EraseDecisions",
    "EraseDue",
    "EvidenceKey",
    "Expunge",
    "Expunged",
    "FlagsStored",
    "ForgetObserved",
    "Grant",
    "Journal",
    "Move",
    "NewContent",
    "NewCover",
    "NewMessage",
    "NewReport",
    "NewSigningKey",
    "NewSpool",
    "Observed",
    "OpenAccount",
    "OpenedKeys",
    "Operation",
    "Placed",
    "PlacementRow",
    "RecipientOutcome",
    "Record",
    "RecordDecision",
    "ReleaseLeases",
    "RemoveAccount",
    "RemoveAlias",
    "RemoveDomain",
    "RemoveSigningKey",
    "RenameMailboxes",
    "RenamedMailbox",
    "Replace",
    "Replaced",
    "Rewrap",
    "SentReport",
    "SetAccount",
    "SetCredentials",
    "SetDomain",
    "SetSetting",
    "SetSigningKey",
    "SettleSpool",
    "SpoolRecipient",
    "StoreFlags",
    "Subscribe",
    "TruncateWAL",
]
