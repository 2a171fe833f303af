# SPDX-License-Identifier: Apache-2.0
"""The header of a submitted message made fit for travel: what is missing is added, Bcc goes.

Obeys RFC 6409 §8.1 to §8.3 (missing fields), RFC 5322 §3.6.3 (Bcc), §3.6.6 (Resent-Bcc).
Must never know who may use which From.
"""

from __future__ import annotations

from moatmail.message.build import date_field, message_id_field
from moatmail.message.header import Header

_BLIND = frozenset((b"bcc", b"resent-bcc"))
# What only a receiving server may say: RFC 5321 §4.4 (Return-Path at final delivery), RFC 8601 §5 (results of a server, not of an author).
_OTHERS = frozenset((b"return-path", b"authentication-results", b"arc-authentication-results", b"delivered-to"))
OURS = b"x-moatmail-"
"""How the names of fields begin that only this server writes (lower case)."""


def complete(header: Header, *, now: float, local: str, domain: str) -> bytes:
    """Give the header block with Date and Message-ID on top where missing, without every Bcc, and without what only a server may say.

    All other octets stay as they are.

    `now` is in epoch seconds; `local` (unique) and `domain` make the Message-ID.
    """
    # RFC 5322 §3.6.3: blind recipients stay blind, so the field is removed whole, wherever it stands and however it is folded.
    unfit = frozenset(name for name in header.names if name in _BLIND or name in _OTHERS or name.startswith(OURS))
    block = header.without(unfit) if unfit else header.block
    added = b""
    # RFC 6409 §8.2, §8.3: the submission server may add these two.
    if b"date" not in header.names:
        added += date_field(now)
    if not (header.first(b"message-id") or b""):
        if b"message-id" in header.names:
            block = Header(block).without(frozenset((b"message-id",)))
        added += message_id_field(local, domain)
    return added + block
