# SPDX-License-Identifier: Apache-2.0
"""The one place that decides: findings in, one reply and a disposition per recipient out. Pure.

Obeys RFC 5321 §4.2.5 (one reply after the data), §6.1 (what was taken over is delivered or told, so nothing rejects after the 250),
RFC 9989 §7.4 (what a receiver makes of a failing author domain is its own policy), RFC 8617 §7.2.1 (trusted sealers).
Must never know how a finding was made. Nothing else builds a `Verdict` (tested).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from moatmail.core.address import Address
from moatmail.core.settings.mail import Policy
from moatmail.core.status import Reply
from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Disposition, Finding, RecipientVerdict, Verdict
from moatmail.policy.stages.user_filter import PLACED


@dataclass(frozen=True, slots=True)
class Settings:
    """What a recipient's domain wants: at which score what happens; which stages must run; what a failing DMARC leads to.

    `dmarc_failed` is "mark", "junk" or "reject"; `dmarc_overrides` maps author domains to "none", "quarantine" or "reject".
    """

    junk_score: float = 6.0
    quarantine_score: float = 12.0
    reject_score: float = 15.0
    deferring: frozenset[str] = frozenset({"loop", "form", "user_filter"})
    dmarc_failed: str = "junk"
    dmarc_overrides: Mapping[str, str] = field(default_factory=dict)
    arc_sealers: frozenset[str] = frozenset()

    @classmethod
    def of(cls, policy: Policy) -> Settings:
        """Give the settings as the administrator wrote them."""
        overrides = (one.lower().partition("=") for one in policy.dmarc_overrides)
        return cls(
            deferring=frozenset(policy.deferring_stages),
            dmarc_failed=policy.dmarc_failed,
            dmarc_overrides={domain: wanted for domain, _, wanted in overrides},
            arc_sealers=frozenset(one.lower() for one in policy.arc_sealers),
        )


SettingsOf = Callable[[Address], Settings]

_REFUSALS: Final[Mapping[str, Reply]] = {
    # RFC 5321 §6.3: a looping message is refused, its originator is told by the server that still holds it.
    "loop.received_hops": Reply.of(554, "5.4.6", "too many Received fields: this message goes in circles"),
    "loop.delivered_to": Reply.of(554, "5.4.6", "this mailbox was delivered to before: forwarding loop"),
    "form.several_from": Reply.of(550, "5.6.0", "several From fields: a message has one author field (RFC 5322 section 3.6)"),
    "form.no_from": Reply.of(550, "5.6.0", "no From field: a message names its author (RFC 5322 section 3.6)"),
    "form.no_author": Reply.of(550, "5.6.0", "From holds no address: a message names its author (RFC 5322 section 3.6.2)"),
    "form.several_author_domains": Reply.of(550, "5.7.1", "From names authors of several domains: nobody can vouch for all of them (RFC 9989 section 11.5)"),
    "form.malformed_from": Reply.of(550, "5.6.0", "From cannot be read without doubt: write it as Name <name@domain> (RFC 5322 section 3.4)"),
    "form.several_sender": Reply.of(550, "5.6.0", "several Sender fields: a message has at most one (RFC 5322 section 3.6)"),
    "form.utf8_author": Reply.of(550, "5.6.7", "an author address beyond ASCII needs SMTPUTF8 (RFC 6531 section 3.4)"),
}
"""Findings that refuse by themselves, and how; every other finding counts by its weight."""

_FORGED: Final = Reply.of(550, "5.7.26", "DMARC failed, and the author's domain asks to reject such mail (RFC 9989)")
_SCORED: Final = Reply.of(550, "5.7.1", "message refused by policy")
_DEFERRED: Final = Reply.of(451, "4.3.0", "a check could not be made, please try again later")
_ACCEPTED: Final = Reply.of(250, "2.0.0", "message accepted")
_FAILED: Final = "dmarc.fail"
_ASKED: Final[Mapping[str, str]] = {_FAILED: "disposition", "dmarc.temperror": "unproved"}
"""Findings that no author stands behind, and where they tell what his domain asks for then."""
_REFUSING: Final = frozenset({Disposition.REJECT, Disposition.TEMPFAIL})


def compose(transaction: Transaction, settings_of: SettingsOf) -> Verdict:
    """Decide over `transaction` from its findings; a refusal needs all recipients, otherwise it is 250 and who would refuse gets quarantine."""
    of_all, of_one = _sorted(transaction.findings)
    judged = {one.address: _judge([*of_all, *of_one.get(one.address, ())], settings_of(one.address)) for one in transaction.envelope.recipients}
    score = sum(finding.weight for finding in transaction.findings)
    reasons = tuple(sorted({verdict.reason for verdict in judged.values() if verdict.reason}))
    if refusal := _common_refusal(judged.values()):
        return Verdict(refusal, judged, score, reasons)
    # RFC 5321 §6.1: after the 250 nothing may be refused any more, so a lone refusal becomes quarantine, never a later bounce.
    return Verdict(_ACCEPTED, {address: _softened(verdict) for address, verdict in judged.items()}, score, reasons)


def _sorted(findings: Iterable[Finding]) -> tuple[list[Finding], dict[Address, list[Finding]]]:
    """Sort findings once, those about all from those about one: there may be as many of these as recipients."""
    of_all: list[Finding] = []
    of_one: dict[Address, list[Finding]] = {}
    for finding in findings:
        (of_all if finding.recipient is None else of_one.setdefault(finding.recipient, [])).append(finding)
    return of_all, of_one


def _judge(mine: Sequence[Finding], settings: Settings) -> RecipientVerdict:
    """Judge for one recipient: an own refusal first, then what had to be checked and could not, then policy and score, then the user's filter."""
    for finding in mine:
        if finding.name in _REFUSALS:
            return RecipientVerdict(Disposition.REJECT, finding.name, (), _REFUSALS[finding.name])
    for finding in mine:
        # A check that could not be made is no result: it puts the message off, or leaves its mark in the findings and the trace.
        if finding.temporary and finding.stage in settings.deferring:
            return RecipientVerdict(Disposition.TEMPFAIL, finding.name, (), _DEFERRED)
    score = _by_score(sum(finding.weight for finding in mine), settings)
    held = [verdict for verdict in (_by_dmarc(mine, settings), score) if verdict is not None]
    return max(held, key=_severity) if held else RecipientVerdict(Disposition.ACCEPT, "", _places(mine))


