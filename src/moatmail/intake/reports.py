# SPDX-License-Identifier: Apache-2.0
"""Mail to the address for reports: what can be read becomes rows, in the operation that takes the message over; what cannot goes to a person.

Obeys RFC 5321 §6.1 (what was accepted does not vanish), RFC 9990 §3.5.2 (reports pass DMARC themselves), §8.1 (and are attacks).
Must never know a report's format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moatmail.core.address import Address
from moatmail.core.errors import OverQuotaError
from moatmail.core.events import Event
from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Disposition, Verdict
from moatmail.crypto.content_seal import ContentOpener
from moatmail.intake.judged import Judged
from moatmail.intake.placement import Resolutions, has_room
from moatmail.mailauth.dmarc.check import DMARCResult
from moatmail.mailauth.reports.received import Arrived
from moatmail.mailauth.reports.unreadable import UnreadableReportError
from moatmail.mailauth.result import Result
from moatmail.mailbox.messages import Copy
from moatmail.mailbox.report_rows import read_rows
from moatmail.store.operations import NewReport
from moatmail.store.queries import GetPostmaster

if TYPE_CHECKING:
    from moatmail.intake.takeover import Ports

_JUNK: Final = "Junk"


@dataclass(frozen=True, slots=True)
class Received:
    """What becomes of a message for the address for reports: rows, or a copy for a person, or nothing more than what others get."""

    rows: tuple[NewReport, ...] = ()
    copies: tuple[Copy, ...] = ()


async def receive(ports: Ports, judged: Judged, resolutions: Resolutions, open_content: Callable[[], ContentOpener]) -> Received:
    """Read a message that is for the address for reports; nothing for any other message.

    What cannot be read is kept by the account or alias of that address, else it goes to the Junk of the postmaster: to write there anybody may anyhow,
    while a refusal would lose what a reporter's person wrote and could not be given once another recipient is accepted. Raises UnreadableReportError
    where there is no account at all, OverQuotaError, TemporaryError.
    """
    transaction, verdict = judged.transaction, judged.verdict
    address = next((one.address for one in transaction.envelope.recipients if resolutions[one.address].reports), None)
    if address is None or verdict.per_recipient[address].disposition is Disposition.DISCARD:
        return Received()
    try:
        rows = await _read(transaction, verdict, address, open_content)
    except UnreadableReportError as error:
        why = f"mail to {address} is no report that can be read: {error}"
        ports.events.emit(Event.of("report.unreadable", why, peer=transaction.session.peer_ip))
        if resolutions[address].elsewhere or any(one.status == "active" for one in resolutions[address].accounts):
            return Received()
        return Received(copies=(await _for_postmaster(ports, address, transaction.content.size if transaction.content else 0),))
    told = ", ".join(f"{row.kind} about {row.domain or 'no domain'}" for row in rows)
    ports.events.emit(Event.of("report.received", f"report read: {told}", peer=transaction.session.peer_ip))
    return Received(rows)


async def _read(transaction: Transaction, verdict: Verdict, address: Address, open_content: Callable[[], ContentOpener]) -> tuple[NewReport, ...]:
    if verdict.per_recipient[address].disposition is not Disposition.ACCEPT:
        # RFC 9990 §8.2: what is suspected of being forged must not become a number that somebody acts on.
        raise UnreadableReportError("the message is suspicious")
    dmarc = next((one.facts for one in transaction.findings if isinstance(one.facts, DMARCResult)), None)
    sender = (dmarc.author_domain if dmarc is not None else None) or ""
    proved = dmarc is not None and dmarc.result is Result.PASS
    return await read_rows(open_content(), Arrived(int(transaction.now), sender, address.domain, authenticated=proved))


async def _for_postmaster(ports: Ports, address: Address, size: int) -> Copy:
    account = (await ports.store.read(GetPostmaster(address.domain))).account
    if account is None:
        raise UnreadableReportError("there is no account that could get it")
    if not has_room(account, size):
        raise OverQuotaError
    return Copy(account.id, account.public, address, _JUNK)
