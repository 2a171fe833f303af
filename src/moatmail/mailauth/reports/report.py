# SPDX-License-Identifier: Apache-2.0
"""DMARC aggregate reports as plain facts: what one says, whoever wrote it and in whichever of its shapes.

Obeys RFC 9990 §3.1.1 (contents of a report) and RFC 7489 appendix C (the shape before it).
Must never know XML, mail or the store.
"""

from __future__ import annotations

import msgspec


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a policy was not applied: `type` is a word of RFC 9990 §3.1.6 (foreign reports may hold others), `comment` free text."""

    type: str
    comment: str = ""


class DKIMAuth(msgspec.Struct, frozen=True, omit_defaults=True):
    """One signature as it was verified (RFC 9990 §3.1.1.12); `selector` is empty in older reports only."""

    domain: str
    selector: str = ""
    result: str = ""
    human: str = ""


class SPFAuth(msgspec.Struct, frozen=True, omit_defaults=True):
    """SPF of one identity (RFC 9990 §3.1.1.13); `scope` is "mfrom", in older reports also "helo" or empty."""

    domain: str
    scope: str = ""
    result: str = ""
    human: str = ""


class Published(msgspec.Struct, frozen=True, omit_defaults=True):
    """The policy as it was found (RFC 9990 §3.1.1.5): words of the record, empty where a report names none.

    `pct` stands in reports of RFC 7489 only, `testing`, `np` and `discovery_method` in those of RFC 9990.
    """

    domain: str
    p: str = ""
    sp: str = ""
    np: str = ""
    adkim: str = ""
    aspf: str = ""
    fo: str = ""
    testing: str = ""
    discovery_method: str = ""
    pct: str = ""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """`count` messages of one source that fared alike (RFC 9990 §3.1.1.7): `dkim` and `spf` are the words of alignment, pass or fail.

    `envelope_from` is None where the report is silent and empty for the null reverse-path; all domains are A-labels in what we write.
    """

    source_ip: str
    header_from: str
    disposition: str = "none"
    dkim: str = "fail"
    spf: str = "fail"
    reasons: tuple[Reason, ...] = ()
    envelope_from: str | None = None
    envelope_to: str = ""
    dkim_results: tuple[DKIMAuth, ...] = ()
    spf_results: tuple[SPFAuth, ...] = ()
    count: int = 1


class AggregateReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """One report: who reports on which policy, from `begin` to `end` (epoch seconds), with its records; `notes` says what was odd or mended."""

    org_name: str
    email: str
    report_id: str
    begin: int
    end: int
    published: Published
    records: tuple[Record, ...] = ()
    extra_contact: str = ""
    errors: tuple[str, ...] = ()
    generator: str = ""
    version: str = ""
    notes: tuple[str, ...] = ()
