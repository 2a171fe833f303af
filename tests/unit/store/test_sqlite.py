# SPDX-License-Identifier: Apache-2.0
"""One connection to the sealed database."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import column, func, select, table

from moatmail.store.sql.statement import statement
from moatmail.store.sqlite import DatabaseError, Use, open_database, translate


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


def test_damage_that_is_found_while_the_store_serves_is_called_so(tmp_path: Path) -> None:
    """Fault: a page that no longer opened was "DatabaseError: database disk image is malformed", and nobody knew what to do."""
    database = open_database(tmp_path / "x", bytes(32), Use.WRITE)
    database.script(["CREATE TABLE seen (octets BLOB)", "INSERT INTO seen VALUES (zeroblob(100000))"])
    database.close()
    octets = (tmp_path / "x").read_bytes()
    assert len(octets) > 100_000, "all of it is in the file, nothing in a log"
    (tmp_path / "x").write_bytes(octets[: len(octets) // 2] + bytes(100) + octets[len(octets) // 2 + 100 :])
    reader = open_database(tmp_path / "x", bytes(32), Use.READ)
    with pytest.raises(DatabaseError) as caught:
        reader.one(statement(select(column("octets")).select_from(table("seen"))))
    assert "the database is damaged" in str(translate(caught.value))
    assert "put the folder back from a backup" in str(translate(caught.value))
    reader.close()
