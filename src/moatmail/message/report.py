# SPDX-License-Identifier: Apache-2.0
"""Delivery status notifications: what happened to a message, for a person and for a program.

Obeys RFC 3464 (message/delivery-status), RFC 6522 (multipart/report, text/rfc822-headers), RFC 3461 §6, RFC 3834 (Auto-Submitted), RFC 6533 §3.
Must never know queues or attempts: it is told the outcome. The null reverse-path is set by whoever spools it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from moatmail.core.address import Address
from moatmail.core.limits.message import DIAGNOSTIC_LINES_MAX, LINE_OCTETS_MAX, RETURNED_HEADER_MAX
from moatmail.core.status import Reply
from moatmail.message.build import (
    Body,
    address_field,
    date_field,
    encoded_body,
    message,
    message_id_field,
    multipart_body,
    structured_field,
    text_body,
    text_field,
)
from moatmail.message.dates import format_date
from moatmail.message.header import Header
from moatmail.message.references import message_id

_UNPRINTABLE = re.compile(r"[^ -~]")
_SUBJECTS = {
    "failed": "Mail could not be delivered",
    "delayed": "Mail is delayed",
    "delivered": "Mail was delivered",
    "relayed": "Mail was relayed",
    "expanded": "Mail was expanded",
}
_OPENINGS = {
    "failed": "your message could not be delivered to:",
    "delayed": "your message has not been delivered yet; we go on trying. It waits for:",
    "delivered": "your message was delivered to:",
    "relayed": "your message was handed to a system that sends no notices, for:",
    "expanded": "your message was given to a list of further recipients:",
}


@dataclass(frozen=True, slots=True)
class RecipientOutcome:
    """What happened for one recipient (RFC 3464 §2.3).

    `action` is failed, delayed, delivered, relayed or expanded; `original` is ORCPT as ``type;address`` or empty; `reply` the last reply with all
    its lines, `remote_mta` the host that gave it; without a reply `status` and `reason` say what we found; times are epoch seconds.
    """

    final: Address
    action: str
    original: bytes = b""
    reply: Reply | None = None
    remote_mta: str = ""
    status: str = ""
    reason: str = ""
    last_attempt: float | None = None
    retry_until: float | None = None


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """One notice: to the originator `to`, from `author`, by the host `reporting_mta`, with a unique `token`; `header` is the original block."""

    to: Address
    author: Address
    reporting_mta: str
    token: str
    now: float
    outcomes: tuple[RecipientOutcome, ...]
    header: bytes = b""
    envid: bytes = b""
    arrived_at: float | None = None


def build(report: DeliveryReport) -> bytes:
    """Give the whole notice as a message; ValueError without outcomes (RFC 3464 §2)."""
    if not report.outcomes:
        raise ValueError("a report needs a recipient")
    # RFC 3464 §2.1: several recipients may share a notice; the gravest outcome names it.
    action = next(name for name in _SUBJECTS if any(outcome.action == name for outcome in report.outcomes))
    bodies = [text_body(_readable(report)), Body(b"Content-Type: message/delivery-status\r\n", _status(report))]
    if report.header:
        bodies.append(encoded_body(_returned(report.header), "text/rfc822-headers"))
    fields = [
        date_field(report.now),
        address_field("From", [("Mail Delivery System", report.author)]),
        address_field("To", [("", report.to)]),
        text_field("Subject", _SUBJECTS[action]),
        message_id_field(report.token, report.reporting_mta),
        *_thread(report.header),
        # RFC 3834 §5: nobody's autoresponder shall answer.
        structured_field("Auto-Submitted", "auto-replied"),
    ]
    return message(fields, multipart_body("report", bodies, " report-type=delivery-status;"))


def status_of(outcome: RecipientOutcome) -> str:
    """Give the enhanced status: the last reply's, else what its code's class says (RFC 3463 §2)."""
    if outcome.reply is None:
        return outcome.status or ("2.0.0" if outcome.action in ("delivered", "relayed", "expanded") else "5.0.0")
    return outcome.reply.status or f"{min(max(outcome.reply.code // 100, 2), 5)}.0.0"


def _status(report: DeliveryReport) -> bytes:
    lines = [f"Reporting-MTA: dns; {_plain(report.reporting_mta)}"]
    if report.envid:
        lines.append(f"Original-Envelope-Id: {_plain(report.envid.decode('utf-8', 'replace'))}")
    if report.arrived_at is not None:
        lines.append(f"Arrival-Date: {format_date(report.arrived_at)}")
    for outcome in report.outcomes:
        lines.append("")
        lines.extend(_recipient(outcome))
    return "".join([f"{line}\r\n" for line in lines]).encode("ascii")


def _recipient(outcome: RecipientOutcome) -> list[str]:
    """Give the lines of one recipient's group (RFC 3464 §2.3)."""
    lines: list[str] = []
    if outcome.original:
        kind, _, address = outcome.original.decode("utf-8", "replace").partition(";")
        lines.append(f"Original-Recipient: {_plain(kind)}; {_plain(address)}")
    lines.append(f"Final-Recipient: {_typed(outcome.final)}")
    lines.append(f"Action: {outcome.action}")
    lines.append(f"Status: {status_of(outcome)}")
    if outcome.remote_mta:
        lines.append(f"Remote-MTA: dns; {_plain(outcome.remote_mta)}")
    if outcome.reply is not None:
        lines.append("Diagnostic-Code: smtp; " + "\r\n ".join(_reply_lines(outcome.reply)))
    if outcome.last_attempt is not None:
        lines.append(f"Last-Attempt-Date: {format_date(outcome.last_attempt)}")
    if outcome.retry_until is not None:
        lines.append(f"Will-Retry-Until: {format_date(outcome.retry_until)}")
    return lines


