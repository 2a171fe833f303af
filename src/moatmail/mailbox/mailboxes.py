# SPDX-License-Identifier: Apache-2.0
"""An account's mailboxes by name: found, made, renamed, deleted, subscribed; names are sealed and a tag finds equal ones.

Obeys RFC 3501 §5.1 (names and hierarchy), §6.3.3-§6.3.7, RFC 9051 §5.1 (one form of a name), RFC 6154 §3 (special use of a new mailbox).
Must never know how a client writes a name: here it is text, levels parted by ``/``; in whichever form it comes, it finds the one mailbox of that name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from os import urandom
from typing import Final

from moatmail.core.errors import AlreadyExistsError, ConflictError, NotFoundError, PermanentError, SealBrokenError
from moatmail.core.limits.mailbox import LISTED, MAILBOXES, NAME_LEVELS, NAME_OCTETS, SEALED_NAMES, SUBSCRIPTIONS
from moatmail.core.mailbox_name import DELIMITER, INBOX, canonical, has_controls, superiors
from moatmail.core.ports.vault import SealedName
from moatmail.crypto.mailbox_name import open_name, seal_name
from moatmail.crypto.mailbox_name import tag as tag_of
from moatmail.crypto.seal import new_id
from moatmail.mailbox.opened import Opened
from moatmail.mailbox.placements import move_all
from moatmail.store.operations import INBOX as INBOX_USE
from moatmail.store.operations import CreateMailbox, DeleteMailbox, RenamedMailbox, RenameMailboxes, Subscribe
from moatmail.store.queries import GetMailbox, ListMailboxes, MailboxRow, SubscriptionRow

_OBJECT_ID_SIZE: Final = 16


class NameNotUsableError(PermanentError):
    """A name that no mailbox can have (`NO [CANNOT]`)."""

    public = "this name cannot be used"


class UseTakenError(ConflictError):
    """Another mailbox has this special use (`NO [USEATTR]`, RFC 6154 §3)."""

    public = "another mailbox has this special use"


class HasInferiorsError(ConflictError):
    """The name is a level of others and no mailbox (`NO [HASCHILDREN]`, RFC 5530 §3)."""

    public = "only mailboxes below this name exist; delete them"


class TooManyMailboxesError(PermanentError):
    """The account has as many mailboxes or subscriptions as it may (`NO [LIMIT]`)."""

    public = "too many mailboxes"


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """A snapshot of an account's mailboxes and subscriptions by name; `INBOX` is always there."""

    by_name: dict[str, MailboxRow]
    subscribed: frozenset[str]
    damaged: tuple[SealBrokenError, ...] = ()
    """Names that do not open: one damaged row must not hide all others."""
    odd: dict[str, str] = field(default_factory=dict)
    """Canonical form -> form kept, of names and levels made before names were normalised."""

    def spelling(self, name: str) -> str:
        """Give a name as it is kept, or as it would be made: canonical, below the levels that exist as they are spelled."""
        if name in self.by_name:
            return name
        wanted = canonical(name)
        if not self.odd:
            return wanted
        for level in (wanted, *reversed(tuple(superiors(wanted)))):
            if level in self.by_name:
                break
            if level in self.odd:
                return self.odd[level] + wanted[len(level) :]
        return wanted

    def find(self, name: str) -> MailboxRow:
        """Give the row of a name in any form; raises NotFoundError."""
        row = self.by_name.get(self.spelling(name))
        if row is None:
            raise NotFoundError("no such mailbox", public="no such mailbox")
        return row

    def inferiors(self, name: str) -> list[str]:
        """Give the names below `name`."""
        prefix = name + DELIMITER
        return [other for other in self.by_name if other.startswith(prefix)]


async def list_mailboxes(opened: Opened) -> Mailboxes:
    """Give the snapshot; names are opened once and kept while the account is open."""
    answer = await opened.store.read(ListMailboxes(opened.id))
    names: dict[str, MailboxRow] = {}
    subscribed: set[str] = set()
    damaged: list[SealBrokenError] = []
    odd: dict[str, str] = {}
    known = opened.names
    rows: tuple[MailboxRow | SubscriptionRow, ...] = (*answer.mailboxes, *answer.subscriptions)
    for count, row in enumerate(rows):
        if count % LISTED == LISTED - 1:
            await asyncio.sleep(0)
        try:
            name = _name(opened, row)
        except SealBrokenError as error:
            damaged.append(error)
            continue
        if isinstance(row, MailboxRow):
            names[name] = row
            if not name.isascii() and canonical(name) != name:
                odd.update((canonical(level), level) for level in (name, *superiors(name)) if canonical(level) != level)
        else:
            subscribed.add(name)
    if len(rows) > LISTED:
        await asyncio.sleep(0)
    if len(known) > 2 * (len(answer.mailboxes) + len(answer.subscriptions)) + 16:
        known.clear()  # old forms of renamed ones
    return Mailboxes(names, frozenset(subscribed), tuple(damaged), odd)


