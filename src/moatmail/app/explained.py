# SPDX-License-Identifier: Apache-2.0
"""An explanation for eyes and for programs: what happened first, why next, everything that was found and asked behind it.

Obeys RFC 3339 §5.6 (times).
Must never print what a stranger wrote as it is: every text of the message, the client or the DNS is made safe for a terminal.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from moatmail.core.address import Address
from moatmail.core.events import safe
from moatmail.core.verdict import Finding
from moatmail.policy.decision import Outcome, Question
from moatmail.policy.explain import Explanation, Told, Turning, Why, change_in_words, points_of
from moatmail.policy.meaning import end_of

_WIDTH: Final = 110
_ANSWER: Final = 200
_NAMED: Final = 3  # recipients named one by one where all of them met the same
_DOORS: Final[Mapping[str, str]] = {"mx": "mx (from strangers)", "submission": "submission (from our users)", "submissions": "submissions (from our users)"}


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside an explanation: queue id and code of a kept decision; what was left out and the door's replies for a file; the verdict today."""

    id: str = ""
    code: str = ""
    unchecked: Sequence[tuple[str, str]] = ()
    door: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    today: str = ""


# ---------------------------------------------------------------- for eyes


def lines(told: Explanation, beside: Beside) -> Iterator[str]:
    """Give an explanation as lines for a terminal, the answer first."""
    yield from _head(told, beside)
    for note in (*told.notes, *beside.notes):
        yield from _wrapped(f"note: {note}", "")
    for about, reply in beside.door:
        yield from _wrapped(f"the server would say before any check, about {about}: {reply}", "")
    yield ""
    yield from _recipients(told.recipients)
    if beside.today:
        yield from _wrapped(f"under the settings of today: {beside.today}", "")
    yield ""
    yield from _findings(told.findings, told.decided.score)
    for about, why in beside.unchecked:
        yield f"    -  {safe(about)} not checked: {safe(why)}"
    yield ""
    yield from _questions(told.decided.questions)


def _head(told: Explanation, beside: Beside) -> Iterator[str]:
    decided = told.decided
    session, envelope = decided.transaction.session, decided.transaction.envelope
    yield from _wrapped(str(decided.reply) if beside.id else f"would be answered {decided.reply}", "")
    if beside.id:
        yield f"  code {beside.code}, queue id {beside.id}"
    size = f", {decided.size} octets" if decided.size else ""
    yield f"  {_moment(decided.transaction.now)}, door {_DOORS.get(session.door, safe(session.door))}{size}"
    greeting = f" calling itself {safe(session.helo_name)}" if session.helo_name else ""
    secured = f", {safe(session.tls.version)}" if session.tls else ", without TLS" if session.peer_port else ""
    yield f"  client {safe(session.peer_ip)}{greeting}{secured}" if session.peer_ip else f"  client not known{greeting}"
    yield f"  envelope sender {_sender(envelope.reverse_path)}"


def _sender(address: Address | None) -> str:
    return safe(str(address)) if address is not None else "<> (none: a notice of another server, or not known)"


