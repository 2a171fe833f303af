# SPDX-License-Identifier: Apache-2.0
"""A DMARC aggregate report of our own: XML, gzip and the mail around it; the same facts give the same octets, so a report sent again is the same.

Obeys RFC 9990 §3.1.1 and appendix A (order and names of elements), §3.5.1 (Report-ID), §3.5.2 (mail, file name, Subject), RFC 3834 §5.
Must never know where the facts come from or whether the report may be sent.
"""

from __future__ import annotations

import binascii
import gzip
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from moatmail.core.address import Address
from moatmail.mailauth.reports.report import AggregateReport, DKIMAuth, Published, Reason, Record, SPFAuth
from moatmail.message import build

NAMESPACE: Final = "urn:ietf:params:xml:ns:dmarc-2.0"
_BASE64_LINE: Final = 57
# What XML 1.0 has no place for, not even escaped, and halves of surrogate pairs, which no octets stand for.
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})


def aggregate_xml(report: AggregateReport) -> bytes:
    """Give a report as XML of RFC 9990; `notes`, pct and other marks of older reports are not written."""
    published = report.published
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<feedback xmlns="{NAMESPACE}">']
    # RFC 9990 §3.1.1.2: the version of the format, whichever namespace is meant.
    lines += _element("version", "1.0")
    lines += _group("report_metadata", _metadata(report))
    lines += _group("policy_published", _policy(published))
    for record in report.records:
        lines += _group("record", _record(record))
    lines.append("</feedback>\n")
    return "\n".join(lines).encode("utf-8")


def _metadata(report: AggregateReport) -> Iterable[str]:
    yield from _element("org_name", report.org_name)
    yield from _element("email", report.email)
    yield from _optional("extra_contact_info", report.extra_contact)
    yield from _element("report_id", report.report_id)
    yield from _group("date_range", (*_element("begin", str(report.begin)), *_element("end", str(report.end))))
    yield from _optional("error", "; ".join(report.errors))  # RFC 9990 §3.1.1.3: at most one
    yield from _optional("generator", report.generator)


def _policy(published: Published) -> Iterable[str]:
    yield from _element("domain", published.domain)
    yield from _optional("discovery_method", published.discovery_method)
    yield from _element("p", published.p)
    for name in ("sp", "np", "fo", "adkim", "aspf", "testing"):
        yield from _optional(name, getattr(published, name))


def _record(record: Record) -> Iterable[str]:
    evaluated = [*_element("disposition", record.disposition), *_element("dkim", record.dkim), *_element("spf", record.spf)]
    for reason in record.reasons:
        evaluated += _group("reason", _reason(reason))
    row = [*_element("source_ip", record.source_ip), *_element("count", str(record.count)), *_group("policy_evaluated", evaluated)]
    yield from _group("row", row)
    identifiers = list(_element("header_from", record.header_from))
    # RFC 9990 §3.1.1.10: it stands there empty for the null reverse-path.
    identifiers += _element("envelope_from", record.envelope_from) if record.envelope_from is not None else ()
    yield from _group("identifiers", (*identifiers, *_optional("envelope_to", record.envelope_to)))
    results = [line for one in record.dkim_results for line in _group("dkim", _dkim(one))]
    yield from _group("auth_results", (*results, *(line for one in record.spf_results[:1] for line in _group("spf", _spf(one)))))


def _reason(reason: Reason) -> Iterable[str]:
    return (*_element("type", reason.type), *_optional("comment", reason.comment))


def _dkim(one: DKIMAuth) -> Iterable[str]:
    return (*_element("domain", one.domain), *_element("selector", one.selector), *_element("result", one.result), *_optional("human_result", one.human))


def _spf(one: SPFAuth) -> Iterable[str]:
    return (*_element("domain", one.domain), *_optional("scope", one.scope), *_element("result", one.result), *_optional("human_result", one.human))


def _group(name: str, inside: Iterable[str]) -> Iterable[str]:
    return (f"<{name}>", *(f"  {line}" for line in inside), f"</{name}>")


def _element(name: str, text: str) -> tuple[str]:
    return (f"<{name}>{_FORBIDDEN.sub('', text).translate(_ESCAPES)}</{name}>",)


def _optional(name: str, text: str) -> tuple[str, ...]:
    return _element(name, text) if text else ()


# ---- the mail ----


@dataclass(frozen=True, slots=True)
class Letter:
    """How a report travels: the author (an address of the receiving domain), the recipients, and the time of writing (epoch seconds).

    `receiver` is the domain of ours that received the mail; domains are A-labels.
    """

    author: Address
    recipients: Sequence[Address]
    receiver: str
    now: float


def report_id(policy_domain: str, receiver: str, begin: int, end: int) -> str:
    """Give the identifier of a report: one for each policy domain, receiver and period, the same whenever it is asked for (RFC 9990 §3.5.1)."""
    digest = hashlib.sha256("\0".join((policy_domain, receiver, str(begin), str(end))).encode()).hexdigest()
    return f"{begin}.{digest[:24]}@{receiver}"


def file_name(report: AggregateReport, receiver: str) -> str:
    """Give the name of the attachment (RFC 9990 §3.5.2); the domains keep to letters, digits, hyphens and dots."""
    return f"{receiver}!{report.published.domain}!{report.begin}!{report.end}.xml.gz"


def compose(report: AggregateReport, letter: Letter) -> bytes:
    """Give the mail that carries a report, lines ended with CRLF (RFC 9990 §3.5.2); ValueError where a domain or address has no place in a field."""
    domain = report.published.domain
    name = file_name(report, letter.receiver)
    # The time within gzip would make every copy another one (RFC 1952 §2.3.1: 0 is no time).
    packed = gzip.compress(aggregate_xml(report), mtime=0)
    attachment = build.Body(
        build.structured_field("Content-Type", f'application/gzip; name="{name}"')
        + build.structured_field("Content-Disposition", f'attachment; filename="{name}"')
        + build.structured_field("Content-Transfer-Encoding", "base64"),
        b"\r\n".join(_base64_lines(packed)) + b"\r\n",
    )
    note = build.text_body(
        f"This is a DMARC aggregate report of {letter.receiver} about mail in the name of {domain},\n"
        f"made because the DMARC record of {domain} asks for it.\n\n"
        f"Report-ID: {report.report_id}\n"
    )
    fields = (
        build.address_field("From", [("", letter.author)]),
        build.address_field("To", [("", one) for one in letter.recipients]),
        build.structured_field("Subject", f"Report Domain: {domain} Submitter: {letter.receiver} Report-ID: <{report.report_id}>"),
        build.date_field(letter.now),
        build.structured_field("Message-ID", f"<{report.report_id}>"),
        # RFC 3834 §5: nobody's absence notice answers a report.
        build.structured_field("Auto-Submitted", "auto-generated"),
    )
    return build.message(fields, build.multipart_body("mixed", (note, attachment)))


def _base64_lines(octets: bytes) -> Iterable[bytes]:
    return (binascii.b2a_base64(octets[at : at + _BASE64_LINE], newline=False) for at in range(0, len(octets), _BASE64_LINE))
