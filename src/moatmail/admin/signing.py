# SPDX-License-Identifier: Apache-2.0
"""Signing keys of our domains from their first to their last day: made, used, retired, removed; each step says what the DNS needs and what may follow when.

Obeys RFC 6376 §3.1 (selectors, so that keys can change), §3.6.1 (records), RFC 8301 §3.2 (RSA of 2048 bits), RFC 8463 §3 (Ed25519 beside RSA).
Must never know the command line; a private half leaves only inside the change that stores it.
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from moatmail.admin.change import Desk, read_domain
from moatmail.core.errors import ConflictError, NotFoundError
from moatmail.core.limits import admin as limits
from moatmail.mailauth.sign import key_record, load_signing_key, new_key
from moatmail.store.operations import AddSigningKeys, NewSigningKey, RemoveSigningKey, SetSigningKey
from moatmail.store.queries import ListDomains, ListSigningKeys, SigningKeyRow

PUBLISHED: Final = "published"
ACTIVE: Final = "active"
RETIRED: Final = "retired"

_RSA: Final = "rsa-sha256"
_KINDS: Final = {"rsa": _RSA, "ed": "ed25519-sha256"}
_MAKERS: Final = {"rsa": "rsa", "ed": "ed25519"}

Rows = Sequence[SigningKeyRow]


@dataclass(frozen=True, slots=True)
class Next:
    """A step that may follow (`verb` of `moatmail dkim`; no selector: all keys it concerns), and from when: epoch seconds, 0 once the records can be seen."""

    verb: str
    domain: str
    selector: str
    at: float

    @property
    def command(self) -> str:
        """Give the command line."""
        return f"moatmail dkim {self.verb} {self.domain} {self.selector}".rstrip()


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did: to which keys of which domain, as they are now (a removed one as it was), and what may follow."""

    domain: str
    keys: tuple[SigningKeyRow, ...]
    following: tuple[Next, ...] = ()


# ---------------------------------------------------------------- making


async def make(domain: str, now: float, state: str, taken: Collection[str] = ()) -> tuple[NewSigningKey, ...]:
    """Make an RSA and an Ed25519 key of `domain` (A-labels), selectors after the day and apart from those `taken`; about 0.1 s of CPU in a thread."""
    made = []
    for kind, algorithm in _KINDS.items():
        selector = _selector(kind, now, taken)
        private = await asyncio.to_thread(new_key, _MAKERS[kind])
        record = key_record(load_signing_key(domain, selector, private)).text
        made.append(NewSigningKey(selector, algorithm, record, private, state))
    return tuple(made)


def _selector(kind: str, now: float, taken: Collection[str]) -> str:
    """Give a selector that no other key has: what it is and the day it was made, a letter more on a day with several."""
    dated = f"{kind}{datetime.fromtimestamp(now, UTC):%Y%m%d}"
    # RFC 6376 §3.1: a selector is never given to a second key, a verifier may still remember the first.
    return next(name for name in (dated, *(f"{dated}{letter}" for letter in string.ascii_lowercase[1:])) if name not in taken)


async def complete(desk: Desk) -> tuple[str, ...]:
    """Give keys to every domain of ours that never got any, ready for use; gives those domains. About 0.1 s of CPU for each."""
    have = {row.domain for row in await desk.store.read(ListSigningKeys())}
    bare = [row.name for row in await desk.store.read(ListDomains()) if row.name not in have]
    for start in range(0, len(bare), limits.SIGNING_BATCH):
        batch = bare[start : start + limits.SIGNING_BATCH]
        await desk.apply(*[AddSigningKeys(name, await make(name, desk.clock.now(), ACTIVE)) for name in batch])
    return tuple(bare)


# ---------------------------------------------------------------- looking


