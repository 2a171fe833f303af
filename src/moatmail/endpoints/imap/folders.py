# SPDX-License-Identifier: Apache-2.0
"""CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, LIST and LSUB.

Obeys RFC 3501 §6.3.3-§6.3.9, RFC 3348 (CHILDREN), RFC 5258 (LIST-EXTENDED), RFC 5819 (LIST-STATUS), RFC 6154 (SPECIAL-USE).
Must never know how a name is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from moatmail.core.mailbox_name import INBOX, canonical, superiors
from moatmail.endpoints.imap.conversation import Conversation, RefusedError
from moatmail.endpoints.imap.select import tell_status
from moatmail.endpoints.imap.watch import own_names
from moatmail.mailbox import mailboxes
from moatmail.mailbox.mailboxes import Mailboxes
from moatmail.wire.imap import events, responses
from moatmail.wire.imap.mailbox_name import compile_pattern
from moatmail.wire.imap.object_id import mailbox_id

# RFC 6154 §2; the store knows them in small letters without backslash.
USES: Final = {"archive": b"\\Archive", "drafts": b"\\Drafts", "junk": b"\\Junk", "sent": b"\\Sent", "trash": b"\\Trash"}
_USE_OF: Final = {attribute.upper(): use for use, attribute in USES.items()}


async def on_create(conversation: Conversation, command: events.Create) -> None:
    """Make a mailbox."""
    uses = {_USE_OF.get(attribute.upper()) for attribute in command.special_use}
    if None in uses or len(uses) > 1:
        raise RefusedError(b"this special use cannot be given", b"USEATTR")  # RFC 6154 §3
    async with own_names(conversation.watch, canonical(command.mailbox)):
        created = await mailboxes.create(conversation.account, command.mailbox, uses.pop() if uses else None)
    _tell_normalised(conversation, created.name, command.mailbox)
    conversation.done(command, b"created", responses.mailbox_id(mailbox_id(created.object_id)))  # RFC 8474 §4.1


def _tell_normalised(conversation: Conversation, name: str, asked: str) -> None:
    # RFC 9051 §6.3.9.7: the client is told which name it got. IMAP4rev1 has no way to say so; its client finds the mailbox by either name.
    if conversation.rev2 and name != asked:
        conversation.untagged(responses.renamed(name, asked))


async def on_delete(conversation: Conversation, command: events.Delete) -> None:
    """Delete a mailbox; if it is the selected one, no mailbox is selected afterwards."""
    async with own_names(conversation.watch, canonical(command.mailbox)):
        deleted = await mailboxes.delete(conversation.account, command.mailbox, conversation.now())
    if conversation.selected is not None and conversation.selected.mailbox == deleted:
        conversation.deselect()
        conversation.engine.deselect()
        conversation.untagged(responses.ok(b"CLOSED", b"the selected mailbox was deleted"))
    if conversation.rev2 and (name := canonical(command.mailbox)) != command.mailbox:
        conversation.untagged(responses.changed_name((b"\\NonExistent",), name, command.mailbox, utf8=True))  # RFC 9051 §6.3.5
    conversation.done(command, b"deleted")


async def on_rename(conversation: Conversation, command: events.Rename) -> None:
    """Rename a mailbox with all below it."""
    async with own_names(conversation.watch, canonical(command.mailbox), canonical(command.new_name)):
        name = await mailboxes.rename(conversation.account, command.mailbox, command.new_name, conversation.now())
    if conversation.rev2 and (name != command.new_name or canonical(command.mailbox) != command.mailbox):
        # RFC 9051 §6.3.6: OLDNAME is the name that was, as the client wrote it, whichever of the two was normalised.
        conversation.untagged(responses.renamed(name, command.mailbox))
    conversation.done(command, b"renamed")


async def on_subscribe(conversation: Conversation, command: events.Subscribe | events.Unsubscribe) -> None:
    """Add or drop a subscription."""
    change = mailboxes.subscribe if isinstance(command, events.Subscribe) else mailboxes.unsubscribe
    async with own_names(conversation.watch, canonical(command.mailbox)):
        await change(conversation.account, command.mailbox)
    conversation.done(command, b"done")


# ---------------------------------------------------------------- LIST


@dataclass(frozen=True, slots=True)
class _Names:
    """An account's names: mailboxes, levels that only hold others, subscriptions."""

    boxes: Mailboxes
    parents: frozenset[str]

    @classmethod
    def of(cls, boxes: Mailboxes) -> _Names:
        """Find the levels above all mailboxes."""
        return cls(boxes, frozenset(superior for name in boxes.by_name for superior in superiors(name)))

    def existing(self) -> list[str]:
        """Give every name of the hierarchy, INBOX first."""
        return _sorted(self.boxes.by_name.keys() | self.parents)

    def use(self, name: str) -> bytes | None:
        """Give the special-use attribute of a name."""
        row = self.boxes.by_name.get(name)
        return USES.get(row.special_use or "") if row is not None else None


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name != INBOX, name))


