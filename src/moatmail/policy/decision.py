# SPDX-License-Identifier: Apache-2.0
"""A decision as it is kept: who sent what to whom, what was found and asked, what was decided and under which settings, as octets to be sealed.

Obeys RFC 5321 §4.5.3.1.8 (so many recipients at least) and RFC 4648 §6 (the short code).
Must never know where it is kept, nor hold anything of the content beyond the evidence that stages give.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.errors import SealBrokenError
from moatmail.core.limits.policy import (
    DECISION_ANSWERS,
    DECISION_EVIDENCE,
    DECISION_FINDINGS,
    DECISION_LOOKUPS,
    DECISION_NAME,
    DECISION_RECIPIENTS,
    EVIDENCE_MAX,
)
from moatmail.core.ports.resolver import Lookup
from moatmail.core.status import Reply
from moatmail.core.transaction import Session, TLSFacts, Transaction
from moatmail.core.verdict import Disposition, Finding, Verdict
from moatmail.policy.verdict import Settings

CODE_LENGTH: Final = 8
JUNK: Final = "junk_score"
QUARANTINE: Final = "quarantine_score"
REJECT: Final = "reject_score"
DEFERRING: Final = "policy.deferring_stages"
DMARC_FAILED: Final = "policy.dmarc_failed"
DMARC_OVERRIDES: Final = "policy.dmarc_overrides"
ARC_SEALERS: Final = "policy.arc_sealers"
"""Names of what `told` tells: those with a dot are settings of the administrator, the others are fixed numbers of this version."""

_VERSION: Final = 1
_CODE_OCTETS: Final = 5
_FACTS: Final = 16  # facts of one finding
_ANSWER: Final = 1000  # characters of one answer
_CUT: Final = "…"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a recipient met: `reason` is the name of what decided, empty where nothing spoke against the message."""

    address: Address
    disposition: Disposition
    reason: str = ""
    mailboxes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """A question to the DNS and what came, in words (`core.ports.resolver.Lookup.outcome`)."""

    kind: str
    name: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Decided:
    """A kept decision: `transaction` has session, envelope and findings as they were, without content.

    `left_out` recipients beyond the bound were judged but are not listed; `settings` are those that mattered, as `told` tells them.
    """

    transaction: Transaction
    outcomes: tuple[Outcome, ...]
    reply: Reply
    score: float
    size: int
    reasons: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    settings: Mapping[str, str | float] = field(default_factory=dict)
    left_out: int = 0


def code_of(content_id: bytes) -> str:
    """Give the short code of a decision, to be read aloud: 8 letters and digits of the id's random end (RFC 4648 §6: no 0, 1, 8 or 9)."""
    return base64.b32encode(content_id[-_CODE_OCTETS:]).decode("ascii").lower()


# ---------------------------------------------------------------- settings


def told(settings: Settings, findings: Iterable[Finding]) -> dict[str, str | float]:
    """Give the settings that mattered for `findings`, for `encode`: of lists only the entries that this message met."""
    authors = {one.evidence.get("domain", "") for one in findings if one.stage == "dmarc"}
    vouchers = {name for one in findings if one.stage == "arc" for name in one.evidence.get("vouchers", "").split(", ")}
    return {
        JUNK: settings.junk_score,
        QUARANTINE: settings.quarantine_score,
        REJECT: settings.reject_score,
        DEFERRING: ", ".join(sorted(settings.deferring)),
        DMARC_FAILED: settings.dmarc_failed,
        DMARC_OVERRIDES: ", ".join(f"{author}={settings.dmarc_overrides[author]}" for author in sorted(authors) if author in settings.dmarc_overrides),
        ARC_SEALERS: ", ".join(sorted(settings.arc_sealers & vouchers)),
    }


