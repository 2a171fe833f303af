# SPDX-License-Identifier: Apache-2.0
"""DMARC aggregate reports as they come: every shape that is met, mended where they are broken, with a note of what was done.

Obeys RFC 9990 §3.1.1 and appendix A, RFC 7489 appendix C and the drafts before it; §3.5.4 and §8.2 leave doubt to the reader.
Must never know how a report was packed or sent, nor believe what it says.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from moatmail.core.limits.mailauth import REPORT_COUNT_MAX, REPORT_RECORDS_MAX, REPORT_SECONDS_USUAL
from moatmail.mailauth.reports.report import AggregateReport, DKIMAuth, Published, Reason, Record, SPFAuth
from moatmail.mailauth.reports.unreadable import UnreadableReportError
from moatmail.mailauth.reports.xml import Document, Items, Node, Shape, read_xml

ROOT: Final = "feedback"
_Document = Document[Record]
_DKIM: Final[Shape] = dict.fromkeys(("domain", "selector", "result", "human_result"))
_SPF: Final[Shape] = dict.fromkeys(("domain", "scope", "result", "human_result"))
_IDENTIFIERS: Final[Shape] = dict.fromkeys(("header_from", "envelope_from", "envelope_to"))
_EVALUATED: Final[Shape] = {"disposition": None, "dkim": None, "spf": None, "reason": {"type": None, "comment": None}}
_POLICY: Final = ("domain", "discovery_method", "p", "sp", "np", "fo", "adkim", "aspf", "testing", "pct")
_SHAPE: Final[Shape] = {
    "version": None,
    "report_metadata": {
        **dict.fromkeys(("org_name", "email", "extra_contact_info", "report_id", "error", "generator")),
        "date_range": {"begin": None, "end": None},
    },
    "policy_published": dict.fromkeys(_POLICY),
    "record": {
        "row": {"source_ip": None, "count": None, "policy_evaluated": _EVALUATED},
        "identifiers": _IDENTIFIERS,
        "identities": _IDENTIFIERS,  # the name in drafts before RFC 7489
        "auth_results": {"dkim": _DKIM, "spf": _SPF},
    },
}
_NUMBER: Final = re.compile(r"[+]?([0-9]{1,18})(?:\.[0-9]*+)?")
_MILLISECONDS: Final = 10**11
"""A later moment than this (the year 5138) was given in milliseconds."""


def parse_aggregate(octets: bytes) -> AggregateReport:
    """Read a report; whoever wrote it may be wrong in anything, which `notes` tells. Raises UnreadableReportError."""
    document: _Document = read_xml(octets, ROOT, _SHAPE, Items("record", _record, REPORT_RECORDS_MAX))
    if document.beyond:
        document.note(f"{document.beyond} records beyond {REPORT_RECORDS_MAX} were dropped")
    published = _published(_node(document.top, "policy_published"))
    if not published.domain:
        raise UnreadableReportError("the report does not say which domain it is about")
    if not document.items:
        document.note("the report has no records")
    return _report(document, published)


def _report(document: _Document, published: Published) -> AggregateReport:
    metadata = _node(document.top, "report_metadata")
    span = _node(metadata, "date_range")
    begin, end = _moment(_text(span, "begin"), document), _moment(_text(span, "end"), document)
    # RFC 9990 §3.1.1.4 gives no length; a day is the custom, and a report of another length is counted like any other.
    if end < begin or end - begin > REPORT_SECONDS_USUAL:
        document.note(f"an odd span: {end - begin} seconds")
    return AggregateReport(
        org_name=_text(metadata, "org_name"),
        email=_text(metadata, "email"),
        report_id=_text(metadata, "report_id"),
        begin=begin,
        end=end,
        published=published,
        records=tuple(document.items),
        extra_contact=_text(metadata, "extra_contact_info"),
        errors=tuple(one for one in metadata.get("error", ()) if isinstance(one, str) and one),
        generator=_text(metadata, "generator"),
        version=_text(document.top, "version"),
        notes=tuple(document.notes),
    )


def _published(node: Node) -> Published:
    words = {name: _text(node, name).lower() for name in _POLICY}
    return Published(**{**words, "domain": words["domain"].rstrip(".")})


def _record(node: Node, document: _Document) -> Record:
    row, results = _node(node, "row"), _node(node, "auth_results")
    identifiers = _node(node, "identifiers") or _node(node, "identities")
    evaluated = _node(row, "policy_evaluated")
    reasons = (Reason(_word(one, "type"), _text(one, "comment")) for one in _nodes(evaluated, "reason"))
    return Record(
        source_ip=_source(_text(row, "source_ip"), document),
        header_from=_text(identifiers, "header_from").lower(),
        disposition=_word(evaluated, "disposition"),
        dkim=_word(evaluated, "dkim"),
        spf=_word(evaluated, "spf"),
        reasons=tuple(one for one in reasons if one.type or one.comment),
        envelope_from=_text(identifiers, "envelope_from").lower() if "envelope_from" in identifiers else None,
        envelope_to=_text(identifiers, "envelope_to").lower(),
        dkim_results=tuple(
            DKIMAuth(_text(one, "domain").lower(), _text(one, "selector"), _word(one, "result"), _text(one, "human_result")) for one in _nodes(results, "dkim")
        ),
        spf_results=tuple(
            SPFAuth(_text(one, "domain").lower(), _word(one, "scope"), _word(one, "result"), _text(one, "human_result")) for one in _nodes(results, "spf")
        ),
        count=_count(_text(row, "count"), document),
    )


def _node(node: Node, name: str) -> Node:
    found = node.get(name)
    return found[0] if found and isinstance(found[0], dict) else {}


def _nodes(node: Node, name: str) -> list[Node]:
    return [one for one in node.get(name, ()) if isinstance(one, dict)]


def _text(node: Node, name: str) -> str:
    found = node.get(name)
    return found[0] if found and isinstance(found[0], str) else ""


def _word(node: Node, name: str) -> str:
    # The words of the schema are lower case; some reporters write them as they like.
    return _text(node, name).lower()


def _count(text: str, document: _Document) -> int:
    match = _NUMBER.fullmatch(text)
    number = int(match[1]) if match is not None else -1
    if not 0 <= number <= REPORT_COUNT_MAX:
        document.note("a count that is none was taken for 0")
        return 0
    return number


def _moment(text: str, document: _Document) -> int:
    match = _NUMBER.fullmatch(text)
    if match is None:
        document.note("a time that cannot be read was taken for 0")
        return 0
    moment = int(match[1])
    if moment <= _MILLISECONDS:
        return moment
    document.note("a time in milliseconds was read as seconds")
    return min(moment // 1000, _MILLISECONDS)


def _source(text: str, document: _Document) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        document.note("a source that is no IP address")
        return text
