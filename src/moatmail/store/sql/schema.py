# SPDX-License-Identifier: Apache-2.0
"""The tables of the mail database, one schema for both dialects.

Obeys RFC 3501 §2.3.1.1 (UID, UIDVALIDITY), RFC 7162 §3.1 (modification sequences), RFC 8474 (object ids).
Must never know plain text of a person: what was written lies in columns of sealed octets.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, PrimaryKeyConstraint, String, Table, Text, UniqueConstraint

NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""A counted id or size: 64 bits; SQLite wants the word INTEGER for the key of a row."""

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _count(name: str) -> Column[Any]:
    return Column(name, NUMBER, nullable=False, server_default="0")


# ---------------------------------------------------------------- directory

DOMAIN = Table(
    "domain",
    METADATA,
    Column("name", String(255), primary_key=True),
    Column("catch_all", String(512)),
)

ACCOUNT = Table(
    "account",
    METADATA,
    Column("id", NUMBER, primary_key=True, autoincrement=False),
    Column("localpart", String(256), nullable=False),
    Column("domain", String(255), nullable=False),
    Column("status", String(16), nullable=False),
    _count("quota_octets"),
    _count("used_octets"),
    Column("public", LargeBinary, nullable=False),
    # Messages that can be brought back, and their octets: counted, because each expunge asks.
    _count("recoverable"),
    _count("recoverable_octets"),
    UniqueConstraint("domain", "localpart"),
)

