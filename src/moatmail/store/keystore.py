# SPDX-License-Identifier: Apache-2.0
"""The key store: the wrapped keys of accounts, in a database of their own, of which a backup keeps one current copy and never a history.

Obeys no RFC.
Must never know a key in clear.

Order of writing: a new account's key is durable before its row, a removed account's key goes after its row. Whenever the power fails
between the two, a key without account is left and no account without key; the next start sweeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from moatmail.store.sql import directory, schema
from moatmail.store.sql.statement import make_tables
from moatmail.store.sqlite import Database, Use, open_database

FILE: Final = "keys.sqlite"


class KeyStoreFile:
    """The key store in the data folder."""

    def __init__(self, folder: Path, key: bytes) -> None:
        """Open it, and make it where it is missing; raises ConfigError for a wrong key."""
        self._db: Database = open_database(folder / FILE, key, Use.WRITE)
        self._db.script(make_tables(schema.ACCOUNT_KEY))

    def get(self, account: int) -> bytes | None:
        """Give an account's wrapped keys, or None."""
        row = self._db.one(directory.GET_KEY, {"account": account})
        return row[0] if row else None

    def put(self, keys: Mapping[int, bytes]) -> None:
        """Keep new keys; durable when it returns."""
        self._write(keys, ())

    def drop(self, accounts: Iterable[int]) -> None:
        """Erase keys: pages are overwritten and the log is emptied, so that nothing of them is left in the file."""
        self._write({}, accounts)
        self._db.checkpoint(truncate=True)

    def sweep(self, accounts: frozenset[int]) -> int:
        """Erase the keys of all others than `accounts`; give how many."""
        orphans = [row[0] for row in self._db.all(directory.LIST_KEYS) if row[0] not in accounts]
        if orphans:
            self.drop(orphans)
        return len(orphans)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _write(self, new: Mapping[int, bytes], gone: Iterable[int]) -> None:
        self._db.begin()
        try:
            self._db.run_many(directory.PUT_KEY, [{"account": account, "wrapped": wrapped} for account, wrapped in new.items()])
            self._db.run_many(directory.DROP_KEY, [{"account": account} for account in gone])
            self._db.commit()
        except BaseException:
            self._db.rollback()
            raise
