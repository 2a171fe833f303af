# SPDX-License-Identifier: Apache-2.0
"""The frozen events of the IMAP engine: one class per command, named as on the wire, and a few notices.

Obeys RFC 3501 §6 and the extensions named at each class.
Must never know how a command is carried out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from moatmail.wire.imap.fetch import FetchItem
from moatmail.wire.imap.flags import FlagList, StoreMode
from moatmail.wire.imap.moment import ZonedMoment
from moatmail.wire.imap.notify import EventGroup
from moatmail.wire.imap.qresync import Known
from moatmail.wire.imap.search import SearchKey, SearchReturn
from moatmail.wire.imap.sequence import PartialRange, SequenceSet

# Mailbox names are already decoded (modified UTF-7 until UTF8=ACCEPT) and INBOX is written in capitals.


@dataclass(frozen=True, slots=True)
class Command:
    """A command that awaits exactly one `finish`; `tag` as the client wrote it."""

    tag: bytes


# ---- any state (RFC 3501 §6.1) ----


@dataclass(frozen=True, slots=True)
class Capability(Command):
    """CAPABILITY (RFC 3501 §6.1.1); `IMAPServer.capabilities()` has the answer."""


@dataclass(frozen=True, slots=True)
class Noop(Command):
    """NOOP (RFC 3501 §6.1.2): the moment to tell what changed."""


@dataclass(frozen=True, slots=True)
class Logout(Command):
    """LOGOUT (RFC 3501 §6.1.3); `finish` writes the BYE before the tagged line."""


@dataclass(frozen=True, slots=True)
class Id(Command):
    """ID (RFC 2971 §3.1); `pairs` of name and value (None for NIL), or None when the client sent NIL."""

    pairs: tuple[tuple[bytes, bytes | None], ...] | None


# ---- not authenticated (RFC 3501 §6.2) ----


@dataclass(frozen=True, slots=True)
class Starttls(Command):
    """STARTTLS (RFC 3501 §6.2.1); after `finish` with OK: write the output, do the handshake, call `tls_started`."""


@dataclass(frozen=True, slots=True)
class Authenticate(Command):
    """AUTHENTICATE (RFC 3501 §6.2.2, RFC 4959); `mechanism` in capitals, `initial` base64 as sent (``=`` is the empty response) or None."""

    mechanism: bytes
    initial: bytes | None


@dataclass(frozen=True, slots=True)
class AuthenticateResponse(Command):
    """The base64 line that answered a `continue_`; the same command goes on, `finish` ends it."""

    response: bytes


@dataclass(frozen=True, slots=True)
class Login(Command):
    """LOGIN (RFC 3501 §6.2.3); octets as sent."""

    username: bytes
    password: bytes


# ---- authenticated (RFC 3501 §6.3) ----


@dataclass(frozen=True, slots=True)
class Enable(Command):
    """ENABLE (RFC 5161 §3.1); names in capitals, unknown ones included."""

    names: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Select(Command):
    """SELECT (RFC 3501 §6.3.1); `condstore`: asked to enable it (RFC 7162 §3.1.8). `finish` with NO leaves no mailbox selected.

    `known`: what the client remembers, so that it need be told only what changed since (RFC 7162 §3.2.5).
    """

    mailbox: str
    condstore: bool = False
    known: Known | None = None


@dataclass(frozen=True, slots=True)
class Examine(Command):
    """EXAMINE (RFC 3501 §6.3.2): as SELECT, read-only."""

    mailbox: str
    condstore: bool = False
    known: Known | None = None


@dataclass(frozen=True, slots=True)
class Create(Command):
    """CREATE (RFC 3501 §6.3.3); the name keeps no trailing delimiter; `special_use` attributes with backslash (RFC 6154 §3)."""

    mailbox: str
    special_use: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete(Command):
    """DELETE (RFC 3501 §6.3.4)."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class Rename(Command):
    """RENAME (RFC 3501 §6.3.5)."""

    mailbox: str
    new_name: str


@dataclass(frozen=True, slots=True)
class Subscribe(Command):
    """SUBSCRIBE (RFC 3501 §6.3.6)."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class Unsubscribe(Command):
    """UNSUBSCRIBE (RFC 3501 §6.3.7)."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class ListSelection:
    """Which mailboxes LIST is to select (RFC 5258 §3.1, RFC 6154 §2)."""

    subscribed: bool = False
    remote: bool = False
    recursive_match: bool = False
    special_use: bool = False


