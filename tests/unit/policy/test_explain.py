# SPDX-License-Identifier: Apache-2.0
"""Explanations: a sentence for every finding, the setting behind every verdict, all stories told, other settings tried."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import moatmail.mailauth
import moatmail.policy.stages
from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.transaction import Session, Transaction
from moatmail.core.verdict import Disposition, Finding
from moatmail.policy import decision, meaning, order
from moatmail.policy.explain import Explanation, Ground, change_in_words, explain, replay
from moatmail.policy.meaning import meaning_of
from moatmail.policy.verdict import Settings, compose
from tests.policy.test_stories import STORIES, story_settings, story_transaction

ANN = Address("ann", "example.test")
BOB = Address("bob", "example.test")
STAGES = Path(moatmail.policy.stages.__file__).parent
MAILAUTH = Path(moatmail.mailauth.__file__).parent
RESULTS_OF = {"iprev": "iprev.py", "spf": "spf/*.py", "dkim": "dkim*.py", "arc": "arc.py", "dmarc": "dmarc/*.py"}
"""Where the results of a method are made."""
INNER = {"arc.permerror", "arc.policy"}
"""Results of a seal's signature: the chain that it breaks has failed (RFC 8617 §5.2)."""


def explained(*findings: Finding, settings: Settings | None = None, recipients: tuple[Address, ...] = (ANN,)) -> Explanation:
    session = Session("s1", "mx", "192.0.2.1", 25, "mail.elsewhere.test")
    return explained_of(Transaction(session, Envelope(None, tuple(map(Recipient, recipients))), 1.0, findings=findings), settings or Settings())


def explained_of(judged: Transaction, settings: Settings) -> Explanation:
    verdict = compose(judged, lambda _recipient: settings)
    return explain(decision.decode(decision.encode(judged, verdict, (), decision.told(settings, judged.findings))))


# ---------------------------------------------------------------- sentences


def findings_of_stages() -> Iterator[str]:
    """Give every name of a finding that stands in a stage, or is made of a result that its method gives."""
    for path in sorted(STAGES.glob("[a-z]*.py")):
        yield f"{path.stem}.{meaning.UNAVAILABLE}"
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.partition(".")[0] == path.stem:
                word = node.value.partition(".")[2]
                yield from [node.value] if word.isidentifier() else results_of(path.stem) if node.value == f"{path.stem}." else []


