# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 - our makers of fields return dataclasses.field
"""The settings that live in the store, are changed by `admin/change` and swapped live; key `group.name`, value as JSON.

Obeys RFC 5321 §4.5.3.1 (sizes), §4.5.3.2 (timeouts), §4.5.4.1 (retries), §6.3 (loops); RFC 9051 §5.4, RFC 1939 §3 (autologout).
Must never know what is needed before the store is open: that is in `start.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from moatmail.core.settings.field import are_overrides, between, group, is_host_port, is_mailbox, is_url, not_empty, one_of, setting

MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB


@dataclass(frozen=True, slots=True)
class SMTP:
    """Mail coming in, from strangers and from our users."""

    max_message_octets: int = setting(
        50 * MIB, "The largest message taken; announced as SIZE (RFC 1870 §3).", unit="octets", check=between(64 * 1024, 2048 * MIB)
    )
    max_recipients: int = setting(100, "Recipients of one message; RFC 5321 §4.5.3.1.8 wants at least 100.", check=between(100, 10_000))
    max_errors: int = setting(10, "Refused commands in one session before it is closed.", check=between(1, 1000))
    max_transactions: int = setting(1000, "Messages in one session before it is closed.", check=between(1, 1_000_000))
    command_seconds: float = setting(300.0, "How long we wait for the next command (RFC 5321 §4.5.3.2.7).", unit="seconds", check=between(1, 3600))
    transaction_seconds: float = setting(3600.0, "How long one message may take, from MAIL to its last octet.", unit="seconds", check=between(10, 86_400))
    min_rate_octets: int = setting(200, "The slowest sender of content we wait for, after a minute's grace.", unit="octets a second", check=between(0, MIB))
    max_connections: int = setting(1000, "Connections of one process, all doors of a kind together.", check=between(1, 100_000))


@dataclass(frozen=True, slots=True)
class Submission:
    """Mail from our users."""

    normalise_bare_newlines: bool = setting(
        default=False, about="Turn bare CR and LF into CRLF instead of refusing the message: for old scanners, and for submission only."
    )
    scram: bool = setting(default=True, about="Make SCRAM verifiers when a password is set, and offer SCRAM-SHA-256 at login (RFC 7677).")


@dataclass(frozen=True, slots=True)
class IMAP:
    """Mail being read."""

    login_seconds: float = setting(60.0, "How long a session may take to log in.", unit="seconds", check=between(5, 3600))
    idle_seconds: float = setting(
        1860.0,
        "Silence after which a session is closed, but not while it idles (IDLE); RFC 9051 §5.4 wants at least 30 minutes.",
        unit="seconds",
        check=between(1800, 86_400),
    )
    write_seconds: float = setting(120.0, "How long a reader may leave our answer unread.", unit="seconds", check=between(5, 3600))
    max_connections: int = setting(5000, "Sessions of one process.", check=between(1, 100_000))
    max_sessions_per_account: int = setting(40, "Sessions of one account in one process.", check=between(1, 10_000))
    raw_headers: str = setting(
        "refuse",
        "Messages with octets beyond ASCII in their header that a program appends which did not enable UTF8=ACCEPT or IMAP4rev2: refuse (RFC 9755 §4), or"
        " keep them as they are, for as long as old mail is brought along.",
        check=one_of("refuse", "keep"),
    )
    support_url: str = setting(
        "", "Where programs send who needs help (https:// or mailto:), told by ID; empty: postmaster at our host name by mail.", check=is_url
    )


@dataclass(frozen=True, slots=True)
class POP3:
    """Mail being fetched."""

    login_seconds: float = setting(60.0, "How long a session may take to log in.", unit="seconds", check=between(5, 3600))
    idle_seconds: float = setting(
        600.0,
        "Silence after which a session is closed, and nothing of what it marked is removed; RFC 1939 §3 wants at least 10 minutes.",
        unit="seconds",
        check=between(600, 86_400),
    )
    write_seconds: float = setting(120.0, "How long a reader may leave our answer unread.", unit="seconds", check=between(5, 3600))
    max_connections: int = setting(1000, "Sessions of one process.", check=between(1, 100_000))


@dataclass(frozen=True, slots=True)
class Policy:
    """How mail is judged."""

    max_received: int = setting(100, "Received fields before a message is taken for a loop (RFC 5321 §6.3).", check=between(30, 1000))
    deferring_stages: tuple[str, ...] = setting(
        ("loop", "form", "user_filter"),
        "Stages without which nothing is accepted: when one of them cannot run the message is put off (451). All others then leave a mark, and it passes;"
        " into Junk where dmarc could not decide and the author's policy is known to ask for more than none.",
    )
    dmarc_failed: str = setting(
        "junk",
        "What a message meets whose author's domain asks for quarantine or reject and DMARC fails: mark (delivered with the result in"
        " Authentication-Results), junk, or reject (550 5.7.26, only where the domain asks for reject). RFC 9989 §7.4 advises not to reject on this alone.",
        check=one_of("mark", "junk", "reject"),
    )
    dmarc_overrides: tuple[str, ...] = setting(
        (), "Author domains with a policy of ours instead of theirs, each as domain=none, domain=quarantine or domain=reject.", check=are_overrides
    )
    arc_sealers: tuple[str, ...] = setting(
        (), "Domains whose ARC seal we believe: mail that passed DMARC there and fails here is not held against its author (RFC 8617 §7.2.1)."
    )


@dataclass(frozen=True, slots=True)
class Signing:
    """How mail is signed on its way out."""

    unlisted: str = setting(
        "refuse",
        "Mail of our users whose author domain has no signing key: refuse it at submission (550 5.7.20), or send it unsigned with a mark in the log.",
        check=one_of("refuse", "send"),
    )
    arc: bool = setting(default=False, about="Seal mail that is forwarded, so that the next server may learn what we found (RFC 8617).")


@dataclass(frozen=True, slots=True)
class Reports:
    """Reports about mail in our name and in others'."""

    address: str = setting("", "Where reports about our domains come in; they are read and kept as rows. Empty: none are read.", check=is_mailbox)
    send: bool = setting(default=True, about="Send DMARC aggregate reports, once a day, to domains that ask for them (RFC 9990).")
    organization: str = setting("", "Who we are in reports; empty: our host name.")
    contact: str = setting("", "Whom to ask about a report of ours; empty: postmaster at our host name.", check=is_mailbox)


