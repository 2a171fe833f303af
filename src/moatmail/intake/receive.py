# SPDX-License-Identifier: Apache-2.0
"""A stranger's message, phase by phase.

Obeys RFC 5321 §3.3 (transaction), §3.6.2 (no relay for strangers), §7.9 (what may be refused), RFC 3463 (enhanced status).
Must never know SMTP's syntax or the socket.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.errors import TemporaryError
from moatmail.core.events import Event
from moatmail.core.status import Reply
from moatmail.core.transaction import Session, Transaction
from moatmail.directory.recipients import Resolution, resolve
from moatmail.intake.judged import Judged, authentication_results
from moatmail.intake.placement import Resolutions, has_room
from moatmail.intake.takeover import Ports, refused, take_over, verdict_settings
from moatmail.mailauth.claimed_results import remove_foreign
from moatmail.mailbox.incoming import Incoming
from moatmail.message.header import Header
from moatmail.message.submitted import OURS
from moatmail.policy import order, pipeline, verdict
from moatmail.policy.memory import Beside, Memory
from moatmail.policy.stage import Phase
from moatmail.store.interface import Reads

_WELCOME = Reply.of(250, "2.1.5", "recipient ok")
_RELAY_DENIED = Reply.of(550, "5.7.1", "this server is not responsible for that domain and does not relay")
_UNKNOWN = Reply.of(550, "5.1.1", "no such mailbox here")
_FROZEN = Reply.of(550, "5.2.1", "this mailbox is disabled")
_FULL = Reply.of(452, "4.2.2", "mailbox full, please try again later")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one recipient: the reply, and what the address means when the reply is positive."""

    reply: Reply
    resolution: Resolution | None = None


class Receiver:
    """Receives for one process: every method is one phase of one transaction, none keeps state."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self._memory = Memory()

    async def mail(self, session: Session, envelope: Envelope) -> Reply:
        """Answer MAIL: any sender may try; checks of the sender come with *Who wrote this*."""
        del session, envelope
        return Reply.of(250, "2.1.0", "sender ok")

    async def rcpt(self, session: Session, envelope: Envelope, recipient: Recipient) -> Answer:
        """Answer RCPT: exists, not frozen, quota admits the declared size; everything else is refused here, never after the 250."""
        size, known = envelope.declared_size or 0, self.ports.known
        try:
            resolution = await self._resolve(self.ports.store if known is None else known, recipient)
            reply = judge(resolution, size)
            if not reply.positive and known is not None:
                # Nobody is refused for what was so a moment ago.
                resolution = await self._resolve(self.ports.store, recipient)
                reply = judge(resolution, size)
        except TemporaryError as error:
            return Answer(Reply.of(451, error.status, error.public))
        if not reply.positive:
            self.ports.events.emit(Event.of("recipient.refused", f"recipient {recipient.address} refused: {reply}", peer=session.peer_ip))
        return Answer(reply, resolution if reply.positive else None)

    async def _resolve(self, reads: Reads, recipient: Recipient) -> Resolution:
        return await resolve(reads, recipient.address, self.ports.settings().reports.address)

    async def end(self, transaction: Transaction, resolutions: Resolutions, incoming: Incoming) -> Reply:
        """Answer the end of the content: run the filter, compose the verdict, take the message over or refuse it."""
        lookups = self.ports.resolver.for_message()
        tools = replace(self.ports.tools, resolver=lookups, memory=Beside(self._memory, lookups))
        transaction = await pipeline.run(order.RECEIVE, Phase.DATA, transaction.evolve(content=incoming), tools)
        decided = verdict.compose(transaction, settings_of(self.ports))
        judged = Judged(transaction, decided, lookups.lookups)
        if not decided.accepted:
            return await refused(self.ports, judged, incoming.id)
        _remove_imitations(incoming, self.ports.hostname)
        fields = authentication_results(self.ports.hostname, transaction, decided)
        return await take_over(self.ports, Judged(transaction, decided, judged.lookups, fields), resolutions, incoming)


def _remove_imitations(incoming: Incoming, hostname: str) -> None:
    """Remove what a stranger wrote in our name: nobody but us says what we found (RFC 8601 §5)."""
    received = incoming.header
    block = remove_foreign(received, hostname)
    imitated = frozenset(name for name in incoming.structure.header.names if name.startswith(OURS))
    if imitated:
        block = Header(block).without(imitated)
    if block is not received:
        incoming.put_header(block)


def judge(resolution: Resolution, size: int) -> Reply:
    """Judge a forward-path for a stranger, from what it means here."""
    # RFC 5321 §3.6.2: mail for domains that are not ours is refused: never an open relay.
    if not resolution.ours:
        return _RELAY_DENIED
    if not resolution.exists:
        return _UNKNOWN
    if resolution.elsewhere or resolution.reports:
        return _WELCOME
    active = [account for account in resolution.accounts if account.status == "active"]
    if not active:
        return _FROZEN
    return _WELCOME if any(has_room(account, size) for account in active) else _FULL


def settings_of(ports: Ports) -> verdict.SettingsOf:
    """Give the verdict settings of recipients; per-domain ones come with the filter's issues."""
    settings = verdict_settings(ports)
    return lambda _recipient: settings
