# SPDX-License-Identifier: Apache-2.0
"""What a forward-path means here: which accounts get a copy, which addresses elsewhere, or why nobody does.

Obeys RFC 5321 §4.5.1 (postmaster is always there), §3.9 (aliases), RFC 2142 (abuse), RFC 5233 (subaddresses).
Must never know the network or a mailbox's content.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from moatmail.core.address import Address, AddressError, parse_mailbox
from moatmail.core.limits.directory import ALIAS_DEPTH_MAX, ALIAS_TARGETS_MAX
from moatmail.store.interface import Reads
from moatmail.store.queries import AccountRow, AddressHit, GetPostmaster, LookupAddresses

# RFC 5321 §4.5.1 demands postmaster, RFC 2142 §4 abuse: both reach a person although nobody made them.
_ALWAYS_THERE: Final = frozenset({"postmaster", "abuse"})


@dataclass(frozen=True, slots=True)
class Resolution:
    """What an address means: `ours` (the domain is), the accounts and the addresses elsewhere that get the mail.

    `reports` says that it is the address for reports: mail to it is read by ourselves, besides any account or alias of that name.
    """

    address: Address
    ours: bool
    accounts: tuple[AccountRow, ...] = ()
    elsewhere: tuple[Address, ...] = ()
    reports: bool = False

    @property
    def exists(self) -> bool:
        """Tell whether anybody gets mail for it."""
        return bool(self.accounts or self.elsewhere or self.reports)


@dataclass(slots=True)
class _Walk:
    """One expansion under way: what was visited, what was found."""

    seen: set[Address] = field(default_factory=set)
    accounts: dict[int, AccountRow] = field(default_factory=dict)
    elsewhere: dict[Address, None] = field(default_factory=dict)
    machine: Address | None = None
    """The address for reports."""
    reports: bool = False
    """Whether the walk came by it."""

    @property
    def full(self) -> bool:
        return len(self.accounts) + len(self.elsewhere) >= ALIAS_TARGETS_MAX


async def resolve(store: Reads, address: Address, reports_to: str = "") -> Resolution:
    """Resolve a forward-path; `reports_to` is the setting `reports.address`. Raises StoreUnavailableError when the directory does not answer."""
    if address.is_bare:
        address = Address(address.localpart, (await store.read(GetPostmaster())).domain)
    walk = _Walk(machine=next((one.canonical for one in _parse(reports_to)), None))
    ours = True
    pending = [address]
    for depth in range(ALIAS_DEPTH_MAX):
        following: list[Address] = []
        for one in pending:
            known = await _visit(store, one, walk, following)
            ours = known if depth == 0 else ours
        pending = following
        if not pending or walk.full:
            break
    return Resolution(address, ours, tuple(walk.accounts.values()), tuple(walk.elsewhere) if ours else (), reports=walk.reports and ours)


async def _visit(store: Reads, address: Address, walk: _Walk, following: list[Address]) -> bool:
    """Look one address up; tells whether its domain is ours."""
    if address.canonical in walk.seen or walk.full:
        return True
    walk.seen.add(address.canonical)
    answer = await store.read(LookupAddresses(address.domain, _candidates(address)))
    if not answer.ours:
        walk.elsewhere[address] = None
        return False
    is_machine = walk.machine in {address.canonical, address.canonical.base}
    walk.reports |= is_machine
    hit = next((one for one in answer.hits if one.account is not None or one.targets), None)
    if hit is not None:
        _take(hit, walk, following)
    elif address.canonical.base.localpart in _ALWAYS_THERE:
        account = (await store.read(GetPostmaster(address.domain))).account
        if account is not None:
            walk.accounts[account.id] = account
    elif answer.catch_all is not None and not is_machine:
        # The address for reports exists, so its mail is no stray mail for a catch-all.
        following.extend(_parse(answer.catch_all))
    return True


def _candidates(address: Address) -> tuple[str, ...]:
    """Give the local-parts to ask for, best first: the exact one, then the one without its detail (RFC 5233)."""
    exact = address.canonical
    return (exact.localpart,) if exact.detail is None else (exact.localpart, exact.base.localpart)


def _take(hit: AddressHit, walk: _Walk, following: list[Address]) -> None:
    if hit.account is not None:
        walk.accounts[hit.account.id] = hit.account
    for target in hit.targets:
        following.extend(_parse(target))


def _parse(text: str) -> list[Address]:
    """Parse a target as it was stored; one that no longer parses is nobody."""
    try:
        return [parse_mailbox(text.encode(), utf8=True)]
    except AddressError:
        return []
