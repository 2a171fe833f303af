# SPDX-License-Identifier: Apache-2.0
"""Aliases, as an administrator handles them.

Obeys RFC 5321 §3.9.1 (alias: the envelope's reverse-path stays).
Must never know the command line.
"""

from __future__ import annotations

from collections.abc import Sequence

from moatmail.admin.change import Desk, read_address, read_domain
from moatmail.core.address import Address
from moatmail.core.errors import ConfigError, NotFoundError
from moatmail.store.operations import AddAlias, RemoveAlias
from moatmail.store.queries import AliasRow, ListAliases

_PAGE = 500


async def add(desk: Desk, address: str, targets: Sequence[str]) -> Address:
    """Add an alias to one or several targets; gives its canonical address. Raises ConfigError, AlreadyExistsError, NotFoundError (domain)."""
    parsed = read_address(address)
    if not targets:
        raise ConfigError(f"the alias {parsed} has no target; name at least one address")
    wanted = tuple(str(read_address(target)) for target in targets)
    if str(parsed) in wanted:
        raise ConfigError(f"the alias {parsed} leads to itself; name another target")
    await desk.apply(AddAlias(parsed.localpart, parsed.domain, wanted))
    return parsed


async def remove(desk: Desk, address: str) -> None:
    """Remove an alias. Raises ConfigError, NotFoundError."""
    await desk.apply(RemoveAlias(str(read_address(address))))


async def listing(desk: Desk, domain: str | None = None) -> tuple[AliasRow, ...]:
    """Give all aliases, or those of one domain, by address. Raises ConfigError."""
    wanted = read_domain(domain) if domain else None
    rows: list[AliasRow] = []
    after = ""
    while page := await desk.store.read(ListAliases(wanted, after, _PAGE)):
        rows.extend(page)
        after = f"{page[-1].localpart}@{page[-1].domain}"
        if len(page) < _PAGE:
            break
    return tuple(rows)


async def show(desk: Desk, address: str) -> AliasRow:
    """Give one alias. Raises ConfigError, NotFoundError."""
    wanted = read_address(address)
    for row in await listing(desk, wanted.domain):
        if row.localpart == wanted.localpart:
            return row
    raise NotFoundError(f"no alias {wanted} here", public=f"no alias {wanted} here; `moatmail alias list` shows what there is")