@dataclass(frozen=True, slots=True)
class ListReturn:
    """What LIST is to tell of each (RFC 5258 §3.2, RFC 6154 §2); `status` items of LIST-STATUS in capitals (RFC 5819 §2)."""

    subscribed: bool = False
    children: bool = False
    special_use: bool = False
    status: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class List(Command):
    """LIST (RFC 3501 §6.3.8, RFC 5258 §3); a pattern that is no valid name is left out; `extended` tells the extended syntax."""

    reference: str
    patterns: tuple[str, ...]
    selection: ListSelection = ListSelection()
    returns: ListReturn = ListReturn()
    extended: bool = False


@dataclass(frozen=True, slots=True)
class Lsub(Command):
    """LSUB (RFC 3501 §6.3.9); `pattern` is None if it cannot match any name."""

    reference: str
    pattern: str | None


@dataclass(frozen=True, slots=True)
class Namespace(Command):
    """NAMESPACE (RFC 2342 §5)."""


@dataclass(frozen=True, slots=True)
class Status(Command):
    """STATUS (RFC 3501 §6.3.10); `items` in capitals, without repetition, in the order asked."""

    mailbox: str
    items: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class GetQuota(Command):
    """GETQUOTA (RFC 9208 §4.1.1); `root` as sent."""

    root: bytes


@dataclass(frozen=True, slots=True)
class GetQuotaRoot(Command):
    """GETQUOTAROOT (RFC 9208 §4.1.2); the mailbox need not exist."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class SetQuota(Command):
    """SETQUOTA (RFC 9208 §4.1.3); `resources` by name in capitals, each with the limit wanted."""

    root: bytes
    resources: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True)
class Replacing:
    """Which message of the selected mailbox goes for the appended one: a UID or a message number, `STAR` for the last."""

    uid: bool
    number: int


@dataclass(frozen=True, slots=True)
class Append(Command):
    """A message of APPEND is announced (RFC 3501 §6.3.11): `admit` or `finish` with NO; then `AppendData` until `size` octets came.

    `index` is 0; with MULTIAPPEND (RFC 3502) each further message is one more `Append` of the same tag. `date` is None if not given.
    `binary`: announced as one that may hold NUL (RFC 3516 §4.4). `replaces`: it is REPLACE or UID REPLACE (RFC 8508 §3), of one message only.
    """

    mailbox: str
    flags: FlagList
    date: ZonedMoment | None
    size: int
    index: int = 0
    binary: bool = False
    replaces: Replacing | None = None


@dataclass(frozen=True, slots=True)
class AppendData(Command):
    """Octets of the announced message, in order; needs no answer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class AppendEnd(Command):
    """The APPEND is whole, every message of it read: commit and `finish`."""


@dataclass(frozen=True, slots=True)
class Idle(Command):
    """IDLE (RFC 2177 §3): subscribe to changes, then `continue_`; `untagged` may be called until `Done`."""


@dataclass(frozen=True, slots=True)
class Done(Command):
    """The client ended IDLE with DONE: `finish`."""


@dataclass(frozen=True, slots=True)
class Notify(Command):
    """NOTIFY (RFC 5465 §3.1); no `groups` for NOTIFY NONE; `status`: tell STATUS of all watched mailboxes at once."""

    groups: tuple[EventGroup, ...]
    status: bool = False


# ---- selected (RFC 3501 §6.4) ----


@dataclass(frozen=True, slots=True)
class Check(Command):
    """CHECK (RFC 3501 §6.4.1)."""


@dataclass(frozen=True, slots=True)
class Close(Command):
    """CLOSE (RFC 3501 §6.4.2): expunge silently, then no mailbox is selected."""


@dataclass(frozen=True, slots=True)
class Unselect(Command):
    """UNSELECT (RFC 3691 §2): no mailbox is selected, nothing expunged."""


@dataclass(frozen=True, slots=True)
class Expunge(Command):
    """EXPUNGE (RFC 3501 §6.4.3)."""


@dataclass(frozen=True, slots=True)
class UidExpunge(Command):
    """UID EXPUNGE (RFC 4315 §2.1)."""

    sequence: SequenceSet