def results_of(method: str) -> Iterator[str]:
    for path in MAILAUTH.glob(RESULTS_OF[method]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Result":
                yield f"{method}.{node.attr.lower()}"


FINDINGS = sorted(set(findings_of_stages()) - INNER)


def test_the_walk_sees_every_stage() -> None:
    stages = {
        stage.__module__.rpartition(".")[2] for table in (order.RECEIVE, order.SUBMIT) for groups in table.values() for group in groups for stage in group
    }
    assert {name.partition(".")[0] for name in FINDINGS} >= stages
    assert {"iprev.permerror", "spf.softfail", "dkim.none", "dkim.policy", "arc.temperror", "form.several_from", "user_filter.placed"} <= set(FINDINGS)


@pytest.mark.parametrize("name", FINDINGS)
def test_every_finding_has_a_sentence(name: str) -> None:
    assert name in meaning.known_findings(), f"{name} has no sentence; write one in policy/meaning.py"
    bare = meaning_of(Finding(name))
    told = meaning_of(Finding(name, evidence={"domain": "a.test", "reason": "{odd}", "why": "{odd}", "identity": "helo"}))
    assert bare.isprintable()
    assert "?" not in bare
    assert "{" not in bare
    assert "no reason told" not in told


def test_no_sentence_speaks_of_what_no_stage_finds() -> None:
    assert meaning.known_findings() - set(FINDINGS) <= {"dmarc.permerror"}


@pytest.mark.parametrize(
    ("finding", "sentence"),
    [
        (
            Finding("spf.fail", evidence={"identity": "mailfrom", "domain": "bank.test"}),
            "bank.test (the domain of the envelope sender) says that this client may not send for it: forged, or forwarded on the way",
        ),
        (Finding("user_filter.placed", evidence={"mailboxes": "Lists\nWork"}), "the recipient's own rules put it into Lists and Work"),
        (Finding("odd{0}.un{1}known"), "check odd{0} found un{1}known"),
        (Finding("odd.unavailable", evidence={"why": "{x}"}, temporary=True), "check odd could not be made ({x})"),
        (Finding(""), "check  found something"),
    ],
    ids=["an identity in words", "several mailboxes", "a finding nobody knows", "a check nobody knows", "no name at all"],
)
def test_sentence(finding: Finding, sentence: str) -> None:
    assert meaning_of(finding) == sentence


# ---------------------------------------------------------------- stories


@pytest.mark.parametrize("path", STORIES, ids=[path.stem for path in STORIES])
def test_every_story_can_be_explained(path: Path) -> None:
    story = tomllib.loads(path.read_text())
    judged, settings = story_transaction(story), story_settings(story)
    told = explained_of(judged, settings)
    known = {one.address for one in judged.envelope.recipients}
    assert [one.meaning for one in told.findings] == [meaning_of(one) for one in judged.findings if one.recipient is None or one.recipient in known]
    assert told.notes == ()
    for why in told.recipients:
        assert [why.outcome.disposition.value, list(why.outcome.mailboxes)] == story["expect"]["dispositions"][str(why.outcome.address)]
        assert why.because
        softened = why.outcome.disposition is Disposition.QUARANTINE and why.alone is not None
        assert softened == any("another recipient took it" in sentence for sentence in why.because)
        if why.ground is Ground.POLICY:
            assert why.deciding is not None
            assert why.deciding.name == why.outcome.reason
        if why.ground is not Ground.NOTHING:
            assert why.turning is not None
            assert change_in_words(why.turning).isprintable()


def test_the_nine_pairs_are_told_with_what_each_would_have_met_alone() -> None:
    ends = {"accept": (), "tempfail": (Finding("user_filter.unavailable", temporary=True),), "reject": (Finding("loop.delivered_to"),)}
    for one, ones in ends.items():
        for other, others in ends.items():
            mine = [Finding(f.name, recipient=ANN, temporary=f.temporary) for f in ones] + [
                Finding(f.name, recipient=BOB, temporary=f.temporary) for f in others
            ]
            ann, bob = explained(*mine, recipients=(ANN, BOB)).recipients
            for why, word, beside in ((ann, one, other), (bob, other, one)):
                alone = why.alone or why.outcome
                assert alone.disposition.value == word
                assert (why.alone is not None) == (word != "accept" and beside == "accept")


# ---------------------------------------------------------------- grounds and settings

FAILED = Finding("dmarc.fail", 1.0, {"domain": "bank.test", "disposition": "reject"})
UNDECIDED = Finding("dmarc.temperror", 0.0, {"domain": "bank.test", "unproved": "reject"}, temporary=True)
WISHLESS = Finding("dmarc.fail", 1.0, {"domain": "bank.test", "disposition": "none"})
CHAIN = Finding("arc.pass", evidence={"vouchers": "list.test", "passed_author": "bank.test"})


GROUNDS: dict[str, tuple[tuple[Finding, ...], Settings, Ground, list[tuple[str, object]], str]] = {
    "nothing": ((), Settings(), Ground.NOTHING, [], "nothing spoke against it"),
    "score of junk": ((Finding("rule.a", 7.0),), Settings(), Ground.SCORE, [("junk_score", 6.0)], "7 points together; from 6 on it goes to Junk"),
    "score of quarantine": ((Finding("rule.a", 13.0),), Settings(), Ground.SCORE, [("quarantine_score", 12.0)], "from 12 on it is held apart"),
    "score of reject": ((Finding("rule.a", 20.0),), Settings(), Ground.SCORE, [("reject_score", 15.0)], "from 15 on it is refused"),
    "a form that always refuses": ((Finding("form.no_from"),), Settings(), Ground.POLICY, [], "always refused"),
    "a check that must be made": (
        (Finding("form.unavailable", temporary=True),),
        Settings(),
        Ground.POLICY,
        [("policy.deferring_stages", "form, loop, user_filter")],
        "nothing is accepted without the check form",
    ),
    "DMARC to Junk": ((FAILED,), Settings(), Ground.POLICY, [("policy.dmarc_failed", "junk")], "even where the domain asks to reject it"),
    "DMARC undecided, to Junk": (
        (UNDECIDED,),
        Settings(dmarc_failed="reject"),
        Ground.POLICY,
        [("policy.dmarc_failed", "reject"), ("policy.dmarc_overrides", "")],
        "where that stays open its mail goes to Junk and is never refused",
    ),
    "DMARC refused": ((FAILED,), Settings(dmarc_failed="reject"), Ground.POLICY, [("policy.dmarc_failed", "reject")], "what the domain asks for is done"),
    "DMARC by our own policy": (
        (FAILED,),
        Settings(dmarc_failed="reject", dmarc_overrides={"bank.test": "quarantine"}),
        Ground.POLICY,
        [("policy.dmarc_overrides", "bank.test=quarantine"), ("policy.dmarc_failed", "reject")],
        "asks for quarantine in place of what bank.test publishes",
    ),
    "DMARC marked only": ((FAILED,), Settings(dmarc_failed="mark"), Ground.NOTHING, [], "dmarc.fail did not decide: policy.dmarc_failed is mark"),
    "DMARC overridden": (
        (FAILED,),
        Settings(dmarc_overrides={"bank.test": "none"}),
        Ground.NOTHING,
        [],
        "dmarc.fail did not decide: policy.dmarc_overrides asks for nothing",
    ),
    "DMARC vouched for": (
        (FAILED, CHAIN),
        Settings(arc_sealers=frozenset({"list.test"})),
        Ground.NOTHING,
        [],
        "list.test saw DMARC pass, and policy.arc_sealers says to believe it",
    ),
    "DMARC without a wish": ((WISHLESS,), Settings(), Ground.NOTHING, [], "bank.test asks for nothing to be done"),
    "DMARC below the score": ((FAILED, Finding("rule.a", 20.0)), Settings(), Ground.SCORE, [("reject_score", 15.0)], "asked for something stricter"),
    "a check that need not be made": (
        (Finding("dkim.temperror", temporary=True),),
        Settings(),
        Ground.NOTHING,
        [],
        "could not be checked: dkim; policy.deferring_stages does not ask to wait",
    ),
}


@pytest.mark.parametrize(("findings", "settings", "ground", "named", "says"), GROUNDS.values(), ids=GROUNDS.keys())
def test_ground(findings: tuple[Finding, ...], settings: Settings, ground: Ground, named: list[tuple[str, object]], says: str) -> None:
    why = explained(*findings, settings=settings).recipients[0]
    assert (why.ground, list(why.settings)) == (ground, named)
    assert says in " / ".join(why.because)


def test_the_lightest_of_the_fewest_findings_turns_a_score() -> None:
    why = explained(*(Finding(f"rule.{weight}", float(weight)) for weight in (9, 8, 3, 2, -1))).recipients[0]
    assert (why.outcome.disposition, why.score) == (Disposition.REJECT, 21.0)
    assert why.turning is not None
    assert change_in_words(why.turning) == "without rule.8 (8 points): held apart: delivered to Junk, with a mark, until there is a quarantine"


def test_a_lone_refusal_that_was_softened_needs_a_change_that_is_seen() -> None:
    """Rejected alone, in Junk because the other takes it: one step down is Junk again, so the change goes on until it is not."""
    why = explained(Finding("rule.a", 9.0, recipient=ANN), Finding("rule.b", 7.0, recipient=ANN), recipients=(ANN, BOB)).recipients[0]
    assert (why.outcome.disposition, why.alone and why.alone.disposition) == (Disposition.QUARANTINE, Disposition.REJECT)
    assert why.turning is not None
    assert [one.name for one in why.turning.without] == ["rule.b"]
    assert why.turning.outcome.disposition is Disposition.ACCEPT


def test_a_policy_that_was_not_alone_says_so() -> None:
    why = explained(FAILED, Finding("rule.a", 13.0)).recipients[0]
    assert why.ground is Ground.POLICY
    assert why.turning is not None
    assert change_in_words(why.turning).startswith("without dmarc.fail (1 point) no better: ")


def test_a_hundred_findings_are_explained_at_once() -> None:
    many = tuple(Finding(f"rule.{number}", 0.1 + number * 0.003) for number in range(290))
    why = explained(*many).recipients[0]
    assert why.turning is not None
    assert why.turning.turned


def test_replay_tells_what_other_settings_would_have_done() -> None:
    kept = explained(FAILED).decided
    assert [replay(kept, Settings(dmarc_failed=word)).reply.code for word in ("mark", "junk", "reject")] == [250, 250, 550]


def test_recipients_beyond_the_bound_are_spoken_of() -> None:
    many = tuple(Address(f"a{number}", "example.test") for number in range(130))
    assert explained(recipients=many).notes == ("30 more recipients were judged in the same way; of so many only the first are kept",)


def test_a_decision_of_a_version_that_decided_otherwise_is_told_as_it_was() -> None:
    kept = explained(Finding("rule.a", 7.0)).decided
    outcome = decision.Outcome(ANN, Disposition.REJECT, "rule.a")
    told = explain(decision.Decided(kept.transaction, (outcome,), kept.reply, 7.0, 0))
    assert told.notes == ("this version of Moatmail would decide otherwise over the same findings; told below is what was decided then",)
    assert told.recipients[0].outcome == outcome
