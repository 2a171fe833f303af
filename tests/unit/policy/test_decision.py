# SPDX-License-Identifier: Apache-2.0
"""A kept decision: what it keeps, how much at most, what is said of octets that are none."""

from __future__ import annotations

import pytest

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.errors import SealBrokenError
from moatmail.core.ports.resolver import Answer, Lookup
from moatmail.core.transaction import Session, TLSFacts, Transaction
from moatmail.core.verdict import Disposition, Finding
from moatmail.policy import decision
from moatmail.policy.verdict import Settings, compose

ANN = Address("ann", "example.test")
BOB = Address("bob", "example.test")
CAROL = Address("carol", "elsewhere.test")
NOW = 1_800_000_000.5
MOST = 96 * 1024
"""Octets of the largest decision that anybody can make us keep; the ordinary one has some KiB."""


def transaction(*findings: Finding, recipients: tuple[Address, ...] = (ANN, BOB), reverse_path: Address | None = CAROL) -> Transaction:
    session = Session("s1", "mx", "192.0.2.1", 25, "mail.elsewhere.test", tls=TLSFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256"))
    return Transaction(session, Envelope(reverse_path, tuple(map(Recipient, recipients))), NOW, findings=findings)


def kept(given: Transaction, *lookups: Lookup, settings: Settings | None = None) -> decision.Decided:
    wanted = settings or Settings()
    return decision.decode(octets(given, *lookups, settings=wanted))


def octets(given: Transaction, *lookups: Lookup, settings: Settings | None = None) -> bytes:
    wanted = settings or Settings()
    return decision.encode(given, compose(given, lambda _recipient: wanted), lookups, decision.told(wanted, given.findings))


def test_what_is_kept_comes_back() -> None:
    found = Finding("spf.fail", 2.0, {"domain": "elsewhere.test"})
    alone = Finding("loop.delivered_to", recipient=BOB)
    asked = Lookup("TXT", "elsewhere.test", Answer((b"v=spf1 -all",)))
    got = kept(transaction(found, alone), asked)
    assert got.transaction == transaction(found, alone)
    assert got.outcomes == (
        decision.Outcome(ANN, Disposition.ACCEPT, "", ("INBOX",)),
        decision.Outcome(BOB, Disposition.QUARANTINE, "loop.delivered_to", ("Junk",)),
    )
    assert (got.reply.code, got.score, got.reasons, got.left_out) == (250, 2.0, ("loop.delivered_to",), 0)
    assert got.questions == (decision.Question("TXT", "elsewhere.test", "v=spf1 -all"),)


@pytest.mark.parametrize("answer", [None, Answer(exists=False), Answer()], ids=["no answer", "no such name", "no data"])
def test_a_question_without_records_is_kept_with_what_came_instead(answer: Answer | None, request: pytest.FixtureRequest) -> None:
    asked = Lookup("MX", "elsewhere.test", answer)
    assert kept(transaction(), asked).questions[0].outcome == request.node.callspec.id


def test_the_null_reverse_path_and_the_bare_postmaster_come_back() -> None:
    bare = Address("postmaster", "")
    got = kept(transaction(recipients=(bare,), reverse_path=None))
    assert (got.transaction.envelope.reverse_path, got.outcomes[0].address) == (None, bare)


def test_the_result_of_a_stage_is_not_kept() -> None:
    assert kept(transaction(Finding("spf.pass", facts=object()))).transaction.findings[0].facts is None


def test_of_settings_only_what_this_message_met_is_kept_and_the_verdict_is_the_same_under_them() -> None:
    wanted = Settings(dmarc_failed="reject", dmarc_overrides={"bank.test": "none", "other.test": "reject"}, arc_sealers=frozenset({"list.test", "far.test"}))
    failed = Finding("dmarc.fail", 1.0, {"domain": "bank.test", "disposition": "reject"})
    chain = Finding("arc.pass", evidence={"vouchers": "list.test, near.test", "passed_author": "other.test"})
    told = decision.told(wanted, (failed, chain))
    assert (told[decision.DMARC_OVERRIDES], told[decision.ARC_SEALERS]) == ("bank.test=none", "list.test")
    again = decision.settings_of(told)
    given = transaction(failed, chain)
    assert compose(given, lambda _recipient: again) == compose(given, lambda _recipient: wanted)


def test_a_decision_with_everything_a_stranger_can_make_long_is_bounded() -> None:
    many = tuple(Address(f"{number:060}", f"{'d' * 180}.test") for number in range(1000))
    loud = tuple(Finding("dkim.fail", 0.0, {f"fact{fact}": "\U0001f600" * 5000 for fact in range(30)}) for _ in range(40))
    placed = tuple(Finding("user_filter.placed", 0.0, {"mailboxes": "m" * 4000}, one) for one in many)
    asked = [Lookup("TXT", "n" * 250, Answer((b"\xff" * 60_000,))) for _ in range(500)]
    given = transaction(*loud, *placed, recipients=many)
    sealed = octets(given, *asked)
    assert len(sealed) < 4 * MOST  # four octets a character
    got = decision.decode(sealed)
    assert (len(got.outcomes), got.left_out) == (100, 900)
    assert all(one.recipient is None or one.recipient in set(many[:100]) for one in got.transaction.findings)


def test_an_ordinary_long_message_is_bounded_closely() -> None:
    loud = tuple(Finding("dkim.fail", 0.0, {f"fact{fact}": "x" * 5000 for fact in range(30)}) for _ in range(40))
    asked = [Lookup("TXT", "n" * 250, Answer((b"x" * 60_000,))) for _ in range(500)]
    assert len(octets(transaction(*loud), *asked)) < MOST


def test_long_evidence_does_not_crowd_out_what_others_found() -> None:
    loud = tuple(Finding("dkim.fail", 0.0, {f"fact{fact}": "x" * 500 for fact in range(10)}) for _ in range(20))
    got = kept(transaction(*loud, Finding("dmarc.fail", 1.0, {"domain": "bank.test", "disposition": "reject"})))
    assert got.transaction.findings[-1].evidence == {"domain": "bank.test", "disposition": "reject"}
    assert got.transaction.findings[0].evidence["fact0"].endswith("…")


def test_half_characters_do_not_stop_it() -> None:
    found = Finding("spf.fail", evidence={"explanation": "odd \ud800 text"})
    assert kept(transaction(found)).transaction.findings[0].evidence["explanation"] == "odd \\ud800 text"


@pytest.mark.parametrize(
    "damaged", [b"", b"\x01", b"\x02\x90", b"\x02" + octets(transaction())[1:], b"\x01\xc0", octets(transaction())[:-1], octets(transaction()) + b"\x00"]
)
def test_what_is_no_decision_is_said_to_be_none(damaged: bytes) -> None:
    with pytest.raises(SealBrokenError, match="decision"):
        decision.decode(damaged)


def test_the_code_is_eight_characters_of_the_ids_random_end() -> None:
    assert decision.code_of(bytes(11) + b"\x00\x44\x32\x14\xc7") == "abcdefgh"
    assert decision.code_of(bytes(16)) == "a" * decision.CODE_LENGTH
