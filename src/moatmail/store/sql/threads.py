# SPDX-License-Identifier: Apache-2.0
"""Statements about threads: which of an account mention what, and which messages belong together.

Obeys no RFC.
Must never know what is mentioned: it comes as keyed digests.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, literal_column, select, tuple_, update
from sqlalchemy.dialects.sqlite import Insert

from moatmail.core.limits.store import THREAD_LINKS
from moatmail.store.sql.schema import MAILBOX, MESSAGE, PLACEMENT, THREAD_LINK
from moatmail.store.sql.statement import Statement, given, page, statement

_m = MESSAGE.c
_p = PLACEMENT.c
_l = THREAD_LINK.c
_NOTHING: Final[ColumnElement[Any]] = literal_column("NULL")
_ITS_MESSAGE = (_m.number == given("of_number")) & (_m.account == given("account"))


DIGESTS: Final = tuple([f"digest{place}" for place in range(THREAD_LINKS)])
"""The names of the parameters that take digests."""


def _finding(size: int) -> Statement:
    """Build the look for the thread of the first of `size` digests that one has: behind it none is looked for."""
    having = [select(_l.thread).where(_l.account == given("account"), _l.digest == given(name)).scalar_subquery() for name in DIGESTS[:size]]
    return statement(select(func.coalesce(*having, _NOTHING)))


def _entering(size: int) -> Statement:
    shared = {name: given(name) for name in ("account", "thread")}
    rows = [shared | {"digest": given(name)} for name in DIGESTS[:size]]
    return statement(Insert(THREAD_LINK).values(rows).on_conflict_do_nothing())


# One statement for each number of digests: each more costs a third of a statement of its own.
FIND_THREAD: Final = tuple(_finding(size) for size in range(1, THREAD_LINKS + 1))
ENTER_LINKS: Final = tuple(_entering(size) for size in range(1, THREAD_LINKS + 1))
LEAVE_LINK = statement(delete(THREAD_LINK).where(_l.account == given("account"), _l.digest == given("digest"), _l.thread == given("thread")))
DROP_LINKS = statement(delete(THREAD_LINK).where(_l.account == given("account")))

LINKS_IN_THREAD = statement(
    page(select(_m.links).where(_m.thread == given("thread"), _m.account == given("account"), _m.links.is_not(None)).order_by(_m.number.desc()))
)
THREAD_OF = statement(select(_m.thread, _m.links).where(_ITS_MESSAGE))
SET_THREAD = statement(update(MESSAGE).where(_m.number == given("of_number")).values(thread=given("thread"), links=given("links")))

# ---- what is without a thread ----
_WITHOUT = (_m.account == given("account")) & _m.thread.is_(None) & (_m.number > given("after"))
UNTHREADED_SIZES = statement(page(select(_m.number, func.length(_m.summary)).where(_WITHOUT).order_by(_m.number)))
UNTHREADED_ROWS = statement(select(_m.number, _m.id, _m.cover, _m.summary).where(_WITHOUT, _m.number <= given("last")).order_by(_m.number))

# ---- threads of a mailbox ----
_OWN = PLACEMENT.join(MAILBOX, MAILBOX.c.id == _p.mailbox).join(MESSAGE, _m.number == _p.message)
_MINE = (MAILBOX.c.id == given("mailbox")) & (MAILBOX.c.account == given("account"))
THREADS_IN = statement(
    select(_p.uid, _m.thread).select_from(_OWN).where(_MINE, _p.uid.between(given("first"), given("last")), _m.thread.is_not(None)).order_by(_p.uid)
)
IN_THREAD = statement(
    page(
        select(_m.number, _p.uid)
        .select_from(_OWN)
        .where(
            _MINE,
            _m.thread == given("thread"),
            _m.number >= given("after"),
            tuple_(_m.number, _p.uid) > tuple_(given("after"), given("after_uid")),
        )
        .order_by(_m.number, _p.uid)
    )
)
