# SPDX-License-Identifier: Apache-2.0
"""Why a message met what it met: each recipient's end, the finding and the setting that decided, and the smallest change that would have turned it. Pure.

Obeys RFC 5321 §6.1 (why a lone refusal cannot be one), RFC 9989 §7.4 and RFC 8617 §7.2.1 (the settings that follow an author's domain or a sealer).
Must never decide anything: every "what if" is asked of `policy/verdict.compose`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from moatmail.core.address import Address
from moatmail.core.envelope import Recipient
from moatmail.core.limits.policy import CHANGES_TRIED
from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Disposition, Finding, RecipientVerdict, Verdict
from moatmail.policy import decision
from moatmail.policy.decision import Decided, Outcome
from moatmail.policy.meaning import end_of, meaning_of
from moatmail.policy.verdict import Settings, compose

SCORE: Final = "score"
_DMARC: Final = "dmarc.fail"
_UNDECIDED: Final = "dmarc.temperror"
_BY_DMARC: Final = frozenset({_DMARC, _UNDECIDED})
_SLACK: Final = 1e-6  # sums of weights in another order differ by less


class Ground(Enum):
    """On what a recipient's end stands: nothing spoke against it, the sum of all weights, or one finding with the setting behind it."""

    NOTHING = "nothing"
    SCORE = "score"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Told:
    """A finding with its meaning in words."""

    finding: Finding
    meaning: str


@dataclass(frozen=True, slots=True)
class Turning:
    """Findings without which the recipient, judged alone, would have met `outcome`; `turned` tells whether that is milder than what was met."""

    without: tuple[Finding, ...]
    outcome: Outcome
    turned: bool

    @property
    def weight(self) -> float:
        """Give the points of the findings together."""
        return sum(finding.weight for finding in self.without)


@dataclass(frozen=True, slots=True)
class Why:
    """One recipient: what was met, on which ground, and why in sentences; `settings` are the (name, value) that made it so.

    `alone` is what would have been met without other recipients, where that differs; `turning` None where nothing spoke against the message.
    """

    outcome: Outcome
    ground: Ground
    score: float
    because: tuple[str, ...]
    settings: tuple[tuple[str, str | float], ...] = ()
    deciding: Finding | None = None
    alone: Outcome | None = None
    turning: Turning | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole: every finding with its meaning, every recipient, and remarks on the decision itself."""

    decided: Decided
    findings: tuple[Told, ...]
    recipients: tuple[Why, ...]
    notes: tuple[str, ...] = ()


def replay(decided: Decided, settings: Settings) -> Verdict:
    """Decide again over the same findings under other settings."""
    return compose(decided.transaction, lambda _recipient: settings)


def explain(decided: Decided) -> Explanation:
    """Explain a decision under the settings that it was made under."""
    settings = decision.settings_of(decided.settings)
    findings = tuple(Told(finding, meaning_of(finding)) for finding in decided.transaction.findings)
    recipients = tuple(_why(decided.transaction, outcome, settings) for outcome in decided.outcomes)
    return Explanation(decided, findings, recipients, tuple(_notes(decided, settings)))


def _notes(decided: Decided, settings: Settings) -> Iterator[str]:
    if decided.left_out:
        yield f"{decided.left_out} more recipients were judged in the same way; of so many only the first are kept"
    again = replay(decided, settings).per_recipient
    if any(again[one.address].disposition is not one.disposition for one in decided.outcomes):
        yield "this version of Moatmail would decide otherwise over the same findings; told below is what was decided then"


# ---------------------------------------------------------------- one recipient


def _why(transaction: Transaction, outcome: Outcome, settings: Settings) -> Why:
    mine = about(outcome.address, transaction.findings)
    alone = _alone(transaction, outcome.address, mine, settings)
    differs = (alone.disposition, alone.mailboxes) != (outcome.disposition, outcome.mailboxes)
    deciding = next((one for one in mine if one.name == outcome.reason), None)
    told = decision.told(settings, mine)
    main, names = _because(outcome, mine, deciding, settings)
    together = [_TOGETHER] if differs and alone.disposition in _REFUSING else []
    return Why(
        outcome=outcome,
        ground=_ground(outcome),
        score=score_of(mine),
        because=(*main, *together, *_passed_over(mine, deciding, settings)),
        settings=tuple((name, told[name]) for name in names),
        deciding=deciding,
        alone=alone if differs else None,
        turning=_turning(transaction, outcome, mine, settings),
    )


_REFUSING: Final = frozenset({Disposition.REJECT, Disposition.TEMPFAIL})
_TOGETHER: Final = (
    "for this recipient alone it would not have been taken; another recipient took it, and what was taken for one may not be refused later for the other"
)


def about(recipient: Address, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Give the findings that count for a recipient: those about the message, and those about this one alone."""
    return tuple(one for one in findings if one.recipient is None or one.recipient == recipient)


