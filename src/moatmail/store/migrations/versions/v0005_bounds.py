# SPDX-License-Identifier: Apache-2.0
"""Bounds: what an account has of recoverable mail is counted, and what a mailbox remembers of vanished messages.

Obeys what `store.sql.schema` obeys.
Must never know later schemas: a step of the history stays as it was.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Count what is recoverable and what vanished, and have the oldest recoverable messages of an account found without a search."""
    op.add_column("account", sa.Column("recoverable", NUMBER, server_default="0", nullable=False))
    op.add_column("account", sa.Column("recoverable_octets", NUMBER, server_default="0", nullable=False))
    op.execute("UPDATE account SET recoverable = (SELECT count(*) FROM message WHERE message.account = account.id AND message.erase_at IS NOT NULL)")
    op.execute(
        "UPDATE account SET recoverable_octets ="
        " (SELECT coalesce(sum(message.size), 0) FROM message WHERE message.account = account.id AND message.erase_at IS NOT NULL)"
    )
    op.drop_index("ix_message_recoverable", "message")
    recoverable = sa.text("erase_at IS NOT NULL")
    op.create_index("ix_message_recoverable", "message", ["account", "erase_at"], sqlite_where=recoverable, postgresql_where=recoverable)
    op.add_column("mailbox", sa.Column("vanished", NUMBER, server_default="0", nullable=False))
    op.add_column("mailbox", sa.Column("forgotten_modseq", NUMBER, server_default="0", nullable=False))
    op.execute("UPDATE mailbox SET vanished = (SELECT count(*) FROM vanished WHERE vanished.mailbox = mailbox.id)")
