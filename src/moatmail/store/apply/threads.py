# SPDX-License-Identifier: Apache-2.0
"""Threads: the one a message belongs to, found by what it shares with others of its account, and kept as long as itself.

Obeys RFC 8474 §5.2 (a THREADID is never changed), RFC 8621 §3 (messages that mention the same belong together).
Must never know what is mentioned: digests come, and others that only the Vault can make are kept.

A digest is kept once, with the thread that had it first, and every message keeps those of all that it mentions. So a message that is erased
takes with it what no other of its thread mentions: nothing of it stays, and what is left still finds who comes later.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Protocol

from moatmail.core.errors import LocalProtocolError
from moatmail.core.limits import store as limits
from moatmail.store.apply.work import Work
from moatmail.store.sql import threads
from moatmail.store.thread_items import AddThreads

_SIZE: Final = limits.THREAD_DIGEST
_TIME: Final = 5


class Tied(NamedTuple):
    """What a message is kept with: its thread, and its digests one after another; both None where they are given later."""

    thread: bytes | None
    links: bytes | None


class Linked(Protocol):
    """A message that was erased."""

    @property
    def account(self) -> int:
        """Whose it was."""
        ...

    @property
    def thread(self) -> bytes | None:
        """Its thread."""
        ...

    @property
    def links(self) -> bytes | None:
        """Its digests."""
        ...


_LATER: Final = Tied(None, None)


def tie(work: Work, account: int, links: bytes | None) -> Tied:
    """Find the thread of a message that has none, or begin one, and keep what it mentions; raises LocalProtocolError where `links` are none."""
    if links is None:
        return _LATER
    digests = _digests(work, account, links)
    if not digests:
        return Tied(_new_thread(work.now), b"")
    tying: dict[str, Any] = {**dict(zip(threads.DIGESTS, digests, strict=False)), "account": account, "thread": _new_thread(work.now)}
    enter = threads.ENTER_LINKS[len(digests) - 1]
    # Most messages mention nothing but themselves, and nobody mentioned them before.
    if len(digests) > 1 or not work.db.run(enter, tying):
        found = work.db.one(threads.FIND_THREAD[len(digests) - 1], tying)
        if found is not None and found[0] is not None:
            tying["thread"] = found[0]
        work.db.run(enter, tying)
    return Tied(tying["thread"], b"".join(digests))


def erase(work: Work, gone: Iterable[Linked]) -> None:
    """Erase what messages mentioned that are erased already, and nobody else of their threads mentions."""
    needed: dict[bytes, frozenset[bytes]] = {}
    for one in gone:
        if one.thread is None or not one.links:
            continue
        if one.thread not in needed:
            needed[one.thread] = _mentioned(work, one.account, one.thread)
        _leave(work, one.account, one.thread, [digest for digest in _cut(one.links) if digest not in needed[one.thread]])


def _mentioned(work: Work, account: int, thread: bytes) -> frozenset[bytes]:
    """Give what the newest messages of a thread mention. Older ones count no more: what only they mention is forgotten rather than kept for ever."""
    rows = work.db.all(threads.LINKS_IN_THREAD, {"account": account, "thread": thread, "rows": limits.THREAD_HEIRS})
    return frozenset(digest for (links,) in rows for digest in _cut(links))


def _leave(work: Work, account: int, thread: bytes, digests: Iterable[bytes]) -> None:
    work.db.run_many(threads.LEAVE_LINK, [{"account": account, "thread": thread, "digest": digest} for digest in digests])


def erase_account(work: Work, account: int) -> None:
    """Erase all that ties messages of an account."""
    work.db.run(threads.DROP_LINKS, {"account": account})


def add_threads(work: Work, operation: AddThreads) -> int:
    """Give threads to messages that have none, and mend the links of those that have one."""
    if len(operation.links) > limits.ROWS:
        raise LocalProtocolError(f"{len(operation.links)} messages in one operation")
    return sum(_add(work, operation.account, number, links) for number, links in operation.links)


def _add(work: Work, account: int, number: int, links: bytes) -> bool:
    row = work.db.one(threads.THREAD_OF, {"of_number": number, "account": account})
    if row is None:
        return False
    before = Tied(*row)
    if before.thread is None:
        work.db.run(threads.SET_THREAD, {"of_number": number, **tie(work, account, links)._asdict()})
        return True
    changes = work.db.changes
    digests = _digests(work, account, links)
    after = Tied(before.thread, b"".join(digests))
    if after != before:
        work.db.run(threads.SET_THREAD, {"of_number": number, **after._asdict()})
        erase(work, (_Was(account, *before),))
    if digests:
        work.db.run(threads.ENTER_LINKS[len(digests) - 1], {**dict(zip(threads.DIGESTS, digests, strict=False)), "account": account, "thread": before.thread})
    return work.db.changes > changes


class _Was(NamedTuple):
    account: int
    thread: bytes | None
    links: bytes | None


def _digests(work: Work, account: int, links: bytes) -> list[bytes]:
    if len(links) % _SIZE or len(links) > limits.THREAD_LINKS * _SIZE:
        raise LocalProtocolError(f"links of {len(links)} octets")
    return work.vault.thread_digests(account, dict.fromkeys(_cut(links)))


def _cut(links: bytes) -> list[bytes]:
    return [links[start : start + _SIZE] for start in range(0, len(links), _SIZE)]


def _new_thread(now: float) -> bytes:
    """Make a thread's id: the second in which it began, so that rows are inserted in order, and chance."""
    return max(0, int(now)).to_bytes(_TIME, "big") + os.urandom(_SIZE - _TIME)
