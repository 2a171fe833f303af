# SPDX-License-Identifier: Apache-2.0
"""What is kept beside mail: decisions with their sealed evidence, what a DMARC report will tell, reports of others.

Obeys RFC 9990 §3.1 (rows of a report), RFC 8460 §4 (TLS reports).
Must never know what evidence says: it comes sealed.
"""

from __future__ import annotations

from moatmail.store.record import Record


class EvidenceKey(Record, frozen=True):
    """The key of a process under which it seals evidence, covered for the queue's private half (`crypto.queue_seal`); kept once."""

    id: bytes
    cover: bytes


class Observed(Record, frozen=True):
    """One observation for a DMARC report: the policy domain and the canonical row (`mailauth.reports.observed`); equal rows of a day are counted."""

    domain: str
    row: str


class Decision(Record, frozen=True):
    """A kept decision: `id` of the content, `code` to be read aloud, open `facts` (addresses of the envelope, peer, reply), evidence sealed under `key`.

    Soft state: it may be lost at a power cut, and goes after some weeks.
    """

    id: bytes
    at: float
    code: str
    facts: dict[str, str]
    key: EvidenceKey
    sealed_evidence: bytes
    settings_version: int
    verdict: str
    observed: tuple[Observed, ...] = ()


class SentReport(Record, frozen=True):
    """A report of ours: the day (epoch day) it tells of, the policy domain, the receiving domain; there is one of each."""

    day: int
    domain: str
    receiver: str


class NewReport(Record, frozen=True):
    """A report that somebody sent us: `kind` "dmarc", "tls", "abuse" or "dmarc-failure"; `rows` as JSON; times in epoch seconds.

    The same (kind, reporter, report_id, domain) is kept once.
    """

    id: bytes
    kind: str
    received_at: float
    domain: str
    reporter: str
    report_id: str
    begin: float
    end: float
    totals: dict[str, int]
    rows: str
