# SPDX-License-Identifier: Apache-2.0
"""Statements that count again what is counted as it goes.

Obeys RFC 3501 §2.3.1.1, RFC 7162 §3.1.2.1.
Must never know why.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, func, literal_column, select, update

from moatmail.store.sql.mailboxes import DELETED, SEEN
from moatmail.store.sql.schema import ACCOUNT, MAILBOX, MESSAGE, PLACEMENT, VANISHED
from moatmail.store.sql.statement import given, statement

_b = MAILBOX.c
_p = PLACEMENT.c
_v = VANISHED.c
_a = ACCOUNT.c
_m = MESSAGE.c
_ZERO: Final[ColumnElement[Any]] = literal_column("0")
_ONE: Final[ColumnElement[Any]] = literal_column("1")


def _sum(what: ColumnElement[Any], where: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(what).filter(where), _ZERO)


def _bears(bit: int) -> ColumnElement[bool]:
    return _p.flags.op("&")(literal_column(str(bit))) != _ZERO


# ---- a mailbox ----
MAILBOX_COUNTS: Final = ("messages", "unseen", "deleted", "octets", "deleted_octets", "vanished", "uidnext", "highestmodseq")
COUNTED = statement(select(*(_b[name] for name in MAILBOX_COUNTS), _b.forgotten_modseq).where(_b.id == given("mailbox"), _b.account == given("account")))
PLACED = statement(
    select(
        func.count(),
        _sum(_ONE, ~_bears(SEEN)),
        _sum(_ONE, _bears(DELETED)),
        func.coalesce(func.sum(_m.size), _ZERO),
        _sum(_m.size, _bears(DELETED)),
        func.coalesce(func.max(_p.uid), _ZERO),
        func.coalesce(func.max(_p.modseq), _ZERO),
    )
    .select_from(PLACEMENT.join(MESSAGE, _m.number == _p.message))
    .where(_p.mailbox == given("mailbox"))
)
GONE = statement(select(func.count(), func.coalesce(func.max(_v.uid), _ZERO), func.coalesce(func.max(_v.modseq), _ZERO)).where(_v.mailbox == given("mailbox")))
SET_COUNTS = statement(update(MAILBOX).where(_b.id == given("mailbox")).values({name: given(f"new_{name}") for name in MAILBOX_COUNTS}))

# ---- an account ----
ACCOUNT_COUNTS: Final = ("used_octets", "recoverable", "recoverable_octets")
TAKEN = statement(select(*(_a[name] for name in ACCOUNT_COUNTS)).where(_a.id == given("account")))
KEPT = statement(
    select(
        _sum(_m.size, _m.erase_at.is_(None)),
        _sum(_ONE, _m.erase_at.is_not(None)),
        _sum(_m.size, _m.erase_at.is_not(None)),
    ).where(_m.account == given("account"))
)
SET_TAKEN = statement(update(ACCOUNT).where(_a.id == given("account")).values({name: given(f"new_{name}") for name in ACCOUNT_COUNTS}))
