# SPDX-License-Identifier: Apache-2.0
"""Statements about soft state: decisions, the keys of their evidence, observations for reports.

Obeys no RFC.
Must never know what evidence says.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, func, select, tuple_

from moatmail.store.sql.schema import DECISION, EVIDENCE_KEY, OBSERVED, SOFT, SOFT_SHAPE
from moatmail.store.sql.statement import Statement, first, given, insert, insert_once, make_tables, page, statement

_d = DECISION.c
_o = OBSERVED.c

GET_SHAPE: Final = Statement("PRAGMA user_version")
DROP: Final = tuple(f"DROP TABLE IF EXISTS {table.name}" for table in (DECISION, EVIDENCE_KEY, OBSERVED))
MAKE: Final = (*make_tables(*SOFT.sorted_tables), f"PRAGMA user_version={SOFT_SHAPE}")

ADD_DECISION = statement(insert_once(DECISION))
ADD_EVIDENCE_KEY = statement(insert_once(EVIDENCE_KEY))
OBSERVE = statement(insert(OBSERVED).on_conflict_do_update(index_elements=["day", "domain", "row"], set_={"count": _o.count + given("count")}))
FORGET_DECISIONS = statement(delete(DECISION).where(_d.at < given("before")))
# A key serves some hours; kept for as long as anything that may have been sealed under it.
FORGET_EVIDENCE_KEYS = statement(delete(EVIDENCE_KEY).where(EVIDENCE_KEY.c.at < given("before")))
FORGET_OBSERVED = statement(delete(OBSERVED).where(_o.day == given("of_day")))
FORGET_OBSERVED_OF = statement(delete(OBSERVED).where(_o.day == given("of_day"), _o.domain == given("of_domain")))
FORGET_OBSERVED_BEFORE = statement(delete(OBSERVED).where(_o.day < given("before_day")))
COUNT_DECISIONS = statement(select(func.count()).select_from(DECISION))

_OPEN = (_d.id, _d.at, _d.code, _d.facts, _d.settings_version, _d.verdict)
_SEALED = select(*_OPEN, _d.sealed_evidence, EVIDENCE_KEY.c.id, EVIDENCE_KEY.c.cover).select_from(
    DECISION.outerjoin(EVIDENCE_KEY, _d.evidence_key == EVIDENCE_KEY.c.id)
)
BY_ID = statement(_SEALED.where(_d.id == given("id")))
BY_CODE = statement(first(_SEALED.where(_d.code == given("code")).order_by(_d.at.desc())))
NEWEST = statement(page(select(*_OPEN).order_by(_d.at.desc())))
OBSERVED_ON = statement(
    page(
        select(_o.domain, _o.row, _o.count)
        .where(_o.day == given("of_day"), tuple_(_o.domain, _o.row) > tuple_(given("domain"), given("after")))
        .order_by(_o.domain, _o.row)
    )
)
