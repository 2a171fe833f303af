# SPDX-License-Identifier: Apache-2.0
"""Statements about mailboxes, subscriptions, placements and what vanished.

Obeys RFC 3501 §2.3.1.1 (UIDs ascend and are never reused), RFC 7162 §3.1 (modification sequences ascend).
Must never know names: they are sealed.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, literal_column, select, tuple_, update

from moatmail.store.sql.schema import MAILBOX, MESSAGE, PLACEMENT, SUBSCRIPTION, VANISHED
from moatmail.store.sql.statement import first, given, insert, insert_once, page, statement

SEEN: Final = 8
DELETED: Final = 4

_b = MAILBOX.c
_p = PLACEMENT.c
_MINE = (_b.id == given("mailbox")) & (_b.account == given("account"))
_ONE: ColumnElement[Any] = literal_column("1")


def _plus(names: str) -> dict[str, Any]:
    return {name: _b[name] + given(f"add_{name}") for name in names.split()}


# ---- mailboxes ----
_ROW = (
    _b.id, _b.object_id, _b.sealed_name, _b.uidvalidity, _b.uidnext, _b.highestmodseq, _b.special_use, _b.messages, _b.unseen, _b.deleted, _b.octets,
    _b.deleted_octets,
)  # fmt: skip
ADD_MAILBOX = statement(
    insert_once(MAILBOX, "account", "object_id", "sealed_name", "tag", "uidvalidity", "uidnext", "highestmodseq", "special_use").returning(_b.id)
)
FIND_BY_TAG = statement(select(_b.id, _b.object_id).where(_b.account == given("account"), _b.tag == given("tag")))
LIST_MAILBOXES = statement(select(*_ROW).where(_b.account == given("account")).order_by(_b.id))
GET_MAILBOX = statement(select(*_ROW).where(_MINE))
GET_TAGGED = statement(select(*_ROW).where(_b.account == given("account"), _b.tag == given("tag")))
DELETED_OCTETS = statement(select(_b.deleted_octets).where(_MINE))
MAILBOX_STATE = statement(select(_b.uidvalidity, _b.uidnext, _b.highestmodseq, _b.special_use, _b.forgotten_modseq).where(_MINE))
RENAME = statement(update(MAILBOX).where(_MINE).values(sealed_name=given("new_name"), tag=given("new_tag")))
REMOVE_MAILBOX = statement(delete(MAILBOX).where(_MINE))
REMOVE_MAILBOXES = statement(delete(MAILBOX).where(_b.account == given("account")))

# A delivery gives the next UID and modseq in one statement and learns them from it: two deliveries can never get the same.
_NEXT = {
    "uidnext": _b.uidnext + _ONE,
    "highestmodseq": _b.highestmodseq + _ONE,
    "messages": _b.messages + _ONE,
    **_plus("unseen deleted octets deleted_octets"),
}
_GIVEN = (_b.id, _b.uidnext, _b.highestmodseq, _b.uidvalidity)
NEXT_UID = statement(update(MAILBOX).where(_MINE).values(**_NEXT).returning(*_GIVEN))
NEXT_UID_BY_USE = statement(update(MAILBOX).where(_b.account == given("account"), _b.special_use == given("special_use")).values(**_NEXT).returning(*_GIVEN))
_COUNTS = {"highestmodseq": given("modseq"), **_plus("uidnext messages unseen deleted octets deleted_octets vanished")}
COUNT = statement(update(MAILBOX).where(_b.id == given("mailbox")).values(**_COUNTS))

# ---- subscriptions ----
SUBSCRIBE = statement(insert_once(SUBSCRIPTION))
UNSUBSCRIBE = statement(delete(SUBSCRIPTION).where(SUBSCRIPTION.c.account == given("account"), SUBSCRIPTION.c.tag == given("tag")))
SUBSCRIPTIONS = statement(select(SUBSCRIPTION.c.object_id, SUBSCRIPTION.c.sealed_name, SUBSCRIPTION.c.tag).where(SUBSCRIPTION.c.account == given("account")))
REMOVE_SUBSCRIPTIONS = statement(delete(SUBSCRIPTION).where(SUBSCRIPTION.c.account == given("account")))

# ---- placements ----
_RANGE = (_p.mailbox == given("mailbox")) & _p.uid.between(given("first"), given("last"))
PLACE = statement(insert(PLACEMENT))
PLACEMENTS_AFTER = statement(
    page(
        select(_p.uid, _p.flags, _p.keywords, _p.modseq)
        .select_from(PLACEMENT.join(MAILBOX, _b.id == _p.mailbox))
        .where(_MINE, _p.uid > given("after"))
        .order_by(_p.uid)
    )
)
PLACEMENTS_IN = statement(select(_p.uid, _p.flags, _p.keywords, _p.modseq).where(_RANGE).order_by(_p.uid))
# Flags, size and message of a range: what copying and expunging need.
PLACED_IN = statement(
    select(_p.uid, _p.flags, _p.keywords, _p.message, MESSAGE.c.size)
    .select_from(PLACEMENT.join(MESSAGE, MESSAGE.c.number == _p.message))
    .where(_RANGE)
    .order_by(_p.uid)
)
SET_FLAGS = statement(
    update(PLACEMENT)
    .where(_p.mailbox == given("of_mailbox"), _p.uid == given("of_uid"))
    .values(flags=given("flags"), keywords=given("keywords"), modseq=given("modseq"))
)
UNPLACE = statement(delete(PLACEMENT).where(_p.mailbox == given("mailbox"), _p.uid == given("uid")))
UNPLACE_ALL = statement(delete(PLACEMENT).where(_p.mailbox == given("mailbox")))
IS_PLACED = statement(first(select(_ONE).where(_p.message == given("message"))))
# "placement.message" by its index, once for a whole mailbox.
CHANGED_SINCE = statement(
    page(
        select(_p.modseq, _p.uid, _p.flags, _p.keywords)
        .where(_p.mailbox == given("mailbox"), _p.modseq > given("since"), _p.modseq <= given("upto"))
        .order_by(_p.modseq, _p.uid)
    )
)
PLACED_MESSAGE = statement(
    first(
        select(_p.mailbox, _p.uid, _p.modseq, _b.uidvalidity)
        .select_from(MESSAGE.join(PLACEMENT, _p.message == MESSAGE.c.number).join(MAILBOX, _b.id == _p.mailbox))
        .where(MESSAGE.c.id == given("id"))
        .order_by(_p.mailbox, _p.uid)
    )
)

PLACED_AS = statement(
    select(_p.uid)
    .select_from(MESSAGE.join(PLACEMENT, _p.message == MESSAGE.c.number).join(MAILBOX, _b.id == _p.mailbox))
    .where(_MINE, MESSAGE.c.id == given("id"))
    .order_by(_p.uid)
)

# ---- vanished ----
_v = VANISHED.c
VANISH = statement(insert(VANISHED))
VANISHED_SINCE = statement(
    page(select(_v.modseq, _v.uid).where(_v.mailbox == given("mailbox"), _v.modseq > given("since"), _v.modseq <= given("upto")).order_by(_v.modseq, _v.uid))
)
_WHERE_VANISHED = (_v.mailbox == given("mailbox")) & (tuple_(_v.modseq, _v.uid) > tuple_(given("since"), given("after")))
VANISHED_BETWEEN = statement(page(select(_v.modseq, _v.uid).where(_WHERE_VANISHED, _v.uid.between(given("first"), given("last"))).order_by(_v.modseq, _v.uid)))
COUNT_VANISHED = statement(select(_b.vanished).where(_b.id == given("mailbox")))
# The last of the `rows` oldest, and all up to it.
LAST_TO_FORGET = statement(
    select(_v.modseq, _v.uid).where(_v.mailbox == given("mailbox")).order_by(_v.modseq, _v.uid).limit(literal_column("1")).offset(given("rows") - _ONE)
)
_UP_TO = tuple_(_v.modseq, _v.uid) <= tuple_(given("modseq"), given("uid"))
FORGET_OLDEST = statement(delete(VANISHED).where(_v.mailbox == given("mailbox"), _UP_TO))
FORGOT = statement(update(MAILBOX).where(_b.id == given("mailbox")).values(vanished=_b.vanished - given("rows"), forgotten_modseq=given("modseq")))
FORGET_VANISHED = statement(delete(VANISHED).where(_v.mailbox == given("mailbox")))

# ---- a whole mailbox goes ----
_OTHER = PLACEMENT.alias("other")
ONLY_HERE = (
    MESSAGE.c.number.in_(select(_p.message).where(_p.mailbox == given("mailbox")))
    & ~select(_ONE).where(_OTHER.c.message == MESSAGE.c.number, _OTHER.c.mailbox != given("mailbox")).correlate(MESSAGE).exists()
)
COUNT_ONLY_HERE = statement(select(func.count(), func.coalesce(func.sum(MESSAGE.c.size), literal_column("0"))).where(ONLY_HERE))
RECOVERABLE_ONLY_HERE = statement(update(MESSAGE).where(ONLY_HERE).values(erase_at=given("until")))
