# SPDX-License-Identifier: Apache-2.0
"""Statements about settings, the record of changes, the journal, the ledger and the store's own counters.

Obeys no RFC.
Must never know what a setting means.
"""

from __future__ import annotations

from sqlalchemy import delete, select, update

from moatmail.store.sql.schema import CHANGE, JOURNAL, LEDGER, META, OPERATION_DONE, SECRET, SETTING
from moatmail.store.sql.statement import given, insert, insert_once, page, statement

# ---- settings and changes ----
GET_SETTING = statement(select(SETTING.c.value).where(SETTING.c.key == given("name")))
LIST_SETTINGS = statement(select(SETTING.c.key, SETTING.c.value).order_by(SETTING.c.key))
PUT_SETTING = statement(insert(SETTING).on_conflict_do_update(index_elements=["key"], set_={"value": given("value")}))
DROP_SETTING = statement(delete(SETTING).where(SETTING.c.key == given("name")))
ADD_CHANGE = statement(insert(CHANGE))
LIST_CHANGES = statement(page(select(CHANGE.c.id, CHANGE.c.at, CHANGE.c.actor, CHANGE.c.door, CHANGE.c["items"]).order_by(CHANGE.c.id.desc())))
ADD_JOURNAL = statement(insert(JOURNAL))
LIST_JOURNAL = statement(page(select(JOURNAL.c.at, JOURNAL.c.who, JOURNAL.c.what).order_by(JOURNAL.c.id.desc())))

# ---- ledger (R20) ----
_l = LEDGER.c
ADD_TO_LEDGER = statement(
    insert(LEDGER).on_conflict_do_update(
        index_elements=["day"],
        set_={name: _l[name] + given(name) for name in ("accepted", "delivered", "queued", "relayed", "bounced")},
    )
)
LEDGER_SINCE = statement(select(_l.day, _l.accepted, _l.delivered, _l.queued, _l.relayed, _l.bounced).where(_l.day >= given("since")).order_by(_l.day))

# ---- operations that were done ----
_o = OPERATION_DONE.c
FIND_DONE = statement(select(_o.answer).where(_o.id == given("operation")))
REMEMBER = statement(insert(OPERATION_DONE))
FORGET_DONE = statement(delete(OPERATION_DONE).where(_o.at < given("before")))

# ---- counters ----
GET_META = statement(select(META.c.value).where(META.c.name == given("counter")))
SET_META = statement(insert(META).on_conflict_do_update(index_elements=["name"], set_={"value": given("value")}))
COUNT_META = statement(update(META).where(META.c.name == given("counter")).values(value=META.c.value + given("more")).returning(META.c.value))

# ---- secrets that are no account's ----
PUT_SECRET = statement(insert_once(SECRET))
GET_SECRET = statement(select(SECRET.c.public, SECRET.c.wrapped).where(SECRET.c.name == given("secret")))
