# SPDX-License-Identifier: Apache-2.0
"""Accounts with a session in this process: keys asked for once, views shared, everything dropped with the last session.

Obeys docs/security.md: keys are held while a session is open, and every opening is journaled by the store.
Must never know a protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from moatmail.core.errors import MoatmailError, NotFoundError, TemporaryError
from moatmail.core.events import Event
from moatmail.core.limits.mailbox import REWRAP_EVERY, THIN_EVERY
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.transaction import Identity
from moatmail.crypto.cover import AccountKeys
from moatmail.crypto.keyring import Keyring
from moatmail.mailbox.index.cache import AccountIndex, PartCache
from moatmail.mailbox.index.tend import Tender
from moatmail.mailbox.index.thin import Thinner
from moatmail.mailbox.known import Budget, KnownMessages
from moatmail.mailbox.recents import Recents
from moatmail.mailbox.rewrap import rewrap_account
from moatmail.mailbox.threaded import give_threads
from moatmail.mailbox.uncommitted import Uncommitted
from moatmail.mailbox.view import KeptViews, Views
from moatmail.store.content import ContentFiles
from moatmail.store.interface import Store
from moatmail.store.operations import OpenAccount
from moatmail.store.queries import AccountRow, LookupAddresses

if TYPE_CHECKING:
    from moatmail.mailbox.watching import Watching

_SWEEP_SECONDS = 30.0


class TooManySessionsError(TemporaryError):
    """The account has as many sessions in this process as it may (`NO [LIMIT]`)."""

    public = "too many sessions of this account"


@dataclass(eq=False)
class Opened:
    """An account at work in this process, shared by its sessions."""

    id: int
    identity: Identity
    keys: AccountKeys = field(repr=False)
    store: Store
    files: ContentFiles
    views: Views
    recents: Recents
    index: AccountIndex
    known: KnownMessages = field(repr=False)
    names: dict[bytes, str] = field(default_factory=dict, repr=False)
    """Mailbox names opened so far, by their sealed form."""
    sessions: int = 0
    ended: bool = False
    """The account was removed or frozen, or has another password: whoever works with it stops."""
    wakers: set[Callable[[], None]] = field(default_factory=set, repr=False)
    """Called when `ended` becomes true; must not block."""
    rewrapped_at: float = 0.0
    thinned_at: float = -math.inf
    tended: bool = False
    """A round of work in the background is going on."""
    watching: Watching | None = field(default=None, repr=False)
    """Its mailboxes as last seen, while a session wants to hear of others than the selected one."""

    async def row(self) -> AccountRow:
        """Give the account's row as it is now; raises NotFoundError when it is gone."""
        return await _row(self.store, self.identity)


def _is_open(opened: Opened) -> bool:
    return opened.sessions > 0 and not opened.ended


async def _row(store: Store, identity: Identity) -> AccountRow:
    address = identity.address.canonical
    answer = await store.read(LookupAddresses(address.domain, (address.localpart,)))
    account = answer.hits[0].account if answer.hits else None
    if account is None or account.id != identity.account:
        raise NotFoundError(f"account {identity.account} is gone")
    return account


