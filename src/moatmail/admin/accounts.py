# SPDX-License-Identifier: Apache-2.0
"""Accounts, as an administrator handles them; passwords are hashed here and never travel.

Obeys RFC 8265 §4.2 (passwords are prepared before they are hashed), RFC 7677 (SCRAM verifier).
Must never know the command line; it never gives a verifier out.
"""

from __future__ import annotations

import asyncio

from moatmail.admin.change import Desk, read_address, read_domain
from moatmail.core.address import Address
from moatmail.core.errors import ConfigError, NotFoundError
from moatmail.crypto import password, scram
from moatmail.directory.login import ARGON2ID, SCRAM_SHA_256
from moatmail.store.operations import AddAccount, Credential, Grant, RemoveAccount, SetAccount, SetCredentials
from moatmail.store.queries import AccountRow, ListAccounts, LookupAddresses

_PAGE = 500


async def verifiers(secret: str, *, with_scram: bool) -> tuple[Credential, ...]:
    """Make what is kept of a password (about 50 ms, in a thread). Raises PasswordRefusedError."""
    made = [Credential(ARGON2ID, "password", await asyncio.to_thread(password.hash_password, secret))]
    if with_scram:
        verifier = await asyncio.to_thread(scram.make_verifier, secret)
        made.append(Credential(SCRAM_SHA_256, "password", verifier.to_bytes()))
    return tuple(made)


async def add(desk: Desk, address: str, secret: str, *, quota_octets: int = 0, with_scram: bool = True) -> Address:
    """Add an account of a domain that exists; gives its canonical address. Raises ConfigError, PasswordRefusedError, AlreadyExistsError, NotFoundError."""
    parsed = read_address(address)
    if parsed.detail is not None:
        raise ConfigError(f"'{address}' has a '+': what follows it is the reader's to choose, so an account has none")
    await desk.apply(AddAccount(parsed.localpart, parsed.domain, await verifiers(secret, with_scram=with_scram), quota_octets))
    return parsed


async def set_password(desk: Desk, address: str, secret: str, *, with_scram: bool = True) -> None:
    """Replace an account's password. Raises ConfigError, PasswordRefusedError, NotFoundError."""
    await desk.apply(SetCredentials(str(read_address(address)), await verifiers(secret, with_scram=with_scram)))


async def set_state(desk: Desk, address: str, *, status: str | None = None, quota_octets: int | None = None) -> None:
    """Freeze ("frozen") or thaw ("active") an account, or change its quota (0 = none). Raises ConfigError, NotFoundError."""
    known = await show(desk, address)
    await desk.apply(SetAccount(f"{known.localpart}@{known.domain}", status or known.status, known.quota_octets if quota_octets is None else quota_octets))


async def grant(desk: Desk, account: str, address: str, *, on: bool = True) -> None:
    """Let an account author mail as another address, or no longer. Raises ConfigError, NotFoundError."""
    await desk.apply(Grant(str(read_address(account)), str(read_address(address)), on))


async def remove(desk: Desk, address: str) -> None:
    """Remove an account with its mail and its keys; this cannot be undone. Raises ConfigError, NotFoundError."""
    await desk.apply(RemoveAccount(str(read_address(address))))


async def listing(desk: Desk, domain: str | None = None) -> tuple[AccountRow, ...]:
    """Give all accounts, or those of one domain, by address. Raises ConfigError."""
    wanted = read_domain(domain) if domain else None
    rows: list[AccountRow] = []
    after = ""
    while page := await desk.store.read(ListAccounts(wanted, after, _PAGE)):
        rows.extend(page)
        after = f"{page[-1].localpart}@{page[-1].domain}"
        if len(page) < _PAGE:
            break
    return tuple(rows)


async def show(desk: Desk, address: str) -> AccountRow:
    """Give one account. Raises ConfigError, NotFoundError."""
    wanted = read_address(address)
    answer = await desk.store.read(LookupAddresses(wanted.domain, (wanted.localpart,)))
    for hit in answer.hits:
        if hit.account is not None:
            return hit.account
    raise NotFoundError(f"no account {wanted} here", public=f"no account {wanted} here; `moatmail account list` shows what there is")
