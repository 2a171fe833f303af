# SPDX-License-Identifier: Apache-2.0
"""The first schema.

Obeys what `store.sql.schema` obeys.
Must never know later schemas: a step of the history stays as it was.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table."""
    _directory()
    _mailboxes()
    _messages()
    _queue()
    _state()
    _counters()


def _directory() -> None:
    """Make the tables of the directory."""
    op.create_table(
        "domain",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("catch_all", sa.String(length=512), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_domain"),
    )
    op.create_table(
        "account",
        sa.Column("id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("localpart", sa.String(length=256), nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("quota_octets", NUMBER, server_default="0", nullable=False),
        sa.Column("used_octets", NUMBER, server_default="0", nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
        sa.UniqueConstraint("domain", "localpart", name="uq_account_domain_localpart"),
    )
    op.create_table(
        "credential",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("account", NUMBER, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("label", sa.String(length=255), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_credential"),
    )
    op.create_index("ix_credential_account", "credential", ["account"], unique=False)
    op.create_table(
        "granted",
        sa.Column("account", NUMBER, nullable=False),
        sa.Column("address", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("account", "address", name="pk_granted"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "alias",
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("localpart", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("domain", "localpart", name="pk_alias"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "alias_target",
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("localpart", sa.String(length=256), nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("target", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("domain", "localpart", "number", name="pk_alias_target"),
        sqlite_with_rowid=False,
    )


def _mailboxes() -> None:
    """Make the tables of mailboxes."""
    op.create_table(
        "mailbox",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("account", NUMBER, nullable=False),
        sa.Column("object_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("sealed_name", sa.LargeBinary(), nullable=False),
        sa.Column("tag", sa.LargeBinary(length=16), nullable=False),
        sa.Column("uidvalidity", NUMBER, nullable=False),
        sa.Column("uidnext", NUMBER, nullable=False),
        sa.Column("highestmodseq", NUMBER, nullable=False),
        sa.Column("special_use", sa.String(length=16), nullable=True),
        sa.Column("messages", NUMBER, server_default="0", nullable=False),
        sa.Column("unseen", NUMBER, server_default="0", nullable=False),
        sa.Column("deleted", NUMBER, server_default="0", nullable=False),
        sa.Column("octets", NUMBER, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mailbox"),
        sa.UniqueConstraint("account", "tag", name="uq_mailbox_account_tag"),
        sa.UniqueConstraint("account", "special_use", name="uq_mailbox_account_special_use"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "subscription",
        sa.Column("account", NUMBER, nullable=False),
        sa.Column("tag", sa.LargeBinary(length=16), nullable=False),
        sa.Column("object_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("sealed_name", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account", "tag", name="pk_subscription"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "placement",
        sa.Column("mailbox", NUMBER, nullable=False),
        sa.Column("uid", NUMBER, nullable=False),
        sa.Column("message", NUMBER, nullable=False),
        sa.Column("flags", NUMBER, nullable=False),
        sa.Column("keywords", sa.Text(), nullable=False),
        sa.Column("modseq", NUMBER, nullable=False),
        sa.Column("saved_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("mailbox", "uid", name="pk_placement"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_placement_message", "placement", ["message"], unique=False)
    op.create_index("ix_placement_modseq", "placement", ["mailbox", "modseq"], unique=False)
    op.create_table(
        "vanished",
        sa.Column("mailbox", NUMBER, nullable=False),
        sa.Column("modseq", NUMBER, nullable=False),
        sa.Column("uid", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("mailbox", "modseq", "uid", name="pk_vanished"),
        sqlite_with_rowid=False,
    )


def _messages() -> None:
    """Make the tables of messages and contents."""
    op.create_table(
        "message",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("account", NUMBER, nullable=False),
        sa.Column("content", sa.LargeBinary(length=16), nullable=False),
        sa.Column("size", NUMBER, nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("erase_at", sa.Float(), nullable=True),
        sa.Column("cover_kind", NUMBER, nullable=False),
        sa.Column("cover", sa.LargeBinary(), nullable=False),
        sa.Column("prefix", sa.LargeBinary(), nullable=False),
        sa.Column("summary", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_message"),
        sa.UniqueConstraint("id", name="uq_message_id"),
    )
    op.create_index(
        "ix_message_erase_at",
        "message",
        ["erase_at"],
        unique=False,
        sqlite_where=sa.text("erase_at IS NOT NULL"),
        postgresql_where=sa.text("erase_at IS NOT NULL"),
    )
    op.create_index(
        "ix_message_old_cover", "message", ["account"], unique=False, sqlite_where=sa.text("cover_kind = 1"), postgresql_where=sa.text("cover_kind = 1")
    )
    op.create_index(
        "ix_message_recoverable",
        "message",
        ["account"],
        unique=False,
        sqlite_where=sa.text("erase_at IS NOT NULL"),
        postgresql_where=sa.text("erase_at IS NOT NULL"),
    )
    op.create_table(
        "content",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("references", NUMBER, nullable=False),
        sa.Column("size", NUMBER, nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_content"),
    )


def _queue() -> None:
    """Make the tables of the queue."""
    op.create_table(
        "spool",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("content", sa.LargeBinary(length=16), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_envelope", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_prefix", sa.LargeBinary(), nullable=False),
        sa.Column("arrived_at", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("lease_owner", sa.String(length=128), server_default="", nullable=False),
        sa.Column("lease_until", sa.Float(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_spool"),
    )
    op.create_table(
        "spool_recipient",
        sa.Column("spool", sa.LargeBinary(length=16), nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", NUMBER, nullable=False),
        sa.Column("next_attempt", sa.Float(), nullable=False),
        sa.Column("sealed_reply", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("spool", "number", name="pk_spool_recipient"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_spool_recipient_due",
        "spool_recipient",
        ["next_attempt"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )


def _state() -> None:
    """Make the tables of settings, records and counters."""
    op.create_table(
        "setting",
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_setting"),
    )
    op.create_table(
        "change",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(length=512), nullable=False),
        sa.Column("door", sa.String(length=32), nullable=False),
        sa.Column("items", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_change"),
    )
    op.create_table(
        "journal",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("who", sa.String(length=512), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_journal"),
    )
    op.create_table(
        "ledger",
        sa.Column("day", NUMBER, autoincrement=False, nullable=False),
        sa.Column("accepted", NUMBER, server_default="0", nullable=False),
        sa.Column("delivered", NUMBER, server_default="0", nullable=False),
        sa.Column("queued", NUMBER, server_default="0", nullable=False),
        sa.Column("relayed", NUMBER, server_default="0", nullable=False),
        sa.Column("bounced", NUMBER, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_ledger"),
    )
    op.create_table(
        "operation_done",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_operation_done"),
    )
    op.create_index("ix_operation_done_at", "operation_done", ["at"], unique=False)
    op.create_table(
        "secret",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secret"),
    )


def _counters() -> None:
    """Make the store's own counters, each at zero."""
    meta = op.create_table(
        "meta",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )
    op.bulk_insert(meta, [{"name": name, "value": 0} for name in ("commit", "settings", "account", "uidvalidity")])
