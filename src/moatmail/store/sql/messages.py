# SPDX-License-Identifier: Apache-2.0
"""Statements about messages and their contents.

Obeys no RFC.
Must never know keys or plain text: covers, prefixes, summaries and contents are sealed octets.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, literal_column, or_, select, update
from sqlalchemy.dialects.sqlite import Insert

from moatmail.store.sql.schema import CONTENT, MAILBOX, MESSAGE, META, PLACEMENT
from moatmail.store.sql.statement import Statement, given, insert_once, page, statement

_m = MESSAGE.c
_p = PLACEMENT.c
_OTHER = MESSAGE.alias("other")
_EMPTY: ColumnElement[Any] = literal_column("x''")
_ZERO: ColumnElement[Any] = literal_column("0")

# ---- messages ----
HIGHEST_NUMBER = "message-number"
_HIGHEST = select(func.max(_m.number)).scalar_subquery()
_KEPT_HIGHEST = select(META.c.value).where(META.c.name == literal_column(f"'{HIGHEST_NUMBER}'")).scalar_subquery()
# Numbers are never given twice: words of an erased message that somebody still holds must not pass for those of another one.
_NEXT_NUMBER = func.max(func.coalesce(_HIGHEST, _ZERO), func.coalesce(_KEPT_HIGHEST, _ZERO)) + literal_column("1")
ADD_MESSAGE = statement(
    insert_once(MESSAGE, "id", "account", "content", "size", "received_at", "cover_kind", "cover", "prefix", "summary", "thread", "links", "real_size")
    .values(number=_NEXT_NUMBER)
    .returning(_m.number)
)
_NOW_HIGHEST = select(literal_column(f"'{HIGHEST_NUMBER}'"), func.coalesce(func.max(_m.number), _ZERO)).where(_m.number > _ZERO)
_META_ROW = Insert(META).from_select(["name", "value"], _NOW_HIGHEST)
KEEP_HIGHEST_NUMBER = statement(_META_ROW.on_conflict_do_update(index_elements=["name"], set_={"value": func.max(META.c.value, _META_ROW.excluded.value)}))
_PLACED = PLACEMENT.join(MESSAGE, _m.number == _p.message)
_OWN = PLACEMENT.join(MAILBOX, MAILBOX.c.id == _p.mailbox).join(MESSAGE, _m.number == _p.message)
_MINE = (MAILBOX.c.id == given("mailbox")) & (MAILBOX.c.account == given("account"))


def _reading(*, prefix: bool, summary: bool) -> Statement:
    """Build the statement that reads a range of messages: columns not asked for are not read from their pages."""
    return statement(
        select(_p.uid, _m.id, _m.content, _m.cover, _m.prefix if prefix else _EMPTY, _m.summary if summary else _EMPTY, _m.size, _m.received_at, _p.saved_at)
        .select_from(_OWN)
        .where(_MINE, _p.uid.between(given("first"), given("last")))
        .order_by(_p.uid)
    )


MESSAGES_IN = {(prefix, summary): _reading(prefix=prefix, summary=summary) for prefix in (False, True) for summary in (False, True)}
SIZES_AFTER = statement(page(select(_p.uid, _m.size, _m.received_at, _p.saved_at).select_from(_OWN).where(_MINE, _p.uid > given("after")).order_by(_p.uid)))
_SEALED_TO_PUBLIC: Final = 1
_BY_DELIVERY_KEY: Final = 3


def cover_kind(cover: bytes) -> int:
    """Give what is kept of a cover's version octet: 1 for all that the owner's session should re-wrap, 0 where there is no cover."""
    kind = cover[0] if cover else 0
    return _SEALED_TO_PUBLIC if kind == _BY_DELIVERY_KEY else kind


# By the index of the few that have one, then where they lie. The sum that adds nothing keeps the planner from the mailbox, which may be large.
REAL_SIZES = statement(
    page(
        select(_p.uid, _m.real_size)
        .select_from(_PLACED)
        .where(_m.account == given("account"), _m.real_size.is_not(None), _p.mailbox + _ZERO == given("mailbox"), _p.uid + _ZERO > given("after"))
        .order_by(_p.uid)
    )
)
OLD_COVERS = statement(
    page(
        select(_ZERO, _m.id, _m.content, _m.cover, _EMPTY, _EMPTY, _m.size, _m.received_at, _ZERO).where(
            _m.account == given("account"), _m.cover_kind == literal_column("1")
        )
    )
)
REWRAP = statement(
    update(MESSAGE)
    .where(_m.id == given("of_id"), _m.account == given("of_account"), _m.cover == given("old"))
    .values(cover=given("new"), cover_kind=given("new_kind"))
)
MAKE_RECOVERABLE = statement(update(MESSAGE).where(_m.number == given("of_number")).values(erase_at=given("until")))
OLDEST_RECOVERABLE = statement(
    page(select(_m.number, _m.size, _m.erase_at).where(_m.account == given("account"), _m.erase_at.is_not(None)).order_by(_m.erase_at, _m.number))
)
DUE_FOR_ERASURE = statement(
    page(select(_m.number, _m.account, _m.content, _m.size, _m.thread, _m.links).where(_m.erase_at <= given("now")).order_by(_m.erase_at))
)
ERASE_MESSAGE = statement(delete(MESSAGE).where(_m.number == given("number")))
ERASED_WITH_ACCOUNT = or_(
    _m.number.in_(select(_p.message).join(MAILBOX, MAILBOX.c.id == _p.mailbox).where(MAILBOX.c.account == given("account"))),
    _m.number.in_(select(_OTHER.c.number).where(_OTHER.c.account == given("account"), _OTHER.c.erase_at.is_not(None))),
)
ACCOUNT_CONTENTS = statement(select(_m.content, func.count()).where(ERASED_WITH_ACCOUNT).group_by(_m.content))
ERASE_ACCOUNT_MESSAGES = statement(delete(MESSAGE).where(ERASED_WITH_ACCOUNT))

# ---- contents ----
_c = CONTENT.c
ADD_CONTENT = statement(insert_once(CONTENT))
REFER = statement(update(CONTENT).where(_c.id == given("of_id")).values({"references": _c.references + given("more")}))
# Erasing reads the count first: an UPDATE would write the whole content anew.
CONTENT_STATE = statement(select(_c.references, _c.blob.is_(None)).where(_c.id == given("id")))
ERASE_CONTENT = statement(delete(CONTENT).where(_c.id == given("id")))
GET_CONTENT = statement(select(_c.size, _c.blob).where(_c.id == given("id")))
FILES = statement(select(_c.id).where(_c.blob.is_(None)))
HAS_CONTENT = statement(select(_c.size).where(_c.id == given("id")))
