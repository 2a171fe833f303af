# SPDX-License-Identifier: Apache-2.0
"""Who gets the message where: nobody who was accepted is forgotten."""

from __future__ import annotations

import pytest

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.errors import OverQuotaError
from moatmail.core.status import Reply
from moatmail.core.verdict import Disposition, RecipientVerdict, Verdict
from moatmail.directory.recipients import Resolution
from moatmail.intake.placement import Plan, plan
from moatmail.store.queries import AccountRow

TEAM, FAR = Address("team", "example.test"), Address("zoe", "faraway.test")


def account(number: int, *, quota: int = 0, used: int = 0, status: str = "active") -> AccountRow:
    return AccountRow(number, f"u{number}", "example.test", status, quota, used, b"")


def placed(*accounts: AccountRow, elsewhere: tuple[Address, ...] = (), disposition: Disposition = Disposition.ACCEPT, size: int = 100) -> Plan:
    # Which builder made the verdict is no matter here; tests may make one (the rule is about the product).
    verdict = Verdict(
        Reply.of(250, "2.0.0", "ok"), {TEAM: RecipientVerdict(disposition, "", ("Junk",) if disposition is Disposition.QUARANTINE else ("INBOX",))}
    )
    envelope = Envelope(FAR, (Recipient(TEAM),))
    return plan(envelope, verdict, {TEAM: Resolution(TEAM, ours=True, accounts=accounts, elsewhere=elsewhere)}, size)


def test_every_account_behind_an_alias_gets_one_copy() -> None:
    assert list(placed(account(1), account(2)).copies) == [1, 2]


def test_a_full_account_among_others_waits_in_the_queue() -> None:
    """Fault: one full mailbox behind an alias made the whole message a temporary refusal, for ever."""
    made = placed(account(1), account(2, quota=50))
    assert list(made.copies) == [1]
    assert list(made.onward) == [Address("u2", "example.test")]


def test_full_accounts_alone_are_a_refusal() -> None:
    with pytest.raises(OverQuotaError):
        placed(account(1, quota=50), account(2, quota=10, used=10))


def test_a_frozen_account_among_others_gets_nothing() -> None:
    made = placed(account(1), account(2, status="frozen"))
    assert (list(made.copies), list(made.onward)) == ([1], [])


def test_a_quarantined_message_for_an_address_elsewhere_alone_does_not_vanish() -> None:
    """Fault: 250, and then neither a copy nor a queue entry, for an alias that leads elsewhere."""
    made = placed(elsewhere=(FAR,), disposition=Disposition.QUARANTINE)
    assert list(made.onward) == [FAR]


def test_a_quarantined_message_goes_to_junk_here() -> None:
    assert placed(account(1), disposition=Disposition.QUARANTINE).copies[1].mailbox == "Junk"


def test_a_discarded_message_goes_nowhere() -> None:
    made = placed(account(1), elsewhere=(FAR,), disposition=Disposition.DISCARD)
    assert not made.copies
    assert not made.onward
