# SPDX-License-Identifier: Apache-2.0
"""Taking a message over: trace fields, local copies, queue entries, all in one operation whose commit precedes the 250.

Obeys RFC 5321 §4.4 (trace), §6.1 (durable before the 250).
Must never know through which door the message came.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from moatmail.core.envelope import Envelope
from moatmail.core.errors import MoatmailError, OverQuotaError, StorageFullError, TemporaryError
from moatmail.core.events import Event
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.ports.resolver import Lookups
from moatmail.core.settings.mail import Mail, Policy
from moatmail.core.status import Reply
from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Verdict
from moatmail.crypto.seal import new_id
from moatmail.directory.known import KnownAddresses
from moatmail.intake import placement, reports
from moatmail.intake.history import History
from moatmail.intake.judged import Judged
from moatmail.intake.placement import Resolutions
from moatmail.mailauth.reports.unreadable import UnreadableReportError
from moatmail.mailbox import messages
from moatmail.mailbox.covers import DeliveryCovers
from moatmail.mailbox.incoming import Incoming, open_content
from moatmail.mailqueue import spool
from moatmail.mailqueue.queue_key import QueueKey
from moatmail.message import trace
from moatmail.policy.decision import code_of
from moatmail.policy.stage import Tools
from moatmail.policy.verdict import Settings
from moatmail.store.content import ContentFiles
from moatmail.store.interface import Store
from moatmail.store.operations import Accept, NewSpool, RecordDecision


@dataclass(frozen=True, slots=True)
class Ports:
    """What both doors of intake need of the world."""

    store: Store
    files: ContentFiles
    clock: Clock
    events: EventSink
    tools: Tools
    resolver: Lookups
    hostname: str
    queue_key: QueueKey
    settings: Callable[[], Mail]
    history: History
    covers: DeliveryCovers = field(default_factory=DeliveryCovers)
    known: KnownAddresses | None = None
    """Answers about addresses that may be some seconds old, where they let mail in."""

    def new_content(self) -> Incoming:
        """Begin a content under a fresh id."""
        return Incoming(new_id(int(self.clock.now() * 1000)), self.files)

    def new_watched_content(self) -> Incoming:
        """Begin a stranger's content: its signatures will be verified."""
        return Incoming(new_id(int(self.clock.now() * 1000)), self.files, watched=True)


async def take_over(ports: Ports, judged: Judged, resolutions: Resolutions, incoming: Incoming) -> Reply:
    """Make the message durable for everybody whose verdict takes it; give the reply that may be sent now, positive only after the commit."""
    transaction, verdict = judged.transaction, judged.verdict
    try:
        accept, told = await _prepare(ports, judged, resolutions, incoming)
        await ports.store.write(accept)
    except (StorageFullError, OverQuotaError) as error:
        # The store said no for certain, so no row will ever name the content: who lies about SIZE must not fill the disk with what we refused.
        ports.files.remove(incoming.id)
        # It fitted at RCPT and does not any more: later it may again (RFC 5321 §4.2.2: 452).
        return _refused(ports, transaction, error, Reply.of(452, "4.2.2" if isinstance(error, OverQuotaError) else "4.3.1", error.public))
    except TemporaryError as error:
        return _refused(ports, transaction, error, Reply.of(451, error.status, error.public))
    except UnreadableReportError as error:
        ports.files.remove(incoming.id)
        return _refused(ports, transaction, error, Reply.of(550, error.status, error.public))
    except OSError as error:
        return _refused(ports, transaction, error, Reply.of(452, "4.3.1", StorageFullError.public))
    ports.events.emit(_accepted(transaction, verdict, told, incoming.id.hex()))
    return _welcome(verdict, incoming.id)


def _welcome(verdict: Verdict, content_id: bytes) -> Reply:
    return Reply.of(verdict.reply.code, verdict.reply.status, f"{verdict.reply.text} as {content_id.hex()}")


async def _prepare(ports: Ports, judged: Judged, resolutions: Resolutions, incoming: Incoming) -> tuple[Accept, str]:
    transaction = judged.transaction
    # RFC 8601 §5: what we found stands above the trace of how it came, so that a reader knows it for ours.
    fields = judged.fields + trace.received(transaction.session, transaction.envelope, by=ports.hostname, token=incoming.id.hex(), now=transaction.now)
    # RFC 6858 §2: readers without UTF8=ACCEPT see a surrogate header; what is stored is what came.
    internationalized = fields + incoming.new_header if transaction.envelope.smtputf8 else b""
    words = await incoming.words(fields)
    content, key = await incoming.seal(fields)
    prepared = messages.Prepared(content, key, incoming.structure, len(fields) + incoming.moved, transaction.now, internationalized, words)
    plan = placement.plan(transaction.envelope, judged.verdict, resolutions, content.size)
    read = await reports.receive(ports, judged, resolutions, lambda: open_content(content, key, ports.files))
    for copy in read.copies:
        plan.copies.setdefault(copy.account, copy)
    deliveries = messages.with_few_words(
        [messages.deliver(prepared, copy, transaction.envelope.reverse_path, ports.covers.cover) for copy in plan.copies.values()]
    )
    spools = await _spools(ports, transaction, plan, prepared)
    if not deliveries and not spools:
        ports.files.remove(content.id)  # a report that was read: no row will name its content
    decision = await ports.history.decide(judged, incoming.id, _welcome(judged.verdict, incoming.id), verdict_settings(ports))
    return Accept((content,), deliveries, spools, decision, read.rows), _told(plan, len(read.rows))


