# SPDX-License-Identifier: Apache-2.0
"""Runs the steps of the schema's history over one open connection, all in one transaction: a kill in between leaves the old state.

Obeys no RFC.
Must never know keys; loaded by the child of `store.migrate` only, because the library is large.
"""

from __future__ import annotations

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from moatmail.store.sqlite import Database, engine_over


def scripts() -> ScriptDirectory:
    """Give the history: the files of `versions` beside this one."""
    return ScriptDirectory(__file__.rpartition("/")[0])


def upgrade(database: Database, to: str = "head") -> None:
    """Run every step that the database has not had yet, up to a version."""
    history = scripts()
    with engine_over(database).connect() as connection:
        # The driver begins no transaction by itself, and DDL belongs into one.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        context = MigrationContext.configure(
            connection,
            opts={"fn": lambda revision, _context: history._upgrade_revs(to, revision)},  # noqa: SLF001  the library's own way, see its command.upgrade
        )
        with Operations.context(context):
            context.run_migrations()
        connection.commit()


def head() -> str:
    """Give the newest version of the history."""
    newest = scripts().get_current_head()
    if newest is None:
        raise ValueError("the schema has no history")
    return newest
