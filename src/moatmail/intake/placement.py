# SPDX-License-Identifier: Apache-2.0
"""Who gets the message where: copies here, recipients to be sent on. Pure; nobody who was accepted is forgotten.

Obeys RFC 5321 §6.1 (after the 250 a recipient is served or his originator is told), RFC 3461 §5.2.7 (what travels past an alias).
Must never know rows, seals or the door.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.errors import OverQuotaError
from moatmail.core.verdict import Disposition, RecipientVerdict, Verdict
from moatmail.directory.recipients import Resolution
from moatmail.mailbox.messages import Copy
from moatmail.store.queries import AccountRow

Resolutions = Mapping[Address, Resolution]


@dataclass(slots=True)
class Plan:
    """One copy per account, however many addresses lead to it; one recipient per address elsewhere."""

    copies: dict[int, Copy] = field(default_factory=dict)
    onward: dict[Address, Recipient] = field(default_factory=dict)
    waiting: int = 0
    """How many of `onward` are accounts of ours that are full now: the queue tries them again."""


def plan(envelope: Envelope, verdict: Verdict, resolutions: Resolutions, size: int) -> Plan:
    """Place a message of `size` octets for every recipient that the verdict takes; raises OverQuotaError when nobody but full mailboxes is left."""
    made = Plan()
    for one in envelope.recipients:
        judged = verdict.per_recipient[one.address]
        if judged.disposition is not Disposition.DISCARD:
            _place(made, one, judged, resolutions[one.address], size)
    if not made.copies and made.waiting and made.waiting == len(made.onward):
        raise OverQuotaError
    return made


def _place(made: Plan, recipient: Recipient, judged: RecipientVerdict, resolution: Resolution, size: int) -> None:
    for account in resolution.accounts:
        if account.status != "active":
            continue  # one of several behind an alias; an address that leads to frozen accounts alone was refused at RCPT
        if has_room(account, size):
            copy = Copy(account.id, account.public, recipient.address, judged.mailboxes[0] if judged.mailboxes else "INBOX")
            made.copies.setdefault(account.id, copy)
        else:
            # The others get theirs now. For the full one the queue waits, and its originator is told when that was in vain.
            address = Address(account.localpart, account.domain)
            made.waiting += address not in made.onward
            made.onward.setdefault(address, Recipient(address, recipient.original, recipient.notify))
    for target in resolution.elsewhere:
        # Whatever the verdict softened to: who is only reached elsewhere has no Junk here, and an accepted message may not vanish.
        made.onward.setdefault(target, Recipient(target, recipient.original, recipient.notify))


def has_room(account: AccountRow, size: int) -> bool:
    """Tell whether an account's quota admits `size` octets more."""
    return not account.quota_octets or account.used_octets + size <= account.quota_octets
