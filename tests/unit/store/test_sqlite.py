# SPDX-License-Identifier: Apache-2.0
"""One connection to the sealed database."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import func, select, table

from moatmail.store.sql.statement import statement
from moatmail.store.sqlite import Use, open_database


def test_a_snapshot_sees_one_state_while_others_commit(tmp_path: Path) -> None:
    """Fault: a change committed between two statements of one question was told by neither, nor by the next question."""
    writer, reader = open_database(tmp_path / "x", bytes(32), Use.WRITE), open_database(tmp_path / "x", bytes(32), Use.READ)
    writer.script(["CREATE TABLE seen (number INTEGER)"])
    count = statement(select(func.count()).select_from(table("seen")))
    with reader.snapshot():
        assert reader.one(count) == (0,)
        writer.script(["INSERT INTO seen VALUES (1)"])
        assert reader.one(count) == (0,)
    assert reader.one(count) == (1,)
    writer.close()
    reader.close()
