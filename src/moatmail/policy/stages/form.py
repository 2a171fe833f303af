# SPDX-License-Identifier: Apache-2.0
"""Stage form: whether this is a message at all, with one author that can be named.

Obeys RFC 5322 §3.6 (From and Sender occur once), RFC 9989 §11.5 (several author domains), RFC 6531 §3.4 (UTF-8 needs SMTPUTF8),
RFC 6409 §8 (what a submission server may ask for).
Must never know what is done about a bad form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Finding
from moatmail.mailauth.dmarc.author import FromProblem, find_author
from moatmail.message.addresses import mailboxes
from moatmail.message.header import Header
from moatmail.policy.stage import Tools

_NAMES: Final[Mapping[FromProblem, str]] = {
    FromProblem.NO_FIELD: "form.no_from",
    FromProblem.SEVERAL_FIELDS: "form.several_from",
    FromProblem.NO_ADDRESS: "form.no_author",
    FromProblem.SEVERAL_DOMAINS: "form.several_author_domains",
    FromProblem.MALFORMED: "form.malformed_from",
}
"""What keeps From from naming one author; an address literal (no domain) names one, only no policy can be asked for it."""


async def check_received(transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Find what makes readers differ in which author they show, so that nobody can be held to be it."""
    del tools
    content = transaction.content
    if content is None:
        return ()
    header: Header = content.structure.header
    problem = find_author(header).problem
    if problem is not None and problem in _NAMES:
        return (Finding(_NAMES[problem], evidence={"fields": str(header.count(b"from"))}),)
    if header.count(b"sender") > 1:
        return (Finding("form.several_sender", evidence={"fields": str(header.count(b"sender"))}),)
    if not transaction.envelope.smtputf8 and _has_utf8_author(header):
        return (Finding("form.utf8_author"),)
    return ()


async def check_submitted(transaction: Transaction, tools: Tools) -> tuple[Finding, ...]:
    """Find `form.several_from` and `form.no_from`: our own users say who they are; which addresses they may use is asked elsewhere."""
    del tools
    content = transaction.content
    if content is None:
        return ()
    header: Header = content.structure.header
    authors = header.count(b"from")
    if authors == 1:
        return ()
    # RFC 5322 §3.6: From occurs once. Two of them are how forgers make filter and reader disagree.
    return (Finding("form.several_from" if authors else "form.no_from", evidence={"fields": str(authors)}),)


def _has_utf8_author(header: Header) -> bool:
    # RFC 6531 §3.4: addresses beyond ASCII travel with SMTPUTF8 only; without it readers differ in what such octets mean.
    authors = (one for value in header.all(b"from") for one in mailboxes(value))
    return any(not (one.localpart + (one.domain or b"")).isascii() for one in authors)
