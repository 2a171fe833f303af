# SPDX-License-Identifier: Apache-2.0
"""Statements about the queue of remote mail.

Obeys RFC 5321 §4.5.4.1 (each recipient is tried on its own).
Must never know envelopes: they are sealed to the queue's key.
"""

from __future__ import annotations

from sqlalchemy import case, delete, func, literal_column, select, update

from moatmail.store.sql.schema import SPOOL, SPOOL_RECIPIENT
from moatmail.store.sql.statement import given, insert, insert_once, page, statement

_s = SPOOL.c
_r = SPOOL_RECIPIENT.c
_QUEUED = _r.state == literal_column("'queued'")

ADD_SPOOL = statement(insert_once(SPOOL, "id", "content", "sealed_key", "sealed_envelope", "sealed_prefix", "arrived_at", "kind"))
ADD_RECIPIENT = statement(insert(SPOOL_RECIPIENT))
DUE = statement(
    page(
        select(_s.id, _s.content, _s.sealed_key, _s.sealed_envelope, _s.sealed_prefix, _s.arrived_at, _s.kind)
        .where(_s.id.in_(select(_r.spool).where(_QUEUED, _r.next_attempt <= given("now"))), _s.lease_until <= given("now"))
        .order_by(_s.arrived_at)
    )
)
LEASE = statement(update(SPOOL).where(_s.id == given("of_id")).values(lease_owner=given("owner"), lease_until=given("until")))
# A lease dies with the process that had it, whatever the clock says.
RELEASE_OTHERS = statement(update(SPOOL).where(_s.lease_owner != given("owner"), _s.lease_until > literal_column("0")).values(lease_until=literal_column("0")))
GET_LEASE = statement(select(_s.lease_owner, _s.content, _s.arrived_at).where(_s.id == given("id")))
DUE_RECIPIENTS = statement(
    select(_r.number, _r.state, _r.attempts, _r.next_attempt).where(_r.spool == given("id"), _QUEUED, _r.next_attempt <= given("now")).order_by(_r.number)
)
SETTLE_RECIPIENT = statement(
    update(SPOOL_RECIPIENT)
    .where(_r.spool == given("of_id"), _r.number == given("of_number"), _QUEUED)
    .values(state=given("new_state"), attempts=_r.attempts + literal_column("1"), next_attempt=given("next"), sealed_reply=given("reply"))
)
SET_PREFIX = statement(update(SPOOL).where(_s.id == given("of_id")).values(sealed_prefix=given("prefix")))
STILL_QUEUED = statement(select(func.count()).where(_r.spool == given("id"), _QUEUED))
REMOVE_SPOOL = statement(delete(SPOOL).where(_s.id == given("id")))
REMOVE_RECIPIENTS = statement(delete(SPOOL_RECIPIENT).where(_r.spool == given("id")))
# What somebody works at is due when his lease ends: counted as due now it would be asked for again and again.
_CLAIMABLE = case((_s.lease_until > _r.next_attempt, _s.lease_until), else_=_r.next_attempt)
COUNT_QUEUE = statement(
    select(func.count(_r.spool.distinct()), func.count(), func.coalesce(func.min(_CLAIMABLE), literal_column("0")))
    .select_from(SPOOL_RECIPIENT.join(SPOOL, _r.spool == _s.id))
    .where(_QUEUED)
)
