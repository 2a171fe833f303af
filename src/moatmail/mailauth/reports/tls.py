# SPDX-License-Identifier: Apache-2.0
"""TLS reports as they come: JSON of RFC 8460, read with what is absent, null or of the wrong kind taken for absent.

Obeys RFC 8460 §4.3 (result types), §4.4 (schema), erratum 6241 (mx-host is a list).
Must never know how a report was packed or sent, nor believe what it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from moatmail.core.limits.mailauth import REPORT_COUNT_MAX, REPORT_NOTES_MAX, REPORT_TEXT_MAX, TLS_POLICIES_MAX, TLS_REPORT_OCTETS
from moatmail.mailauth.reports.unreadable import UnreadableReportError

_DECODER: Final = msgspec.json.Decoder()
_NUMBER: Final = re.compile(r"[0-9]{1,13}")


class TLSFailure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Sessions that failed alike (RFC 8460 §4.4 failure-details)."""

    result_type: str
    count: int = 0
    sending_ip: str = ""
    receiving_host: str = ""
    receiving_ip: str = ""
    helo: str = ""
    reason: str = ""
    more: str = ""


class TLSPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of sessions under one policy; `domain` is empty where the report names none."""

    type: str
    domain: str = ""
    text: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    successes: int = 0
    failures: int = 0
    details: tuple[TLSFailure, ...] = ()


class TLSReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """One report: who reports, from `begin` to `end` (epoch seconds), on which policies; `notes` says what was odd."""

    org_name: str
    contact: str
    report_id: str
    begin: int
    end: int
    policies: tuple[TLSPolicy, ...]
    notes: tuple[str, ...] = ()


def parse_tls(octets: bytes) -> TLSReport:
    """Read a report; raises UnreadableReportError for what is no JSON object with policies."""
    if len(octets) > TLS_REPORT_OCTETS:
        raise UnreadableReportError(f"a TLS report beyond {TLS_REPORT_OCTETS} octets")
    notes: list[str] = []
    top = _object(_decode(octets, notes))
    policies = tuple(_policy(_object(one), notes) for one in _list(top, "policies")[:TLS_POLICIES_MAX])
    if not policies:
        raise UnreadableReportError("no policies: this is no TLS report")
    span = _object(top.get("date-range"))
    return TLSReport(
        org_name=_text(top, "organization-name"),
        contact=_text(top, "contact-info"),
        report_id=_text(top, "report-id"),
        begin=_moment(_text(span, "start-datetime"), notes),
        end=_moment(_text(span, "end-datetime"), notes),
        policies=policies,
        notes=tuple(notes[:REPORT_NOTES_MAX]),
    )


def _decode(octets: bytes, notes: list[str]) -> object:
    octets = octets.removeprefix(b"\xef\xbb\xbf")
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        notes.append("octets that are no UTF-8 were replaced")
        octets = octets.decode("utf-8", "replace").encode()
    try:
        decoded: object = _DECODER.decode(octets)
    except (msgspec.DecodeError, RecursionError) as error:
        # RFC 8259 §9: a reader may bound the nesting.
        raise UnreadableReportError(f"no JSON ({error})") from error
    return decoded


def _policy(found: dict[str, object], notes: list[str]) -> TLSPolicy:
    policy, summary = _object(found.get("policy")), _object(found.get("summary"))
    # Some reporters put the details into the policy.
    details = _list(found, "failure-details") or _list(policy, "failure-details")
    if len(details) > TLS_POLICIES_MAX:
        notes.append(f"details beyond {TLS_POLICIES_MAX} of one policy were dropped")
    made = TLSPolicy(
        type=_text(policy, "policy-type").lower(),
        domain=_text(policy, "policy-domain").lower().rstrip("."),
        text=tuple(_texts(policy, "policy-string")),
        hosts=tuple(_texts(policy, "mx-host")),
        successes=_count(summary, "total-successful-session-count", notes),
        failures=_count(summary, "total-failure-session-count", notes),
        details=tuple(_failure(_object(one), notes) for one in details[:TLS_POLICIES_MAX]),
    )
    if sum(one.count for one in made.details) > made.failures:
        notes.append("more failures in the details than in the summary")
    return made


def _failure(found: dict[str, object], notes: list[str]) -> TLSFailure:
    return TLSFailure(
        result_type=_text(found, "result-type").lower(),
        count=_count(found, "failed-session-count", notes),
        sending_ip=_text(found, "sending-mta-ip"),
        receiving_host=_text(found, "receiving-mx-hostname"),
        receiving_ip=_text(found, "receiving-ip"),
        helo=_text(found, "receiving-mx-helo"),
        reason=_text(found, "failure-reason-code"),
        more=_text(found, "additional-information"),
    )


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _list(found: dict[str, object], name: str) -> list[object]:
    value = found.get(name)
    return value if isinstance(value, list) else []


def _text(found: dict[str, object], name: str) -> str:
    value = found.get(name)
    return value[:REPORT_TEXT_MAX] if isinstance(value, str) else ""


def _texts(found: dict[str, object], name: str) -> Iterator[str]:
    """Give a list of texts; one text alone is a list of one (erratum 6241 of RFC 8460)."""
    value = found.get(name)
    for one in value[:TLS_POLICIES_MAX] if isinstance(value, list) else [value]:
        if isinstance(one, str) and one:
            yield one[:REPORT_TEXT_MAX]


def _count(found: dict[str, object], name: str, notes: list[str]) -> int:
    value = found.get(name, 0)
    if isinstance(value, str) and _NUMBER.fullmatch(value) is not None:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= REPORT_COUNT_MAX:
        return value
    notes.append("a count that is none was taken for 0")
    return 0


def _moment(text: str, notes: list[str]) -> int:
    try:
        at = datetime.fromisoformat(text)
        # RFC 8460 §4.4: date-times of RFC 3339; one without zone is taken for UTC.
        return max(0, int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()))
    except (ValueError, OverflowError):
        notes.append("a time that cannot be read was taken for 0")
        return 0
