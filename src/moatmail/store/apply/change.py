# SPDX-License-Identifier: Apache-2.0
"""An administrator's change: domains, accounts, aliases, grants, settings, each recorded before and after.

Obeys RFC 5321 §2.3.5, §2.3.11 (a mailbox address is localpart and domain), RFC 6154 §2 (special uses).
Must never know a password: verifiers come ready and are sealed here, through port Vault.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from moatmail.core.errors import AlreadyExistsError, ConflictError, NotFoundError
from moatmail.store.apply import index, signing, threads
from moatmail.store.apply.erase import drop_references
from moatmail.store.apply.mailboxes import next_uidvalidity
from moatmail.store.apply.work import Work
from moatmail.store.operations import (
    INBOX,
    AddAccount,
    AddAlias,
    AddDomain,
    AddSigningKeys,
    Change,
    Credential,
    Grant,
    RemoveAccount,
    RemoveAlias,
    RemoveDomain,
    RemoveSigningKey,
    SetAccount,
    SetCredentials,
    SetDomain,
    SetSetting,
    SetSigningKey,
)
from moatmail.store.sql import directory, mailboxes, messages, state
from moatmail.store.sql.signing import REMOVE_KEYS
from moatmail.store.sqlite import Row

FIRST_MAILBOXES: Final = {INBOX: b"INBOX", "drafts": b"Drafts", "sent": b"Sent", "junk": b"Junk", "trash": b"Trash", "archive": b"Archive"}
"""Special use -> name of what a new account has (RFC 6154 §2)."""

ACTIVE: Final = "active"
_STATUSES: Final = frozenset({ACTIVE, "frozen"})

Record = dict[str, Any]
"""What is written down of one item: the object, and its state before and after, without any secret."""


def apply(work: Work, operation: Change) -> int:
    """Apply all items in their order, and record them."""
    records = []
    for item in operation.items:
        record = _ITEMS[type(item)](work, item)
        records.append({"item": type(item).__name__, **record})
    version = work.count_meta("settings")
    text = msgspec.json.encode(records).decode()
    work.db.run(state.ADD_CHANGE, {"at": operation.at, "actor": operation.actor, "door": operation.door, "items": text})
    work.effects.settings = version
    return version


def split(address: str) -> tuple[str, str]:
    """Give localpart and domain of an address that was checked before; a localpart may hold @ (RFC 5321 §4.1.2, quoted)."""
    localpart, _, domain = address.rpartition("@")
    return localpart, domain


# ---------------------------------------------------------------- domains


def _add_domain(work: Work, item: AddDomain) -> Record:
    if not work.db.run(directory.ADD_DOMAIN, {"name": item.name, "catch_all": item.catch_all}):
        raise AlreadyExistsError(f"domain {item.name}", public=f"the domain {item.name} exists already")
    keys = signing.add_keys(work, item.name, item.keys)
    return {"object": item.name, "before": None, "after": {"catch_all": item.catch_all} | ({"keys": keys} if keys else {})}


def _domain(work: Work, name: str) -> str | None:
    row = work.db.one(directory.FIND_DOMAIN, {"domain": name})
    if row is None:
        raise NotFoundError(f"domain {name}", public=f"there is no domain {name} here")
    catch_all: str | None = row[0]
    return catch_all


def _set_domain(work: Work, item: SetDomain) -> Record:
    before = _domain(work, item.name)
    work.db.run(directory.SET_DOMAIN, {"domain": item.name, "catch_all": item.catch_all})
    return {"object": item.name, "before": {"catch_all": before}, "after": {"catch_all": item.catch_all}}


def _remove_domain(work: Work, item: RemoveDomain) -> Record:
    before = _domain(work, item.name)
    used = work.db.one(directory.DOMAIN_IN_USE, {"domain": item.name})
    if used and used[0]:
        raise ConflictError(f"domain {item.name} is in use", public=f"the domain {item.name} still has accounts or aliases; remove them first")
    work.db.run(directory.REMOVE_DOMAIN, {"domain": item.name})
    work.db.run(REMOVE_KEYS, {"domain": item.name})
    return {"object": item.name, "before": {"catch_all": before}, "after": None}


# ---------------------------------------------------------------- accounts


def _account(work: Work, address: str) -> Row:
    localpart, domain = split(address)
    row = work.db.one(directory.FIND_ACCOUNT, {"domain": domain, "localpart": localpart})
    if row is None:
        raise NotFoundError(f"account {address}", public=f"there is no account {address} here")
    return row


def _state(status: str, quota: int) -> Record:
    return {"status": status, "quota_octets": quota}


def _require_free(work: Work, localpart: str, domain: str) -> None:
    key = {"domain": domain, "localpart": localpart}
    _domain(work, domain)
    if work.db.one(directory.FIND_ACCOUNT, key) or work.db.one(directory.TARGETS, key):
        raise AlreadyExistsError(f"{localpart}@{domain}", public=f"the address {localpart}@{domain} exists already")


def _add_account(work: Work, item: AddAccount) -> Record:
    _require_free(work, item.localpart, item.domain)
    # Counted, not reused: old objects are bound to the number of the account that had it.
    account = work.count_meta("account")
    keys = work.vault.new_account(account)
    work.db.run(
        directory.ADD_ACCOUNT,
        {
            "id": account,
            "localpart": item.localpart,
            "domain": item.domain,
            "status": ACTIVE,
            "quota_octets": item.quota_octets,
            "public": keys.public,
        },
    )
    work.effects.new_keys[account] = keys.wrapped
    for use, name in FIRST_MAILBOXES.items():
        _add_first_mailbox(work, account, use, name, keys.keys.mailbox_key)
    kinds = _add_credentials(work, account, item.credentials)
    return {"object": f"{item.localpart}@{item.domain}", "before": None, "after": _state(ACTIVE, item.quota_octets) | {"credentials": kinds}}


def _add_first_mailbox(work: Work, account: int, use: str, name: bytes, mailbox_key: bytes) -> None:
    object_id = os.urandom(16)
    sealed = work.vault.seal_name(mailbox_key, account, object_id, name)
    row = {"account": account, "object_id": object_id, "sealed_name": sealed.sealed, "tag": sealed.tag}
    work.db.run(mailboxes.SUBSCRIBE, row)
    work.db.one(mailboxes.ADD_MAILBOX, row | {"uidvalidity": next_uidvalidity(work), "uidnext": 1, "highestmodseq": 1, "special_use": use})


def _add_credentials(work: Work, account: int, credentials: Iterable[Credential]) -> list[str]:
    kinds = []
    for credential in credentials:
        credential_id = os.urandom(16)
        sealed = work.vault.seal_credential(account, credential_id, credential.value)
        work.db.run(
            directory.ADD_CREDENTIAL,
            {"id": credential_id, "account": account, "kind": credential.kind, "label": credential.label, "sealed": sealed},
        )
        kinds.append(credential.kind)
    return kinds


def _set_credentials(work: Work, item: SetCredentials) -> Record:
    account = _account(work, item.address)[0]
    before = [row[1] for row in work.db.all(directory.CREDENTIALS, {"account": account})]
    work.db.run(directory.REMOVE_CREDENTIALS, {"account": account})
    after = _add_credentials(work, account, item.credentials)
    work.effects.accounts.add(account)
    return {"object": item.address, "before": {"credentials": before}, "after": {"credentials": after}}


def _set_account(work: Work, item: SetAccount) -> Record:
    account, _localpart, _domain_name, status, quota, *_ = _account(work, item.address)
    if item.status not in _STATUSES:
        raise ConflictError(f"no status of an account: {item.status!r}", public="no such status")
    work.db.run(directory.SET_ACCOUNT, {"account": account, "new_status": item.status, "quota": item.quota_octets})
    if item.status != status:
        work.effects.accounts.add(account)
    return {"object": item.address, "before": _state(status, quota), "after": _state(item.status, item.quota_octets)}


def _remove_account(work: Work, item: RemoveAccount) -> Record:
    account, _localpart, _domain_name, status, quota, *_ = _account(work, item.address)
    own = {"account": account}
    work.effects.accounts.add(account)
    contents: Counter[bytes] = Counter(dict(work.db.all(messages.ACCOUNT_CONTENTS, own)))
    index.erase_account(work, account)
    threads.erase_account(work, account)
    work.db.run(messages.KEEP_HIGHEST_NUMBER)
    work.db.run(messages.ERASE_ACCOUNT_MESSAGES, own)
    for (mailbox,) in work.db.all(directory.MAILBOX_IDS, own):
        here = {"mailbox": mailbox}
        work.db.run(mailboxes.UNPLACE_ALL, here)
        work.db.run(mailboxes.FORGET_VANISHED, here)
        work.effects.mailboxes[mailbox] = 0
    drop_references(work, contents)
    for statement in (
        mailboxes.REMOVE_MAILBOXES,
        mailboxes.REMOVE_SUBSCRIPTIONS,
        directory.REMOVE_CREDENTIALS,
        directory.REVOKE_ALL,
        directory.REMOVE_ACCOUNT,
    ):
        work.db.run(statement, own)
    # The key goes after the commit: were it first, a crash between would leave an account that cannot be opened.
    work.effects.new_keys.pop(account, None)
    work.effects.gone_keys.append(account)
    return {"object": item.address, "before": _state(status, quota), "after": None}


# ---------------------------------------------------------------- aliases and grants


def _add_alias(work: Work, item: AddAlias) -> Record:
    _require_free(work, item.localpart, item.domain)
    if not item.targets:
        raise ConflictError("an alias without targets", public="an alias needs at least one target")
    key = {"domain": item.domain, "localpart": item.localpart}
    work.db.run(directory.ADD_ALIAS, key)
    work.db.run_many(directory.ADD_TARGET, [key | {"number": number, "target": target} for number, target in enumerate(item.targets)])
    return {"object": f"{item.localpart}@{item.domain}", "before": None, "after": {"targets": item.targets}}


def _remove_alias(work: Work, item: RemoveAlias) -> Record:
    localpart, domain = split(item.address)
    key = {"domain": domain, "localpart": localpart}
    before = [row[0] for row in work.db.all(directory.TARGETS, key)]
    if not work.db.run(directory.REMOVE_ALIAS, key):
        raise NotFoundError(f"alias {item.address}", public=f"there is no alias {item.address} here")
    work.db.run(directory.REMOVE_TARGETS, key)
    return {"object": item.address, "before": {"targets": before}, "after": None}


def _grant(work: Work, item: Grant) -> Record:
    account = _account(work, item.account)[0]
    changed = work.db.run(directory.GRANT if item.on else directory.REVOKE, {"account": account, "address": item.address})
    before = item.on if not changed else not item.on
    return {"object": item.account, "address": item.address, "before": {"granted": before}, "after": {"granted": item.on}}


# ---------------------------------------------------------------- settings


def _set_setting(work: Work, item: SetSetting) -> Record:
    row = work.db.one(state.GET_SETTING, {"name": item.key})
    if item.value is None:
        work.db.run(state.DROP_SETTING, {"name": item.key})
    else:
        work.db.run(state.PUT_SETTING, {"key": item.key, "value": item.value})
    return {"object": item.key, "before": row[0] if row else None, "after": item.value}


_ITEMS: Final[dict[type, Callable[[Work, Any], Record]]] = {
    AddDomain: _add_domain,
    SetDomain: _set_domain,
    RemoveDomain: _remove_domain,
    AddSigningKeys: signing.add_signing_keys,
    SetSigningKey: signing.set_signing_key,
    RemoveSigningKey: signing.remove_signing_key,
    AddAccount: _add_account,
    SetCredentials: _set_credentials,
    SetAccount: _set_account,
    RemoveAccount: _remove_account,
    AddAlias: _add_alias,
    RemoveAlias: _remove_alias,
    Grant: _grant,
    SetSetting: _set_setting,
}
