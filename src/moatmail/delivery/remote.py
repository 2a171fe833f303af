# SPDX-License-Identifier: Apache-2.0
"""One message to one remote domain: host after host until every recipient has a verdict.

Obeys RFC 5321 §5.1 (hosts in order), §4.5.3.2 (time limits), §4.2.1 (classes of replies), RFC 3207 (STARTTLS), RFC 7435 (opportunistic security).
Must never know the queue, or SMTP's syntax (`wire/smtp/client`).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.errors import MoatmailError, SealBrokenError, TemporaryError
from moatmail.core.limits import delivery as limits
from moatmail.core.ports.connector import Connector, Link
from moatmail.core.ports.random import Random
from moatmail.core.ports.resolver import Resolver
from moatmail.core.settings.mail import Mail
from moatmail.core.status import Reply
from moatmail.delivery.outcome import Fate, Outcome
from moatmail.mailqueue import route
from moatmail.wire.smtp import client_events as happened
from moatmail.wire.smtp.client import ClientProfile, SMTPClient, TlsUse

_UNREACHABLE: Final = Reply.of(451, "4.4.1", "no mail host of the domain could be reached")
_LOST: Final = Reply.of(451, "4.4.2", "the connection was lost before the server answered")
_BROKE: Final = Reply.of(451, "4.5.0", "the server broke the protocol")
_NO_TLS: Final = Reply.of(451, "4.7.4", "no trusted TLS to the server")
_NO_LOGIN: Final = Reply.of(451, "4.7.0", "the smart host takes no login of ours")
_WHY: Final = {
    happened.Cause.LOST: _LOST,
    happened.Cause.PROTOCOL: _BROKE,
    happened.Cause.HANDSHAKE: _NO_TLS,
    happened.Cause.NO_TLS: _NO_TLS,
    happened.Cause.NO_AUTH: _NO_LOGIN,
}


class Ports(Protocol):
    """What an attempt needs of the world (`delivery.manager.Ports` is one)."""

    @property
    def resolver(self) -> Resolver:
        """Ask the DNS."""

    @property
    def connector(self) -> Connector:
        """Open links."""

    @property
    def random(self) -> Random:
        """Shuffle equals."""

    @property
    def hostname(self) -> str:
        """Say who we are."""

    @property
    def settings(self) -> Callable[[], Mail]:
        """Give the settings of now."""


class Reader(Protocol):
    """Open content (`crypto.content_seal.ContentOpener`)."""

    size: int

    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        """Give the octets in pieces."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What is sent: the content, and the fields that go on top of it (signatures), the same in every attempt."""

    content: Reader
    prefix: bytes = b""

    @property
    def size(self) -> int:
        """Give the octets of all."""
        return len(self.prefix) + self.content.size

    def pieces(self) -> Iterator[bytes]:
        """Give the octets in pieces, opened as they are asked for."""
        if self.prefix:
            yield self.prefix
        yield from self.content.chunks(0, self.content.size)


@dataclass(frozen=True, slots=True)
class Hop:
    """A host to try: name, address, port, and how TLS is used; with `verify` its certificate must bear the name."""

    host: str
    ip: str
    port: int
    tls: TlsUse
    verify: bool = False
    login: tuple[str, str] | None = None


async def send(ports: Ports, domain: str, envelope: Envelope, recipients: Sequence[Recipient], letter: Letter) -> tuple[Outcome, ...]:
    """Try to send to `recipients`, all of `domain`; give their outcomes in that order. Raises SealBrokenError for damaged content, nothing else."""
    # Reading large content is work of some 10 ms for each 10 MB: beside the loop, which others share.
    octets = Octets(letter) if letter.content.size <= limits.WHOLE_CONTENT_MAX else await asyncio.to_thread(Octets, letter)
    attempt = _Attempt(ports, envelope, recipients, octets)
    try:
        hosts = await _hosts(ports, domain)
    except route.NoRouteError as error:
        return attempt.all(Outcome(Fate.FAILED, Reply.of(550, error.status, error.public)))
    except TemporaryError as error:
        return attempt.all(Outcome(Fate.DEFERRED, Reply.of(451, error.status, error.public)))
    for host in hosts[: limits.HOSTS_MAX]:
        await attempt.try_host(host)
        if attempt.settled:
            break
    return attempt.outcomes()


# ---------------------------------------------------------------- where to


