# SPDX-License-Identifier: Apache-2.0
"""Our user's message: who may send as whom, what is completed, then the same takeover as every door.

Obeys RFC 6409 §6.1 (enforced addresses), §8 (completing the message), RFC 5321 §7.2 (Bcc must not travel).
Must never know SMTP's syntax or the socket: JMAP and webmail submit through the same functions.
"""

from __future__ import annotations

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.errors import TemporaryError
from moatmail.core.events import Event
from moatmail.core.status import Reply
from moatmail.core.transaction import Identity, Session, Transaction
from moatmail.directory.recipients import Resolution, resolve
from moatmail.intake import authorize
from moatmail.intake.judged import Judged
from moatmail.intake.placement import Resolutions
from moatmail.intake.receive import Answer, judge, settings_of
from moatmail.intake.takeover import Ports, refused, take_over
from moatmail.mailauth.dmarc.author import find_author
from moatmail.mailauth.sign import fits_signature
from moatmail.mailbox.incoming import Incoming
from moatmail.message import submitted
from moatmail.message.addresses import mailboxes
from moatmail.message.header import Header
from moatmail.policy import order, pipeline, verdict
from moatmail.policy.stage import Phase
from moatmail.store.queries import ListSigningKeys, LookupAddresses

_LOGIN_FIRST = Reply.of(530, "5.7.0", "authentication required: log in, then send")
_NO_MORE = Reply.of(550, "5.7.13", "this account is disabled; ask the administrator")
_WELCOME = Reply.of(250, "2.1.5", "recipient ok")
_TOO_MANY_FIELDS = Reply.of(550, "5.6.0", "the header has more fields than a signature can cover")
_ACTIVE = "active"
_COMPLETED = (b"date", b"message-id")
"""What may still be added before it is signed."""


class Submitter:
    """Submits for one process: every method is one phase of one transaction, none keeps state."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports

    async def mail(self, session: Session, envelope: Envelope) -> Reply:
        """Answer MAIL: the reverse-path must belong to the identity."""
        if session.identity is None:
            return _LOGIN_FIRST
        # A session outlives a decision of the administrator: the right is asked for again where it is used.
        reply = await self._standing(session.identity) or authorize.reverse_path(session.identity, envelope.reverse_path)
        if reply is not None:
            self._tell(session, reply)
        return reply or Reply.of(250, "2.1.0", "sender ok")

    async def _standing(self, identity: Identity) -> Reply | None:
        """Give the refusal for an account that was removed or frozen since its login; raises StoreUnavailableError."""
        address = identity.address.canonical
        answer = await self.ports.store.read(LookupAddresses(address.domain, (address.localpart,)))
        account = answer.hits[0].account if answer.hits else None
        if account is not None and account.id == identity.account and account.status == "active":
            return None
        return _NO_MORE

    async def rcpt(self, session: Session, envelope: Envelope, recipient: Recipient) -> Answer:
        """Answer RCPT: an address of ours must exist; any other is sent on."""
        if session.identity is None:
            return Answer(_LOGIN_FIRST)
        try:
            resolution = await resolve(self.ports.store, recipient.address, self.ports.settings().reports.address)
        except TemporaryError as error:
            return Answer(Reply.of(451, error.status, error.public))
        if not resolution.ours:
            return Answer(_WELCOME, Resolution(recipient.address, ours=False, elsewhere=(recipient.address,)))
        reply = judge(resolution, envelope.declared_size or 0)
        return Answer(reply, resolution if reply.positive else None)

    async def end(self, transaction: Transaction, resolutions: Resolutions, incoming: Incoming) -> Reply:
        """Answer the end of the content: authorise From, run the filter, complete the fields, take the message over or refuse it."""
        identity = transaction.session.identity
        if identity is None:
            return _LOGIN_FIRST
        transaction = await pipeline.run(order.SUBMIT, Phase.DATA, transaction.evolve(content=incoming), self.ports.tools)
        decided = verdict.compose(transaction, settings_of(self.ports))
        if not decided.accepted:
            return await refused(self.ports, Judged(transaction, decided), incoming.id)
        header = incoming.structure.header
        reply = authorize.header_from(identity, _addresses(header, b"from")) or authorize.header_sender(identity, _addresses(header, b"sender"))
        reply = reply or await self._unlisted(header)
        if reply is not None:
            self._tell(transaction.session, reply)
            return reply
        # RFC 6409 §8.2, §8.3: a submission server completes Date and Message-ID; RFC 5321 §7.2: Bcc is for the author's copy only.
        block = submitted.complete(Header(incoming.header), now=transaction.now, local=incoming.id.hex(), domain=self.ports.hostname)
        incoming.put_header(block)
        return await take_over(self.ports, Judged(transaction, decided), resolutions, incoming)

    async def _unlisted(self, header: Header) -> Reply | None:
        """Give the refusal for what could never be signed, or not in the name of its authors; raises StoreUnavailableError."""
        if not fits_signature([*header.names, *_COMPLETED]):
            return _TOO_MANY_FIELDS
        if self.ports.settings().signing.unlisted != "refuse":
            return None
        domains = find_author(header).domains
        listed = [any(row.state == _ACTIVE for row in await self.ports.store.read(ListSigningKeys(domain))) for domain in domains]
        return authorize.signable([domain for domain, has_key in zip(domains, listed, strict=True) if not has_key], named=bool(domains))

    def _tell(self, session: Session, reply: Reply) -> None:
        who = session.identity.address if session.identity else session.peer_ip
        self.ports.events.emit(Event.of("submission.refused", f"submission by {who} refused: {reply}", peer=session.peer_ip))


def _addresses(header: Header, name: bytes) -> list[Address | None]:
    """Give the addresses of all fields `name`, None for one that cannot be read."""
    return [one.address for value in header.all(name) for one in mailboxes(value)]
