# SPDX-License-Identifier: Apache-2.0
"""What goes on top of a message before it leaves: DKIM signatures of its author's domain, or the ARC set of a mediator; made once, on the first attempt.

Obeys RFC 6376 §5 (signing), RFC 8463 §3 (RSA and Ed25519 side by side), RFC 8617 §5.1 (sealing what is forwarded), RFC 9989 §4.4 (alignment).
Must never know the queue; it lets nothing leave unsigned because signing failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from moatmail.core.errors import MoatmailError
from moatmail.core.events import Event
from moatmail.core.limits import delivery as limits
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.settings.mail import Mail
from moatmail.crypto.content_seal import ContentOpener
from moatmail.mailauth import arc_seal
from moatmail.mailauth.arc import ARCResult
from moatmail.mailauth.dmarc.author import find_author
from moatmail.mailauth.result import Result
from moatmail.mailauth.sign import SigningError, SigningKey, load_signing_key, sign
from moatmail.mailauth.signed import SignedMessage
from moatmail.mailqueue.spool import GENERATED, RELAYED
from moatmail.message.header import Header
from moatmail.store.interface import Store
from moatmail.store.queries import GetSigningKeys, ListSigningKeys, Query

T = TypeVar("T")

_ACTIVE: Final = "active"
_RSA: Final = "rsa-sha256"
_RESULTS: Final = b"authentication-results"


class Ports(Protocol):
    """What signing needs of the world (`delivery.manager.Ports` is one)."""

    @property
    def store(self) -> Store:
        """Ask for keys."""

    @property
    def clock(self) -> Clock:
        """Tell the time."""

    @property
    def events(self) -> EventSink:
        """Tell what happened."""

    @property
    def hostname(self) -> str:
        """Say who we are."""

    @property
    def settings(self) -> Callable[[], Mail]:
        """Give the settings of now."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What goes on top of the content; `unsigned` names the author domains that have no key, so that their mail left without their signature."""

    prefix: bytes = b""
    unsigned: tuple[str, ...] = ()


class Signer:
    """Signs for role `back`; `forget` the keys when settings or keys changed."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._keys = KeyTable(ports.store, ports.clock)

    def forget(self) -> None:
        """Ask for every key again."""
        self._keys.forget()

    async def sign(self, kind: str, header: bytes, content: ContentOpener) -> Signed:
        """Give what goes on top of a content of this kind, whose header block is `header`.

        Raises SigningError when it cannot be signed now, SealBrokenError for damaged content.
        """
        read = Header(header)
        if kind == RELAYED:
            # Who forwards is not the author: it may vouch for what it found, never sign in somebody else's stead.
            return await self._seal(read, content) if self._ports.settings().signing.arc else Signed()
        authors = find_author(read).domains
        keys, unsigned = await (self._of_host(authors) if kind == GENERATED else self._of_author(authors))
        if not keys:
            return Signed(unsigned=unsigned)
        now = int(self._ports.clock.now())
        return Signed(await _beside(content, lambda: sign(read, _body(content), keys, now=now)), unsigned)

    async def _of_author(self, domains: Sequence[str]) -> tuple[list[SigningKey], tuple[str, ...]]:
        """Give the keys of the author domains of our user's mail, and the domains without; under signing.unlisted = refuse there are none without."""
        found = {domain: await self._keys.of(domain) for domain in domains}
        unsigned = tuple(domain for domain, keys in found.items() if not keys)
        if (unsigned or not domains) and self._ports.settings().signing.unlisted == "refuse":
            # It had a key when it was submitted, or could not have been: keys that went meanwhile are no reason to send it bare.
            raise SigningError(f"author domain {', '.join(unsigned) or '(none)'} has no active signing key; make one with `moatmail dkim new`")
        return [key for keys in found.values() for key in keys], unsigned

    async def _of_host(self, domains: Sequence[str]) -> tuple[list[SigningKey], tuple[str, ...]]:
        """Give the keys for mail of the server itself: its host name is seldom a domain of its own, but mostly below one of ours.

        RFC 9989 §4.4.1: a signature of the domain above is aligned, unless that domain asks for strict alignment.
        """
        keys: list[SigningKey] = []
        unsigned: list[str] = []
        for domain in domains:
            found = await self._nearest(domain)
            keys += found
            unsigned += [] if found else [domain]
        return keys, tuple(unsigned)

    async def _nearest(self, domain: str) -> tuple[SigningKey, ...]:
        for name in _upwards(domain):
            if keys := await self._keys.of(name):
                return keys
        return ()

    # ------------------------------------------------------------ ARC

    async def _seal(self, header: Header, content: ContentOpener) -> Signed:
        """Make an ARC set for a message that is forwarded; none where we did not say ourselves, on top, what we found."""
        if header.names[:1] != [_RESULTS]:
            return Signed()  # RFC 8617 §4.1.1: a set repeats our own results; without them there is nothing to seal
        message = SignedMessage(header)
        authserv_id = self._ports.hostname.encode()
        results = arc_seal.own_results(message, authserv_id)
        verdict = arc_seal.own_verdict(results)
        if verdict not in {Result.NONE, Result.PASS, Result.FAIL}:
            return Signed()  # no results of ours, or a chain that could not be judged when the message came
        key = await self._sealer()
        if key is None:
            self._ports.events.emit(Event.of("arc.unsealed", "forwarded without an ARC set: no domain of ours has an active signing key"))
            return Signed()
        found = ARCResult(verdict, sealed_as_failed=message.chain.sealed_as_failed)
        said = arc_seal.Statement(authserv_id, results, int(self._ports.clock.now()))
        try:
            return Signed(await _beside(content, lambda: arc_seal.seal(message, _body(content), key, found, said)))
        except SigningError as error:
            # The key opened: it is this message that takes no set, today and tomorrow. A set is a courtesy, its mail goes on.
            self._ports.events.emit(Event.of("arc.unsealed", f"forwarded without an ARC set: {error}"))
            return Signed()

    async def _sealer(self) -> SigningKey | None:
        """Give the key that seals: of the domain our host lies in, else of our first domain; RSA first."""
        keys = await self._nearest(self._ports.hostname)
        if not keys and (domain := await self._keys.first()):
            keys = await self._keys.of(domain)
        return keys[0] if keys else None