CREDENTIAL = Table(
    "credential",
    METADATA,
    Column("id", LargeBinary(16), primary_key=True),
    Column("account", NUMBER, nullable=False, index=True),
    Column("kind", String(32), nullable=False),
    Column("label", String(255), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

GRANTED = Table(
    "granted",
    METADATA,
    Column("account", NUMBER, nullable=False),
    Column("address", String(512), nullable=False),
    PrimaryKeyConstraint("account", "address"),
    sqlite_with_rowid=False,
)

ALIAS = Table(
    "alias",
    METADATA,
    Column("domain", String(255), nullable=False),
    Column("localpart", String(256), nullable=False),
    PrimaryKeyConstraint("domain", "localpart"),
    sqlite_with_rowid=False,
)

ALIAS_TARGET = Table(
    "alias_target",
    METADATA,
    Column("domain", String(255), nullable=False),
    Column("localpart", String(256), nullable=False),
    Column("number", NUMBER, nullable=False),
    Column("target", String(512), nullable=False),
    PrimaryKeyConstraint("domain", "localpart", "number"),
    sqlite_with_rowid=False,
)

# ---------------------------------------------------------------- mailboxes and messages

MAILBOX = Table(
    "mailbox",
    METADATA,
    Column("id", NUMBER, primary_key=True),
    Column("account", NUMBER, nullable=False),
    Column("object_id", LargeBinary(16), nullable=False),
    Column("sealed_name", LargeBinary, nullable=False),
    Column("tag", LargeBinary(16), nullable=False),
    Column("uidvalidity", NUMBER, nullable=False),
    Column("uidnext", NUMBER, nullable=False),
    Column("highestmodseq", NUMBER, nullable=False),
    Column("special_use", String(16)),
    _count("messages"),
    _count("unseen"),
    _count("deleted"),
    _count("octets"),
    # Octets of what bears \\Deleted (RFC 9208 §5.1, DELETED-STORAGE): summed when asked for, 100,000 messages would be read.
    _count("deleted_octets"),
    # Rows of `vanished`, and the modseq up to which rows were forgotten: who asks from before it is told of all UIDs that are not there.
    _count("vanished"),
    _count("forgotten_modseq"),
    UniqueConstraint("account", "tag"),
    # One mailbox of an account per use (RFC 6154 §2 leaves it open); NULLs do not meet. Delivery finds its target by it.
    UniqueConstraint("account", "special_use"),
    # Ids are never given twice: a late hint about a deleted mailbox must not name another one.
    sqlite_autoincrement=True,
)

SUBSCRIPTION = Table(
    "subscription",
    METADATA,
    Column("account", NUMBER, nullable=False),
    Column("tag", LargeBinary(16), nullable=False),
    Column("object_id", LargeBinary(16), nullable=False),
    Column("sealed_name", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account", "tag"),
    sqlite_with_rowid=False,
)

MESSAGE = Table(
    "message",
    METADATA,
    Column("number", NUMBER, primary_key=True),
    Column("id", LargeBinary(16), nullable=False),
    Column("account", NUMBER, nullable=False),
    Column("content", LargeBinary(16), nullable=False),
    Column("size", NUMBER, nullable=False),
    Column("received_at", Float, nullable=False),
    # Epoch seconds until which a message without placement can be brought back; NULL while it is placed.
    Column("erase_at", Float),
    # 1: to be re-wrapped; 2: wrapped with the mailbox key. In a column so that the first are found by an index.
    Column("cover_kind", NUMBER, nullable=False),
    Column("cover", LargeBinary, nullable=False),
    Column("prefix", LargeBinary, nullable=False),
    Column("summary", LargeBinary, nullable=False),
    # RFC 8474 §5.2: never changed once given; NULL where none was given yet, as to mail kept before there were threads.
    Column("thread", LargeBinary(16)),
    # The keyed digests of what it mentions, one after another: erasing it finds their rows in thread_link, and those that others need.
    Column("links", LargeBinary),
    # Octets that a reader of UTF-8 is told, where others see a surrogate header of another length (RFC 6858); NULL where both are told the same.
    Column("real_size", NUMBER),
    UniqueConstraint("id"),
)
OLD_COVER = Index("ix_message_old_cover", MESSAGE.c.account, sqlite_where=MESSAGE.c.cover_kind == 1, postgresql_where=MESSAGE.c.cover_kind == 1)
# Placed messages of an account are found through its mailboxes, the others here, oldest first: an index over all would cost each delivery a page.
RECOVERABLE = Index(
    "ix_message_recoverable",
    MESSAGE.c.account,
    MESSAGE.c.erase_at,
    sqlite_where=MESSAGE.c.erase_at.is_not(None),
    postgresql_where=MESSAGE.c.erase_at.is_not(None),
)
UNTHREADED = Index("ix_message_unthreaded", MESSAGE.c.account, sqlite_where=MESSAGE.c.thread.is_(None), postgresql_where=MESSAGE.c.thread.is_(None))
# Threads are numbered by time, so that new ones come to the end of it: an index by account would cost each delivery a page of its own.
BY_THREAD = Index("ix_message_thread", MESSAGE.c.thread, sqlite_where=MESSAGE.c.thread.is_not(None), postgresql_where=MESSAGE.c.thread.is_not(None))
REAL_SIZE = Index(
    "ix_message_real_size",
    MESSAGE.c.account,
    MESSAGE.c.real_size,
    sqlite_where=MESSAGE.c.real_size.is_not(None),
    postgresql_where=MESSAGE.c.real_size.is_not(None),
)
ERASE_AT = Index("ix_message_erase_at", MESSAGE.c.erase_at, sqlite_where=MESSAGE.c.erase_at.is_not(None), postgresql_where=MESSAGE.c.erase_at.is_not(None))

PLACEMENT = Table(
    "placement",
    METADATA,
    Column("mailbox", NUMBER, nullable=False),
    Column("uid", NUMBER, nullable=False),
    Column("message", NUMBER, nullable=False, index=True),
    Column("flags", NUMBER, nullable=False),
    # Keywords are atoms (RFC 3501 §9): joined by blanks.
    Column("keywords", Text, nullable=False),
    Column("modseq", NUMBER, nullable=False),
    Column("saved_at", Float, nullable=False),
    PrimaryKeyConstraint("mailbox", "uid"),
    Index("ix_placement_modseq", "mailbox", "modseq"),
    sqlite_with_rowid=False,
)

VANISHED = Table(
    "vanished",
    METADATA,
    Column("mailbox", NUMBER, nullable=False),
    Column("modseq", NUMBER, nullable=False),
    Column("uid", NUMBER, nullable=False),
    PrimaryKeyConstraint("mailbox", "modseq", "uid"),
    sqlite_with_rowid=False,
)

CONTENT = Table(
    "content",
    METADATA,
    Column("id", LargeBinary(16), primary_key=True),
    Column("references", NUMBER, nullable=False),
    Column("size", NUMBER, nullable=False),
    # NULL: the file named by the id holds it.
    Column("blob", LargeBinary),
)

# ---------------------------------------------------------------- threads

# Which thread mentions what, as keyed digests: a row stays as long as a message of that thread has its digest among its links.
THREAD_LINK = Table(
    "thread_link",
    METADATA,
    Column("account", NUMBER, nullable=False),
    Column("digest", LargeBinary(16), nullable=False),
    Column("thread", LargeBinary(16), nullable=False),
    PrimaryKeyConstraint("account", "digest"),
    sqlite_with_rowid=False,
)

# ---------------------------------------------------------------- search

# A table of its own: beside the summary the words would have every FETCH read twice as many pages.
MESSAGE_WORDS = Table(
    "message_words",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=False),
    Column("sealed", LargeBinary, nullable=False),
)

# Placed messages of no segment, in the order in which they came. Not a column of the message: merging a thousand of them would write
# three hundred pages anew, and these are two.
INDEX_TAIL = Table(
    "index_tail",
    METADATA,
    Column("account", NUMBER, nullable=False),
    Column("number", NUMBER, nullable=False),
    PrimaryKeyConstraint("account", "number"),
    sqlite_with_rowid=False,
)

INDEX_SEGMENT = Table(
    "index_segment",
    METADATA,
    Column("account", NUMBER, nullable=False),
    Column("id", LargeBinary(16), nullable=False),
    # Lowest and highest message number: which segments may hold a message.
    Column("first", NUMBER, nullable=False),
    Column("last", NUMBER, nullable=False),
    # Octets of all parts together.
    Column("octets", NUMBER, nullable=False),
    # The message numbers, rising, as msgpack.
    Column("numbers", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account", "id"),
    sqlite_with_rowid=False,
)

INDEX_PART = Table(
    "index_part",
    METADATA,
    Column("number", NUMBER, primary_key=True),
    Column("account", NUMBER, nullable=False),
    Column("id", LargeBinary(16), nullable=False),
    Column("kind", NUMBER, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    UniqueConstraint("account", "id", "kind"),
)

# ---------------------------------------------------------------- queue

SPOOL = Table(
    "spool",
    METADATA,
    Column("id", LargeBinary(16), primary_key=True),
    Column("content", LargeBinary(16), nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
    Column("sealed_envelope", LargeBinary, nullable=False),
    Column("sealed_prefix", LargeBinary, nullable=False),
    Column("arrived_at", Float, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("lease_owner", String(128), nullable=False, server_default=""),
    Column("lease_until", Float, nullable=False, server_default="0"),
)

SPOOL_RECIPIENT = Table(
    "spool_recipient",
    METADATA,
    Column("spool", LargeBinary(16), nullable=False),
    Column("number", NUMBER, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", NUMBER, nullable=False),
    Column("next_attempt", Float, nullable=False),
    Column("sealed_reply", LargeBinary, nullable=False),
    PrimaryKeyConstraint("spool", "number"),
    sqlite_with_rowid=False,
)
DUE = Index(
    "ix_spool_recipient_due",
    SPOOL_RECIPIENT.c.next_attempt,
    sqlite_where=SPOOL_RECIPIENT.c.state == "queued",
    postgresql_where=SPOOL_RECIPIENT.c.state == "queued",
)

# ---------------------------------------------------------------- signing keys and reports

SIGNING_KEY = Table(
    "signing_key",
    METADATA,
    Column("id", LargeBinary(16), primary_key=True),
    Column("domain", String(255), nullable=False),
    Column("selector", String(255), nullable=False),
    Column("algorithm", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    # What is due in the DNS: open, as everybody may read it there.
    Column("record", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    UniqueConstraint("domain", "selector"),
)

REPORT = Table(
    "report",
    METADATA,
    Column("id", LargeBinary(16), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("received_at", Float, nullable=False),
    Column("domain", String(255), nullable=False),
    Column("reporter", String(512), nullable=False),
    Column("report_id", String(512), nullable=False),
    Column("begin", Float, nullable=False),
    Column("end", Float, nullable=False),
    # JSON: sums and rows of a report, which holds domains, IP addresses and counts.
    Column("totals", Text, nullable=False),
    Column("rows", Text, nullable=False),
    UniqueConstraint("kind", "reporter", "report_id", "domain"),
    Index("ix_report_received_at", "received_at"),
)

SENT_REPORT = Table(
    "sent_report",
    METADATA,
    Column("day", NUMBER, nullable=False),
    Column("domain", String(255), nullable=False),
    Column("receiver", String(255), nullable=False),
    PrimaryKeyConstraint("day", "domain", "receiver"),
    sqlite_with_rowid=False,
)

# ---------------------------------------------------------------- settings and state

SETTING = Table("setting", METADATA, Column("key", String(255), primary_key=True), Column("value", Text, nullable=False))

CHANGE = Table(
    "change",
    METADATA,
    Column("id", NUMBER, primary_key=True),
    Column("at", Float, nullable=False),
    Column("actor", String(512), nullable=False),
    Column("door", String(32), nullable=False),
    # JSON: for each item its kind, the object, before and after; never a secret.
    Column("items", Text, nullable=False),
)

JOURNAL = Table(
    "journal",
    METADATA,
    Column("id", NUMBER, primary_key=True),
    Column("at", Float, nullable=False),
    Column("who", String(512), nullable=False),
    Column("what", Text, nullable=False),
)

LEDGER = Table(
    "ledger",
    METADATA,
    Column("day", NUMBER, primary_key=True, autoincrement=False),
    _count("accepted"),
    _count("delivered"),
    _count("queued"),
    _count("relayed"),
    _count("bounced"),
)

OPERATION_DONE = Table(
    "operation_done",
    METADATA,
    Column("id", LargeBinary(16), primary_key=True),
    Column("at", Float, nullable=False, index=True),
    Column("answer", LargeBinary, nullable=False),
)

SECRET = Table(
    "secret",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("public", LargeBinary, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)

META = Table("meta", METADATA, Column("name", String(32), primary_key=True), Column("value", NUMBER, nullable=False))

# ---------------------------------------------------------------- databases of their own, made in place (one table each, no history to migrate)

KEY_STORE = MetaData()
ACCOUNT_KEY = Table("account_key", KEY_STORE, Column("account", NUMBER, primary_key=True, autoincrement=False), Column("wrapped", LargeBinary, nullable=False))

SOFT = MetaData()
DECISION = Table(
    "decision",
    SOFT,
    Column("id", LargeBinary(16), primary_key=True),
    Column("at", Float, nullable=False, index=True),
    Column("code", String(16), nullable=False, index=True),
    Column("facts", Text, nullable=False),
    Column("evidence_key", LargeBinary(16), nullable=False),
    Column("sealed_evidence", LargeBinary, nullable=False),
    Column("settings_version", NUMBER, nullable=False),
    Column("verdict", Text, nullable=False),
)
EVIDENCE_KEY = Table(
    "evidence_key",
    SOFT,
    Column("id", LargeBinary(16), primary_key=True),
    Column("at", Float, nullable=False),
    Column("cover", LargeBinary, nullable=False),
)
OBSERVED = Table(
    "observed",
    SOFT,
    Column("day", NUMBER, nullable=False),
    Column("domain", String(255), nullable=False),
    Column("row", Text, nullable=False),
    Column("count", NUMBER, nullable=False),
    PrimaryKeyConstraint("day", "domain", "row"),
    sqlite_with_rowid=False,
)
SOFT_SHAPE = 2
"""Goes up with every change of these tables; what was kept in another shape is dropped, as a power cut might have done."""
