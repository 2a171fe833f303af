# SPDX-License-Identifier: Apache-2.0
"""The SQLite side: opens keyed connections, runs statements, turns the driver's errors into ours.

Obeys no RFC; durability is RFC 5321 §6.1's: WAL with synchronous=FULL, so that a commit is on stable storage when it returns.
Must never know what a row means. The one importer of the driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool
from sqlcipher3 import dbapi2

from moatmail.core.errors import AlreadyExistsError, ConfigError, MoatmailError, StorageFullError, StoreUnavailableError
from moatmail.core.limits import store as limits
from moatmail.store.sql.statement import Statement

DatabaseError: Final[type[Exception]] = dbapi2.Error
"""What `Database` raises; `translate` turns it into one of our errors."""

Row = tuple[Any, ...]
Parameters = Mapping[str, Any]
_NONE: Final[dict[str, Any]] = {}
_KEY_SIZE: Final = 32


class Use(Enum):
    """What a connection is for: the one writer, a reader, soft state (whose last seconds may be lost at a power cut), moving the log beside the writer."""

    WRITE = "write"
    READ = "read"
    SOFT = "soft"
    MOVE = "move"


_PRAGMAS: Final[Mapping[Use, tuple[str, ...]]] = {
    # secure_delete: what was erased leaves no trace in free pages. Checkpoints are placed by the writer, outside a caller's wait.
    Use.WRITE: (
        "journal_mode=WAL",
        "synchronous=FULL",
        "secure_delete=ON",
        f"cache_size=-{limits.WRITER_CACHE}",
        f"journal_size_limit={limits.WAL_KEPT}",
        f"wal_autocheckpoint={limits.WAL_PAGES_AT_MOST}",
    ),
    Use.READ: ("query_only=ON", f"cache_size=-{limits.READER_CACHE}"),
    Use.MOVE: ("synchronous=FULL", "cache_size=-64", f"journal_size_limit={limits.WAL_KEPT}"),
    Use.SOFT: ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON", "cache_size=-512", "journal_size_limit=1048576"),
}
# Temporary structures stay in memory: sorting a mailbox must not write a person's data into a file.
_ALWAYS: Final = ("temp_store=MEMORY", "mmap_size=0", "cipher_log_level=NONE")


class Database:
    """One connection; statements run by name of their parameters, transactions are begun and ended by the caller."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401  the driver has no types
        """Take an open connection (see `open_database`)."""
        self._connection = connection
        self._execute = connection.execute

    # ---- statements ----

    def run(self, statement: Statement, parameters: Parameters = _NONE) -> int:
        """Run a change; give how many rows it touched."""
        count: int = self._execute(statement, parameters).rowcount
        return count

    def run_many(self, statement: Statement, rows: Iterable[Parameters]) -> None:
        """Run a change once for each row of parameters."""
        self._connection.executemany(statement, rows)

    def one(self, statement: Statement, parameters: Parameters = _NONE) -> Row | None:
        """Give the first row, or None; the statement is run to its end, so that it holds no page."""
        rows = self._execute(statement, parameters).fetchall()
        return rows[0] if rows else None

    def all(self, statement: Statement, parameters: Parameters = _NONE) -> list[Row]:
        """Give all rows."""
        rows: list[Row] = self._execute(statement, parameters).fetchall()
        return rows

    def script(self, statements: Sequence[str]) -> None:
        """Run statements without parameters, one after another."""
        for text in statements:
            self._execute(text)

    # ---- transactions ----

    def begin(self) -> None:
        """Begin a writing transaction."""
        self._execute("BEGIN IMMEDIATE")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let the statements of the block see one state of the database, whatever is committed meanwhile."""
        self._execute("BEGIN")
        try:
            yield
        finally:
            self.rollback()

    def commit(self) -> None:
        """Make the transaction durable."""
        self._execute("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if there still is one: a full disk may have ended it already."""
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    @property
    def in_transaction(self) -> bool:
        """Tell whether a transaction is open."""
        return bool(self._connection.in_transaction)

    @property
    def changes(self) -> int:
        """Give how many rows this connection has changed in its life."""
        count: int = self._connection.total_changes
        return count

    def save(self) -> None:
        """Mark the place to which a failed operation is rolled back."""
        self._execute("SAVEPOINT operation")

    def keep(self) -> None:
        """Keep what was done since `save`."""
        self._execute("RELEASE operation")

    def undo(self) -> None:
        """Undo what was done since `save`."""
        self._execute("ROLLBACK TO operation")
        self._execute("RELEASE operation")

    # ---- the log ----

    def checkpoint(self, *, truncate: bool = False) -> bool:
        """Move the write-ahead log into the database; with `truncate` leave no octet in it. Tells whether all of it went."""
        mode = "TRUNCATE" if truncate else "PASSIVE"
        busy, in_log, moved = self._execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        return not busy and in_log == moved

    def log_pages(self) -> int:
        """Give how many pages of the log are not in the database yet."""
        _busy, in_log, moved = self._execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
        return max(0, int(in_log) - int(moved))

    def free_octets(self) -> int:
        """Give how many octets the database holds free within its file: what comes next goes there first."""
        (pages,) = self._execute("PRAGMA freelist_count").fetchone()
        return int(pages) * limits.PAGE_SIZE

    @property
    def connection(self) -> Any:  # noqa: ANN401  the driver has no types
        """Give the driver's connection, for the schema's migration."""
        return self._connection

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def open_database(path: Path, key: bytes, use: Use) -> Database:
    """Open a keyed database (`key`: 32 octets, raw); raises ConfigError where the key is not its key or the file is none."""
    if len(key) != _KEY_SIZE:
        raise ValueError("a database key has 32 octets")
    mode = "ro" if use is Use.READ else "rwc"
    connection = dbapi2.connect(
        f"file:{_uri(path)}?mode={mode}",
        uri=True,
        isolation_level=None,
        # Transactions are ours; a commit may run in another thread than its statements, never at the same time.
        check_same_thread=False,
        cached_statements=256,
        timeout=limits.BUSY_TIMEOUT,
    )
    try:
        # A raw key: SQLCipher derives nothing, which would cost 130 ms for each connection.
        connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
        connection.execute(f"PRAGMA cipher_page_size = {limits.PAGE_SIZE}")
        # Today's processors have instructions for SHA-256: a page costs a third less than with the default, SHA-512.
        connection.execute("PRAGMA cipher_hmac_algorithm = HMAC_SHA256")
        for pragma in (*_ALWAYS, *_PRAGMAS[use]):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("SELECT count(*) FROM sqlite_schema")
    except dbapi2.Error as error:
        connection.close()
        if _is_unreadable(error):
            raise ConfigError(f"{path}: this is not the key of this database, or the file is damaged") from None
        raise translate(error) from error
    return Database(connection)


def engine_over(database: Database) -> Engine:
    """Give SQLAlchemy's view of an open connection, for the schema's migration; it never opens another one."""
    return create_engine("sqlite://", creator=lambda: database.connection, poolclass=StaticPool, module=dbapi2)


def _uri(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _is_unreadable(error: Exception) -> bool:
    text = str(error)
    return "not a database" in text or "malformed" in text


def is_full(error: Exception) -> bool:
    """Tell whether the disk (or the quota of its owner) is full."""
    return "disk is full" in str(error)


def translate(error: Exception) -> MoatmailError:
    """Turn a driver's error into ours; the text goes to our log only."""
    if isinstance(error, MoatmailError):
        return error
    if is_full(error):
        return StorageFullError(str(error))
    if isinstance(error, dbapi2.IntegrityError):
        return AlreadyExistsError(str(error))
    if _is_unreadable(error):
        return StoreUnavailableError(f"the database is damaged ({error}); put the folder back from a backup")
    return StoreUnavailableError(f"{type(error).__name__}: {error}")
