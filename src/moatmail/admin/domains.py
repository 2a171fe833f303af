# SPDX-License-Identifier: Apache-2.0
"""Domains we are responsible for, as an administrator handles them.

Obeys RFC 5321 §2.3.5 (domain names).
Must never know the command line.
"""

from __future__ import annotations

from moatmail.admin import signing
from moatmail.admin.change import Desk, read_address, read_domain
from moatmail.core.errors import NotFoundError
from moatmail.store.operations import AddDomain, RemoveDomain, SetDomain
from moatmail.store.queries import DomainRow, ListDomains


async def add(desk: Desk, name: str, catch_all: str | None = None) -> str:
    """Add a domain with its first signing keys; gives its A-label form. Raises ConfigError, AlreadyExistsError."""
    domain = read_domain(name)
    address = str(read_address(catch_all)) if catch_all else None
    await desk.apply(AddDomain(domain, address, await signing.make(domain, desk.clock.now(), signing.ACTIVE)))
    return domain


async def set_catch_all(desk: Desk, name: str, catch_all: str | None) -> None:
    """Set the address that gets mail for unknown local-parts, or none. Raises ConfigError, NotFoundError."""
    await desk.apply(SetDomain(read_domain(name), str(read_address(catch_all)) if catch_all else None))


async def remove(desk: Desk, name: str) -> None:
    """Remove a domain without accounts and aliases. Raises ConfigError, NotFoundError, ConflictError."""
    await desk.apply(RemoveDomain(read_domain(name)))


async def listing(desk: Desk) -> tuple[DomainRow, ...]:
    """Give all domains by name."""
    return await desk.store.read(ListDomains())


async def show(desk: Desk, name: str) -> DomainRow:
    """Give one domain. Raises ConfigError, NotFoundError."""
    wanted = read_domain(name)
    for row in await listing(desk):
        if row.name == wanted:
            return row
    raise NotFoundError(f"no domain {wanted} here", public=f"no domain {wanted} here; `moatmail domain list` shows what there is")