class OpenAccounts:
    """All accounts at work in this process."""

    def __init__(self, store: Store, files: ContentFiles, keyring: Keyring, clock: Clock, events: EventSink) -> None:
        self._store = store
        self._files = files
        self._keyring = keyring
        self._clock = clock
        self._events = events
        self.uncommitted = Uncommitted(files)
        self._opened: dict[int, Opened] = {}
        self._opening: dict[int, asyncio.Lock] = {}
        self._recents = Recents()
        self._parts = PartCache()
        self._kept_views = KeptViews()
        self._tending = asyncio.Semaphore(1)
        self._budget = Budget()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._opened)

    async def open(self, identity: Identity, reason: str, limit: int) -> Opened:
        """Give the account for one more session, of at most `limit`; `close` it once. Raises TooManySessionsError, NotFoundError, NotPermittedError."""
        lock = self._opening.setdefault(identity.account, asyncio.Lock())
        async with lock:
            opened = self._opened.get(identity.account) or await self._open(identity, reason)
            if opened.sessions >= limit:
                raise TooManySessionsError
            # Between a session's hold and its release the keys stay in the ring: other rooms find them there.
            self._keyring.hold(opened.id, opened.keys)
            opened.sessions += 1
            if opened.id not in self._opened:
                self._opened[opened.id] = opened
                self.rewrap(opened)
        return opened

    async def _open(self, identity: Identity, reason: str) -> Opened:
        row = await _row(self._store, identity)
        given = await self._store.write(OpenAccount(identity.account, reason, self._clock.now()))
        keys = AccountKeys(row.public, given.private, given.mailbox_key)
        views = self._kept_views.take(identity.account) or Views(self._store, identity.account, self._clock)
        index = AccountIndex(self._store, identity.account, keys, self._parts, self._events)
        known = KnownMessages(self._store, identity.account, self._budget)
        return Opened(identity.account, identity, keys, self._store, self._files, views, self._recents, index, known)

    def close(self, opened: Opened) -> None:
        """End one session's use; with the last one keys, names and all that was opened are dropped; views stay for a minute."""
        self._keyring.release(opened.id)
        opened.sessions -= 1
        if opened.sessions > 0:
            return
        opened.known.forget()
        if self._opened.get(opened.id) in (opened, None):
            self._opened.pop(opened.id, None)
            self._opening.pop(opened.id, None)
            self._parts.drop(opened.id)
            if not opened.ended:
                self._kept_views.keep(opened.id, opened.views)

    def end(self, account: int) -> None:
        """End the sessions of an account whose rights changed; its keys go with the last of them."""
        self._kept_views.take(account)
        opened = self._opened.pop(account, None)
        if opened is not None:
            opened.ended = True
            for wake in tuple(opened.wakers):
                wake()

    async def look_again(self) -> None:
        """End the sessions of accounts that are gone or frozen by now: hints were lost."""
        for opened in tuple(self._opened.values()):
            try:
                active = (await opened.row()).status == "active"
            except NotFoundError:
                active = False
            except MoatmailError:
                continue  # the store is away; the next hint or the next login tells
            if not active:
                self.end(opened.id)

    async def tend(self) -> None:
        """Do the housekeeping for ever: drop unused views, re-wrap the covers of open accounts, off the readers' path."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self._kept_views.sweep()
            for opened in tuple(self._opened.values()):
                opened.views.sweep()
                with contextlib.suppress(MoatmailError):  # the store is away; the next sweep asks again
                    await opened.index.sweep(opened.views.has)
                opened.known.sweep()
                if self._clock.monotonic() - opened.rewrapped_at >= REWRAP_EVERY:
                    self.rewrap(opened)

    def rewrap(self, opened: Opened) -> None:
        """Begin to re-wrap an account's covers, to give its messages threads and to index them, in the background; one round at a time for each account."""
        opened.rewrapped_at = self._clock.monotonic()
        if opened.tended:
            return
        opened.tended = True
        task = asyncio.get_running_loop().create_task(self._tend_one(opened))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tend_one(self, opened: Opened) -> None:
        try:
            await self._rewrap(opened)
            # One account after another: what nobody waits for shall not take the readers' time all at once.
            async with self._tending:
                await self._thread(opened)
                await self._index(opened)
        finally:
            opened.tended = False

    async def _thread(self, opened: Opened) -> None:
        async with self._told("threads", f"messages of account {opened.id} were not given their threads", "they have no THREADID"):
            await give_threads(opened, lambda: opened.sessions > 0 and not opened.ended)

    async def _index(self, opened: Opened) -> None:
        async with self._told("index", f"messages of account {opened.id} were not indexed", "searches open them instead"):
            still_open = partial(_is_open, opened)
            if self._clock.monotonic() - opened.thinned_at >= THIN_EVERY:
                opened.thinned_at = self._clock.monotonic()
                await Thinner(opened, still_open).run(self._clock.now())
            await Tender(opened, still_open).run(self._clock.now())

    @contextlib.asynccontextmanager
    async def _told(self, kind: str, what: str, instead: str) -> AsyncIterator[None]:
        """Tell of a round that failed, unless the next one may go on."""
        try:
            yield
        except TemporaryError:
            return  # the next round goes on
        except MoatmailError as error:
            self._events.emit(Event.of(f"{kind}.failed", f"{what}: {error.public}; {instead}"))
        except Exception as error:  # noqa: BLE001  what a stranger's message may do to a parser must not end the round unheard
            self._events.emit(Event.of(f"{kind}.fault", f"{what}: {error!r}", alert=True))

    async def _rewrap(self, opened: Opened) -> None:
        try:
            damaged = await rewrap_account(self._store, opened.id, opened.keys, lambda: opened.sessions > 0)
        except TemporaryError:
            return  # the next round tries again
        except MoatmailError as error:
            self._events.emit(Event.of("rewrap.failed", f"covers of account {opened.id} were not re-wrapped: {error.public}"))
            return
        if damaged:
            self._events.emit(Event.of("seal.broken", f"{damaged} covers of account {opened.id} do not open", alert=True))

    async def stop(self) -> None:
        """End what runs in the background and drop every key: the process is going down."""
        for task in tuple(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._keyring.forget_all()
