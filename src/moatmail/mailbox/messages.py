# SPDX-License-Identifier: Apache-2.0
"""How a message becomes one account's own: prefix, summary, keys and cover; the one caller of the adding operations.

Obeys RFC 5321 §4.4 (Return-Path at final delivery), docs/security.md (two keys under one cover).
Must never know the wire or why a message was accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from moatmail.core.address import Address
from moatmail.core.limits.mailbox import WORDS_DELIVERED
from moatmail.crypto.cover import AccountKeys, MessageKeys, cover_to_public, cover_with_mailbox_key
from moatmail.crypto.seal import Purpose, SealKey, new_id
from moatmail.mailbox.index import words
from moatmail.mailbox.prefix import Prefix, for_reader, summarize
from moatmail.mailbox.thread_links import links
from moatmail.message import summary, trace
from moatmail.message.structure import Structure
from moatmail.store.operations import INBOX, Delivery, NewContent, NewMessage

Cover = Callable[[bytes, int, bytes, MessageKeys], bytes]
"""Covers the keys of a message: from public half, account, message id and keys."""

_SPECIAL_USE = {"INBOX": INBOX, "Junk": "junk"}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Sealed content, ready to be placed: its row, key, structure, and how many octets were put in front of what was scanned.

    `header` is the stored header block of an internationalized message, whose readers get a surrogate (RFC 6858); empty otherwise.
    `words` are None where they are to be made later, when the owner's session looks at the message.
    """

    content: NewContent
    key: bytes
    structure: Structure
    shift: int
    received_at: float
    header: bytes = b""
    words: words.ContentWords | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """One local recipient: the account, its public half, the address it was delivered to, the mailbox its filter chose."""

    account: int
    public: bytes
    delivered_to: Address
    mailbox: str = "INBOX"


def deliver(prepared: Prepared, copy: Copy, reverse_path: Address | None, cover_keys: Cover = cover_to_public) -> Delivery:
    """Give the row of one recipient's copy, its keys covered for the account's public half: the writer does not hold its keys."""
    fields = trace.return_path(reverse_path) + trace.delivered_to(copy.delivered_to)
    prefix = for_reader(fields, prepared.header) if prepared.header else Prefix(fields)
    keys = MessageKeys.for_content(prepared.key)
    message_id = new_id(int(prepared.received_at * 1000))
    cover = cover_keys(copy.public, copy.account, message_id, keys)
    message = _row(prepared, copy.account, message_id, keys, prefix, cover)
    return Delivery(message, special_use=_SPECIAL_USE.get(copy.mailbox, INBOX))


def with_few_words(deliveries: Sequence[Delivery]) -> tuple[Delivery, ...]:
    """Give deliveries without their words where these are too many to travel in one frame with all the rest: they are made when somebody looks."""
    if sum(len(one.message.words) for one in deliveries) <= WORDS_DELIVERED:
        return tuple(deliveries)
    return tuple([replace(one, message=replace(one.message, words=b"")) for one in deliveries])


def append(prepared: Prepared, account: int, keys: AccountKeys, mailbox: int, flags: int, keywords: tuple[str, ...]) -> Delivery:
    """Give the row of a message its owner puts into a mailbox (APPEND), covered with the mailbox key: no prefix but a surrogate, where one is due."""
    message_keys = MessageKeys.for_content(prepared.key)
    # The owner may date a message as he likes, before 1970 too; its id tells when it came, as that of its content does.
    message_id = new_id(int.from_bytes(prepared.content.id[:6], "big"))
    cover = cover_with_mailbox_key(keys.sealing, account, message_id, message_keys)
    prefix = for_reader(b"", prepared.header) if prepared.header else Prefix(b"")
    message = _row(prepared, account, message_id, message_keys, prefix, cover)
    return Delivery(message, mailbox, "", flags, keywords)


def _row(prepared: Prepared, account: int, message_id: bytes, keys: MessageKeys, prefix: Prefix, cover: bytes) -> NewMessage:
    sealing = SealKey(keys.message_key)
    made = summarize(prefix, prepared.structure, prepared.shift)
    return NewMessage(
        id=message_id,
        account=account,
        content=prepared.content.id,
        cover=cover,
        prefix=sealing.seal(Purpose.PREFIX, account, message_id, prefix.encode()) if prefix.octets else b"",
        summary=sealing.seal(Purpose.SUMMARY, account, message_id, summary.encode(made)),
        size=made.size,
        received_at=prepared.received_at,
        words=words.seal(sealing, account, message_id, _words(made, prefix, prepared.words)) if prepared.words is not None else b"",
        links=links(made),
        real_size=real if (real := summary.for_utf8(made).size) != made.size else 0,
    )


def _words(made: summary.Summary, prefix: Prefix, shared: words.ContentWords) -> words.Words:
    """Give the words of a message: what stands in front of the content is in its header too. A surrogate is for the eye, and nobody searches it."""
    fields = prefix.for_utf8().octets
    return words.join(words.summary_words(made), (words.header_words(fields) if fields else b"") + shared.header, shared.body)