async def listing(desk: Desk, name: str | None = None) -> tuple[SigningKeyRow, ...]:
    """Give the keys of one domain or of all, by domain and age. Raises ConfigError, NotFoundError (no such domain)."""
    if name is None:
        rows = await desk.store.read(ListSigningKeys())
    else:
        _, rows = await _known(desk, name)
    return _in_order(rows)


def _in_order(rows: Rows) -> tuple[SigningKeyRow, ...]:
    return tuple(sorted(rows, key=lambda row: (row.domain, row.created_at, row.selector)))


async def _known(desk: Desk, name: str) -> tuple[str, tuple[SigningKeyRow, ...]]:
    domain = read_domain(name)
    rows = await desk.store.read(ListSigningKeys(domain))
    if not rows and domain not in {row.name for row in await desk.store.read(ListDomains())}:
        raise NotFoundError(f"no domain {domain} here", public=f"no domain {domain} here; `moatmail domain list` shows what there is")
    return domain, _in_order(rows)


def following(row: SigningKeyRow, rows: Rows) -> Next | None:
    """Give the next step in the life of a key of `rows` (those of its domain), None where its successor waits for its own first."""
    if row.state == PUBLISHED:
        return Next("use", row.domain, row.selector, 0.0)
    if row.state == RETIRED:
        return Next("remove", row.domain, row.selector, row.changed_at + limits.SIGNING_RECORD_SECONDS)
    if _is_replaced(row, rows):
        return Next("retire", row.domain, row.selector, _retirable_from(row, rows))
    if any(one.state == PUBLISHED and one.algorithm == row.algorithm for one in rows):
        return None
    return Next("new", row.domain, "", row.changed_at + limits.SIGNING_ROTATION_SECONDS)


def _is_replaced(row: SigningKeyRow, rows: Rows) -> bool:
    """Tell whether a key in use has a newer one of its kind beside it."""
    return row.state == ACTIVE and any(one.changed_at > row.changed_at for one in _replacements(row, rows))


def _replacements(row: SigningKeyRow, rows: Rows) -> list[SigningKeyRow]:
    return [one for one in rows if one.state == ACTIVE and one.algorithm == row.algorithm and one.selector != row.selector]


def _retirable_from(row: SigningKeyRow, rows: Rows) -> float:
    """Give from when another key of its kind has been in use long enough to stand alone (0: none is needed)."""
    return min((one.changed_at + limits.SIGNING_OVERLAP_SECONDS for one in _replacements(row, rows)), default=0.0)


# ---------------------------------------------------------------- steps


async def new(desk: Desk, name: str) -> Step:
    """Make a pair of keys that is not used yet: its records go into the DNS first. Raises ConfigError, NotFoundError."""
    domain, rows = await _known(desk, name)
    keys = await make(domain, desk.clock.now(), PUBLISHED, {row.selector for row in rows})
    await desk.apply(AddSigningKeys(domain, keys))
    return await _after(desk, domain, [key.selector for key in keys], lambda row, _: row.state == PUBLISHED)


async def use(desk: Desk, name: str, selector: str | None = None) -> Step:
    """Sign with a published key, or with all of them; a retired one may come back by name. Raises ConfigError, NotFoundError, ConflictError."""
    domain, rows = await _known(desk, name)
    chosen = _choose(domain, rows, selector, lambda row: row.state == PUBLISHED, "published key; make one with `moatmail dkim new`")
    for row in chosen:
        if row.state == ACTIVE:
            raise _refused(f"{row.selector} of {domain} is in use already")
    await desk.apply(*(SetSigningKey(domain, row.selector, ACTIVE) for row in chosen))
    return await _after(desk, domain, [row.selector for row in chosen], _is_replaced)


