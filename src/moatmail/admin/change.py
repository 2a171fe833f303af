# SPDX-License-Identifier: Apache-2.0
"""An administrator's change: checked here, applied in one store operation, recorded with who, door, when, before and after.

Obeys no RFC; docs/flow.md, flow 4.
Must never know the command line or a web page: both end here.
"""

from __future__ import annotations

from dataclasses import dataclass

from moatmail.core.address import Address, AddressError, parse_mailbox
from moatmail.core.domain import DomainError, parse_domain
from moatmail.core.errors import ConfigError
from moatmail.core.ports.clock import Clock
from moatmail.store.interface import Store
from moatmail.store.operations import Change, ChangeItem


@dataclass(frozen=True, slots=True)
class Desk:
    """Where changes are made: the store, the clock, who acts, and the door ("cli", "webadmin", "api")."""

    store: Store
    clock: Clock
    actor: str
    door: str

    async def apply(self, *items: ChangeItem) -> int:
        """Apply `items` as one change; gives the settings version. Raises AlreadyExistsError, NotFoundError, ConflictError, StoreUnavailableError."""
        return await self.store.write(Change(self.actor, self.door, self.clock.now(), items))


def read_address(text: str) -> Address:
    """Read an address a person typed, in canonical form; raises ConfigError that says what is wrong."""
    try:
        address = parse_mailbox(text.strip().encode(), utf8=True).canonical
    except AddressError as error:
        # The parser's own words are for whoever knows the grammar.
        raise ConfigError(f"'{text}' is no mail address; write it as name@domain") from error
    if address.domain.startswith("["):
        raise ConfigError(f"'{text}' names a machine, not a domain; write it as name@domain")
    return address


def read_domain(text: str) -> str:
    """Read a domain a person typed, as A-labels; raises ConfigError."""
    try:
        return parse_domain(text.strip().rstrip(".").encode(), utf8=True)
    except DomainError as error:
        raise ConfigError(f"'{text}' is no domain name; write it like example.org") from error