def _severity(verdict: RecipientVerdict) -> int:
    return (Disposition.ACCEPT, Disposition.QUARANTINE, Disposition.REJECT).index(verdict.disposition)


def _by_dmarc(findings: Iterable[Finding], settings: Settings) -> RecipientVerdict | None:
    """Judge an author domain that failed by what it asks for, as far as the administrator follows it (RFC 9989 §7.4)."""
    failed = next((finding for finding in findings if finding.name in _ASKED), None)
    if failed is None or settings.dmarc_failed == "mark":
        return None
    author = failed.evidence.get("domain", "")
    wanted = settings.dmarc_overrides.get(author, asked) if (asked := failed.evidence.get(_ASKED[failed.name])) else "none"
    if wanted == "none" or is_vouched_for(author, findings, settings):
        return None
    # RFC 9989 §5.3.6: what could not be decided is not refused; but a stranger chose the name that does not answer, so it is no way into the inbox.
    if wanted == "reject" and settings.dmarc_failed == "reject" and failed.name == _FAILED:
        return RecipientVerdict(Disposition.REJECT, failed.name, (), _FORGED)
    return RecipientVerdict(Disposition.QUARANTINE, failed.name, ("Junk",))


def is_vouched_for(author: str, findings: Iterable[Finding], settings: Settings) -> bool:
    """Tell whether a chain holds in which DMARC passed for the same author, and everybody since then is trusted (RFC 8617 §7.2.1)."""
    chain = next((finding.evidence for finding in findings if finding.name == "arc.pass"), {})
    vouchers = chain.get("vouchers", "")
    return bool(vouchers) and chain.get("passed_author") == author and settings.arc_sealers.issuperset(vouchers.split(", "))


def _by_score(score: float, settings: Settings) -> RecipientVerdict | None:
    if score >= settings.reject_score:
        return RecipientVerdict(Disposition.REJECT, "score", (), _SCORED)
    if score >= settings.quarantine_score:
        return RecipientVerdict(Disposition.QUARANTINE, "score", ("Junk",))
    if score >= settings.junk_score:
        return RecipientVerdict(Disposition.ACCEPT, "score", ("Junk",))
    return None


def _places(findings: Iterable[Finding]) -> tuple[str, ...]:
    for finding in findings:
        if finding.name == PLACED:
            return tuple(finding.evidence["mailboxes"].split("\n"))
    return ("INBOX",)


def _common_refusal(verdicts: Iterable[RecipientVerdict]) -> Reply | None:
    """Give the reply when no recipient takes the message: reject only if all reject, else (some could not be checked) a temporary one."""
    refusals = [verdict for verdict in verdicts if verdict.disposition in _REFUSING]
    if not refusals or len(refusals) != len(list(verdicts)):
        return None
    temporary = [verdict for verdict in refusals if verdict.disposition is Disposition.TEMPFAIL]
    return (temporary or refusals)[0].reply


def _softened(verdict: RecipientVerdict) -> RecipientVerdict:
    if verdict.disposition in _REFUSING:
        # Until quarantine exists, that disposition is delivered to Junk.
        return RecipientVerdict(Disposition.QUARANTINE, verdict.reason, ("Junk",))
    return verdict
