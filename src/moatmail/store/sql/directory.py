# SPDX-License-Identifier: Apache-2.0
"""Statements about domains, accounts, credentials, aliases and grants.

Obeys no RFC.
Must never know keys or passwords: credentials are sealed octets.
"""

from __future__ import annotations

from sqlalchemy import delete, func, or_, select, update

from moatmail.store.sql.schema import ACCOUNT, ACCOUNT_KEY, ALIAS, ALIAS_TARGET, CREDENTIAL, DOMAIN, GRANTED, MAILBOX
from moatmail.store.sql.statement import first, given, insert, insert_once, page, statement

_a = ACCOUNT.c
ACCOUNT_COLUMNS = (_a.id, _a.localpart, _a.domain, _a.status, _a.quota_octets, _a.used_octets, _a.public)

# ---- domains ----
ADD_DOMAIN = statement(insert_once(DOMAIN))
SET_DOMAIN = statement(update(DOMAIN).where(DOMAIN.c.name == given("domain")).values(catch_all=given("catch_all")))
REMOVE_DOMAIN = statement(delete(DOMAIN).where(DOMAIN.c.name == given("domain")))
FIND_DOMAIN = statement(select(DOMAIN.c.catch_all).where(DOMAIN.c.name == given("domain")))
FIRST_DOMAIN = statement(first(select(DOMAIN.c.name).order_by(DOMAIN.c.name)))
LIST_DOMAINS = statement(
    select(
        DOMAIN.c.name,
        DOMAIN.c.catch_all,
        select(func.count()).select_from(ACCOUNT).where(_a.domain == DOMAIN.c.name).scalar_subquery(),
        select(func.count()).select_from(ALIAS).where(ALIAS.c.domain == DOMAIN.c.name).scalar_subquery(),
    ).order_by(DOMAIN.c.name)
)
DOMAIN_IN_USE = statement(
    select(
        select(func.count()).select_from(ACCOUNT).where(_a.domain == given("domain")).scalar_subquery()
        + select(func.count()).select_from(ALIAS).where(ALIAS.c.domain == given("domain")).scalar_subquery()
    )
)

# ---- accounts ----
ADD_ACCOUNT = statement(insert(ACCOUNT, "id", "localpart", "domain", "status", "quota_octets", "public"))
FIND_ACCOUNT = statement(select(*ACCOUNT_COLUMNS).where(_a.domain == given("domain"), _a.localpart == given("localpart")))
SET_ACCOUNT = statement(update(ACCOUNT).where(_a.id == given("account")).values(status=given("new_status"), quota_octets=given("quota")))
REMOVE_ACCOUNT = statement(delete(ACCOUNT).where(_a.id == given("account")))
ACCOUNT_STATUS = statement(select(_a.status).where(_a.id == given("account")))
_PAGE = page(select(*ACCOUNT_COLUMNS).order_by(_a.domain, _a.localpart))
_AFTER = or_(_a.domain > given("after_domain"), (_a.domain == given("after_domain")) & (_a.localpart > given("after_localpart")))
LIST_ACCOUNTS = statement(_PAGE.where(_AFTER))
LIST_ACCOUNTS_OF = statement(_PAGE.where(_a.domain == given("domain"), _a.localpart > given("after_localpart")))
_FIRST = first(select(*ACCOUNT_COLUMNS).where(_a.status == given("status")).order_by(_a.domain, _a.localpart))
FIRST_ACCOUNT = statement(_FIRST)
FIRST_ACCOUNT_OF = statement(_FIRST.where(_a.domain == given("domain")))
# The quota is judged by the very statement that takes the room (RFC 9208 §3).
TAKE_ROOM = statement(
    update(ACCOUNT)
    .where(_a.id == given("account"), or_(_a.quota_octets == given("none"), _a.used_octets + given("octets") <= _a.quota_octets))
    .values(used_octets=_a.used_octets + given("octets"))
)
_RECOVERABLE = {"recoverable": _a.recoverable + given("number"), "recoverable_octets": _a.recoverable_octets + given("octets")}
LEAVE_QUOTA = statement(update(ACCOUNT).where(_a.id == given("account")).values(used_octets=_a.used_octets - given("octets"), **_RECOVERABLE))
_ERASED = {"recoverable": _a.recoverable - given("number"), "recoverable_octets": _a.recoverable_octets - given("octets")}
FORGET_RECOVERABLE = statement(update(ACCOUNT).where(_a.id == given("account")).values(**_ERASED))
RECOVERABLE = statement(select(_a.quota_octets, _a.recoverable, _a.recoverable_octets).where(_a.id == given("account")))

# ---- credentials and grants ----
ADD_CREDENTIAL = statement(insert(CREDENTIAL))
REMOVE_CREDENTIALS = statement(delete(CREDENTIAL).where(CREDENTIAL.c.account == given("account")))
CREDENTIALS = statement(select(CREDENTIAL.c.id, CREDENTIAL.c.kind, CREDENTIAL.c.label, CREDENTIAL.c.sealed).where(CREDENTIAL.c.account == given("account")))
GRANT = statement(insert_once(GRANTED))
REVOKE = statement(delete(GRANTED).where(GRANTED.c.account == given("account"), GRANTED.c.address == given("address")))
REVOKE_ALL = statement(delete(GRANTED).where(GRANTED.c.account == given("account")))
GRANTS = statement(select(GRANTED.c.address).where(GRANTED.c.account == given("account")).order_by(GRANTED.c.address))

# ---- aliases ----
ADD_ALIAS = statement(insert_once(ALIAS))
ADD_TARGET = statement(insert(ALIAS_TARGET))
REMOVE_ALIAS = statement(delete(ALIAS).where(ALIAS.c.domain == given("domain"), ALIAS.c.localpart == given("localpart")))
REMOVE_TARGETS = statement(delete(ALIAS_TARGET).where(ALIAS_TARGET.c.domain == given("domain"), ALIAS_TARGET.c.localpart == given("localpart")))
TARGETS = statement(
    select(ALIAS_TARGET.c.target)
    .where(ALIAS_TARGET.c.domain == given("domain"), ALIAS_TARGET.c.localpart == given("localpart"))
    .order_by(ALIAS_TARGET.c.number)
)
_ALIASES = page(select(ALIAS.c.localpart, ALIAS.c.domain).order_by(ALIAS.c.domain, ALIAS.c.localpart))
LIST_ALIASES = statement(
    _ALIASES.where(or_(ALIAS.c.domain > given("after_domain"), (ALIAS.c.domain == given("after_domain")) & (ALIAS.c.localpart > given("after_localpart"))))
)
LIST_ALIASES_OF = statement(_ALIASES.where(ALIAS.c.domain == given("domain"), ALIAS.c.localpart > given("after_localpart")))

# ---- the key store ----
PUT_KEY = statement(insert(ACCOUNT_KEY).on_conflict_do_update(index_elements=["account"], set_={"wrapped": given("wrapped")}))
GET_KEY = statement(select(ACCOUNT_KEY.c.wrapped).where(ACCOUNT_KEY.c.account == given("account")))
DROP_KEY = statement(delete(ACCOUNT_KEY).where(ACCOUNT_KEY.c.account == given("account")))
LIST_KEYS = statement(select(ACCOUNT_KEY.c.account))
LIST_ACCOUNT_IDS = statement(select(_a.id))
MAILBOX_IDS = statement(select(MAILBOX.c.id).where(MAILBOX.c.account == given("account")))