def _reply_lines(reply: Reply) -> list[str]:
    """Give a reply as it came, each line with its code (RFC 3464 §2.3.6: the diagnostic is the server's own)."""
    shown = reply.lines[:DIAGNOSTIC_LINES_MAX] or ("",)
    status = f"{reply.status} " if reply.status else ""
    last = len(shown) - 1
    return [_plain(f"{reply.code}{'-' if place < last else ' '}{status}{line}").rstrip() for place, line in enumerate(shown)]


def _typed(address: Address) -> str:
    if not address.needs_utf8:
        return f"rfc822; {_plain(str(address))}"
    # RFC 6533 §3 utf-8-addr-xtext: characters outside ASCII, and the three that would be misread, by number.
    text = "".join(char if "!" <= char <= "~" and char not in "\\+=" else f"\\x{{{ord(char):X}}}" for char in str(address))
    return f"utf-8; {text}"


def _readable(report: DeliveryReport) -> str:
    lines = [f"This is the mail system at {report.reporting_mta}."]
    for action, opening in _OPENINGS.items():
        outcomes = [outcome for outcome in report.outcomes if outcome.action == action]
        if outcomes:
            lines += ["", f"I am sorry, {opening}" if action == "failed" else opening[0].upper() + opening[1:]]
        for outcome in outcomes:
            lines += ["", f"  {outcome.final.for_eyes}", *_reasons(outcome)]
    return "\n".join(lines)


def _reasons(outcome: RecipientOutcome) -> list[str]:
    if outcome.reply is None:
        return [f"    {_plain(outcome.reason)}"] if outcome.reason else []
    host = f"{_plain(outcome.remote_mta)} said:" if outcome.remote_mta else "the reply was:"
    return [f"    {host}", *(f"    {line}" for line in _reply_lines(outcome.reply))]


def _returned(header: bytes) -> bytes:
    """Give the original header block, cut at a field's border if it is long, so that no field is half shown."""
    if len(header) <= RETURNED_HEADER_MAX:
        return header
    fields = Header(header)
    ends = [end + 1 for _, _, end in fields.spans if end < RETURNED_HEADER_MAX]
    return header[: ends[-1]] if ends else b""


def _thread(header: bytes) -> list[bytes]:
    # RFC 3834 §3.1.5: a notice belongs to the thread of its subject.
    original = message_id(Header(header[:RETURNED_HEADER_MAX]).first(b"message-id") or b"")
    if not (original.startswith(b"<") and original.endswith(b">") and original.isascii() and original.decode("ascii").isprintable()):
        return []
    value = original.decode("ascii")
    if len(value) > LINE_OCTETS_MAX - 100:
        return []
    return [structured_field("In-Reply-To", value), structured_field("References", value)]


def _plain(text: str) -> str:
    """Give a foreign text as printable ASCII on one line (RFC 3464 §2.1.1: no field may break its group)."""
    return _UNPRINTABLE.sub("?", text)[: LINE_OCTETS_MAX - 100]
