# SPDX-License-Identifier: Apache-2.0
"""Signing keys of domains, and reports received and sent.

Obeys RFC 6376 §3.1 (selectors), RFC 9990 §3.4 (one report a day).
Must never know a private half for longer than it takes to wrap it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from moatmail.core.errors import AlreadyExistsError, ConflictError, NotFoundError, OverQuotaError
from moatmail.core.limits.store import REPORTS_A_DAY
from moatmail.core.ports.sealer import Purpose
from moatmail.store.apply.work import Work
from moatmail.store.operations import AddSigningKeys, NewReport, NewSigningKey, RemoveSigningKey, SentReport, SetSigningKey
from moatmail.store.sql import directory, signing

STATES: Final = frozenset({"published", "active", "retired"})
"""Published: in the DNS, not used yet. Active: signs. Retired: signs no more, still in the DNS for mail under way."""

DAY: Final = 86400.0
_NOBODY: Final = 0  # keys belong to no account


def add_keys(work: Work, domain: str, keys: Iterable[NewSigningKey]) -> list[str]:
    """Wrap and keep new keys; give their selectors with algorithm and state, for the record. Raises AlreadyExistsError, ConflictError."""
    told = []
    for key in keys:
        _check_state(key.state)
        key_id = os.urandom(16)
        added = work.db.run(
            signing.ADD_KEY,
            {
                "id": key_id,
                "domain": domain,
                "selector": key.selector,
                "algorithm": key.algorithm,
                "state": key.state,
                "record": key.record,
                "wrapped": work.vault.wrap(Purpose.SIGNING_KEY, _NOBODY, key_id, key.private),
                "created_at": work.now,
                "changed_at": work.now,
            },
        )
        if not added:
            raise AlreadyExistsError(f"{key.selector}._domainkey.{domain}", public=f"the selector {key.selector} of {domain} is taken")
        told.append(f"{key.selector} {key.algorithm} {key.state}")
    return told


def add_signing_keys(work: Work, item: AddSigningKeys) -> dict[str, Any]:
    """Add keys to a domain."""
    if work.db.one(directory.FIND_DOMAIN, {"domain": item.domain}) is None:
        raise NotFoundError(f"domain {item.domain}", public=f"there is no domain {item.domain} here")
    return {"object": item.domain, "before": None, "after": {"keys": add_keys(work, item.domain, item.keys)}}


def set_signing_key(work: Work, item: SetSigningKey) -> dict[str, Any]:
    """Change a key's state."""
    _check_state(item.state)
    before = _state(work, item.domain, item.selector)
    work.db.run(signing.SET_KEY, {"of_domain": item.domain, "of_selector": item.selector, "new_state": item.state, "at": work.now})
    return {"object": f"{item.selector}._domainkey.{item.domain}", "before": {"state": before}, "after": {"state": item.state}}


def remove_signing_key(work: Work, item: RemoveSigningKey) -> dict[str, Any]:
    """Remove a key."""
    before = _state(work, item.domain, item.selector)
    work.db.run(signing.REMOVE_KEY, {"of_domain": item.domain, "of_selector": item.selector})
    return {"object": f"{item.selector}._domainkey.{item.domain}", "before": {"state": before}, "after": None}


def _state(work: Work, domain: str, selector: str) -> str:
    row = work.db.one(signing.GET_KEY, {"of_domain": domain, "of_selector": selector})
    if row is None:
        raise NotFoundError(f"{selector}._domainkey.{domain}", public=f"{domain} has no key {selector}")
    state: str = row[0]
    return state


def _check_state(state: str) -> None:
    if state not in STATES:
        raise ConflictError(f"no state of a key: {state!r}", public="no such state of a key")


def keep_reports(work: Work, reports: Sequence[NewReport]) -> None:
    """Keep received reports; one that came before is not kept twice. Raises OverQuotaError when the day has had too many."""
    if not reports:
        return
    row = work.db.one(signing.COUNT_REPORTS, {"since": work.now - DAY})
    if row is not None and row[0] + len(reports) > REPORTS_A_DAY:
        raise OverQuotaError("reports of a day")
    for report in reports:
        values = msgspec.structs.asdict(report) | {"totals": msgspec.json.encode(report.totals).decode()}
        work.db.run(signing.ADD_REPORT, values)


def is_new(work: Work, sent: SentReport | None) -> bool:
    """Tell whether a report of ours was not sent before; from now on it was."""
    return sent is None or work.db.run(signing.ADD_SENT, msgspec.structs.asdict(sent)) > 0
