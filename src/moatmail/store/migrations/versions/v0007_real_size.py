# SPDX-License-Identifier: Apache-2.0
"""Sizes of internationalized messages as readers of UTF-8 are told them.

Obeys what `store.sql.schema` obeys.
Must never know later schemas: a step of the history stays as it was.

Revision ID: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make room for them; of mail kept before nobody knows them without opening it."""
    op.add_column("message", sa.Column("real_size", NUMBER))
    there = sa.text("real_size IS NOT NULL")
    op.create_index("ix_message_real_size", "message", ["account", "real_size"], sqlite_where=there, postgresql_where=there)
