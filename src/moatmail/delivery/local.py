# SPDX-License-Identifier: Apache-2.0
"""Mail that the queue finds to be local: our own bounces and reports, and addresses that became ours while they waited.

Obeys RFC 5321 §4.4 (final delivery).
Must never know SMTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moatmail.core.address import Address
from moatmail.core.status import Reply
from moatmail.crypto.content_seal import ContentOpener
from moatmail.delivery.outcome import Fate, Outcome
from moatmail.directory.recipients import Resolution
from moatmail.mailauth.dmarc.author import find_author
from moatmail.mailauth.reports.received import Arrived
from moatmail.mailauth.reports.unreadable import UnreadableReportError
from moatmail.mailbox import messages
from moatmail.mailbox.report_rows import read_rows
from moatmail.message.header import Header
from moatmail.message.structure import StructureParser
from moatmail.store.interface import Store
from moatmail.store.operations import Accept, Delivery, NewContent

_KEPT = Reply.of(250, "2.1.5", "delivered to the mailbox")
_UNKNOWN = Reply.of(550, "5.1.1", "no such mailbox here")
_FROZEN = Reply.of(550, "5.2.1", "this mailbox is disabled")
_FULL = Reply.of(452, "4.2.2", "mailbox full")
_READ = Reply.of(250, "2.1.5", "read as a report")


def judge(resolution: Resolution, size: int) -> Outcome:
    """Tell what becomes of a local recipient, before anything is written."""
    if not resolution.accounts:
        return Outcome(Fate.FAILED, _UNKNOWN)
    active = [account for account in resolution.accounts if account.status == "active"]
    if not active:
        return Outcome(Fate.FAILED, _FROZEN)
    if not any(not one.quota_octets or one.used_octets + size <= one.quota_octets for one in active):
        return Outcome(Fate.DEFERRED, _FULL)
    return Outcome(Fate.DELIVERED, _KEPT)


async def read_report(store: Store, opener: ContentOpener, address: Address, now: float, *, ours: bool) -> Outcome:
    """Read a message for the address for reports and keep its rows, which repetition does not double; raises TemporaryError, SealBrokenError.

    `ours` says that we made it ourselves: then nobody else can have written it.
    """
    sender = find_author(Header(opener.read(0, opener.header_size))).domain or ""
    try:
        rows = await read_rows(opener, Arrived(int(now), sender, address.domain, authenticated=ours))
    except UnreadableReportError as error:
        return Outcome(Fate.FAILED, Reply.of(550, error.status, error.public))
    await store.write(Accept((), reports=rows))
    return Outcome(Fate.DELIVERED, _READ)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queue entry's content, open: the reader, its id, its key, and the reverse-path it came with."""

    opener: ContentOpener
    content_id: bytes
    key: bytes
    reverse_path: Address | None


def deliveries(waiting: Waiting, found: Sequence[tuple[Address, Resolution]], now: float) -> tuple[Delivery, ...]:
    """Make the copies of one queue entry, one per account; raises SealBrokenError when its content does not open."""
    opener = waiting.opener
    parser = StructureParser()
    for chunk in opener.chunks(0, opener.size):
        parser.feed(chunk)
    prepared = messages.Prepared(NewContent(waiting.content_id, opener.size, None), waiting.key, parser.finish(), 0, now)
    copies: dict[int, messages.Copy] = {}
    for address, resolution in found:
        for account in resolution.accounts:
            copies.setdefault(account.id, messages.Copy(account.id, account.public, address))
    return tuple(messages.deliver(prepared, copy, waiting.reverse_path) for copy in copies.values())
