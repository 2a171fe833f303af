# SPDX-License-Identifier: Apache-2.0
"""The search index: words of messages, the tail that is in no segment, segments; and the octets of what is marked for removal.

Obeys what `store.sql.schema` obeys.
Must never know later schemas: a step of the history stays as it was.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the four tables, put all that is placed into the tail, and count what bears the flag that removes."""
    op.create_table(
        "message_words",
        sa.Column("number", NUMBER, autoincrement=False, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_message_words"),
    )
    op.create_table(
        "index_tail",
        sa.Column("account", NUMBER, nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("account", "number", name="pk_index_tail"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "index_segment",
        sa.Column("account", NUMBER, nullable=False),
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("first", NUMBER, nullable=False),
        sa.Column("last", NUMBER, nullable=False),
        sa.Column("octets", NUMBER, nullable=False),
        sa.Column("numbers", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account", "id", name="pk_index_segment"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "index_part",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("account", NUMBER, nullable=False),
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("kind", NUMBER, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_index_part"),
        sa.UniqueConstraint("account", "id", "kind", name="uq_index_part_account_id_kind"),
    )
    op.execute("INSERT INTO index_tail (account, number) SELECT account, number FROM message WHERE erase_at IS NULL")
    op.add_column("mailbox", sa.Column("deleted_octets", NUMBER, server_default="0", nullable=False))
    op.execute(
        "UPDATE mailbox SET deleted_octets = (SELECT coalesce(sum(message.size), 0) FROM placement JOIN message ON message.number = placement.message"
        " WHERE placement.mailbox = mailbox.id AND placement.flags & 4 != 0) WHERE deleted > 0"
    )
