# SPDX-License-Identifier: Apache-2.0
"""Feedback reports as they come: complaints, and messages that failed to authenticate; what a sparse one leaves out is taken from the message.

Obeys RFC 5965 §3 (fields), RFC 6591 §3 (authentication failures), RFC 6692 §4 (Source-Port), RFC 9991 §4 (DMARC), RFC 6650 §5 (sparse reports).
Must never know how a report was sent, nor believe what it says.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Final

import msgspec

from moatmail.core.limits.mailauth import FEEDBACK_OCTETS, FEEDBACK_VALUES_MAX, REPORT_COUNT_MAX, REPORT_TEXT_MAX
from moatmail.mailauth.reports.unreadable import UnreadableReportError
from moatmail.message.addresses import mailboxes
from moatmail.message.dates import parse_date
from moatmail.message.header import Header
from moatmail.message.parameters import strip_comments

_FROM_IP: Final = re.compile(rb"\[(?:IPv6:)?([0-9A-Fa-f:.]{2,45})\]")
_NUMBER: Final = re.compile(rb"[0-9]{1,12}")
# Providers that leave out Original-Rcpt-To put the complainant there (the message itself was redacted).
_RECIPIENT_FIELDS: Final = (b"x-hmxmroriginalrecipient", b"x-original-to", b"delivered-to", b"to")
DMARC: Final = "dmarc"
AUTH_FAILURE: Final = "auth-failure"


class FeedbackReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """One report: its type ("abuse", "auth-failure" ...) and its facts, empty where it is silent; `derived` names those found in the message instead.

    `arrival` is epoch seconds, None if unknown; `alignment` holds the words of Identity-Alignment (RFC 9991 §4: "dkim", "spf", or "none").
    """

    feedback_type: str
    user_agent: str = ""
    version: str = ""
    source_ip: str = ""
    source_port: int = 0
    arrival: int | None = None
    incidents: int = 1
    mail_from: str | None = None
    recipients: tuple[str, ...] = ()
    envelope_id: str = ""
    reporting_mta: str = ""
    domains: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    auth_failure: tuple[str, ...] = ()
    delivery_result: str = ""
    alignment: tuple[str, ...] = ()
    dkim_domain: str = ""
    dkim_identity: str = ""
    dkim_selector: str = ""
    dkim_dns: tuple[str, ...] = ()
    spf_dns: tuple[str, ...] = ()
    message_id: str = ""
    derived: tuple[str, ...] = ()


class Returned(msgspec.Struct, frozen=True):
    """What a failure report returns of the message itself: its header block, and header and body as they were signed; never kept."""

    header: bytes
    canonical_header: bytes = b""
    canonical_body: bytes = b""


def parse_feedback(octets: bytes, original: bytes = b"") -> tuple[FeedbackReport, Returned]:
    """Read the machine-readable part and the returned header block; raises UnreadableReportError where there is no Feedback-Type (RFC 5965 §3.1)."""
    # RFC 5965 §3: fields of RFC 5322, whose lines some reporters end with LF alone or part with an empty line.
    header = Header(octets[:FEEDBACK_OCTETS].strip(b"\r\n") + b"\r\n")
    kind = _first(header, b"feedback-type").lower()
    if not kind:
        raise UnreadableReportError("no Feedback-Type: this is no feedback report")
    found = FeedbackReport(
        feedback_type=kind,
        user_agent=_first(header, b"user-agent"),
        version=_first(header, b"version"),
        source_ip=_ip(_first(header, b"source-ip")),
        source_port=_number(header, b"source-port", 65_535, 0),
        # RFC 5965 §3.2: Received-Date is the older name of Arrival-Date.
        arrival=_date(header, b"arrival-date", b"received-date"),
        incidents=_number(header, b"incidents", REPORT_COUNT_MAX, 1),
        mail_from=_first(header, b"original-mail-from").strip("<>") if header.count(b"original-mail-from") else None,
        recipients=tuple(one.strip("<>") for one in _all(header, b"original-rcpt-to")),
        envelope_id=_first(header, b"original-envelope-id"),
        reporting_mta=_first(header, b"reporting-mta").partition(";")[2].strip() or _first(header, b"reporting-mta"),
        domains=tuple(one.lower() for one in _all(header, b"reported-domain")),
        uris=_all(header, b"reported-uri"),
        results=_all(header, b"authentication-results"),
        auth_failure=_words(_first(header, b"auth-failure")),
        delivery_result=_first(header, b"delivery-result").lower(),
        alignment=_words(_first(header, b"identity-alignment")),
        dkim_domain=_first(header, b"dkim-domain").lower(),
        dkim_identity=_first(header, b"dkim-identity"),
        dkim_selector=_first(header, b"dkim-selector"),
        dkim_dns=_all(header, b"dkim-selector-dns") + _all(header, b"dkim-adsp-dns"),
        spf_dns=_all(header, b"spf-dns"),
    )
    returned = Returned(original, _decoded(header, b"dkim-canonicalized-header"), _decoded(header, b"dkim-canonicalized-body"))
    return _completed(found, Header(original)), returned


def _completed(found: FeedbackReport, message: Header) -> FeedbackReport:
    """Take from the message what the report leaves out (RFC 6650 §5 has most fields optional), and say which facts that are."""
    facts: dict[str, object] = {}
    if not found.source_ip and (address := _relay(message)):
        facts["source_ip"] = address
    if not found.recipients and (recipient := _recipient(message)):
        facts["recipients"] = (recipient,)
    if found.arrival is None and (arrival := _arrival(message)) is not None:
        facts["arrival"] = arrival
    if not found.domains and (domain := _author_domain(message)):
        facts["domains"] = (domain,)
    if message_id := _first(message, b"message-id"):
        facts["message_id"] = message_id
    return msgspec.structs.replace(found, **facts, derived=tuple(facts)) if facts else found


def _relay(message: Header) -> str:
    """Give the address that the topmost Received field saw: the reporter's own server wrote it."""
    match = _FROM_IP.search(message.first(b"received") or b"")
    return _ip(match[1].decode("ascii")) if match is not None else ""