def settings_of(kept: Mapping[str, str | float]) -> Settings:
    """Give the settings that `told` told: the verdict over the same findings is the same under them."""
    defaults = Settings()
    overrides = (one.partition("=") for one in _listed(kept, DMARC_OVERRIDES))
    return Settings(
        junk_score=float(kept.get(JUNK, defaults.junk_score)),
        quarantine_score=float(kept.get(QUARANTINE, defaults.quarantine_score)),
        reject_score=float(kept.get(REJECT, defaults.reject_score)),
        deferring=frozenset(_listed(kept, DEFERRING)) if DEFERRING in kept else defaults.deferring,
        dmarc_failed=str(kept.get(DMARC_FAILED, defaults.dmarc_failed)),
        dmarc_overrides={domain: wanted for domain, _, wanted in overrides},
        arc_sealers=frozenset(_listed(kept, ARC_SEALERS)),
    )


def _listed(kept: Mapping[str, str | float], name: str) -> list[str]:
    return [one for one in str(kept.get(name, "")).split(", ") if one]


# ---------------------------------------------------------------- the octets

_Pair = tuple[str, str]


class _Session(msgspec.Struct, frozen=True, array_like=True):
    id: str
    door: str
    ip: str
    port: int
    helo: str
    tls: _Pair | None


class _Finding(msgspec.Struct, frozen=True, array_like=True):
    name: str
    weight: float
    evidence: dict[str, str]
    recipient: _Pair | None
    temporary: bool


class _Outcome(msgspec.Struct, frozen=True, array_like=True):
    address: _Pair
    disposition: str
    reason: str
    mailboxes: tuple[str, ...]


class _Decision(msgspec.Struct, frozen=True, array_like=True):
    now: float
    session: _Session
    mail_from: _Pair | None
    utf8: bool
    size: int
    findings: tuple[_Finding, ...]
    outcomes: tuple[_Outcome, ...]
    left_out: int
    code: int
    status: str
    text: str
    score: float
    reasons: tuple[str, ...]
    questions: tuple[tuple[str, str, str], ...]
    settings: dict[str, str | float]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Decision)


def encode(transaction: Transaction, verdict: Verdict, lookups: Sequence[Lookup], settings: Mapping[str, str | float]) -> bytes:
    """Give a decision as octets, its version first; some KiB, bounded whatever a stranger sends (`core/limits/policy`)."""
    addresses = [one.address for one in transaction.envelope.recipients if one.address in verdict.per_recipient]
    kept = addresses[:DECISION_RECIPIENTS]
    session = transaction.session
    decision = _Decision(
        transaction.now,
        _Session(session.id, session.door, session.peer_ip, session.peer_port, _cut(session.helo_name, DECISION_NAME), _tls(session.tls)),
        _pair(transaction.envelope.reverse_path),
        transaction.envelope.smtputf8,
        transaction.content.size if transaction.content is not None else 0,
        _findings(transaction.findings, frozenset(kept)),
        tuple(_outcome(address, verdict) for address in kept),
        len(addresses) - len(kept),
        verdict.reply.code,
        verdict.reply.status,
        _cut(verdict.reply.text, EVIDENCE_MAX),
        verdict.score,
        verdict.reasons,
        _questions(lookups),
        dict(settings),
    )
    return bytes((_VERSION,)) + _ENCODER.encode(decision)


def decode(octets: bytes) -> Decided:
    """Read what `encode` wrote; raises SealBrokenError for anything else."""
    try:
        if octets[:1] != bytes((_VERSION,)):
            raise SealBrokenError("decision: of a version we do not know", public="this decision was kept by another version of Moatmail; it cannot be read")
        kept = _DECODER.decode(memoryview(octets)[1:])
        return _decided(kept)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SealBrokenError("decision: cannot be read", public="this decision is damaged; it cannot be read") from error


