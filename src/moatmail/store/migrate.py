# SPDX-License-Identifier: Apache-2.0
"""Bringing a data folder's schema to this program's version, in a child process that ends: the migration library never enters a server's memory.

Obeys no RFC.
Must never know what the tables hold.
"""

from __future__ import annotations

import os
import subprocess  # our own interpreter with our own module, argv as a list
import sys
from pathlib import Path
from typing import Final

from moatmail.core.errors import ConfigError
from moatmail.store.sql import state
from moatmail.store.sql.statement import Statement
from moatmail.store.sqlite import Database, DatabaseError, Use, open_database

FILE: Final = "mail.sqlite"
HEAD: Final = "0007"
"""The newest schema this program knows; each version is a file of `migrations/versions`."""

_VERSION: Final = Statement("SELECT version_num FROM alembic_version")
_SECONDS: Final = 600


def version_of(database: Database) -> str | None:
    """Give the schema's version, or None for an empty database."""
    try:
        row = database.one(_VERSION)
    except DatabaseError as error:
        if "no such table" not in str(error):
            raise
        return None
    return str(row[0]) if row else None


def commits_of(folder: Path, key: bytes) -> int:
    """Give the number of the last commit in the folder's database, changing nothing; 0 where there is none. Raises ConfigError for a wrong key."""
    path = folder / FILE
    if not path.exists() or not path.stat().st_size:
        return 0
    database = open_database(path, key, Use.READ)
    try:
        row = database.one(state.GET_META, {"counter": "commit"})
    except DatabaseError as error:
        if "no such table" not in str(error):
            raise
        return 0
    finally:
        database.close()
    return int(row[0]) if row else 0


def bring_up(folder: Path, key: bytes) -> None:
    """Make or upgrade the database in `folder`; raises ConfigError for a folder of a newer program, a wrong key or a failed upgrade."""
    path = folder / FILE
    # Everything of the data folder is its owner's alone, from the first octet on.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    database = open_database(path, key, Use.WRITE)
    try:
        version = version_of(database)
    finally:
        database.close()
    if version == HEAD:
        return
    if version is not None and version > HEAD:
        raise ConfigError(f"{folder}: made by a newer Moatmail (schema {version}, this one knows {HEAD}); upgrade the program")
    _in_child(path, key)


def _in_child(path: Path, key: bytes) -> None:
    # The key goes through a pipe: never in argv or environment, where other users could read it.
    done = subprocess.run(  # noqa: S603  our own interpreter
        # -P: what lies in the current folder is not ours to run, least of all with the database's key at hand.
        [sys.executable, "-P", "-m", __name__, str(path)],
        input=key,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise ConfigError(f"{path}: the schema could not be brought to version {HEAD} ({last}); the old state is untouched")


def main(arguments: list[str]) -> None:
    """Upgrade the database named by the one argument; its key comes on standard input."""
    from moatmail.store.migrations.run import upgrade  # noqa: PLC0415  only the child loads the migration library

    database = open_database(Path(arguments[0]), sys.stdin.buffer.read(), Use.WRITE)
    upgrade(database)
    database.close()


if __name__ == "__main__":
    main(sys.argv[1:])