@dataclass(frozen=True, slots=True)
class Search(Command):
    """SEARCH and UID SEARCH (RFC 3501 §6.4.4, RFC 4731 §3.1, RFC 5182, RFC 7162 §3.1.5, RFC 9394 §3.1).

    `returns` is None for the SEARCH response; else the ESEARCH response with these, `partial` the range of PARTIAL. `modseq`: a MODSEQ key was used.
    """

    uid: bool
    key: SearchKey
    returns: frozenset[SearchReturn] | None = None
    modseq: bool = False
    partial: PartialRange | None = None


class SortKey(Enum):
    """What SORT orders by (RFC 5256 §3, RFC 5957 §3); the value is the name on the wire."""

    ARRIVAL = b"ARRIVAL"
    CC = b"CC"
    DATE = b"DATE"
    FROM = b"FROM"
    SIZE = b"SIZE"
    SUBJECT = b"SUBJECT"
    TO = b"TO"
    DISPLAY_FROM = b"DISPLAYFROM"
    DISPLAY_TO = b"DISPLAYTO"


@dataclass(frozen=True, slots=True)
class SortOrder:
    """One criterion of SORT."""

    key: SortKey
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Sort(Command):
    """SORT and UID SORT (RFC 5256 §3); `returns`, `modseq` and `partial` as in `Search` (RFC 5267 §3.1, RFC 7162 §3.1.6)."""

    uid: bool
    key: SearchKey
    orders: tuple[SortOrder, ...]
    returns: frozenset[SearchReturn] | None = None
    modseq: bool = False
    partial: PartialRange | None = None


class ThreadAlgorithm(Enum):
    """How THREAD joins messages (RFC 5256 §3); the value is the name on the wire."""

    ORDEREDSUBJECT = b"ORDEREDSUBJECT"
    REFERENCES = b"REFERENCES"


@dataclass(frozen=True, slots=True)
class Thread(Command):
    """THREAD and UID THREAD (RFC 5256 §3)."""

    uid: bool
    key: SearchKey
    algorithm: ThreadAlgorithm


@dataclass(frozen=True, slots=True)
class Fetch(Command):
    """FETCH and UID FETCH (RFC 3501 §6.4.5); macros are expanded; UID FETCH always has the UID item.

    `changed_since`: RFC 7162 §3.1.4.1; `partial`: only so many of the first or last of what else would be told (RFC 9394 §3.3);
    `vanished`: also which of them went since (RFC 7162 §3.2.6).
    """

    uid: bool
    sequence: SequenceSet
    items: tuple[FetchItem, ...]
    changed_since: int | None = None
    partial: PartialRange | None = None
    vanished: bool = False


@dataclass(frozen=True, slots=True)
class Store(Command):
    """STORE and UID STORE (RFC 3501 §6.4.6); `unchanged_since`: RFC 7162 §3.1.3."""

    uid: bool
    sequence: SequenceSet
    mode: StoreMode
    flags: FlagList
    silent: bool = False
    unchanged_since: int | None = None


@dataclass(frozen=True, slots=True)
class Copy(Command):
    """COPY and UID COPY (RFC 3501 §6.4.7)."""

    uid: bool
    sequence: SequenceSet
    mailbox: str


@dataclass(frozen=True, slots=True)
class Move(Command):
    """MOVE and UID MOVE (RFC 6851 §3)."""

    uid: bool
    sequence: SequenceSet
    mailbox: str


# ---- notices: the engine has answered already, nothing is to be finished ----


@dataclass(frozen=True, slots=True)
class AuthenticateCancelled:
    """The client gave up AUTHENTICATE with ``*`` or an unreadable line: forget the exchange, count no failure."""

    tag: bytes


@dataclass(frozen=True, slots=True)
class AppendAborted:
    """The APPEND broke (bad syntax after a message, or the connection ended): forget what was read of it."""

    tag: bytes


@dataclass(frozen=True, slots=True)
class IdleBroken:
    """The client sent something else than DONE: stop pushing."""

    tag: bytes


@dataclass(frozen=True, slots=True)
class SearchRefused:
    """A SEARCH that was to save its result was refused: what was saved before is void (RFC 5182 §2.1)."""

    tag: bytes


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The client closed the connection; nothing follows."""


Notice = AuthenticateCancelled | AppendAborted | IdleBroken | SearchRefused | Disconnected
Event = Command | Notice