def _told(plan: placement.Plan, reports_read: int) -> str:
    junk = sum(copy.mailbox == "Junk" for copy in plan.copies.values())
    kept = f"{len(plan.copies)} kept here" + (f" ({junk} in Junk)" if junk else "")
    return f"{kept}, {len(plan.onward)} to be sent on" + (f", {reports_read} read as reports" if reports_read else "")


def verdict_settings(ports: Ports) -> Settings:
    """Give the settings by which messages are judged now."""
    return _settings_of(ports.settings().policy)


@lru_cache(maxsize=2)
def _settings_of(policy: Policy) -> Settings:
    return Settings.of(policy)


async def _spools(ports: Ports, transaction: Transaction, plan: placement.Plan, prepared: messages.Prepared) -> tuple[NewSpool, ...]:
    """Make the queue entry of all recipients elsewhere."""
    if not plan.onward:
        return ()
    envelope = transaction.envelope
    sent = Envelope(envelope.reverse_path, tuple(plan.onward.values()), body=envelope.body, smtputf8=envelope.smtputf8, ret=envelope.ret, envid=envelope.envid)
    kind = spool.SUBMITTED if transaction.session.identity is not None else spool.RELAYED
    public = await ports.queue_key.get()
    return (spool.entry(public, prepared.content, prepared.key, sent, transaction.now, kind),)


def _accepted(transaction: Transaction, verdict: Verdict, told: str, queue_id: str) -> Event:
    envelope = transaction.envelope
    sender = str(envelope.reverse_path) if envelope.reverse_path else "<>"
    recipients = ", ".join(str(one.address) for one in envelope.recipients[:5])
    plain = "the author is logged in" if transaction.session.identity else "the recipient is ours and nothing speaks against it"
    because = (", ".join(verdict.reasons) or plain) + _unchecked(transaction)
    return Event.of(
        "message.accepted",
        f"accepted from {sender} for {recipients} ({told}) because {because}",
        id=queue_id,
        peer=transaction.session.peer_ip,
        door=transaction.session.door,
        score=verdict.score,
    )


def _unchecked(transaction: Transaction) -> str:
    """Tell which checks could not be made, so that a name service that is down is seen in the log and not in the Junk of many."""
    stages = dict.fromkeys(finding.stage for finding in transaction.findings if finding.temporary)
    return f"; could not be checked now: {', '.join(stages)}" if stages else ""


def _refused(ports: Ports, transaction: Transaction, error: MoatmailError | OSError, reply: Reply) -> Reply:
    sender = str(transaction.envelope.reverse_path or "<>")
    # One full mailbox is its owner's matter; a full disk or a store that does not answer is the administrator's.
    alert = not isinstance(error, (OverQuotaError, UnreadableReportError))
    name, verb = ("message.refused", "refused") if reply.code // 100 == 5 else ("message.deferred", "put off")
    text = f"{verb} from {sender} because {reply}" + (f" ({error})" if str(error) not in {"", reply.text} else "")
    ports.events.emit(Event.of(name, text, alert=alert, peer=transaction.session.peer_ip, reply=reply))
    return reply


async def refused(ports: Ports, judged: Judged, content_id: bytes) -> Reply:
    """Tell of a message that the verdict refuses, and have the decision kept; give its reply, with the code by which it can be explained."""
    transaction, verdict = judged.transaction, judged.verdict
    code = code_of(content_id)
    # Who is refused calls somebody: the code he reads out is all that is needed to find out why.
    reply = Reply.of(verdict.reply.code, verdict.reply.status, f"{verdict.reply.text} (code {code})")
    sender = str(transaction.envelope.reverse_path or "<>")
    why = ", ".join(verdict.reasons)
    text = f"refused from {sender} because {reply.text} ({why})"
    ports.events.emit(Event.of("message.refused", text, peer=transaction.session.peer_ip, reply=reply, id=content_id.hex()))
    # The answer stands without the record of it.
    with contextlib.suppress(MoatmailError):
        await ports.store.write(RecordDecision(await ports.history.decide(judged, content_id, reply, verdict_settings(ports))))
    return reply