def _name(opened: Opened, row: MailboxRow | SubscriptionRow) -> str:
    name = opened.names.get(row.sealed_name)
    if name is None:
        octets = open_name(opened.keys.sealing, opened.id, row.object_id, row.sealed_name)
        name = opened.names[row.sealed_name] = octets.decode()
    return name


async def find(opened: Opened, name: str) -> MailboxRow:
    """Give the row of a mailbox, its name in any form (RFC 9051 §5.1); raises NotFoundError."""
    # By its tag: an account may have thousands of mailboxes, and nearly every command names one.
    for form in dict.fromkeys((name, canonical(name))):
        row = await opened.store.read(GetMailbox(opened.id, 0, _tag(opened, form)))
        if row is not None:
            return row
    if name.isascii():
        raise NotFoundError("no such mailbox", public="no such mailbox")
    return (await list_mailboxes(opened)).find(name)


def name_of(opened: Opened, row: MailboxRow, asked: str) -> str:
    """Give the name of a mailbox as it is kept; `asked`, by which it was found, where that does not open any more."""
    try:
        return asked if asked.isascii() else _name(opened, row)
    except SealBrokenError:
        return asked


def _tag(opened: Opened, name: str) -> bytes:
    return tag_of(opened.keys.sealing, opened.id, name.encode())


# ---------------------------------------------------------------- changing


def _check(name: str) -> None:
    """Raise NameNotUsableError for a name with an empty level or controls, too long or too deep."""
    levels = name.split(DELIMITER)
    if not all(levels) or len(levels) > NAME_LEVELS or len(name.encode()) > NAME_OCTETS or has_controls(name):
        raise NameNotUsableError


def _seal(opened: Opened, name: str) -> tuple[bytes, SealedName]:
    object_id = urandom(_OBJECT_ID_SIZE)
    return object_id, seal_name(opened.keys.sealing, opened.id, object_id, name.encode())


@dataclass(frozen=True, slots=True)
class Created:
    """A new mailbox: its name as it is kept, and its object id, which no renaming changes (RFC 8474 §4)."""

    name: str
    object_id: bytes


async def create(opened: Opened, name: str, special_use: str | None = None) -> Created:
    """Make a mailbox and the superior ones it lacks (RFC 3501 §6.3.3).

    Raises AlreadyExistsError, NameNotUsableError, TooManyMailboxesError, UseTakenError.
    """
    boxes = await list_mailboxes(opened)
    name = boxes.spelling(name)
    _check(name)
    if name in boxes.by_name:
        raise AlreadyExistsError(public="the mailbox exists already")
    if special_use is not None and any(row.special_use == special_use for row in boxes.by_name.values()):
        raise UseTakenError
    await _create_superiors(opened, boxes, name, others=1)
    object_id, _mailbox = await _create(opened, name, special_use)
    return Created(name, object_id)


async def _create(opened: Opened, name: str, special_use: str | None) -> tuple[bytes, int]:
    object_id, sealed = _seal(opened, name)
    try:
        return object_id, await opened.store.write(CreateMailbox(opened.id, object_id, sealed.sealed, sealed.tag, special_use))
    except ConflictError:
        raise UseTakenError from None  # somebody was faster


async def _create_superiors(opened: Opened, boxes: Mailboxes, name: str, *, others: int) -> None:
    """Make the superior mailboxes that a name lacks, unless with them and `others` the account has too many."""
    missing = [superior for superior in superiors(name) if superior not in boxes.by_name]
    added = len(missing) + others
    if added and len(boxes.by_name) + added > MAILBOXES:
        raise TooManyMailboxesError
    for superior in missing:
        await _create(opened, superior, None)


