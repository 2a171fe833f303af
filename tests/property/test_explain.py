# SPDX-License-Identifier: Apache-2.0
"""Explanations: the smallest change turns the verdict, and no smaller or lighter one does, as a search through all of them tells."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.transaction import Session, Transaction
from moatmail.core.verdict import Disposition, Finding
from moatmail.policy import decision
from moatmail.policy.explain import Ground, Why, about, explain
from moatmail.policy.verdict import Settings, compose

ANN = Address("ann", "example.test")
BOB = Address("bob", "example.test")
# Quarters are exact in binary, so that sums are the same in any order.
WEIGHTS = st.integers(-12, 40).map(lambda quarters: quarters / 4)
NAMES = st.sampled_from(["rule.a", "rule.b", "spf.fail", "dmarc.fail"])
EVIDENCE = st.fixed_dictionaries({"domain": st.just("bank.test"), "disposition": st.sampled_from(["none", "quarantine", "reject"])})
FINDINGS = st.lists(st.builds(Finding, NAMES, WEIGHTS, EVIDENCE, st.sampled_from([None, None, ANN, BOB])), max_size=8).filter(
    lambda findings: sum(one.name == "dmarc.fail" for one in findings) < 2  # the stage gives one
)
SETTINGS = st.builds(
    Settings,
    st.sampled_from([4.0, 6.0]),
    st.sampled_from([6.0, 9.0]),
    st.sampled_from([8.0, 9.0, 15.0]),
    dmarc_failed=st.sampled_from(["mark", "junk", "reject"]),
)


def severity(disposition: Disposition, reason: str) -> int:
    order = [Disposition.ACCEPT, None, Disposition.QUARANTINE, Disposition.TEMPFAIL, Disposition.REJECT]
    return 1 if disposition is Disposition.ACCEPT and reason else order.index(disposition)


def met_without(judged: Transaction, recipient: Address, left: tuple[Finding, ...], wanted: Settings) -> int:
    alone = replace(judged, envelope=replace(judged.envelope, recipients=(Recipient(recipient),)), findings=left)
    met = compose(alone, lambda _recipient: wanted).per_recipient[recipient]
    return severity(met.disposition, met.reason)


@settings(max_examples=300)
@given(FINDINGS, SETTINGS)
def test_the_smallest_change_is_the_smallest(findings: list[Finding], wanted: Settings) -> None:
    judged = Transaction(Session("s", "mx", "192.0.2.1", 25), Envelope(None, (Recipient(ANN), Recipient(BOB))), 1.0, findings=tuple(findings))
    verdict = compose(judged, lambda _recipient: wanted)
    kept = decision.decode(decision.encode(judged, verdict, (), decision.told(wanted, judged.findings)))
    for why in explain(kept).recipients:
        mine = about(why.outcome.address, judged.findings)
        if why.ground is Ground.SCORE:
            assert (size(why), weight(why)) == smallest(judged, why, mine, wanted)
        elif why.ground is Ground.NOTHING:
            assert why.turning is None


def size(why: Why) -> int:
    assert why.turning is not None
    assert why.turning.turned
    return len(why.turning.without)


def weight(why: Why) -> float:
    assert why.turning is not None
    return why.turning.weight


def smallest(judged: Transaction, why: Why, mine: tuple[Finding, ...], wanted: Settings) -> tuple[int, float]:
    level = severity(why.outcome.disposition, why.outcome.reason)
    for count in range(len(mine) + 1):
        turning = []
        for chosen in combinations(range(len(mine)), count):
            left = tuple(one for place, one in enumerate(mine) if place not in chosen)
            if met_without(judged, why.outcome.address, left, wanted) < level:
                turning.append(sum(mine[place].weight for place in chosen))
        if turning:
            return count, min(turning)
    raise AssertionError("even without any finding it is no milder")
