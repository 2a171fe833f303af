# SPDX-License-Identifier: Apache-2.0
"""The store in this process: for the `store` role itself, for the command line without a server, and for tests.

Obeys RFC 5321 §6.1 through `store.group`.
Must never know of other processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from moatmail.store.answer import Keys, answer_at_store
from moatmail.store.apply.work import Hints
from moatmail.store.group import GroupCommit
from moatmail.store.operations import Journal, Operation
from moatmail.store.queries import Query
from moatmail.store.sqlite import DatabaseError, translate
from moatmail.store.witness import Witness
from moatmail.store.writer import Writer

R = TypeVar("R")
_STORE: Final = "store"


def _tell_nobody(_hints: Hints) -> None:
    """Drop hints: nobody else looks at this folder."""


def _stay() -> None:
    """Go on without a database: every write will raise StoreUnavailableError."""


class LocalStore:
    """A `Store` over a writer of this process; make it on a running loop, and `close` it there."""

    def __init__(self, writer: Writer, tell: Callable[[Hints], None] = _tell_nobody, lost: Callable[[], None] = _stay) -> None:
        """Take an open writer; `tell` gets the hints of each commit, `lost` is called when the database cannot be reached any more."""
        self.group = GroupCommit(writer, tell, lost)
        self._soft = writer.soft.reader()
        self._keys = Keys(writer.vault, writer.keys, self._soft)
        self._reader = writer.reader()
        self.witness = Witness(writer.now)

    async def write(self, operation: Operation[R]) -> R:
        """Do a change; it is durable when this returns."""
        return await self.group.write(operation, _STORE)

    async def read(self, query: Query[R]) -> R:
        """Answer a question from the last committed state; what the journal must tell of is written before."""
        answer = self.answer(query)
        entry = self.witness.entry(_STORE, query, answer)
        if entry is not None:
            await self.write(Journal(0.0, _STORE, entry))
            self.witness.written(_STORE, entry)
        return answer

    def answer(self, query: Query[R]) -> R:
        """Answer a question at once: no more than a page of rows, so it may run on the loop."""
        try:
            result: R = answer_at_store(self._reader, self._keys, query)
        except DatabaseError as error:
            raise translate(error) from error
        return result

    async def close(self) -> None:
        """Finish what was asked for and close the folder."""
        self._reader.close()
        self._soft.close()
        await self.group.close()