def _recipients(recipients: Iterable[Why]) -> Iterator[str]:
    """Tell each recipient; those who met the same for the same reasons together."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for why in recipients:
        alike.setdefault(tuple(_why(why)), []).append(safe(str(why.outcome.address)))
    for said, names in alike.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield from _wrapped(f"{', '.join(names[:_NAMED])}{more}: {said[0]}", "")
        for one in said[1:]:
            yield from _wrapped(one, "    ")


def _why(why: Why) -> Iterator[str]:
    yield end_of(why.outcome.disposition, why.outcome.mailboxes)
    yield from (f"because {why.because[0]}", *why.because[1:])
    for name, value in why.settings:
        if not any(f"{name} is {value}" in sentence for sentence in why.because):
            yield f"{'setting' if '.' in name else 'fixed limit'} {name} = {_number(value)}"
    if why.turning is not None:
        yield change_in_words(why.turning)


def _findings(findings: Sequence[Told], score: float) -> Iterator[str]:
    yield f"found ({points_of(score)} together):" if findings else "found: nothing"
    for one in findings:
        finding = one.finding
        weight = f"{finding.weight:+g}" if finding.weight else "0"
        about = f", for {finding.recipient}" if finding.recipient is not None else ""
        yield from _wrapped(f"{weight:>5}  {finding.name}{about}: {one.meaning}", "", hanging="         ")
        if finding.evidence:
            yield from _wrapped(" · ".join(f"{name} {text}" for name, text in _evidence(finding).items()), "         ")


def _questions(questions: Sequence[Question]) -> Iterator[str]:
    yield "asked of the DNS:" if questions else "asked of the DNS: nothing"
    for one in questions:
        yield from _wrapped(f"{one.kind} {one.name}: {_short(one.outcome)}", "    ", hanging="        ")


def _short(answer: str) -> str:
    """Give an answer as far as it is looked at by eyes: of a key the beginning."""
    return answer if len(answer) <= _ANSWER else f"{answer[:_ANSWER]}…"


def _evidence(finding: Finding) -> dict[str, str]:
    return {name: text.replace("\n", ", ") for name, text in finding.evidence.items()}


def _wrapped(text: str, indent: str, *, hanging: str | None = None) -> list[str]:
    """Give a text in lines that a terminal can show, made safe piece by piece."""
    pieces = textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=hanging if hanging is not None else indent + "  ", break_on_hyphens=False)
    return [safe(piece) for piece in pieces]


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _moment(now: float) -> str:
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC"


# ---------------------------------------------------------------- for programs


def facts(told: Explanation, beside: Beside) -> dict[str, Any]:
    """Give an explanation as plain values for JSON; texts as they are (JSON writes control characters out)."""
    decided = told.decided
    session, envelope = decided.transaction.session, decided.transaction.envelope
    return {
        "id": beside.id or None,
        "code": beside.code or None,
        "at": datetime.fromtimestamp(decided.transaction.now, UTC).isoformat(timespec="milliseconds"),
        "door": session.door,
        "client": {"ip": session.peer_ip or None, "helo": session.helo_name or None, "tls": session.tls.version if session.tls else None},
        "mail_from": str(envelope.reverse_path) if envelope.reverse_path is not None else None,
        "size": decided.size,
        "reply": {"code": decided.reply.code, "status": decided.reply.status, "text": decided.reply.text},
        "score": decided.score,
        "recipients": [_why_facts(why) for why in told.recipients],
        "findings": [_finding_facts(one.finding) | {"meaning": one.meaning} for one in told.findings],
        "dns": [{"type": one.kind, "name": one.name, "answer": one.outcome} for one in decided.questions],
        "settings": dict(decided.settings),
        "notes": [*told.notes, *beside.notes],
        "unchecked": [{"what": what, "why": why} for what, why in beside.unchecked],
        "door_replies": [{"about": about, "reply": reply} for about, reply in beside.door],
        "today": beside.today or None,
    }


def _why_facts(why: Why) -> dict[str, Any]:
    return _outcome_facts(why.outcome) | {
        "ground": why.ground.value,
        "score": why.score,
        "because": list(why.because),
        "settings": dict(why.settings),
        "alone": _outcome_facts(why.alone) if why.alone is not None else None,
        "turning": _turning_facts(why.turning) if why.turning is not None else None,
    }


def _outcome_facts(outcome: Outcome) -> dict[str, Any]:
    return {
        "address": str(outcome.address),
        "disposition": outcome.disposition.value,
        "reason": outcome.reason or None,
        "mailboxes": list(outcome.mailboxes),
    }


def _turning_facts(turning: Turning) -> dict[str, Any]:
    return {"without": [_finding_facts(one) for one in turning.without], "turned": turning.turned, "then": _outcome_facts(turning.outcome)}


def _finding_facts(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "weight": finding.weight,
        "evidence": dict(finding.evidence),
        "recipient": str(finding.recipient) if finding.recipient is not None else None,
        "temporary": finding.temporary,
    }
