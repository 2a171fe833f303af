# SPDX-License-Identifier: Apache-2.0
"""The names of trial mode: the domain served, the accounts, and the DNS table that stands for the world.

Obeys RFC 2606 §2 (names that never exist), RFC 7208 (the SPF records), RFC 9989 (the DMARC records).
Must never know who asks.
"""

from __future__ import annotations

from typing import Final

DOMAIN: Final = "example.test"
ACCOUNTS: Final = ("alice", "bob")

SENDER_DOMAIN: Final = "friend.test"
SENDER: Final = f"carol@{SENDER_DOMAIN}"
SENDER_HELO: Final = f"mail.{SENDER_DOMAIN}"
"""A stranger whose mail is in order: its SPF names this machine."""

FORGED_DOMAIN: Final = "bank.test"
"""A domain that forbids everybody to send in its name, whatever claims to come from it is forged."""

ZONE: Final[dict[str, dict[str, list[object]]]] = {
    DOMAIN: {"MX": [(10, f"mail.{DOMAIN}")], "A": ["127.0.0.1"], "AAAA": ["::1"], "TXT": ["v=spf1 ip4:127.0.0.0/8 ip6:::1 -all"]},
    f"mail.{DOMAIN}": {"A": ["127.0.0.1"], "AAAA": ["::1"]},
    f"_dmarc.{DOMAIN}": {"TXT": ["v=DMARC1; p=reject"]},
    # Its mail host is a loopback address where nobody listens: mail to it waits in the queue, as for a host that is down.
    SENDER_DOMAIN: {"MX": [(10, SENDER_HELO)], "A": ["127.0.0.2"], "TXT": ["v=spf1 ip4:127.0.0.0/8 ip6:::1 -all"]},
    SENDER_HELO: {"A": ["127.0.0.2"]},
    f"_dmarc.{SENDER_DOMAIN}": {"TXT": ["v=DMARC1; p=none"]},
    FORGED_DOMAIN: {"MX": [(0, "")], "A": ["192.0.2.1"], "TXT": ["v=spf1 -all"]},
    f"_dmarc.{FORGED_DOMAIN}": {"TXT": ["v=DMARC1; p=reject"]},
}