async def _hosts(ports: Ports, domain: str) -> tuple[Hop, ...]:
    """Give the hosts to try, without their addresses yet."""
    settings = ports.settings().delivery
    if settings.smart_host:
        host, _, port = settings.smart_host.rpartition(":")
        use = {"starttls": TlsUse.REQUIRED, "implicit": TlsUse.IMPLICIT, "none": TlsUse.NONE}[settings.smart_host_tls]
        login = (settings.smart_host_user, settings.smart_host_password) if settings.smart_host_user else None
        return (Hop(host.strip("[]"), "", int(port), use, verify=use is not TlsUse.NONE, login=login),)
    if domain.startswith("["):
        # RFC 5321 §5.1: an address literal names its host itself.
        literal = domain.strip("[]")
        return (Hop(literal.removeprefix("IPv6:").removeprefix("ipv6:"), "", settings.port, TlsUse.OPPORTUNISTIC),)
    names = route.order(domain, await ports.resolver.mx(domain), ports.hostname, ports.random)
    return tuple(Hop(name, "", settings.port, TlsUse.OPPORTUNISTIC) for name in names)


async def _addresses(ports: Ports, host: str) -> list[str]:
    """Give the addresses of a host, IPv6 and IPv4 in turn as they came; a literal is its own."""
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        answer = await ports.resolver.addresses(host)
        return [str(record) for record in answer.records]


# ---------------------------------------------------------------- what is sent