@dataclass(frozen=True, slots=True)
class Store:
    """How mail is kept."""

    recoverable_days: float = setting(
        25.0, "How long expunged mail can be brought back before its keys are deleted; 0 = at once.", unit="days", check=between(0, 3650)
    )
    recoverable_octets: int = setting(
        20 * GIB,
        "How much expunged mail of an account without a quota can be brought back, at most; of an account with a quota it is one quota. Beyond it the oldest"
        " is erased before its days are over.",
        unit="octets",
        check=between(0, 2**50),
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    """Mail going out."""

    smart_host: str = setting("", "Send everything through this server (host:port); empty: straight to each recipient's MX.", check=is_host_port)
    smart_host_tls: str = setting(
        "starttls", "starttls or implicit: verified TLS; none: plain, for a host beside us.", check=one_of("starttls", "implicit", "none")
    )
    smart_host_user: str = setting("", "Login at the smart host; empty: none.")
    smart_host_password: str = setting("", "Password at the smart host.", secret=True)
    retry_minutes: tuple[float, ...] = setting(
        (2.0, 5.0, 15.0, 30.0, 60.0, 120.0, 240.0),
        "Waiting times between attempts; the last repeats. After the first ones RFC 5321 §4.5.4.1 wants 30 minutes.",
        unit="minutes",
        check=lambda value: not_empty(value) or between(0.01, 10_080)(value),
    )
    give_up_days: float = setting(
        5.0, "When an undeliverable message goes back to its author; RFC 5321 §4.5.4.1 wants 4 to 5 days.", unit="days", check=between(0.001, 30)
    )
    max_concurrency: int = setting(50, "Messages on their way out at once.", check=between(1, 1000))
    max_per_destination: int = setting(5, "Connections to one destination at once.", check=between(1, 100))
    connect_seconds: float = setting(30.0, "How long we wait for a connection to a remote host.", unit="seconds", check=between(1, 300))
    port: int = setting(25, "The port of remote MX hosts; another one only for tests behind a firewall.", check=between(1, 65_535))


@dataclass(frozen=True, slots=True)
class Mail:
    """All settings of the store, as one frozen snapshot."""

    smtp: SMTP = group(SMTP, "Mail coming in.")
    submission: Submission = group(Submission, "Mail from our users.")
    imap: IMAP = group(IMAP, "Mail being read.")
    pop3: POP3 = group(POP3, "Mail being fetched.")
    policy: Policy = group(Policy, "How mail is judged.")
    store: Store = group(Store, "How mail is kept.")
    delivery: Delivery = group(Delivery, "Mail going out.")
    signing: Signing = group(Signing, "How mail is signed on its way out.")
    reports: Reports = group(Reports, "Reports about mail.")
