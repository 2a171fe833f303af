# SPDX-License-Identifier: Apache-2.0
"""Kept decisions, as an administrator looks them up: by queue id, by the code in a refusal's text, or the newest.

Obeys no RFC.
Must never know the command line, nor decide: what would be decided today is asked of `policy/explain.replay`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from moatmail.admin import settings
from moatmail.admin.change import Desk
from moatmail.core.errors import ConfigError, NotFoundError
from moatmail.core.verdict import Verdict
from moatmail.policy.decision import Decided, decode
from moatmail.policy.explain import replay
from moatmail.policy.meaning import end_of
from moatmail.policy.verdict import Settings
from moatmail.store.queries import DecisionRow, GetDecision, ListDecisions

_QUEUE_ID: Final = re.compile(r"[0-9a-f]{32}")
_CODE: Final = re.compile(r"[a-z2-7]{8}")
_SAME: Final = "the same"


@dataclass(frozen=True, slots=True)
class Name:
    """How a decision is asked for: by the content id, or by the code."""

    id: bytes = b""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A decision with its evidence; `today` says what the settings of now would make of the same findings."""

    id: bytes
    code: str
    decided: Decided
    today: str


def read_name(text: str) -> Name:
    """Read a queue id or a code as a person typed it or heard it read aloud (blanks, hyphens and case do not count); raises ConfigError."""
    plain = re.sub(r"[\s-]", "", text).lower()
    if _QUEUE_ID.fullmatch(plain):
        return Name(id=bytes.fromhex(plain))
    if _CODE.fullmatch(plain):
        return Name(code=plain)
    raise ConfigError(f"'{text}' is no file here, no queue id (32 digits 0-9 a-f) and no code (8 letters a-z or digits 2-7)")


async def find(desk: Desk, name: Name) -> Kept:
    """Give one decision; raises NotFoundError, SealBrokenError where it cannot be read, StoreUnavailableError."""
    row = await desk.store.read(GetDecision(name.id, name.code))
    if row is None:
        what = f"code {name.code}" if name.code else f"queue id {name.id.hex()}"
        raise NotFoundError(public=f"no decision with {what} is kept; `moatmail decisions` lists the newest, and those older than 30 days are gone")
    if not row.evidence:
        raise NotFoundError(public=f"of decision {row.code} only this is left: {_words(row)}")
    decided = decode(row.evidence)
    again = replay(decided, Settings.of((await settings.snapshot(desk)).policy))
    return Kept(row.id, row.code, decided, _today(decided, again))


def _today(decided: Decided, again: Verdict) -> str:
    """Say what would be decided now, where that differs for anybody."""
    if all(again.per_recipient[one.address].disposition is one.disposition for one in decided.outcomes):
        return _SAME
    met = {f"{address}: {end_of(one.disposition, one.mailboxes)}" for address, one in again.per_recipient.items()}
    return "; ".join([str(again.reply), *sorted(met)])


async def listing(desk: Desk, count: int) -> tuple[dict[str, object], ...]:
    """Give the newest decisions, each as open facts: time, code, from, to, what was decided."""
    return tuple(_facts(row) for row in await desk.store.read(ListDecisions(limit=count)))


def _facts(row: DecisionRow) -> dict[str, object]:
    return {
        "time": f"{datetime.fromtimestamp(row.at, UTC):%Y-%m-%d %H:%M:%S}",
        "code": row.code,
        "from": row.facts.get("mail_from") or "<>",
        "to": row.facts.get("recipients", ""),
        "verdict": row.verdict,
        "reply": row.facts.get("reply", ""),
    }


def _words(row: DecisionRow) -> str:
    return ", ".join(f"{name} {value}" for name, value in _facts(row).items() if value)
