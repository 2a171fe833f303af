# SPDX-License-Identifier: Apache-2.0
"""Soft state: what may be lost at a power cut, in a database of its own, written beside what people wait for.

Obeys no RFC; what is kept for how long is told in docs/security.md.
Must never know what evidence says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec

from moatmail.core.errors import ConfigError
from moatmail.store.operations import Decision, EraseDecisions, ForgetObserved
from moatmail.store.sql import soft
from moatmail.store.sql.schema import SOFT_SHAPE
from moatmail.store.sqlite import Database, DatabaseError, Use, open_database

FILE: Final = "soft.sqlite"
DAY: Final = 86400
Kept = Decision | EraseDecisions | ForgetObserved
"""What is written here."""


class SoftState:
    """The writing side."""

    def __init__(self, folder: Path, key: bytes) -> None:
        """Open it, and make it anew where it has another shape or is damaged: no mail waits for it. Raises ConfigError."""
        self._path = folder / FILE
        self._key = key
        self.damaged = ""
        """What was wrong with a file that was replaced."""
        try:
            self._db: Database = self._opened()
        except (ConfigError, DatabaseError) as error:
            # The same key opened the mail before: what does not open here is damaged.
            self.damaged = str(error)
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(FILE + suffix).unlink(missing_ok=True)
            self._db = self._opened()

    def _opened(self) -> Database:
        database = open_database(self._path, self._key, Use.SOFT)
        try:
            shape = database.one(soft.GET_SHAPE)
            if shape is None or shape[0] != SOFT_SHAPE:
                database.script(soft.DROP)
            database.script(soft.MAKE)
        except DatabaseError:
            database.close()
            raise
        return database

    def keep(self, things: Sequence[Kept]) -> None:
        """Write what came, in order, in one transaction; raises the driver's errors."""
        self._db.begin()
        try:
            for kind, some in groupby(things, type):
                _WORK[kind](self, list(some))
            self._db.commit()
        except Exception:
            self._db.rollback()
            raise

    def _add(self, decisions: Sequence[Decision]) -> None:
        keys = {one.key.id: {"id": one.key.id, "at": one.at, "cover": one.key.cover} for one in decisions}
        self._db.run_many(soft.ADD_EVIDENCE_KEY, keys.values())
        # One by one: of an operation that was sent again, the observations were counted the first time.
        new = [one for one in decisions if self._db.run(soft.ADD_DECISION, _row(one))]
        seen = Counter((int(one.at // DAY), seen.domain, seen.row) for one in new for seen in one.observed)
        self._db.run_many(soft.OBSERVE, [{"day": day, "domain": domain, "row": row, "count": count} for (day, domain, row), count in seen.items()])

    def _forget_observed(self, days: Sequence[ForgetObserved]) -> None:
        self._db.run_many(soft.FORGET_OBSERVED, [{"of_day": one.day} for one in days if not one.domain])
        self._db.run_many(soft.FORGET_OBSERVED_OF, [{"of_day": one.day, "of_domain": one.domain} for one in days if one.domain])

    def _erase(self, asked: Sequence[EraseDecisions]) -> None:
        before = max(one.before for one in asked)
        self._db.run(soft.FORGET_DECISIONS, {"before": before})
        self._db.run(soft.FORGET_EVIDENCE_KEYS, {"before": before - DAY})
        self._db.run(soft.FORGET_OBSERVED_BEFORE, {"before_day": int(before // DAY)})

    def reader(self) -> Database:
        """Open a reading connection."""
        return open_database(self._path, self._key, Use.READ)

    def decisions(self) -> int:
        """Count the kept decisions."""
        row = self._db.one(soft.COUNT_DECISIONS)
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Close the file; raises the driver's errors."""
        self._db.close()


_WORK: Final[dict[type, Callable[[SoftState, Sequence[Any]], None]]] = {
    Decision: SoftState._add,  # noqa: SLF001  the table of its own work
    EraseDecisions: SoftState._erase,  # noqa: SLF001
    ForgetObserved: SoftState._forget_observed,  # noqa: SLF001
}


def _row(decision: Decision) -> dict[str, object]:
    return {
        "id": decision.id,
        "at": decision.at,
        "code": decision.code,
        "facts": msgspec.json.encode(decision.facts).decode(),
        "evidence_key": decision.key.id,
        "sealed_evidence": decision.sealed_evidence,
        "settings_version": decision.settings_version,
        "verdict": decision.verdict,
    }
