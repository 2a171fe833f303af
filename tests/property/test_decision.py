# SPDX-License-Identifier: Apache-2.0
"""Kept decisions: what was written is read again and the same verdict follows from it; any octets are a decision or SealBrokenError."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.errors import SealBrokenError
from moatmail.core.ports.resolver import Answer, Lookup
from moatmail.core.transaction import Session, Transaction
from moatmail.core.verdict import Finding
from moatmail.policy import decision
from moatmail.policy.verdict import Settings, compose

ADDRESSES = st.builds(Address, st.text(min_size=1, max_size=8), st.sampled_from(["", "example.test", "xn--bcher-kva.test"]))
NAMES = st.sampled_from(
    ["loop.received_hops", "loop.delivered_to", "form.unavailable", "spf.fail", "dkim.temperror", "dmarc.fail", "arc.pass", "user_filter.placed", "rule.odd"]
)
EVIDENCE = st.fixed_dictionaries(
    {"mailboxes": st.sampled_from(["Archive", "Junk\nLists"])},
    optional={
        "domain": st.sampled_from(["bank.test", "friend.test"]),
        "disposition": st.sampled_from(["none", "quarantine", "reject"]),
        "vouchers": st.sampled_from(["list.test", "list.test, far.test"]),
        "passed_author": st.sampled_from(["bank.test", "friend.test"]),
        "explanation": st.text(max_size=20),
    },
)
SETTINGS = st.builds(
    Settings,
    junk_score=st.just(6.0),
    quarantine_score=st.sampled_from([6.0, 12.0]),
    reject_score=st.sampled_from([12.0, 15.0]),
    deferring=st.frozensets(st.sampled_from(["loop", "form", "dkim", "spf"])),
    dmarc_failed=st.sampled_from(["mark", "junk", "reject"]),
    dmarc_overrides=st.dictionaries(st.sampled_from(["bank.test", "friend.test", "other.test"]), st.sampled_from(["none", "quarantine", "reject"])),
    arc_sealers=st.frozensets(st.sampled_from(["list.test", "far.test", "else.test"])),
)
LOOKUPS = st.lists(st.builds(Lookup, st.sampled_from(["TXT", "MX"]), st.text(max_size=9), st.none() | st.builds(Answer, st.just((b"v=spf1",)), st.booleans())))


@st.composite
def transactions(draw: st.DrawFn) -> Transaction:
    """A transaction with any findings, some about one recipient."""
    recipients = draw(st.lists(ADDRESSES, min_size=1, max_size=3, unique=True))
    about = st.none() | st.sampled_from(recipients)
    weights = st.floats(-20, 20, allow_nan=False)
    findings = draw(st.lists(st.builds(Finding, NAMES, weights, EVIDENCE, about, st.booleans()), max_size=6))
    session = Session("s", draw(st.sampled_from(["mx", "submission"])), "2001:db8::1", 25, draw(st.text(max_size=9)))
    return Transaction(session, Envelope(draw(st.none() | ADDRESSES), tuple(map(Recipient, recipients))), 1.5, findings=tuple(findings))


@given(transactions(), SETTINGS, LOOKUPS)
def test_what_is_kept_comes_back_and_the_same_verdict_follows(judged: Transaction, settings: Settings, lookups: list[Lookup]) -> None:
    verdict = compose(judged, lambda _recipient: settings)
    kept = decision.decode(decision.encode(judged, verdict, lookups, decision.told(settings, judged.findings)))
    assert kept.transaction.envelope == judged.envelope
    assert [one.name for one in kept.transaction.findings] == [one.name for one in judged.findings]
    assert {one.address: one.disposition for one in kept.outcomes} == {address: one.disposition for address, one in verdict.per_recipient.items()}
    assert [(one.kind, one.name, one.outcome) for one in kept.questions] == [(one.kind, one.name, one.outcome) for one in lookups]
    again = decision.settings_of(kept.settings)
    assert compose(kept.transaction, lambda _recipient: again) == verdict


@given(st.binary(max_size=60))
def test_any_octets_are_a_decision_or_damage(octets: bytes) -> None:
    for one in (octets, b"\x01" + octets):
        with contextlib.suppress(SealBrokenError):
            decision.decode(one)
