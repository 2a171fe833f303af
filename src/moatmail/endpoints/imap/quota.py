# SPDX-License-Identifier: Apache-2.0
"""GETQUOTA, GETQUOTAROOT, SETQUOTA: how much room the account has, and how much of it is taken.

Obeys RFC 9208 §4.1 (commands), §5.1 (STORAGE).
Must never know how room is counted.
"""

from __future__ import annotations

from typing import Final

from moatmail.endpoints.imap.conversation import Conversation, RefusedError
from moatmail.store.queries import AccountRow
from moatmail.wire.imap import events
from moatmail.wire.imap.quota_grammar import STORAGE, UNIT, quota, quota_root

# One root for all mailboxes of an account; an account without a limit has none (RFC 9208 §3.2).
_ROOT: Final = b""


async def on_get_quota(conversation: Conversation, command: events.GetQuota) -> None:
    """Tell usage and limit of a quota root."""
    owner = await conversation.account.row()
    if command.root != _ROOT or not owner.quota_octets:
        raise RefusedError(b"no such quota root", b"NONEXISTENT")
    _tell(conversation, owner)
    conversation.done(command, b"done")


async def on_get_quota_root(conversation: Conversation, command: events.GetQuotaRoot) -> None:
    """Tell the quota root of a mailbox, whether it exists or not (RFC 9208 §4.1.2), and what the root says."""
    owner = await conversation.account.row()
    roots = (_ROOT,) if owner.quota_octets else ()
    conversation.untagged(quota_root(command.mailbox, roots, utf8=conversation.utf8))
    if roots:
        _tell(conversation, owner)
    conversation.done(command, b"done")


async def on_set_quota(conversation: Conversation, command: events.SetQuota) -> None:
    """Refuse: QUOTASET is not announced."""
    del conversation, command
    raise RefusedError(b"limits are set by the administrator of this server", b"NOPERM")


def _tell(conversation: Conversation, owner: AccountRow) -> None:
    # Rounded up both, so that an account that is full to the last octet shows as full.
    conversation.untagged(quota(_ROOT, [(STORAGE, _units(owner.used_octets), _units(owner.quota_octets))]))


def _units(octets: int) -> int:
    return -(-octets // UNIT)