def _upwards(domain: str) -> Iterable[str]:
    """Give a name and the names above it, without the top level."""
    labels = domain.split(".")
    return (".".join(labels[start:]) for start in range(max(len(labels) - 1, 1)))


def _body(content: ContentOpener) -> Iterable[bytes]:
    return content.chunks(content.header_size, content.body_size)


async def _beside(content: ContentOpener, work: Callable[[], T]) -> T:
    """Do work that reads a whole content: at once for a small one (0.5 ms), in a thread for a large one (10 ms for each 10 MB)."""
    return work() if content.size <= limits.WHOLE_CONTENT_MAX else await asyncio.to_thread(work)


# ---------------------------------------------------------------- the signing table


class KeyTable:
    """The active keys of domains, opened once and kept for a while; "none" is kept like an answer."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, tuple[float, tuple[SigningKey, ...]]] = {}
        self._asked: dict[str, asyncio.Task[tuple[SigningKey, ...]]] = {}
        self._first: tuple[float, str] | None = None
        self._age = 0

    def forget(self) -> None:
        """Ask for everything again; questions under way answer those who asked, and are not kept."""
        self._known.clear()
        self._asked.clear()
        self._first = None
        self._age += 1

    async def of(self, domain: str) -> tuple[SigningKey, ...]:
        """Give the active keys of a domain (A-labels); raises SigningError when they cannot be had or one of them is broken."""
        known = self._known.get(domain)
        if known is not None and self._clock.monotonic() < known[0]:
            return known[1]
        asked = self._asked.get(domain)
        if asked is None:
            # All mail of a domain that waits for its keys waits for one question.
            asked = self._asked[domain] = asyncio.create_task(self._ask(domain))
            asked.add_done_callback(lambda done: self._answered(domain, done))
        return await asyncio.shield(asked)

    def _answered(self, domain: str, done: asyncio.Task[tuple[SigningKey, ...]]) -> None:
        if self._asked.get(domain) is done:
            del self._asked[domain]
        if not done.cancelled():
            done.exception()  # told to those who wait, if any is left

    async def _ask(self, domain: str) -> tuple[SigningKey, ...]:
        age = self._age
        rows = (await self._read(GetSigningKeys(domain))).keys
        loaded = [load_signing_key(domain, row.selector, row.private) for row in rows if row.state == _ACTIVE]
        # RFC 8463 §3: RSA for everybody; on top, for verifiers that give up at the first signature they do not know.
        keys = tuple(sorted(loaded, key=lambda key: (key.algorithm != _RSA, key.selector)))
        if age == self._age:
            self._known.pop(domain, None)
            if len(self._known) >= limits.SIGNING_DOMAINS_MAX:
                del self._known[next(iter(self._known))]
            self._known[domain] = self._clock.monotonic() + limits.SIGNING_SECONDS, keys
        return keys

    async def first(self) -> str:
        """Give the first of our domains, by name, that has an active key; empty if none has. Raises SigningError."""
        if self._first is None or self._clock.monotonic() >= self._first[0]:
            age = self._age
            rows = await self._read(ListSigningKeys())
            found = min((row.domain for row in rows if row.state == _ACTIVE), default="")
            if age != self._age:
                return found
            self._first = self._clock.monotonic() + limits.SIGNING_SECONDS, found
        return self._first[1]

    async def _read(self, query: Query[T]) -> T:
        try:
            return await self._store.read(query)
        except MoatmailError as error:
            # Also what would be final elsewhere: a key that does not open is no reason to return mail, nor to send it unsigned.
            raise SigningError(f"signing keys cannot be had: {error}") from error
