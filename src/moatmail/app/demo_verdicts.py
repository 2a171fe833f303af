# SPDX-License-Identifier: Apache-2.0
"""`moatmail demo verdicts`: a good, a forged and a damaged message, judged in this process by a DNS table of its own, each explained.

Obeys RFC 7208, RFC 6376 and RFC 9989 through the checks it shows; RFC 2606 §2 (names that never exist).
Must never touch a server, a folder or the network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from moatmail.app.clock import SystemClock
from moatmail.app.judging import Bench, Given, judge
from moatmail.app.trial_names import ACCOUNTS, DOMAIN, FORGED_DOMAIN, SENDER, SENDER_DOMAIN, SENDER_HELO, ZONE
from moatmail.core.address import Address
from moatmail.core.settings.mail import Mail, Policy
from moatmail.core.verdict import Disposition
from moatmail.mailauth.sign import SigningKey, key_record, load_signing_key, new_key, sign
from moatmail.message.dates import format_date
from moatmail.message.header import Header
from moatmail.net.resolver_cache import CachingResolver
from moatmail.net.resolver_table import TableResolver
from moatmail.policy.explain import Explanation, explain

SETTING: Final = ("policy.dmarc_failed", "reject")
"""What the demonstration sets, that all three ends are seen: mail is refused where its author's domain asks for it."""

_SHOP: Final = "shop.test"
_LIST: Final = "list.test"
_LIST_HELO: Final = f"lists.{_LIST}"
_RECIPIENT: Final = Address(ACCOUNTS[0], DOMAIN)
_SENDER_IP: Final = "127.0.0.2"
_LIST_IP: Final = "192.0.2.30"
_FORGER_IP: Final = "192.0.2.66"
_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Shown:
    """One message: what it is, how it ended (explained), and how it was promised to end: disposition, mailboxes, the finding that decides."""

    name: str
    about: str
    told: Explanation
    promised: tuple[Disposition, tuple[str, ...], str]

    @property
    def kept(self) -> bool:
        """Tell whether the promise was."""
        outcome = self.told.decided.outcomes[0]
        return (outcome.disposition, outcome.mailboxes, outcome.reason) == self.promised


@dataclass(frozen=True, slots=True)
class _Letter:
    name: str
    about: str
    octets: bytes
    given: Given
    promised: tuple[Disposition, tuple[str, ...], str]


def run() -> tuple[Shown, ...]:
    """Judge the three; takes some 10 ms."""
    friend, shop = (load_signing_key(domain, "demo", new_key("ed25519")) for domain in (SENDER_DOMAIN, _SHOP))
    return asyncio.run(_judge_all(friend, shop))


async def _judge_all(friend: SigningKey, shop: SigningKey) -> tuple[Shown, ...]:
    clock = SystemClock()
    resolver = CachingResolver(TableResolver(_zone(friend, shop)), clock)
    bench = Bench(Mail(policy=Policy(dmarc_failed=SETTING[1])), f"mail.{DOMAIN}", resolver, clock)
    return tuple([await _show(letter, bench) for letter in _letters(friend, shop, clock.now())])


async def _show(letter: _Letter, bench: Bench) -> Shown:
    judged = await judge(letter.octets, letter.given, bench)
    return Shown(letter.name, letter.about, explain(judged.decided), letter.promised)


def _zone(friend: SigningKey, shop: SigningKey) -> Mapping[str, Mapping[str, list[object]]]:
    """Give the world: that of the trial, with keys made now, a shop that wants forgeries held apart, and a mailing list."""
    keys: dict[str, dict[str, list[object]]] = {record.name: {"TXT": [record.text]} for record in map(key_record, (friend, shop))}
    return (
        ZONE
        | keys
        | {
            "2.0.0.127.in-addr.arpa": {"PTR": [SENDER_HELO]},
            _SHOP: {"TXT": ["v=spf1 ip4:192.0.2.20 -all"]},
            f"_dmarc.{_SHOP}": {"TXT": ["v=DMARC1; p=quarantine"]},
            _LIST: {"TXT": [f"v=spf1 ip4:{_LIST_IP} -all"]},
            _LIST_HELO: {"A": [_LIST_IP]},
            "30.2.0.192.in-addr.arpa": {"PTR": [_LIST_HELO]},
        }
    )


def _letters(friend: SigningKey, shop: SigningKey, now: float) -> tuple[_Letter, ...]:
    good = _signed(_letter(SENDER, "lunch tomorrow?", now), friend, now)
    forged = _letter(f"service@{FORGED_DOMAIN}", "your account is locked", now)
    damaged = _signed(_letter(f"news@{_SHOP}", "news of the week", now), shop, now) + b"-- \r\nYou get this because you are on the list.\r\n"
    return (
        _Letter(
            "good",
            f"a friend writes: signed by {SENDER_DOMAIN}, and sent from its own server",
            good,
            _given(_SENDER_IP, SENDER_HELO, SENDER),
            (Disposition.ACCEPT, ("INBOX",), ""),
        ),
        _Letter(
            "forged",
            f"somebody writes in the name of {FORGED_DOMAIN}, which asks to reject what it did not send",
            forged,
            _given(_FORGER_IP, "localhost", f"service@{FORGED_DOMAIN}"),
            (Disposition.REJECT, (), "dmarc.fail"),
        ),
        _Letter(
            "damaged",
            f"a letter signed by {_SHOP} comes through a mailing list that added a line, so the signature does not hold any more",
            damaged,
            _given(_LIST_IP, _LIST_HELO, f"bounces@{_LIST}"),
            (Disposition.QUARANTINE, ("Junk",), "dmarc.fail"),
        ),
    )


def _given(ip: str, helo: str, sender: str) -> Given:
    localpart, _, domain = sender.partition("@")
    return Given(ip, helo, Address(localpart, domain), has_mail_from=True, recipients=(_RECIPIENT,))


def _letter(author: str, subject: str, now: float) -> bytes:
    domain = author.partition("@")[2]
    fields = (f"From: {author}", f"To: {_RECIPIENT}", f"Subject: {subject}", f"Date: {format_date(now)}", f"Message-ID: <demo@{domain}>")
    return "\r\n".join([*fields, "", "Hello!", ""]).encode()


def _signed(letter: bytes, key: SigningKey, now: float) -> bytes:
    head, _, body = letter.partition(_END)
    return sign(Header(head + _END), (body,), [key], now=int(now)) + letter
