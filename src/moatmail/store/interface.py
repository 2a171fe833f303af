# SPDX-License-Identifier: Apache-2.0
"""The store's face, the same in every process: write an operation, read a query.

Obeys RFC 5321 §6.1: `write` returns after the change is on stable storage.
Must never know where the store is.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from moatmail.store.operations import Operation
from moatmail.store.queries import Query

R = TypeVar("R")


class Store(Protocol):
    """Both raise what the operation or query says, StoreUnavailableError, StorageFullError (452) and NotPermittedError (role × operation)."""

    async def write(self, operation: Operation[R]) -> R:
        """Do a change, whole or not at all; it is durable when this returns."""
        ...

    async def read(self, query: Query[R]) -> R:
        """Answer a question from the last committed state."""
        ...


class Reads(Protocol):
    """What is asked of a store by who only reads."""

    async def read(self, query: Query[R]) -> R:
        """Answer a question from the last committed state, or one that still holds."""
        ...