def _arrival(message: Header) -> int | None:
    date = parse_date((message.first(b"received") or b"").rpartition(b";")[2])
    return date[0] if date is not None and date[0] >= 0 else None


def _recipient(message: Header) -> str:
    return next((value for name in _RECIPIENT_FIELDS if "@" in (value := _first(message, name))), "").strip("<>")


def _author_domain(message: Header) -> str:
    authors = [one.address for one in mailboxes(message.first(b"from") or b"")]
    return authors[0].domain if len(authors) == 1 and authors[0] is not None else ""


def _first(header: Header, name: bytes) -> str:
    value = header.first(name)
    return "" if value is None else _as_text(value)


def _all(header: Header, name: bytes) -> tuple[str, ...]:
    return tuple(_as_text(value) for value in header.all(name)[:FEEDBACK_VALUES_MAX] if value)


def _as_text(value: bytes) -> str:
    return b" ".join(value[:REPORT_TEXT_MAX].split()).decode("utf-8", "replace")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for one in strip_comments(text.lower().encode()).decode().split(",") if (word := one.strip()))[:FEEDBACK_VALUES_MAX]


def _ip(text: str) -> str:
    """Give the address of a field that some reporters continue with a name in brackets."""
    try:
        return str(ipaddress.ip_address(text.split(" ", 1)[0].strip("[]").removeprefix("IPv6:")))
    except ValueError:
        return ""


def _number(header: Header, name: bytes, most: int, absent: int) -> int:
    match = _NUMBER.fullmatch(header.first(name) or b"")
    return min(int(match[0]), most) if match is not None else absent


def _date(header: Header, *names: bytes) -> int | None:
    for name in names:
        found = parse_date(header.first(name) or b"")
        if found is not None and found[0] >= 0:
            return found[0]
    return None


def _decoded(header: Header, name: bytes) -> bytes:
    """Give what RFC 6591 §3.2.4 and §3.2.5 carry in base64; empty where it is none."""
    try:
        return base64.b64decode(b"".join((header.first(name) or b"").split()), validate=True)
    except binascii.Error:
        return b""