def _decided(kept: _Decision) -> Decided:
    session = kept.session
    recipients = tuple(Recipient(_address(one.address)) for one in kept.outcomes)
    return Decided(
        Transaction(
            Session(session.id, session.door, session.ip, session.port, session.helo, tls=TLSFacts(*session.tls) if session.tls else None),
            Envelope(None if kept.mail_from is None else _address(kept.mail_from), recipients, smtputf8=kept.utf8),
            kept.now,
            findings=tuple(_finding(one) for one in kept.findings),
        ),
        tuple(Outcome(_address(one.address), Disposition(one.disposition), one.reason, one.mailboxes) for one in kept.outcomes),
        Reply.of(kept.code, kept.status, kept.text),
        kept.score,
        kept.size,
        kept.reasons,
        tuple(Question(*one) for one in kept.questions),
        kept.settings,
        kept.left_out,
    )


def _finding(kept: _Finding) -> Finding:
    return Finding(kept.name, kept.weight, kept.evidence, None if kept.recipient is None else _address(kept.recipient), kept.temporary)


def _pair(address: Address | None) -> _Pair | None:
    return None if address is None else (address.localpart, address.domain)


def _address(pair: _Pair) -> Address:
    return Address(*pair)


def _tls(facts: TLSFacts | None) -> _Pair | None:
    return None if facts is None else (facts.version, facts.cipher)


def _outcome(address: Address, verdict: Verdict) -> _Outcome:
    met = verdict.per_recipient[address]
    return _Outcome((address.localpart, address.domain), met.disposition.value, met.reason, tuple(_cut(one, DECISION_NAME) for one in met.mailboxes))


# ---------------------------------------------------------------- bounds


def _findings(findings: Iterable[Finding], kept: frozenset[Address]) -> tuple[_Finding, ...]:
    """Give the findings about the message and about the recipients that are kept, each text cut to a length that leaves room for all."""
    mine = [one for one in findings if one.recipient is None or one.recipient in kept][:DECISION_FINDINGS]
    facts = [dict(one.evidence) if len(one.evidence) <= _FACTS else dict(list(one.evidence.items())[:_FACTS]) for one in mine]
    texts = [text for one in facts for text in one.values()]
    longest = _length(texts, EVIDENCE_MAX, DECISION_EVIDENCE)
    names = [name for one in facts for name in one]
    if _fit(texts, longest) and _fit(names, DECISION_NAME):  # nothing is to be cut, which is nearly always so
        return tuple([_Finding(one.name[:DECISION_NAME], one.weight, told, _pair(one.recipient), one.temporary) for one, told in zip(mine, facts, strict=True)])
    return tuple(
        _Finding(
            one.name[:DECISION_NAME],
            one.weight,
            {name[:DECISION_NAME]: _cut(text, longest) for name, text in told.items()},
            _pair(one.recipient),
            one.temporary,
        )
        for one, told in zip(mine, facts, strict=True)
    )


def _questions(lookups: Sequence[Lookup]) -> tuple[tuple[str, str, str], ...]:
    mine = lookups[:DECISION_LOOKUPS]
    outcomes = [one.outcome for one in mine]
    longest = _length(outcomes, _ANSWER, DECISION_ANSWERS)
    if _fit(outcomes, longest):
        return tuple([(one.kind, one.name[:DECISION_NAME], outcome) for one, outcome in zip(mine, outcomes, strict=True)])
    return tuple((one.kind, one.name[:DECISION_NAME], _cut(outcome, longest)) for one, outcome in zip(mine, outcomes, strict=True))


def _length(texts: Sequence[str], longest: int, room: int) -> int:
    """Give the length to which every text is cut so that all of them fit into `room` characters."""
    if sum(map(len, texts)) <= room:
        return longest
    lengths = [min(len(text), longest) for text in texts]
    while sum(min(length, longest) for length in lengths) > room:
        longest //= 2
    return longest


def _fit(texts: Sequence[str], longest: int) -> bool:
    """Tell whether `_cut` would leave all of them as they are."""
    return max(map(len, texts), default=0) <= longest and "".join(texts).isascii()


def _cut(text: str, longest: int) -> str:
    """Cut a text, and write out half characters, which no octets stand for."""
    text = text if len(text) <= longest else text[: max(0, longest - 1)] + _CUT
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