def score_of(findings: Iterable[Finding]) -> float:
    """Give the points of findings together."""
    return sum(finding.weight for finding in findings)


def _alone(transaction: Transaction, recipient: Address, findings: Iterable[Finding], settings: Settings) -> Outcome:
    """Give what `recipient` would meet with `findings`, without any other recipient."""
    envelope = replace(transaction.envelope, recipients=(Recipient(recipient),))
    met: RecipientVerdict = compose(replace(transaction, envelope=envelope, findings=tuple(findings)), lambda _recipient: settings).per_recipient[recipient]
    return Outcome(recipient, met.disposition, met.reason, met.mailboxes)


def _ground(outcome: Outcome) -> Ground:
    return Ground.NOTHING if not outcome.reason else Ground.SCORE if outcome.reason == SCORE else Ground.POLICY


# ---------------------------------------------------------------- in words

_Words = tuple[list[str], tuple[str, ...]]
"""Sentences, and the names of the settings that they speak of."""


def _because(outcome: Outcome, mine: Sequence[Finding], deciding: Finding | None, settings: Settings) -> _Words:
    """Say why, and which settings made it so."""
    if not outcome.reason:
        return ["nothing spoke against it"], ()
    if outcome.reason == SCORE:
        return _by_score(score_of(mine), settings)
    if deciding is None:
        return [f"{outcome.reason} decided, which is not among the findings that were kept"], ()
    if outcome.disposition is not Disposition.TEMPFAIL and deciding.name in _BY_DMARC:
        return _by_dmarc(deciding, settings)
    if deciding.temporary and deciding.stage in settings.deferring:
        return [meaning_of(deciding), f"nothing is accepted without the check {deciding.stage}: {decision.DEFERRING} names it"], (decision.DEFERRING,)
    return [meaning_of(deciding), "a message like that is always refused; no setting changes it"], ()


def _by_score(score: float, settings: Settings) -> _Words:
    levels = (
        (settings.reject_score, decision.REJECT, "it is refused"),
        (settings.quarantine_score, decision.QUARANTINE, "it is held apart"),
        (settings.junk_score, decision.JUNK, "it goes to Junk"),
    )
    limit, name, end = next((one for one in levels if score >= one[0]), levels[-1])
    return [f"the findings have {points_of(score)} together; from {limit:g} on {end}"], (name,)


def _by_dmarc(failed: Finding, settings: Settings) -> _Words:
    author = failed.evidence.get("domain", "")
    if failed.name == _UNDECIDED:
        held = f"nothing that could be checked speaks for {author}; where that stays open its mail goes to Junk and is never refused"
        return [meaning_of(failed), held], (decision.DMARC_FAILED, decision.DMARC_OVERRIDES)
    if author in settings.dmarc_overrides:
        wish = f"{decision.DMARC_OVERRIDES} asks for {settings.dmarc_overrides[author]} in place of what {author} publishes"
        return [meaning_of(failed), wish, _follows(settings)], (decision.DMARC_OVERRIDES, decision.DMARC_FAILED)
    return [meaning_of(failed), _follows(settings)], (decision.DMARC_FAILED,)


def _follows(settings: Settings) -> str:
    follows = {
        "mark": "such mail is delivered with a mark, whatever the domain asks for",
        "junk": "such mail goes to Junk, even where the domain asks to reject it",
        "reject": "what the domain asks for is done",
    }
    return f"{decision.DMARC_FAILED} is {settings.dmarc_failed}: {follows.get(settings.dmarc_failed, 'unknown to this version')}"


def _passed_over(mine: Sequence[Finding], deciding: Finding | None, settings: Settings) -> Iterator[str]:
    """Tell what looks as if it should have decided, and why it did not."""
    if deciding is not None and deciding.name != _DMARC:
        return
    failed = next((one for one in mine if one.name == _DMARC), None)
    if failed is not None and failed is not deciding:
        yield f"{_DMARC} did not decide: {_why_not(failed, mine, settings)}"
    missed = sorted({one.stage for one in mine if one.temporary and one.stage not in settings.deferring})
    if missed:
        names = ", ".join(missed)
        yield f"could not be checked: {names}; {decision.DEFERRING} does not ask to wait for that, so it counts as not found"


def _why_not(failed: Finding, mine: Sequence[Finding], settings: Settings) -> str:
    author = failed.evidence.get("domain", "")
    if settings.dmarc_failed == "mark":
        return _follows(settings)
    if settings.dmarc_overrides.get(author) == "none":
        return f"{decision.DMARC_OVERRIDES} asks for nothing in place of what {author} publishes"
    if author not in settings.dmarc_overrides and failed.evidence.get("disposition", "none") == "none":
        return f"{author or 'the domain'} asks for nothing to be done"
    chain = next((one for one in mine if one.name == "arc.pass"), None)
    if chain is not None and chain.evidence.get("passed_author") == author and settings.arc_sealers.issuperset(chain.evidence.get("vouchers", "").split(", ")):
        return f"{chain.evidence['vouchers']} saw DMARC pass, and {decision.ARC_SEALERS} says to believe it"
    return "the score asked for something stricter"


