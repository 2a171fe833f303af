# SPDX-License-Identifier: Apache-2.0
"""The DNS records that a domain of ours needs, as lines of a zone file.

Obeys RFC 5321 §5.1 (MX), RFC 7208 §3 and §10.1.3 (SPF, also of the HELO name), RFC 6376 §3.6 (keys), RFC 9989 §4.7 (policy), RFC 9990 §4 (consent of who gets
reports), RFC 1035 §5.1 (zone files).
Must never ask the DNS: it says what is due, not what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from moatmail.admin import settings, signing
from moatmail.admin.change import Desk, read_domain
from moatmail.core.settings.mail import Mail
from moatmail.mailauth.dkim_key import key_name
from moatmail.mailauth.sign import KeyRecord
from moatmail.store.queries import SigningKeyRow

_PREFERENCE: Final = 10


@dataclass(frozen=True, slots=True)
class Due:
    """A record that is due: its purpose, owner name (without the last dot), type, value (a text whole), and a word about it."""

    purpose: str
    name: str
    type: str
    value: str
    note: str = ""

    @property
    def line(self) -> str:
        """Give the record as a line of a zone file, a long text in strings of at most 255 octets (RFC 1035 §3.3)."""
        if self.type == "TXT":
            return KeyRecord(self.name, self.value).zone_line
        return f"{self.name}. IN {self.type} {self.value}"

    @property
    def facts(self) -> dict[str, object]:
        """Give the record for programs."""
        return {"purpose": self.purpose, "name": self.name, "type": self.type, "value": self.value, "line": self.line, "note": self.note}


async def due(desk: Desk, name: str, hostname: str) -> tuple[Due, ...]:
    """Give the records of a domain of ours, served by the host `hostname`. Raises ConfigError, NotFoundError."""
    keys = await signing.listing(desk, name)
    return records(read_domain(name), keys, hostname, await settings.snapshot(desk))


def records(domain: str, keys: Sequence[SigningKeyRow], hostname: str, mail: Mail) -> tuple[Due, ...]:
    """Give the records of `domain` with these signing keys, under these settings."""
    return (
        Due("mx", domain, "MX", f"{_PREFERENCE} {hostname}."),
        _spf(domain, mail.delivery.smart_host),
        *_helo(domain, hostname),
        *of_keys(keys),
        *_dmarc(domain, mail.reports.address),
    )


def of_keys(keys: Iterable[SigningKeyRow]) -> tuple[Due, ...]:
    """Give the records of signing keys: due from before the first use until long after the last."""
    notes = {
        signing.PUBLISHED: "not used yet: when this can be seen everywhere, `moatmail dkim use`",
        signing.ACTIVE: "in use",
        signing.RETIRED: "retired: leave it until `moatmail dkim remove`",
    }
    return tuple(Due("dkim", key_name(key.selector, key.domain), "TXT", key.record, notes.get(key.state, key.state)) for key in keys)


def _spf(domain: str, smart_host: str) -> Due:
    if not smart_host:
        return Due("spf", domain, "TXT", "v=spf1 mx -all")
    # RFC 7208 §10.1.1: a hard end before everybody who sends is named would refuse our own mail.
    return Due("spf", domain, "TXT", "v=spf1 mx ~all", f"mail leaves through {smart_host}: add what its operator names (mostly include:NAME), then end in -all")


def _helo(domain: str, hostname: str) -> tuple[Due, ...]:
    """Give the record of our name in HELO, where it lies in this zone: notices have no other identity (RFC 7208 §2.4)."""
    if hostname == domain or not hostname.endswith(f".{domain}"):
        return ()
    return (Due("helo", hostname, "TXT", "v=spf1 a -all", "for notices, which have no sender but the name of this host"),)


def _dmarc(domain: str, address: str) -> tuple[Due, ...]:
    # RFC 9989 §7.4: reject loses the mail of members of mailing lists; quarantine is what a domain of people should ask for.
    policy = "v=DMARC1; p=quarantine"
    if not address:
        return (Due("dmarc", f"_dmarc.{domain}", "TXT", policy, "no reports are asked for: reports.address is empty"),)
    rua = quote(address, safe="@.+-_=")
    record = Due("dmarc", f"_dmarc.{domain}", "TXT", f"{policy}; rua=mailto:{rua}")
    host = address.rpartition("@")[2].lower()
    if _is_within(host, domain) or _is_within(domain, host):
        return (record,)
    # RFC 9990 §4: whoever gets reports about another organization's domain must have said that it wants them.
    return (record, Due("dmarc-consent", f"{domain}._report._dmarc.{host}", "TXT", "v=DMARC1", f"in the zone of {host}: it takes reports about {domain}"))


def _is_within(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")
