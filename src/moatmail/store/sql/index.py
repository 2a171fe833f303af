# SPDX-License-Identifier: Apache-2.0
"""Statements about the search index: words, the tail, segments and their parts.

Obeys no RFC.
Must never know a word: all of it is sealed octets.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, literal_column, or_, select, update
from sqlalchemy.dialects.sqlite import Insert

from moatmail.store.sql.mailboxes import ONLY_HERE
from moatmail.store.sql.messages import ERASED_WITH_ACCOUNT
from moatmail.store.sql.schema import INDEX_PART, INDEX_SEGMENT, INDEX_TAIL, MAILBOX, MESSAGE, MESSAGE_WORDS, PLACEMENT
from moatmail.store.sql.statement import given, insert, insert_once, page, statement

_m = MESSAGE.c
_w = MESSAGE_WORDS.c
_t = INDEX_TAIL.c
_s = INDEX_SEGMENT.c
_i = INDEX_PART.c
_p = PLACEMENT.c
_NOTHING: Final[ColumnElement[Any]] = literal_column("x''")
_NONE: Final[ColumnElement[Any]] = literal_column("0")
_ITS_MESSAGE = (_m.number == given("of_number")) & (_m.account == given("account"))

# ---- words ----
ADD_WORDS = statement(insert(MESSAGE_WORDS))
# Only of a message that is the account's: a row of nobody's would never be erased.
_SET_WORDS = Insert(MESSAGE_WORDS).from_select(["number", "sealed"], select(_m.number, given("sealed")).where(_ITS_MESSAGE))
SET_WORDS = statement(_SET_WORDS.on_conflict_do_update(index_elements=["number"], set_={"sealed": _SET_WORDS.excluded.sealed}))
ERASE_WORDS = statement(delete(MESSAGE_WORDS).where(_w.number == given("number")))
ERASE_ACCOUNT_WORDS = statement(delete(MESSAGE_WORDS).where(_w.number.in_(select(_m.number).where(ERASED_WITH_ACCOUNT))))
SET_SUMMARY = statement(update(MESSAGE).where(_ITS_MESSAGE, _m.summary == given("old")).values(summary=given("new")))

# ---- the tail ----
ENTER_TAIL = statement(insert_once(INDEX_TAIL))
ENTER_TAIL_IF_PLACED = statement(
    Insert(INDEX_TAIL).from_select(["account", "number"], select(_m.account, _m.number).where(_ITS_MESSAGE, _m.erase_at.is_(None))).on_conflict_do_nothing()
)
_TAIL = _t.account == given("account")
LEAVE_TAIL = statement(delete(INDEX_TAIL).where(_TAIL, _t.number == given("number")))
LEAVE_TAIL_BETWEEN = statement(delete(INDEX_TAIL).where(_TAIL, _t.number.between(given("first"), given("last"))))
LEAVE_TAIL_ONLY_HERE = statement(delete(INDEX_TAIL).where(_TAIL, _t.number.in_(select(_m.number).where(ONLY_HERE))))
DROP_TAIL = statement(delete(INDEX_TAIL).where(_TAIL))
TAIL_BETWEEN = statement(select(_t.number).where(_TAIL, _t.number.between(given("first"), given("last"))).order_by(_t.number))
_TAIL_ROWS = INDEX_TAIL.join(MESSAGE, _m.number == _t.number).outerjoin(MESSAGE_WORDS, _w.number == _t.number)
# SQLite tells a blob's length without reading it.
TAIL_SIZES = statement(
    page(
        select(_t.number, func.length(_m.summary) + func.length(_m.prefix) + func.coalesce(func.length(_w.sealed), _NONE))
        .select_from(_TAIL_ROWS)
        .where(_TAIL, _t.number > given("after"))
        .order_by(_t.number)
    )
)
TAIL_ROWS = statement(
    select(_t.number, _m.id, _m.content, _m.cover, _m.prefix, _m.summary, func.coalesce(_w.sealed, _NOTHING), _m.size, _m.received_at)
    .select_from(_TAIL_ROWS)
    .where(_TAIL, _t.number > given("after"), _t.number <= given("last"))
    .order_by(_t.number)
)
SEGMENT_ROW = statement(
    select(_m.number, _m.id, _m.content, _m.cover, _m.prefix, _m.summary, _NOTHING, _m.size, _m.received_at).where(_ITS_MESSAGE, _m.erase_at.is_(None))
)
_FIRST = page(select(_t.number).where(_TAIL).order_by(_t.number)).subquery("some")
COUNT_TAIL = statement(select(func.count(), func.count() - func.count(_w.number)).select_from(_FIRST.outerjoin(MESSAGE_WORDS, _w.number == _FIRST.c.number)))

# ---- segments ----
_SEGMENT = (_s.account == given("account")) & (_s.id == given("id"))
ADD_SEGMENT = statement(insert(INDEX_SEGMENT))
ADD_PART = statement(insert(INDEX_PART))
SEGMENT_NUMBERS = statement(select(_s.numbers).where(_SEGMENT))
SEGMENTS_BETWEEN = statement(
    select(_s.id, _s.first, _s.last, _s.octets).where(_s.account == given("account"), _s.first <= given("highest"), _s.last >= given("lowest"))
)
REMOVE_SEGMENT = statement(delete(INDEX_SEGMENT).where(_SEGMENT).returning(_s.first, _s.last, _s.numbers))
REMOVE_PARTS = statement(delete(INDEX_PART).where(_i.account == given("account"), _i.id == given("id")))
DROP_SEGMENTS = statement(delete(INDEX_SEGMENT).where(_s.account == given("account")))
DROP_PARTS = statement(delete(INDEX_PART).where(_i.account == given("account")))
RECOVERABLE_BETWEEN = statement(
    select(_m.number).where(_m.account == given("account"), _m.erase_at.is_not(None), _m.number.between(given("first"), given("last")))
)
# In the order of the index of recoverable messages.
DOOMED = statement(
    page(
        select(_m.number, _m.erase_at)
        .where(_m.account == given("account"), _m.erase_at.is_not(None), _m.erase_at < given("before"), _m.erase_at >= given("at"))
        .where(or_(_m.erase_at > given("at"), _m.number > given("after")))
        .order_by(_m.erase_at, _m.number)
    )
)
LIST_SEGMENTS = statement(select(_s.id).where(_s.account == given("account")).order_by(_s.id))
GET_PART = statement(select(_i.sealed).where(_i.account == given("account"), _i.id == given("id"), _i.kind == given("kind")))

SEGMENTS_OVER = statement(page(select(_s.id).where(_s.account == given("account"), _s.first <= given("last"), _s.last >= given("first")).order_by(_s.first)))

# ---- which message lies where ----
_NUMBERED = page(
    select(_p.uid, _p.message)
    .select_from(PLACEMENT.join(MAILBOX, MAILBOX.c.id == _p.mailbox))
    .where(MAILBOX.c.id == given("mailbox"), MAILBOX.c.account == given("account"), _p.uid > given("after"))
    .order_by(_p.uid)
).subquery("numbered")
# Two texts instead of a row for each message: a third of the time, and a search needs them all.
NUMBERS_AFTER = statement(select(func.group_concat(_NUMBERED.c.uid), func.group_concat(_NUMBERED.c.message)).select_from(_NUMBERED))
PLACED = statement(
    page(
        select(_p.uid, _m.number, _m.id, _m.size, _m.received_at, _p.saved_at, func.coalesce(_m.thread, _NOTHING))
        .select_from(PLACEMENT.join(MAILBOX, MAILBOX.c.id == _p.mailbox).join(MESSAGE, _m.number == _p.message))
        .where(MAILBOX.c.id == given("mailbox"), MAILBOX.c.account == given("account"), _p.uid.between(given("first"), given("last")))
        .order_by(_p.uid)
    )
)
