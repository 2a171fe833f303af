# SPDX-License-Identifier: Apache-2.0
"""The table of commands: name → states it may be given in → reader of its arguments.

Obeys RFC 3501 §6 and the RFCs of the extensions named at each event.
Must never know how a command is carried out, nor the connection it came by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from moatmail.core.limits import imap as limits
from moatmail.core.mailbox_name import DELIMITER
from moatmail.wire.imap import events, fetch_grammar, list_grammar, notify_grammar, qresync, quota_grammar, sort_grammar
from moatmail.wire.imap.flags import FlagList, StoreMode
from moatmail.wire.imap.grammar import BadSyntaxError, CommandRefusedError, Cursor, SearchRefusedError, demand_uid, fail
from moatmail.wire.imap.mailbox_name import read_name
from moatmail.wire.imap.moment import ZonedMoment
from moatmail.wire.imap.profile import Profile, State
from moatmail.wire.imap.search import SearchReturn
from moatmail.wire.imap.search_grammar import SearchParser
from moatmail.wire.imap.sequence import MAXIMUM, STAR, SequenceSet

Parse = Callable[[Cursor, bytes], events.Command]


@dataclass(frozen=True, slots=True)
class Rule:
    """When a command may be given and how its arguments are read; `bare`: it has none; `numbers`: it speaks of messages by their numbers."""

    states: frozenset[State]
    parse: Parse
    bare: bool = False
    numbers: bool = False


# ---- readers of arguments: the cursor stands behind the space after the name ----


def _mailbox(event: Callable[[bytes, str], events.Command]) -> Parse:
    return lambda cursor, tag: event(tag, cursor.mailbox())


def _bare(event: Callable[[bytes], events.Command]) -> Parse:
    return lambda _cursor, tag: event(tag)


def _id(cursor: Cursor, tag: bytes) -> events.Id:
    if not cursor.take(b"("):
        if cursor.word(b"NIL or a list") != b"NIL":
            fail(b"expected NIL or a list")
        return events.Id(tag, None)
    pairs: list[tuple[bytes, bytes | None]] = []
    while not cursor.take(b")"):
        if pairs:
            cursor.space(b"a field")
        if len(pairs) == limits.ID_PAIRS:
            fail(b"too many fields")  # RFC 2971 §3.3
        field = cursor.string(b"a field")
        cursor.space(b"a value")
        value = cursor.nstring(b"a value")
        if len(field) > limits.ID_FIELD or len(value or b"") > limits.ID_VALUE:
            fail(b"a field or value is too long")  # RFC 2971 §3.3
        pairs.append((field, value))
    return events.Id(tag, tuple(pairs))


def _authenticate(cursor: Cursor, tag: bytes) -> events.Authenticate:
    mechanism = cursor.word(b"a mechanism")
    initial = None
    if cursor.take(b" "):
        # RFC 4959 §3: the initial response is base64, or `=` for an empty one.
        initial = cursor.text[cursor.position :]
        cursor.position = len(cursor.text)
        if not initial or b" " in initial:
            fail(b"expected one initial response")
    return events.Authenticate(tag, mechanism, initial)


def _login(cursor: Cursor, tag: bytes) -> events.Login:
    username = cursor.astring(b"a user name")
    cursor.space(b"a password")
    password = cursor.astring(b"a password")
    if len(username) > limits.USERNAME:
        fail(b"the user name is too long")
    return events.Login(tag, username, password)


def _enable(cursor: Cursor, tag: bytes) -> events.Enable:
    names = [cursor.word(b"a capability")]
    while cursor.take(b" "):
        names.append(cursor.word(b"a capability"))
        if len(names) > limits.ENABLE_NAMES:
            fail(b"too many capabilities")
    return events.Enable(tag, tuple(dict.fromkeys(names)))


def _mailbox_to_open(cursor: Cursor) -> str:
    """Take a mailbox name; one that can name nothing is the empty one, for even that leaves the mailbox that was open (RFC 3501 §6.3.1)."""
    try:
        return cursor.mailbox()
    except CommandRefusedError:
        return ""


def _select(cursor: Cursor, tag: bytes) -> events.Select:
    mailbox, parameters = _mailbox_to_open(cursor), qresync.parameters(cursor)
    return events.Select(tag, mailbox, parameters.condstore, parameters.known)


def _examine(cursor: Cursor, tag: bytes) -> events.Examine:
    mailbox, parameters = _mailbox_to_open(cursor), qresync.parameters(cursor)
    return events.Examine(tag, mailbox, parameters.condstore, parameters.known)


def _create(cursor: Cursor, tag: bytes) -> events.Create:
    octets = cursor.astring(b"a mailbox name")
    # RFC 3501 §6.3.3: a trailing delimiter announces children; the name is the one without it.
    name = read_name(octets.removesuffix(DELIMITER.encode()), utf8=cursor.utf8)
    if name is None:
        raise CommandRefusedError(b"this is no valid mailbox name", b"CANNOT")
    return events.Create(tag, name, _special_use(cursor) if cursor.take(b" ") else ())


def _special_use(cursor: Cursor) -> tuple[bytes, ...]:
    r"""Take ``(USE (\Drafts \Sent))`` (RFC 6154 §3)."""
    cursor.expect(b"(", b"before parameters")
    if cursor.word(b"a parameter") != b"USE":
        fail(b"unknown parameter")
    cursor.expect(b" (", b"before attributes")
    attributes: dict[bytes, None] = {}
    while not cursor.take(b")"):
        if attributes:
            cursor.space(b"an attribute")
        cursor.expect(b"\\", b"before an attribute")
        attributes[b"\\" + cursor.atom(b"an attribute")] = None
        if len(attributes) > limits.KEYWORDS:
            fail(b"too many attributes")
    cursor.expect(b")", b"after parameters")
    return tuple(attributes)


def _rename(cursor: Cursor, tag: bytes) -> events.Rename:
    mailbox = cursor.mailbox()
    cursor.space(b"a new name")
    return events.Rename(tag, mailbox, cursor.mailbox())


def _status(cursor: Cursor, tag: bytes) -> events.Status:
    mailbox = cursor.mailbox()
    cursor.space(b"STATUS items")
    return events.Status(tag, mailbox, list_grammar.status_items(cursor))


def _uid_expunge(cursor: Cursor, tag: bytes) -> events.UidExpunge:
    return events.UidExpunge(tag, cursor.sequence())


def _search(*, uid: bool) -> Parse:
    def parse(cursor: Cursor, tag: bytes) -> events.Search:
        parser = SearchParser(cursor)
        returns = parser.returns()
        try:
            parser.charset()
            key = parser.program()
        except CommandRefusedError as error:
            if SearchReturn.SAVE in (returns or ()):
                raise SearchRefusedError(error.text, error.code) from None
            raise
        return events.Search(tag, uid, key, returns, parser.modseq, parser.partial)

    return parse


def _fetch(*, uid: bool) -> Parse:
    def parse(cursor: Cursor, tag: bytes) -> events.Fetch:
        sequence = cursor.sequence()
        cursor.space(b"FETCH items")
        items = fetch_grammar.items(cursor)
        modifiers = fetch_grammar.modifiers(cursor, uid=uid)
        # RFC 9586 §3.3: a UIDFETCH response begins with the UID, so nobody has to be told it again.
        items = fetch_grammar.with_uid(items) if uid and not cursor.uid_only else items
        return events.Fetch(tag, uid, sequence, items, modifiers.changed_since, modifiers.partial, modifiers.vanished)

    return parse


_STORE_MODES: Final = {b"+": StoreMode.ADD, b"-": StoreMode.REMOVE}
_STORE_NAMES: Final = {b"FLAGS": False, b"FLAGS.SILENT": True}


def _store(*, uid: bool) -> Parse:
    def parse(cursor: Cursor, tag: bytes) -> events.Store:
        sequence = cursor.sequence()
        cursor.space(b"a STORE item")
        unchanged_since = None
        if cursor.take(b"("):
            unchanged_since = _unchanged_since(cursor)
            cursor.space(b"a STORE item")
        mode = StoreMode.REPLACE
        for sign, meaning in _STORE_MODES.items():
            if cursor.take(sign):
                mode = meaning
                break
        silent = _STORE_NAMES.get(cursor.word(b"FLAGS"))
        if silent is None:
            fail(b"unknown STORE item")
        cursor.space(b"flags")
        return events.Store(tag, uid, sequence, mode, cursor.flags(), silent, unchanged_since)

    return parse


def _unchanged_since(cursor: Cursor) -> int:
    if cursor.word(b"a STORE modifier") != b"UNCHANGEDSINCE":
        fail(b"unknown STORE modifier")
    cursor.space(b"a mod-sequence")
    value = cursor.number(b"the mod-sequence")
    cursor.expect(b")", b"after the STORE modifier")
    return value


def _copy(event: Callable[[bytes, bool, SequenceSet, str], events.Command], *, uid: bool) -> Parse:
    def parse(cursor: Cursor, tag: bytes) -> events.Command:
        sequence = cursor.sequence()
        cursor.space(b"a mailbox name")
        return event(tag, uid, sequence, cursor.mailbox())

    return parse


@dataclass(frozen=True, slots=True)
class AppendHead:
    """What stands before a message of APPEND, or of REPLACE; `wrapped`: the message is in the parentheses of ``UTF8 (...)``."""

    mailbox: str
    flags: FlagList
    date: ZonedMoment | None
    replaces: events.Replacing | None = None
    wrapped: bool = False


def append_head(cursor: Cursor, mailbox: str | None = None) -> AppendHead:
    """Take what precedes a message; `mailbox` is given for a further message of MULTIAPPEND (RFC 3502 §6).

    Raises LiteralPendingError while the mailbox name is itself a literal not read yet. Ends before the marker of the message.
    """
    if mailbox is None:
        mailbox = cursor.mailbox()
        cursor.space(b"a message")
    flags, date = FlagList(), None
    if cursor.at(b"("):
        flags = cursor.flag_list()
        cursor.space(b"a message")
    if cursor.at(b'"'):
        date = cursor.date_time()
        cursor.space(b"a message")
    wrapped = _utf8_wrapper(cursor)
    if not cursor.at(b"~{") and (wrapped or not cursor.at_literal):
        fail(b"expected the message as a literal")
    return AppendHead(mailbox, flags, date, wrapped=wrapped)


_UTF8_WRAPPER: Final = b"UTF8 ("


def _utf8_wrapper(cursor: Cursor) -> bool:
    """Take ``UTF8 (``: RFC 6855 §4 has clients send messages so, and they go on (Thunderbird all of them), though RFC 9755 dropped the need for it."""
    if not cursor.utf8 or cursor.text[cursor.position : cursor.position + len(_UTF8_WRAPPER)].upper() != _UTF8_WRAPPER:
        return False
    cursor.position += len(_UTF8_WRAPPER)
    return True


def replace_head(cursor: Cursor, *, uid: bool) -> AppendHead:
    """Take what precedes the message of REPLACE (RFC 8508 §4): a message, then as APPEND has it."""
    number = STAR if not uid and cursor.take(b"*") else cursor.positive(b"the message", MAXIMUM)
    cursor.space(b"a mailbox name")
    return replace(append_head(cursor), replaces=events.Replacing(uid, number))


HEADS: Final[dict[bytes, Callable[[Cursor], AppendHead]]] = {
    b"APPEND": append_head,
    b"REPLACE": partial(replace_head, uid=False),
    b"UID REPLACE": partial(replace_head, uid=True),
}
"""Commands whose last literal is a message, which is streamed: what stands before it."""


def _message(head: Callable[[Cursor], AppendHead]) -> Parse:
    def parse(cursor: Cursor, _tag: bytes) -> events.Command:
        """Read one that ended without a message: the engine streams all others."""
        head(cursor)
        fail(b"expected the message as a literal")

    return parse


# ---- the table ----

_ANY: Final = frozenset((State.NOT_AUTHENTICATED, State.AUTHENTICATED, State.SELECTED))
_BEFORE: Final = frozenset((State.NOT_AUTHENTICATED,))
_AFTER: Final = frozenset((State.AUTHENTICATED, State.SELECTED))
_SELECTED: Final = frozenset((State.SELECTED,))

_CREDENTIALS: Final = frozenset((b"LOGIN", b"AUTHENTICATE"))
COMMANDS: Final[dict[bytes, Rule]] = {
    b"CAPABILITY": Rule(_ANY, _bare(events.Capability), bare=True),
    b"NOOP": Rule(_ANY, _bare(events.Noop), bare=True),
    b"LOGOUT": Rule(_ANY, _bare(events.Logout), bare=True),
    b"ID": Rule(_ANY, _id),
    b"STARTTLS": Rule(_BEFORE, _bare(events.Starttls), bare=True),
    b"AUTHENTICATE": Rule(_BEFORE, _authenticate),
    b"LOGIN": Rule(_BEFORE, _login),
    b"ENABLE": Rule(_AFTER, _enable),  # RFC 5161 §3.1 asks for the authenticated state; clients enable late, harmless for what we have
    b"SELECT": Rule(_AFTER, _select),
    b"EXAMINE": Rule(_AFTER, _examine),
    b"CREATE": Rule(_AFTER, _create),
    b"DELETE": Rule(_AFTER, _mailbox(events.Delete)),
    b"RENAME": Rule(_AFTER, _rename),
    b"SUBSCRIBE": Rule(_AFTER, _mailbox(events.Subscribe)),
    b"UNSUBSCRIBE": Rule(_AFTER, _mailbox(events.Unsubscribe)),
    b"LIST": Rule(_AFTER, list_grammar.parse_list),
    b"LSUB": Rule(_AFTER, list_grammar.parse_lsub),
    b"NAMESPACE": Rule(_AFTER, _bare(events.Namespace), bare=True),
    b"STATUS": Rule(_AFTER, _status),
    b"GETQUOTA": Rule(_AFTER, quota_grammar.get_quota),
    b"GETQUOTAROOT": Rule(_AFTER, quota_grammar.get_quota_root),
    b"SETQUOTA": Rule(_AFTER, quota_grammar.set_quota),
    b"APPEND": Rule(_AFTER, _message(append_head)),
    b"IDLE": Rule(_AFTER, _bare(events.Idle), bare=True),
    b"NOTIFY": Rule(_AFTER, notify_grammar.notify),
    b"CHECK": Rule(_SELECTED, _bare(events.Check), bare=True),
    b"CLOSE": Rule(_SELECTED, _bare(events.Close), bare=True),
    b"UNSELECT": Rule(_SELECTED, _bare(events.Unselect), bare=True),
    b"EXPUNGE": Rule(_SELECTED, _bare(events.Expunge), bare=True),
    b"UID EXPUNGE": Rule(_SELECTED, _uid_expunge),
    b"SEARCH": Rule(_SELECTED, _search(uid=False), numbers=True),
    b"UID SEARCH": Rule(_SELECTED, _search(uid=True)),
    b"SORT": Rule(_SELECTED, partial(sort_grammar.sort, uid=False), numbers=True),
    b"UID SORT": Rule(_SELECTED, partial(sort_grammar.sort, uid=True)),
    b"THREAD": Rule(_SELECTED, partial(sort_grammar.thread, uid=False), numbers=True),
    b"UID THREAD": Rule(_SELECTED, partial(sort_grammar.thread, uid=True)),
    b"FETCH": Rule(_SELECTED, _fetch(uid=False), numbers=True),
    b"UID FETCH": Rule(_SELECTED, _fetch(uid=True)),
    b"STORE": Rule(_SELECTED, _store(uid=False), numbers=True),
    b"UID STORE": Rule(_SELECTED, _store(uid=True)),
    b"COPY": Rule(_SELECTED, _copy(events.Copy, uid=False), numbers=True),
    b"UID COPY": Rule(_SELECTED, _copy(events.Copy, uid=True)),
    b"MOVE": Rule(_SELECTED, _copy(events.Move, uid=False), numbers=True),
    b"UID MOVE": Rule(_SELECTED, _copy(events.Move, uid=True)),
    b"REPLACE": Rule(_SELECTED, _message(HEADS[b"REPLACE"]), numbers=True),
    b"UID REPLACE": Rule(_SELECTED, _message(HEADS[b"UID REPLACE"])),
}


@dataclass(frozen=True, slots=True)
class Opening:
    """The beginning of a command: `cursor` stands behind the name; ``UID FETCH`` is one name."""

    cursor: Cursor
    tag: bytes
    name: bytes
    rule: Rule


def open_command(parts: list[bytes], state: State, profile: Profile) -> Opening:
    """Read tag and name, and refuse what `state` or the lack of TLS forbids: before any literal of it is asked for."""
    cursor = Cursor(parts)
    tag = cursor.tag()
    cursor.space(b"a command")
    name = cursor.word(b"a command")
    if name == b"UID":
        cursor.space(b"a command after UID")
        name += b" " + cursor.word(b"a command after UID")
    rule = COMMANDS.get(name)
    if rule is None:
        raise BadSyntaxError(b"unknown command")
    if state not in rule.states:
        # RFC 3501 §3: a command in the wrong state is an error and changes nothing.
        raise BadSyntaxError(b"%b is not allowed in the %b state" % (name, state.value.encode()))
    if rule.numbers and profile.uid_only:
        demand_uid()
    cursor.uid_only, cursor.utf8, cursor.utf8_accept = profile.uid_only, profile.utf8, profile.utf8_accept
    cursor.qresync = profile.qresync
    if name in _CREDENTIALS and not profile.login_allowed:
        raise CommandRefusedError(b"use STARTTLS first", b"PRIVACYREQUIRED")  # RFC 3501 §6.2.3, RFC 5530 §3
    if name == b"STARTTLS" and (profile.tls_active or not profile.tls_available):
        raise BadSyntaxError(b"STARTTLS is not available")
    return Opening(cursor, tag, name, rule)


def parse_arguments(opening: Opening, profile: Profile) -> events.Command:
    """Read the rest of a command, to its end; every literal announced in it has been read."""
    cursor = opening.cursor
    if not opening.rule.bare:
        cursor.space(b"arguments")
    command = opening.rule.parse(cursor, opening.tag)
    cursor.end()
    if isinstance(command, events.Authenticate) and command.mechanism not in profile.mechanisms:
        raise CommandRefusedError(b"this mechanism is not supported", b"CANNOT")
    return command


def tag_of(line: bytes) -> bytes:
    """Find the tag to answer with; ``*`` if there is none that can be read."""
    try:
        return Cursor([line]).tag()
    except BadSyntaxError:
        return b"*"
