# SPDX-License-Identifier: Apache-2.0
"""May this identity send as that? Pure.

Obeys RFC 6409 §6.1 (a submission server may enforce the addresses), RFC 5322 §3.6.2 (From, Sender), RFC 7372 §3.1 (no acceptable signature).
Must never know how somebody logged in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from moatmail.core.address import Address
from moatmail.core.status import Reply
from moatmail.core.transaction import Identity

_FOREIGN_REVERSE_PATH: Final = "you may not send from this envelope address; use the address of your account or ask for a grant"
_FOREIGN_SENDER: Final = "you may not name that address in Sender; use the address of your account, a granted one, or no Sender at all"
_UNSIGNABLE: Final = "no DKIM signature can be made for"
_FOREIGN_FROM: Final = "you may not author mail as the address in From; use the address of your account or ask for a grant"


def reverse_path(identity: Identity, address: Address | None) -> Reply | None:
    """Judge MAIL FROM: None when the identity may use it (the null one always: notifications of readers use it), else the refusal."""
    if address is None or identity.may_use(address):
        return None
    # RFC 6409 §6.1: 550 with 5.7.1 for an address the user may not use.
    return Reply.of(550, "5.7.1", _FOREIGN_REVERSE_PATH)


def header_from(identity: Identity, authors: Sequence[Address | None]) -> Reply | None:
    """Judge the authors of the From field (None: one that cannot be read): each must be the identity's own; None or the refusal."""
    if not authors:
        return Reply.of(550, "5.6.0", "the From field names no address")
    for address in authors:
        if address is None:
            return Reply.of(550, "5.6.0", "the From field holds an address that cannot be read")
        if not identity.may_use(address):
            return Reply.of(550, "5.7.1", _FOREIGN_FROM)
    return None


def header_sender(identity: Identity, senders: Sequence[Address | None]) -> Reply | None:
    """Judge the mailboxes of Sender fields (None: one that cannot be read): who says who sent it says it of himself (RFC 5322 §3.6.2)."""
    if all(address is not None and identity.may_use(address) for address in senders):
        return None
    return Reply.of(550, "5.7.1", _FOREIGN_SENDER)


def signable(unlisted: Sequence[str], *, named: bool) -> Reply | None:
    """Judge whether the author's domains can be signed for: `unlisted` are those without a signing key, `named` tells whether there is a domain at all."""
    if named and not unlisted:
        return None
    # RFC 7372 §3.1: 5.7.20 is for a message without the DKIM signature that is asked of it; ours would have to be one of these domains.
    whose = f"the domain {unlisted[0]}" if unlisted else "a domain that can be read"
    return Reply.of(550, "5.7.20", f"{_UNSIGNABLE} {whose} in From; write as an address of a domain of this server, or ask the administrator for a signing key")
