# SPDX-License-Identifier: Apache-2.0
"""Trace fields: Received, Return-Path, Delivered-To.

Obeys RFC 5321 §4.4 (trace information), RFC 3848 and RFC 6531 §4.3 (the `with` keywords), RFC 9228 (Delivered-To).
Must never know the clock or DNS: date and names are given; nothing a peer said gets in unchecked.
"""

from __future__ import annotations

import re

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope
from moatmail.core.limits.message import HELO_NAME_MAX
from moatmail.core.transaction import Session
from moatmail.message.dates import format_date

# RFC 5321 §4.1.3: a name or a literal; the underscore is no letter of a domain but is met.
_HELO = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*+)|\[[A-Za-z0-9.:-]++\])\Z")
_TOKEN = re.compile(r"[A-Za-z0-9._-]++\Z")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")


def received(session: Session, envelope: Envelope, *, by: str, token: str, now: float) -> bytes:
    """Give the Received field with its CRLF: `by` our name, `token` the id of our log, `now` epoch seconds (RFC 5321 §4.4)."""
    parts = [f"from {_from(session)}", f"by {by} with {protocol(session, envelope)} id {(_TOKEN.match(token) and token) or 'unknown'}"]
    if session.tls is not None:
        # Which TLS it was is no clause of the grammar, so it is told in a comment.
        parts.append(f"(version={_UNSAFE.sub('', session.tls.version)} cipher={_UNSAFE.sub('', session.tls.cipher)})")
    # RFC 5321 §7.2: naming one of several recipients would tell a blind one to the others.
    if len(envelope.recipients) == 1:
        parts.append(f"for <{envelope.recipients[0].address}>")
    text = "\r\n\t".join(parts)
    return f"Received: {text};\r\n\t{format_date(now)}\r\n".encode()


def protocol(session: Session, envelope: Envelope) -> str:
    """Give the `with` keyword: ESMTP with S for TLS and A for authentication (RFC 3848), UTF8SMTP likewise (RFC 6531 §4.3)."""
    if envelope.smtputf8:
        name = "UTF8SMTP"
    elif session.extended or session.tls is not None or session.identity is not None:
        name = "ESMTP"
    else:
        return "SMTP"
    return name + ("S" if session.tls is not None else "") + ("A" if session.identity is not None else "")


def return_path(reverse_path: Address | None) -> bytes:
    """Give the Return-Path field with its CRLF; None is the null path (RFC 5321 §4.4)."""
    return b"Return-Path: <%b>\r\n" % (b"" if reverse_path is None else reverse_path.wire)


def delivered_to(address: Address) -> bytes:
    """Give the Delivered-To field with its CRLF (RFC 9228 §3)."""
    return b"Delivered-To: %b\r\n" % address.wire


def _from(session: Session) -> str:
    literal = f"[IPv6:{session.peer_ip}]" if ":" in session.peer_ip else f"[{session.peer_ip}]"
    name = session.helo_name
    # A HELO name outside the grammar is a peer's text in our field: it is left out, the address stays.
    if len(name) > HELO_NAME_MAX or _HELO.match(name) is None:
        name = literal
    return f"{name} ({literal})"
