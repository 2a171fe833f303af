# SPDX-License-Identifier: Apache-2.0
"""Threads: which one a message belongs to, and what ties messages together.

Obeys what `store.sql.schema` obeys.
Must never know later schemas: a step of the history stays as it was.

Revision ID: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make room for threads; mail kept before gets its own when its owner's session looks."""
    op.add_column("message", sa.Column("thread", sa.LargeBinary(length=16)))
    op.add_column("message", sa.Column("links", sa.LargeBinary()))
    op.create_index("ix_message_unthreaded", "message", ["account"], sqlite_where=sa.text("thread IS NULL"), postgresql_where=sa.text("thread IS NULL"))
    op.create_index("ix_message_thread", "message", ["thread"], sqlite_where=sa.text("thread IS NOT NULL"), postgresql_where=sa.text("thread IS NOT NULL"))
    op.create_table(
        "thread_link",
        sa.Column("account", NUMBER, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("thread", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("account", "digest", name="pk_thread_link"),
        sqlite_with_rowid=False,
    )
