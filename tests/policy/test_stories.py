# SPDX-License-Identifier: Apache-2.0
"""Stories of the filter: findings in, one reply and a disposition per recipient out; one file each, with its why."""

from __future__ import annotations

import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from moatmail.core.address import Address, parse_mailbox
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.settings.mail import Policy
from moatmail.core.transaction import Session, Transaction
from moatmail.core.verdict import Finding
from moatmail.policy.verdict import Settings, compose

STORIES = sorted((Path(__file__).parent / "stories").glob("*.toml"))


def _address(text: str) -> Address:
    return parse_mailbox(text.encode(), utf8=True)


def _finding(row: dict[str, Any]) -> Finding:
    recipient = _address(row["recipient"]) if "recipient" in row else None
    return Finding(row["name"], row.get("weight", 0.0), row.get("evidence", {}), recipient, row.get("temporary", False))


def story_transaction(story: dict[str, Any]) -> Transaction:
    """Give what the story says was found, about a message from carol."""
    envelope = Envelope(_address("carol@elsewhere.test"), tuple(Recipient(_address(one)) for one in story["recipients"]))
    findings = tuple(_finding(row) for row in story["findings"])
    return Transaction(Session("1", "mx", "192.0.2.1", 25), envelope, 0.0, findings=findings)


def story_settings(story: dict[str, Any]) -> Settings:
    """Give the settings of the story, as an administrator would have made them."""
    wanted: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in story.get("settings", {}).items()}
    return Settings.of(Policy(**wanted))


@pytest.mark.parametrize("path", STORIES, ids=[path.stem for path in STORIES])
def test_story_ends_as_it_says(path: Path) -> None:
    story = tomllib.loads(path.read_text())
    transaction, settings = story_transaction(story), story_settings(story)
    verdict = compose(transaction, lambda _recipient: settings)
    assert verdict.reply.code == story["expect"]["code"]
    ends = {str(address): [one.disposition.value, list(one.mailboxes)] for address, one in verdict.per_recipient.items()}
    assert ends == story["expect"]["dispositions"]


def test_all_nine_pairs_of_two_recipients_are_told() -> None:
    words = ("accept", "tempfail", "reject")
    told = {path.stem for path in STORIES}
    assert {f"two-recipients-{one}-{other}" for one in words for other in words} <= told


def test_ten_thousand_recipients_with_a_finding_each_are_judged_in_less_than_a_second() -> None:
    recipients = tuple(Recipient(_address(f"r{number}@example.test")) for number in range(10_000))
    findings = tuple(Finding("loop.delivered_to", recipient=one.address) for one in recipients[1:])
    transaction = Transaction(Session("1", "mx", "192.0.2.1", 25), Envelope(None, recipients), 0.0, findings=findings)
    began = time.process_time()
    verdict = compose(transaction, lambda _recipient: Settings())
    assert time.process_time() - began < 1
    ends = Counter(one.disposition.value for one in verdict.per_recipient.values())
    assert ends == {"accept": 1, "quarantine": 9_999}
