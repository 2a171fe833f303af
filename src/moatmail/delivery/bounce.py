# SPDX-License-Identifier: Apache-2.0
"""The notice that mail could not be delivered: whether it is due, to whom, and as which message.

Obeys RFC 5321 §6.1 (null reverse-path; none for a null one), RFC 3461 §4.1 (NOTIFY), RFC 3464.
Must never know the queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Notify, Recipient
from moatmail.delivery.outcome import Outcome
from moatmail.message import report

Failed = Sequence[tuple[Recipient, Outcome]]


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice ready for the queue: its octets and its envelope, which has the null reverse-path."""

    content: bytes
    envelope: Envelope


def worth_telling(envelope: Envelope, failed: Failed) -> Failed:
    """Give the failures that the originator is to be told of: none for a null reverse-path, none where NOTIFY does not ask for failures."""
    # RFC 5321 §6.1: no notice about a notice, ever: two servers would write to each other for days.
    if envelope.reverse_path is None:
        return ()
    # RFC 3461 §4.1: NEVER, or a list without FAILURE, means that the originator does not want to know.
    return tuple((recipient, outcome) for recipient, outcome in failed if recipient.notify is None or Notify.FAILURE in recipient.notify)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the notice says of the message: its envelope, header block and time of arrival (epoch seconds)."""

    envelope: Envelope
    header: bytes
    at: float


def compose(hostname: str, arrival: Arrival, failed: Failed, token: str, now: float) -> Notice:
    """Compose one notice about `failed` recipients (not empty); ValueError for a null reverse-path."""
    to = arrival.envelope.reverse_path
    if to is None:
        raise ValueError("a message with a null reverse-path causes no notice")
    made = report.DeliveryReport(
        to=to,
        author=Address("postmaster", hostname),
        reporting_mta=hostname,
        token=token,
        now=now,
        outcomes=tuple(_outcome(recipient, outcome, now) for recipient, outcome in failed),
        header=arrival.header,
        envid=arrival.envelope.envid,
        arrived_at=arrival.at,
    )
    return Notice(report.build(made), Envelope(None, (Recipient(to),), smtputf8=to.needs_utf8))


def _outcome(recipient: Recipient, outcome: Outcome, now: float) -> report.RecipientOutcome:
    if outcome.host:
        return report.RecipientOutcome(recipient.address, "failed", recipient.original, outcome.reply, outcome.host, last_attempt=now)
    # RFC 3464 §2.3.6: the diagnostic is a server's own reply; what we found ourselves is told as the reason.
    found = outcome.reply
    return report.RecipientOutcome(recipient.address, "failed", recipient.original, status=found.status, reason=found.text, last_attempt=now)