# ---------------------------------------------------------------- what would have turned it


def _turning(transaction: Transaction, outcome: Outcome, mine: Sequence[Finding], settings: Settings) -> Turning | None:
    """Give the smallest change of a score, or the one finding of a policy, and what would have been met without."""
    if not outcome.reason:
        return None
    if outcome.reason == SCORE:
        taken = _smallest_change(transaction, outcome, mine, settings)
    else:
        taken = [place for place, one in enumerate(mine) if one.name == outcome.reason]
    if not taken:
        return None
    then = _alone(transaction, outcome.address, _left(mine, taken), settings)
    return Turning(tuple(mine[place] for place in taken), then, _severity(then) < _severity(outcome))


def _severity(outcome: Outcome) -> int:
    """Give how hard an end is: kept as wished, kept in Junk for its score, held apart, put off, refused."""
    if outcome.disposition is Disposition.ACCEPT:
        return 1 if outcome.reason else 0
    return {Disposition.TEMPFAIL: 3, Disposition.REJECT: 4}.get(outcome.disposition, 2)


def _left(mine: Sequence[Finding], taken: Iterable[int]) -> list[Finding]:
    gone = frozenset(taken)
    return [one for place, one in enumerate(mine) if place not in gone]


def _smallest_change(transaction: Transaction, outcome: Outcome, mine: Sequence[Finding], settings: Settings) -> list[int]:
    """Give the places of the fewest findings, and of those the lightest, without which `outcome` would have been milder."""
    level = _severity(outcome)
    forced: list[int] = []
    while True:
        # A finding that asks for as much without any points has to go first, whatever the sum is.
        weightless = [replace(one, weight=0.0) for one in mine]
        held = _alone(transaction, outcome.address, _left(weightless, forced), settings)
        asking = [place for place, one in enumerate(mine) if one.name == held.reason and place not in forced]
        if _severity(held) < level or not asking:
            break
        forced.append(asking[0])
    limits = ((4, settings.reject_score), (2, settings.quarantine_score), (1, settings.junk_score))
    below = min(limit for severity, limit in limits if severity >= level)
    return _Search(mine, forced, below).best


class _Search:
    """Looks for the places of the fewest findings, and of those the lightest, without which the sum is under `below`; `forced` ones are gone anyway."""

    def __init__(self, mine: Sequence[Finding], forced: Sequence[int], below: float) -> None:
        self._mine = mine
        self._below = below
        self._forced = list(forced)
        self._places = sorted((place for place, one in enumerate(mine) if one.weight > 0 and place not in forced), key=lambda place: -mine[place].weight)
        self._weights = [mine[place].weight for place in self._places]
        self._tried = 0
        self._lightest = float("inf")
        self.best: list[int] = []
        self._need = score_of(_left(mine, self._forced)) - below
        # The heaviest ones do with the fewest.
        count = next((count for count in range(len(self._places) + 1) if self._is_enough(self._places[:count])), None)
        if count is None:
            return
        self._take(self._places[:count])
        self._choose([], 0, count, 0.0)

    def _is_enough(self, chosen: Sequence[int]) -> bool:
        return score_of(_left(self._mine, [*self._forced, *chosen])) < self._below

    def _take(self, chosen: Sequence[int]) -> None:
        self._lightest = sum(self._mine[place].weight for place in chosen)
        self.best = sorted([*self._forced, *chosen])

    def _choose(self, chosen: list[int], start: int, count: int, weight: float) -> None:
        """Try every choice of `count` more from `start` on that can be both enough and lighter than the best so far."""
        self._tried += 1
        if self._tried > CHANGES_TRIED:
            return
        if count == 0:
            if self._is_enough(chosen):
                self._take(chosen)
            return
        for at in range(start, len(self._places) - count + 1):
            if weight + sum(self._weights[at : at + count]) < self._need - _SLACK:
                return  # the rest is lighter still
            if weight + self._weights[at] + sum(self._weights[len(self._weights) - count + 1 :]) >= self._lightest:
                continue  # too heavy, even with the lightest company
            self._choose([*chosen, self._places[at]], at + 1, count - 1, weight + self._weights[at])


def points_of(weight: float) -> str:
    """Give a weight in words."""
    return f"{weight:g} point" if weight == 1 else f"{weight:g} points"


def change_in_words(turning: Turning) -> str:
    """Say what a turning means in one sentence."""
    names = ", ".join(finding.name for finding in turning.without)
    points = f" ({points_of(turning.weight)})" if turning.weight else ""
    end = end_of(turning.outcome.disposition, turning.outcome.mailboxes)
    if turning.turned:
        return f"without {names}{points}: {end}"
    return f"without {names}{points} no better: {end}, because of {turning.outcome.reason or 'nothing'}"
