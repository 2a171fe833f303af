# SPDX-License-Identifier: Apache-2.0
"""Signing keys, reports of others, reports sent.

Obeys what `store.sql.schema` obeys.
Must never know later schemas: a step of the history stays as it was.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "signing_key",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("selector", sa.String(length=255), nullable=False),
        sa.Column("algorithm", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_signing_key"),
        sa.UniqueConstraint("domain", "selector", name="uq_signing_key_domain_selector"),
    )
    op.create_table(
        "report",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("reporter", sa.String(length=512), nullable=False),
        sa.Column("report_id", sa.String(length=512), nullable=False),
        sa.Column("begin", sa.Float(), nullable=False),
        sa.Column("end", sa.Float(), nullable=False),
        sa.Column("totals", sa.Text(), nullable=False),
        sa.Column("rows", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_report"),
        sa.UniqueConstraint("kind", "reporter", "report_id", "domain", name="uq_report_kind_reporter_report_id_domain"),
    )
    op.create_index("ix_report_received_at", "report", ["received_at"], unique=False)
    op.create_table(
        "sent_report",
        sa.Column("day", NUMBER, nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("receiver", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("day", "domain", "receiver", name="pk_sent_report"),
        sqlite_with_rowid=False,
    )
