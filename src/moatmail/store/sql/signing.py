# SPDX-License-Identifier: Apache-2.0
"""Statements about signing keys, and about reports received and sent.

Obeys RFC 6376 §3.1 (a key is found by selector and domain).
Must never know a private half: it is wrapped octets.
"""

from __future__ import annotations

from sqlalchemy import delete, func, literal_column, or_, select, update

from moatmail.store.sql.schema import REPORT, SENT_REPORT, SIGNING_KEY
from moatmail.store.sql.statement import given, insert_once, page, statement

_k = SIGNING_KEY.c
_r = REPORT.c
_THIS = (_k.domain == given("of_domain"), _k.selector == given("of_selector"))

ADD_KEY = statement(insert_once(SIGNING_KEY))
SET_KEY = statement(update(SIGNING_KEY).where(*_THIS).values(state=given("new_state"), changed_at=given("at")))
REMOVE_KEY = statement(delete(SIGNING_KEY).where(*_THIS))
REMOVE_KEYS = statement(delete(SIGNING_KEY).where(_k.domain == given("domain")))
GET_KEY = statement(select(_k.state).where(*_THIS))
_ROWS = select(_k.domain, _k.selector, _k.algorithm, _k.state, _k.record, _k.created_at, _k.changed_at).order_by(_k.domain, _k.created_at, _k.selector)
LIST_KEYS = statement(_ROWS)
LIST_KEYS_OF = statement(_ROWS.where(_k.domain == given("domain")))
ACTIVE_KEYS = statement(
    select(_k.id, _k.selector, _k.algorithm, _k.wrapped, _k.state)
    .where(_k.domain == given("domain"), _k.state == literal_column("'active'"))
    .order_by(_k.created_at, _k.selector)
)

ADD_REPORT = statement(insert_once(REPORT))
COUNT_REPORTS = statement(select(func.count()).select_from(REPORT).where(_r.received_at > given("since")))
FORGET_REPORTS = statement(delete(REPORT).where(_r.received_at < given("before")))
_OPEN = (_r.id, _r.kind, _r.received_at, _r.domain, _r.reporter, _r.report_id, _r.begin, _r.end, _r.totals)
_OF_KIND = or_(given("any_kind") == literal_column("1"), _r.kind == given("kind"))
_OF_DOMAIN = or_(given("any_domain") == literal_column("1"), _r.domain == given("domain"))
LIST_REPORTS = statement(page(select(*_OPEN).where(_OF_KIND, _OF_DOMAIN).order_by(_r.received_at.desc())))
GET_REPORT = statement(select(*_OPEN, _r.rows).where(_r.id == given("id")))
ADD_SENT = statement(insert_once(SENT_REPORT))
FORGET_SENT = statement(delete(SENT_REPORT).where(SENT_REPORT.c.day < given("before_day")))
