# SPDX-License-Identifier: Apache-2.0
"""What is kept of a decision: open facts to list it by, sealed evidence to explain it by, and what it adds to a DMARC report.

Obeys RFC 9990 §3.1.1.9 (what was done because of a policy), docs/security.md (evidence is sealed before it leaves the process).
Must never know who reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from moatmail.core.ports.clock import Clock
from moatmail.core.status import Reply
from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Verdict
from moatmail.crypto.evidence_seal import EvidenceSealer, new_sealer
from moatmail.crypto.seal import new_id
from moatmail.intake.judged import Judged, disposition_word
from moatmail.mailauth.dkim import DKIMResult
from moatmail.mailauth.dmarc.check import DMARCResult
from moatmail.mailauth.reports import observed
from moatmail.mailauth.reports.report import Reason
from moatmail.mailauth.spf.check import SPFIdentity, SPFResult
from moatmail.mailqueue.queue_key import QueueKey
from moatmail.policy import decision
from moatmail.policy.verdict import Settings, is_vouched_for
from moatmail.store.operations import Decision, EvidenceKey, Observed

_KEY_SECONDS: Final = 3600.0
"""How long a key of evidence serves: what a process judged before it could be read by nobody who takes it over."""

_RECIPIENTS: Final = 10
_DMARC_FAILED: Final = "dmarc.fail"
_NOTHING: Final = "none"


class History:
    """Makes decisions ready to be kept, for one process."""

    def __init__(self, queue_key: QueueKey, clock: Clock, version: Callable[[], int]) -> None:
        """Take the queue's public half, the clock, and what gives the version of the settings of now."""
        self._queue_key = queue_key
        self._clock = clock
        self._version = version
        self._sealer: EvidenceSealer | None = None
        self._until = 0.0

    async def decide(self, judged: Judged, content_id: bytes, reply: Reply, settings: Settings) -> Decision:
        """Give the decision over the content `content_id`, answered with `reply`; raises StoreUnavailableError."""
        sealer = await self._current()
        transaction, verdict = judged.transaction, judged.verdict
        evidence = decision.encode(transaction, verdict, judged.lookups, decision.told(settings, transaction.findings))
        return Decision(
            content_id,
            transaction.now,
            decision.code_of(content_id),
            _facts(transaction, reply),
            EvidenceKey(sealer.id, sealer.cover),
            sealer.seal(content_id, evidence),
            self._version(),
            ", ".join(sorted({one.disposition.value for one in verdict.per_recipient.values()})),
            observations(transaction, verdict, settings) if reply.code // 100 != 4 else (),
        )

    async def _current(self) -> EvidenceSealer:
        now = self._clock.monotonic()
        if self._sealer is None or now >= self._until:
            key_id = new_id(int(self._clock.now() * 1000))
            self._sealer, self._until = new_sealer(await self._queue_key.get(), key_id), now + _KEY_SECONDS
        return self._sealer


def _facts(transaction: Transaction, reply: Reply) -> dict[str, str]:
    envelope = transaction.envelope
    recipients = [str(one.address) for one in envelope.recipients]
    more = f", and {len(recipients) - _RECIPIENTS} more" if len(recipients) > _RECIPIENTS else ""
    return {
        "peer": transaction.session.peer_ip,
        "door": transaction.session.door,
        "mail_from": str(envelope.reverse_path or ""),
        "recipients": ", ".join(recipients[:_RECIPIENTS]) + more,
        "reply": str(reply),
    }


def observations(transaction: Transaction, verdict: Verdict, settings: Settings) -> tuple[Observed, ...]:
    """Give what the message adds to the reports of its author's domain, a row for each receiving domain; none where nobody asked for them."""
    facts = [finding.facts for finding in transaction.findings]
    dmarc = next((one for one in facts if isinstance(one, DMARCResult)), None)
    if dmarc is None:
        return ()
    envelope = transaction.envelope
    seen = observed.Facts(
        transaction.session.peer_ip,
        envelope.reverse_path.domain if envelope.reverse_path else "",
        {one.address.domain for one in envelope.recipients},
        next((one for one in facts if isinstance(one, SPFResult) and one.identity is SPFIdentity.MAIL_FROM), None),
        tuple(one for one in facts if isinstance(one, DKIMResult)),
    )
    because = any(one.reason == _DMARC_FAILED for one in verdict.per_recipient.values())
    trusted = is_vouched_for(dmarc.author_domain or "", transaction.findings, settings)
    reasons = (Reason(observed.TRUSTED_FORWARDER),) if trusted and not because else ()
    rows = observed.observe(seen, dmarc, disposition_word(verdict) if because else _NOTHING, reasons)
    return tuple(Observed(domain, row) for domain, row in rows)