class Octets:
    """The octets of one attempt: opened once when small; whether any octet has its high bit set is found while it is read."""

    def __init__(self, letter: Letter) -> None:
        self.size = letter.size
        self._letter = letter
        self._whole = b"".join(letter.pieces()) if letter.content.size <= limits.WHOLE_CONTENT_MAX else None
        self.eight_bit = not all(piece.isascii() for piece in self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """Give the octets in pieces."""
        return iter((self._whole,)) if self._whole is not None else self._letter.pieces()


class _Attempt:
    """One message on its way to one domain: outcomes fill up; who has no verdict goes on to the next host."""

    def __init__(self, ports: Ports, envelope: Envelope, recipients: Sequence[Recipient], content: Octets) -> None:
        self._ports = ports
        self._envelope = envelope
        self._recipients = tuple(recipients)
        self._content = content
        self._outcomes: dict[Recipient, Outcome] = {}
        self._open = list(self._recipients)
        self._last = Outcome(Fate.DEFERRED, _UNREACHABLE)
        self._refused = 0
        self._tried = 0

    @property
    def settled(self) -> bool:
        """Tell whether every recipient has a verdict."""
        return not self._open

    def all(self, outcome: Outcome) -> tuple[Outcome, ...]:
        """Give every recipient the same outcome."""
        return tuple(outcome for _ in self._recipients)

    def outcomes(self) -> tuple[Outcome, ...]:
        """Give the outcomes; who has none yet is deferred, or failed when every host that answered refused us for good."""
        last = self._last
        # RFC 5321 §4.2.4.2 and RFC 7504: hosts that all greet with 5yz will not do otherwise tomorrow; their text goes back at once.
        if self._tried and self._refused == self._tried:
            last = replace(last, fate=Fate.FAILED)
        return tuple(self._outcomes.get(one, last) for one in self._recipients)

    async def try_host(self, host: Hop) -> None:
        """Try the addresses of one host until a session took place."""
        try:
            addresses = await _addresses(self._ports, host.host)
        except TemporaryError as error:
            self._missed(host, Reply.of(451, error.status, error.public))
            return
        for ip in addresses[: limits.ADDRESSES_MAX]:
            if await self._try(replace(host, ip=ip)):
                return

    async def _try(self, hop: Hop) -> bool:
        """Open one session; tell whether the host spoke with us, whatever it said."""
        session = _Session(self._ports, hop, self._content)
        try:
            failure = await session.run(replace(self._envelope, recipients=tuple(self._open)), self._take)
        except SealBrokenError:
            raise  # of our own content: no other host will help
        except MoatmailError as error:
            self._missed(hop, Reply.of(451, error.status, error.public))
            return False
        if failure is not None and failure.cause is happened.Cause.HANDSHAKE and hop.tls is TlsUse.OPPORTUNISTIC:
            # RFC 7435 §3: opportunistic TLS that fails is no worse than none; policies that demand it come with *Mail out*.
            return await self._try(replace(hop, tls=TlsUse.NONE))
        self._tried += 1
        if failure is not None and self._open:
            self._last = _deferred(hop.host, failure.reply, _WHY.get(failure.cause, _LOST))
            self._refused += self._last.reply.permanent
        return True

    def _missed(self, hop: Hop, reply: Reply) -> None:
        if not self._tried:
            self._last = _deferred(hop.host, None, reply)

    def _take(self, host: str, result: happened.Result) -> bool:
        """Take one recipient's result; tell whether it is to be sent again in this session."""
        if result.fate is happened.Fate.NEXT_TRANSACTION:
            return True
        if result.fate is happened.Fate.DEFERRED and (result.reply is None or result.reply.code == 421):
            # RFC 5321 §3.8: 421 ends the session, not the mail; another host may take it now.
            self._last = _deferred(host, result.reply, _LOST)
            return False
        if result.reply is not None:
            self._outcomes[result.recipient] = Outcome(_FATES[result.fate], result.reply, host)
            self._open.remove(result.recipient)
        return False


def _deferred(host: str, reply: Reply | None, found: Reply) -> Outcome:
    """Give the outcome of a try that came to nothing: by the host's own reply, or by what we found (then no host is quoted for it)."""
    if reply is not None:
        return Outcome(Fate.DEFERRED, reply, host)
    return Outcome(Fate.DEFERRED, Reply.of(found.code, found.status, f"{host}: {found.text}"))


_FATES: Final = {happened.Fate.DELIVERED: Fate.RELAYED, happened.Fate.REFUSED: Fate.FAILED, happened.Fate.DEFERRED: Fate.DEFERRED}
_Take = Callable[[str, happened.Result], bool]


class _Session:
    """One SMTP session with one address of a host."""

    def __init__(self, ports: Ports, hop: Hop, content: Octets) -> None:
        self._ports = ports
        self._hop = hop
        self._content = content
        self._patience = limits.REPLY_SECONDS
        self._engine = SMTPClient(
            # A server without 8BITMIME that still has 8-bit mail to take is rarer than one that forgot to say so: it is sent as it is.
            ClientProfile(ports.hostname.encode(), hop.tls, credentials=hop.login, eight_bit_anyway=True)
        )

    async def run(self, envelope: Envelope, take: _Take) -> happened.SessionFailed | None:
        """Send to the recipients of `envelope`, telling each result to `take`; give how the session failed, if it did.

        Raises TemporaryError when the host cannot be reached.
        """
        hop = self._hop
        link = await self._ports.connector.open(hop.ip, hop.port, self._ports.settings().delivery.connect_seconds)
        try:
            if hop.tls is TlsUse.IMPLICIT:
                await self._handshake(link)
            return await self._talk(link, envelope, take)
        finally:
            link.abort()

    async def _talk(self, link: Link, envelope: Envelope, take: _Take) -> happened.SessionFailed | None:
        waiting = envelope.recipients
        for _ in range(limits.TRANSACTIONS_MAX):
            event = await self._until(link, happened.Ready) if not self._engine.ready else None
            if isinstance(event, happened.SessionFailed):
                return event
            self._engine.send(replace(envelope, recipients=waiting), size=self._content.size, eight_bit=self._content.eight_bit)
            event = await self._transfer(link)
            if isinstance(event, happened.SessionFailed):
                return event
            waiting = tuple(result.recipient for result in event.results if take(self._hop.host, result))
            if not waiting or not self._engine.ready:
                break
        await self._end(link)
        return None

    async def _transfer(self, link: Link) -> happened.Outcome | happened.SessionFailed:
        while True:
            event = await self._until(link, happened.ContentWanted, happened.Outcome)
            if isinstance(event, happened.Outcome | happened.SessionFailed):
                return event
            await self._send_content(link)

    async def _send_content(self, link: Link) -> None:
        for piece in self._content.pieces():
            if not self._engine.wants_content:
                break
            self._engine.send_content(piece)
            await self._flush(link, limits.CONTENT_SECONDS)
        self._engine.end_content()
        await self._flush(link, limits.CONTENT_SECONDS)
        self._patience = limits.END_SECONDS

    async def _until(self, link: Link, *kinds: type[happened.ClientEvent]) -> happened.ClientEvent:
        """Drive the engine until one of `kinds` or the session's failure."""
        while True:
            event = self._engine.next_event()
            await self._flush(link, limits.REPLY_SECONDS)
            if event is None:
                await self._listen(link)
            elif isinstance(event, happened.HandshakeDue):
                await self._handshake(link)
            elif isinstance(event, (happened.SessionFailed, *kinds)):
                self._patience = limits.REPLY_SECONDS
                return event

    async def _listen(self, link: Link) -> None:
        try:
            data = await link.receive(self._patience)
        except TemporaryError:
            data = b""
        if data:
            self._engine.receive(data)
        else:
            self._engine.receive_eof()

    async def _flush(self, link: Link, seconds: float) -> None:
        if data := self._engine.take_output():
            try:
                await link.send(data, seconds)
            except TemporaryError:
                self._engine.receive_eof()

    async def _handshake(self, link: Link) -> None:
        try:
            facts = await link.start_tls(self._hop.host, verify=self._hop.verify, deadline=limits.HANDSHAKE_SECONDS)
        except TemporaryError:
            self._engine.tls_failed()
        else:
            self._engine.tls_started(facts.end_points[0] if facts.end_points else None)

    async def _end(self, link: Link) -> None:
        """Say QUIT; the mail is settled, so nobody waits long for the answer."""
        if self._engine.ready:
            self._engine.quit()
            await self._flush(link, 1.0)
