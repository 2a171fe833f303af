# SPDX-License-Identifier: Apache-2.0
"""How a statement is made: built once with SQLAlchemy Core, compiled once to text with named parameters, bound at each use.

Obeys no RFC.
Must never know a driver: `store.sqlite` runs the text.
"""

from __future__ import annotations

from typing import Any, NewType

from sqlalchemy import Select, Table, bindparam, literal_column
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql import ClauseElement

Statement = NewType("Statement", str)
"""SQL text with parameters named as the columns or as the builder says; running it costs 6-10 µs, building it per call would cost 87."""

_DIALECT = sqlite.dialect(paramstyle="named")


def statement(construct: ClauseElement) -> Statement:
    """Compile a construct; raises ValueError when a value slipped into it that should be a parameter or a literal column."""
    compiled = construct.compile(dialect=_DIALECT)
    constants = [name for name, value in compiled.params.items() if value is not None]
    if constants:
        raise ValueError(f"bound constants in a statement: {constants}")
    return Statement(str(compiled))


def given(name: str) -> Any:  # noqa: ANN401  the library types a parameter by where it stands
    """Name a parameter."""
    return bindparam(name)


def page(query: Select[Any]) -> Select[Any]:
    """Bound a query to the parameter `rows`; the offset is spelled out because the SQLite dialect would bind a constant for it."""
    return query.limit(given("rows")).offset(literal_column("0"))


def first(query: Select[Any]) -> Select[Any]:
    """Bound a query to one row."""
    return query.limit(literal_column("1")).offset(literal_column("0"))


def insert(table: Table, *columns: str) -> Insert:
    """Build an INSERT of the named columns, or of all columns but a row number that the database gives."""
    names = columns or tuple(column.name for column in table.columns if column is not table.autoincrement_column)
    return Insert(table).values({name: bindparam(name) for name in names})


def insert_once(table: Table, *columns: str) -> Insert:
    """Build an INSERT that does nothing where the row exists: this is how a repeated operation answers as if just done."""
    return insert(table, *columns).on_conflict_do_nothing()


def make_tables(*tables: Table) -> list[str]:
    """Give the statements that make tables and indexes where they are missing: for the small databases beside the mail."""
    texts = []
    for table in tables:
        texts.append(str(CreateTable(table, if_not_exists=True).compile(dialect=_DIALECT)))
        texts += [str(CreateIndex(index, if_not_exists=True).compile(dialect=_DIALECT)) for index in table.indexes]
    return texts