async def delete(opened: Opened, name: str, now: float) -> int:
    """Delete a mailbox and give its number; those below it stay (RFC 3501 §6.3.4).

    Raises NotFoundError, NameNotUsableError (INBOX), HasInferiorsError (only a level of others).
    """
    boxes = await list_mailboxes(opened)
    name = boxes.spelling(name)
    if name == INBOX:
        raise NameNotUsableError(public="INBOX cannot be deleted")
    if name not in boxes.by_name and boxes.inferiors(name):
        # RFC 3501 §6.3.4: a name that is only a level of others cannot be deleted again.
        raise HasInferiorsError
    mailbox = boxes.find(name).id
    await opened.store.write(DeleteMailbox(opened.id, mailbox, now, new_id(int(now * 1000))))
    return mailbox


async def rename(opened: Opened, name: str, new_name: str, now: float) -> str:
    """Rename a mailbox and all below it, and give the new name as it is kept; INBOX gives its messages to a new mailbox and stays (RFC 3501 §6.3.5).

    Subscriptions stay with the names they were given for (RFC 3501 §6.3.6: none is dropped unasked).
    Raises NotFoundError, AlreadyExistsError, NameNotUsableError, TooManyMailboxesError.
    """
    boxes = await list_mailboxes(opened)
    name, new_name = boxes.spelling(name), boxes.spelling(new_name)
    _check(new_name)
    if name == INBOX:
        await _empty_inbox(opened, boxes, new_name, now)
        return new_name
    moved = [name, *boxes.inferiors(name)] if name in boxes.by_name else boxes.inferiors(name)
    if not moved:
        boxes.find(name)
    if new_name.startswith(name + DELIMITER):
        raise NameNotUsableError(public="a mailbox cannot be moved below itself")
    targets = {old: new_name + old[len(name) :] for old in moved}
    await _demand_free(boxes.by_name.keys() - targets.keys() if new_name != name else boxes.by_name.keys(), targets.values())
    await _create_superiors(opened, boxes, new_name, others=0)
    renamed: list[RenamedMailbox] = []
    for old, target in targets.items():
        renamed.append(_renamed(opened, boxes.by_name[old], target))
        if len(renamed) % SEALED_NAMES == 0:
            await asyncio.sleep(0)
    await opened.store.write(RenameMailboxes(opened.id, tuple(renamed)))
    return new_name


async def _demand_free(taken: Iterable[str], targets: Iterable[str]) -> None:
    """Raise AlreadyExistsError where a new name is taken in any form, NameNotUsableError where none can have it; thousands in slices."""
    forms: set[str] = set()
    for count, name in enumerate(taken, 1):
        forms.add(canonical(name))
        if count % LISTED == 0:
            await asyncio.sleep(0)
    for count, target in enumerate(targets, 1):
        if canonical(target) in forms:
            raise AlreadyExistsError(public="a mailbox of the new name exists")
        _check(target)
        if count % LISTED == 0:
            await asyncio.sleep(0)


def _renamed(opened: Opened, row: MailboxRow, target: str) -> RenamedMailbox:
    sealed = seal_name(opened.keys.sealing, opened.id, row.object_id, target.encode())
    return RenamedMailbox(row.id, sealed.sealed, sealed.tag)


async def _empty_inbox(opened: Opened, boxes: Mailboxes, new_name: str, now: float) -> None:
    if new_name in boxes.by_name:
        raise AlreadyExistsError(public="a mailbox of the new name exists")
    await _create_superiors(opened, boxes, new_name, others=1)
    _object_id, target = await _create(opened, new_name, None)
    inbox = next(row for row in boxes.by_name.values() if row.special_use == INBOX_USE)
    await move_all(opened, inbox, target, now)


async def subscribe(opened: Opened, name: str) -> None:
    """Subscribe a name, whether it exists or not (RFC 3501 §6.3.6); raises NameNotUsableError, TooManyMailboxesError."""
    boxes = await list_mailboxes(opened)
    name = boxes.spelling(name)
    _check(name)
    if len(boxes.subscribed) >= SUBSCRIPTIONS and name not in boxes.subscribed:
        raise TooManyMailboxesError(public="too many subscriptions")
    await _subscribe(opened, name, on=True)


async def unsubscribe(opened: Opened, name: str) -> None:
    """Drop the subscription of a name, in whichever form it was given (RFC 3501 §6.3.7)."""
    forms = {name} if name.isascii() else {name, canonical(name), (await list_mailboxes(opened)).spelling(name)}
    for form in forms:
        await _subscribe(opened, form, on=False)


async def _subscribe(opened: Opened, name: str, *, on: bool) -> None:
    object_id, sealed = _seal(opened, name)
    await opened.store.write(Subscribe(opened.id, object_id, sealed.sealed, sealed.tag, on))