async def retire(desk: Desk, name: str, selector: str | None = None, *, at_once: bool = False) -> Step:
    """Sign no more with a key, or with all that have a newer one beside them; `at_once` does not wait for the overlap.

    Raises ConfigError, NotFoundError, ConflictError: not in use, the last of its kind, too early.
    """
    domain, rows = await _known(desk, name)
    chosen = _choose(domain, rows, selector, lambda row: _is_replaced(row, rows), "key in use with a newer one beside it; `moatmail dkim new` begins")
    for row in chosen:
        _check_retirement(row, rows)
        _check_time(row, _retirable_from(row, rows), desk.clock.now(), "retire", at_once=at_once)
    await desk.apply(*(SetSigningKey(domain, row.selector, RETIRED) for row in chosen))
    return await _after(desk, domain, [row.selector for row in chosen], lambda row, _: row.state == RETIRED)


def _check_retirement(row: SigningKeyRow, rows: Rows) -> None:
    if row.state != ACTIVE:
        raise _refused(f"{row.selector} of {row.domain} is {row.state}, not in use")
    others = [one for one in rows if one.state == ACTIVE and one.selector != row.selector]
    # RFC 8463 §3: not every verifier knows Ed25519; a domain that signs with it alone is unsigned for them.
    if not any(one.algorithm == _RSA for one in others):
        raise _refused(f"{row.selector} is the last RSA key in use of {row.domain}; make and use another first (`moatmail dkim new {row.domain}`)")


async def remove(desk: Desk, name: str, selector: str | None = None, *, at_once: bool = False) -> Step:
    """Forget a key that signs no more, or all whose records are due no longer; `at_once` does not wait for mail on its way.

    Raises ConfigError, NotFoundError, ConflictError: in use, too early.
    """
    domain, rows = await _known(desk, name)
    now = desk.clock.now()

    def is_over(row: SigningKeyRow) -> bool:
        return row.state == RETIRED and (at_once or now >= row.changed_at + limits.SIGNING_RECORD_SECONDS)

    chosen = _choose(domain, rows, selector, is_over, "retired key whose record is due no longer; `moatmail dkim list` tells when")
    for row in chosen:
        if row.state == ACTIVE:
            raise _refused(f"{row.selector} of {domain} is in use; retire it first (`moatmail dkim retire {domain} {row.selector}`)")
        if row.state == RETIRED:
            _check_time(row, row.changed_at + limits.SIGNING_RECORD_SECONDS, now, "remove", at_once=at_once)
    await desk.apply(*(RemoveSigningKey(domain, row.selector) for row in chosen))
    return Step(domain, tuple(chosen))


def _choose(domain: str, rows: Rows, selector: str | None, due: Callable[[SigningKeyRow], bool], what: str) -> list[SigningKeyRow]:
    """Give the key of a selector, or all for which the step is due; raises NotFoundError, ConflictError."""
    if selector is None:
        if chosen := [row for row in rows if due(row)]:
            return chosen
        raise _refused(f"{domain} has no {what}")
    for row in rows:
        if row.selector == selector.lower():
            return [row]
    known = ", ".join(row.selector for row in rows) or "none"
    raise NotFoundError(f"no key {selector} of {domain}", public=f"{domain} has no key {selector}; its keys: {known}")


def _check_time(row: SigningKeyRow, ready: float, now: float, verb: str, *, at_once: bool) -> None:
    if now < ready and not at_once:
        raise _refused(f"too early to {verb} {row.selector} of {row.domain}: from {moment(ready)}, or now with --now if it is no longer safe")


def moment(at: float) -> str:
    """Give a moment as people and programs read it: date and time in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%MZ}"


def _refused(why: str) -> ConflictError:
    return ConflictError(why, public=why)


async def _after(desk: Desk, domain: str, selectors: Iterable[str], followed: Callable[[SigningKeyRow, Rows], bool]) -> Step:
    """Give the step that was made with these selectors, and what may follow for each key of the domain that `followed` names."""
    wanted = set(selectors)
    rows = _in_order(await desk.store.read(ListSigningKeys(domain)))
    then = (following(row, rows) for row in rows if followed(row, rows))
    return Step(domain, tuple(row for row in rows if row.selector in wanted), tuple(one for one in then if one is not None))