def _matcher(reference: str, patterns: Iterable[str]) -> Callable[[str], bool]:
    matchers = [compile_pattern(reference + pattern) for pattern in patterns]
    return lambda name: any(matches(name) for matches in matchers)


async def on_list(conversation: Conversation, command: events.List) -> None:
    """Tell the mailboxes that match; an empty pattern asks for the delimiter only (RFC 3501 §6.3.8)."""
    if not command.extended and command.patterns == ("",):
        conversation.untagged(responses.delimiter())
        conversation.done(command, b"listed")
        return
    boxes = await mailboxes.list_mailboxes(conversation.account)
    await conversation.flush()
    names = _Names.of(boxes)
    for error in names.boxes.damaged:
        conversation.alert(error)
    conversation.begin_slice()
    for found in _select(names, command):
        await conversation.pause()
        if found is None:
            continue
        name, childinfo = found
        attributes = _attributes(names, name, command, new=command.extended or conversation.rev2)
        conversation.untagged(responses.mailbox(attributes, name, selected_by=childinfo, utf8=conversation.utf8))
        row = names.boxes.by_name.get(name)
        if command.returns.status and row is not None:
            await tell_status(conversation, name, row, command.returns.status)
    conversation.done(command, b"listed")


def _select(names: _Names, command: events.List) -> Iterator[tuple[str, tuple[bytes, ...]] | None]:
    """Give the names to tell, each with the options for which it is told because of what lies below it (RFC 5258 §3.5).

    None stands for one that is not told: many patterns over thousands of names take seconds, whether any matches or not.
    """
    matches = _matcher(command.reference, command.patterns)
    selection = command.selection
    chosen = set(_chosen(names, selection))
    above: set[str] = set()
    below: set[str] = set()
    if selection.recursive_match:
        # RFC 5258 §3.1, §5 example 9: a level that is not selected itself is told for what the pattern does not show; one that is tells of all below it.
        for name in chosen:
            yield None
            above.update(superiors(name))
            if not matches(name):
                below.update(superiors(name))
    options = tuple(option for option, asked in ((b"SUBSCRIBED", selection.subscribed), (b"SPECIAL-USE", selection.special_use)) if asked)
    for name in _sorted(chosen | below):
        yield (name, options if name in below or (name in above and name in chosen) else ()) if matches(name) else None


def _chosen(names: _Names, selection: events.ListSelection) -> Iterable[str]:
    if selection.subscribed:
        return [name for name in names.boxes.subscribed if not selection.special_use or names.use(name)]
    if selection.special_use:
        return [name for name in names.boxes.by_name if names.use(name)]
    return names.existing()


def _attributes(names: _Names, name: str, command: events.List, *, new: bool) -> list[bytes]:
    attributes = []
    if name not in names.boxes.by_name:
        # RFC 5258 §3, RFC 9051 §7.3.1: \NonExistent says more and implies \Noselect; old clients know only the latter.
        attributes.append(b"\\NonExistent" if new else b"\\Noselect")
    if command.returns.subscribed and name in names.boxes.subscribed:
        attributes.append(b"\\Subscribed")
    if command.returns.children or not command.extended:
        attributes.append(b"\\HasChildren" if name in names.parents else b"\\HasNoChildren")
    use = names.use(name)
    if use is not None and (command.returns.special_use or not command.extended):
        attributes.append(use)
    return attributes


async def on_lsub(conversation: Conversation, command: events.Lsub) -> None:
    r"""Tell the subscribed names that match; with ``%`` also the level above ones that do not, as ``\Noselect`` (RFC 3501 §6.3.9)."""
    if command.pattern == "":
        conversation.untagged(responses.delimiter().replace(b"LIST", b"LSUB", 1))
    elif command.pattern is not None:
        boxes = await mailboxes.list_mailboxes(conversation.account)
        matches = _matcher(command.reference, (command.pattern,))
        levels: set[str] = set()
        conversation.begin_slice()
        for name in boxes.subscribed if command.pattern.endswith("%") else ():
            if not matches(name):
                levels.update(superiors(name))
            await conversation.pause()
        levels -= boxes.subscribed
        for name in _sorted(boxes.subscribed | levels):
            if matches(name):
                conversation.untagged(responses.mailbox((b"\\Noselect",) if name in levels else (), name, response=b"LSUB", utf8=conversation.utf8))
            await conversation.pause()
    conversation.done(command, b"listed")
