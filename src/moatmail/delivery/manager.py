# SPDX-License-Identifier: Apache-2.0
"""Works the queue: claims what is due, delivers it, writes what became of each recipient, with the bounce in the same transaction.

Obeys RFC 5321 §4.5.4.1 (retry strategy), §6.1 (a failure after acceptance is told), §6.3 (never to a null sender).
Must never know sockets (it gets ports) or SMTP's syntax.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from moatmail.core.address import Address
from moatmail.core.envelope import Recipient
from moatmail.core.errors import MoatmailError, PermanentError, SealBrokenError, TemporaryError
from moatmail.core.events import Event
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.connector import Connector
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.ports.random import Random
from moatmail.core.ports.resolver import Resolver
from moatmail.core.settings.mail import Mail
from moatmail.core.status import Reply
from moatmail.crypto.content_seal import ContentOpener
from moatmail.crypto.queue_seal import QueueKeys
from moatmail.crypto.seal import new_id
from moatmail.delivery import bounce, local, remote
from moatmail.delivery.lanes import Lanes
from moatmail.delivery.outcome import Fate, Outcome
from moatmail.delivery.signing import Signed, Signer
from moatmail.directory.recipients import Resolution, resolve
from moatmail.mailauth.sign import SigningError
from moatmail.mailqueue import schedule, spool
from moatmail.store.content import ContentFiles
from moatmail.store.interface import Store
from moatmail.store.operations import ClaimedSpool, ClaimSpool, Delivery, NewContent, NewSpool, RecipientOutcome, SettleSpool
from moatmail.store.queries import CountQueue, GetContent, GetQueueKeys
from moatmail.store.queries import QueueKeys as QueueKeysRow

LEASE_SECONDS: Final = 3600.0
"""How long an entry belongs to the process that claimed it: longer than any attempt lasts."""
CLAIM_MAX: Final = 20
IDLE_SECONDS: Final = 60.0
_BROKEN: Final = Reply.of(554, "5.3.0", "the queue entry is damaged and cannot be sent")


@dataclass(frozen=True, slots=True)
class Ports:
    """What delivery needs of the world."""

    store: Store
    files: ContentFiles
    resolver: Resolver
    connector: Connector
    clock: Clock
    random: Random
    events: EventSink
    hostname: str
    owner: str
    settings: Callable[[], Mail]


class Manager:
    """Runs in role `back`: `run` until cancelled; `wake` when something new is due."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._keys: QueueKeysRow | None = None
        self._lanes = Lanes(lambda: ports.settings().delivery.max_per_destination)
        self._signer = Signer(ports)

    def forget_keys(self) -> None:
        """Ask for signing keys again: settings or keys were changed."""
        self._signer.forget()

    def wake(self) -> None:
        """Look at the queue now (a hint from the bus)."""
        self._woken.set()

    async def run(self) -> None:
        """Work the queue until cancelled; what is under way then finishes or stays leased to us and is freed at the next start."""
        while True:
            self._woken.clear()
            try:
                pause = await self._work()
            except MoatmailError as error:
                self._tell("queue.unavailable", f"the queue cannot be worked: {error}", alert=True)
                pause = 1.0
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def drain(self, seconds: float) -> None:
        """Wait up to `seconds` for attempts under way, then leave them: their lease dies with this process."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()

    async def _work(self) -> float:
        """Claim and start what is due; give the seconds until something may be due again."""
        free = self._ports.settings().delivery.max_concurrency - len(self._tasks)
        if free <= 0:
            return IDLE_SECONDS
        now = self._ports.clock.now()
        claimed = await self._ports.store.write(ClaimSpool(now, now + LEASE_SECONDS, self._ports.owner, min(free, CLAIM_MAX)))
        for entry in claimed:
            self._start(entry)
        if claimed:
            return 0.0
        counts = await self._ports.store.read(CountQueue())
        return min(IDLE_SECONDS, max(0.05, counts.next_attempt - now)) if counts.next_attempt else IDLE_SECONDS

    def _start(self, entry: ClaimedSpool) -> None:
        task = asyncio.create_task(self._attempt(entry))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tell("queue.failed", f"an attempt ended by an unexpected error ({type(error).__name__}); its lease runs out in an hour", alert=True)

    # ------------------------------------------------------------ one entry

    async def _attempt(self, claimed: ClaimedSpool) -> None:
        """Try one entry once and settle it."""
        try:
            keys = await self._queue_keys()
            opened = spool.open_entry(QueueKeys(keys.private), claimed)
        except SealBrokenError as error:
            await self._settle_broken(claimed, error)
            return
        attempt = _Attempt(self._ports, _Means(self._lanes, self._signer, keys.public), claimed, opened)
        settle = await attempt.run()
        await self._write(settle)

    async def _write(self, settle: SettleSpool) -> None:
        """Write the outcome; when the store is away, again and again: a lost outcome would send twice."""
        pause = 0.2
        while True:
            try:
                await self._ports.store.write(settle)
            except TemporaryError as error:
                self._tell("queue.unsettled", f"an outcome cannot be written yet: {error}", alert=True)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 30.0)
            except PermanentError as error:
                # Our lease ran out and another process has the entry: its outcome counts.
                self._tell("queue.unsettled", f"an outcome was not written, another process works at the entry: {error}", alert=True)
                return
            else:
                return

    async def _queue_keys(self) -> QueueKeysRow:
        while self._keys is None:
            try:
                self._keys = await self._ports.store.read(GetQueueKeys(private=True))
            except TemporaryError as error:
                # The entry is leased to us for an hour: rather wait for the store than leave it lying that long.
                self._tell("queue.unavailable", f"the queue's keys cannot be had yet: {error}", alert=True)
                await asyncio.sleep(1.0)
        return self._keys

    async def _settle_broken(self, claimed: ClaimedSpool, error: SealBrokenError) -> None:
        """Keep an entry that does not open for a person, out of the way for a day: it can neither be sent nor bounced."""
        self._tell("queue.damaged", f"queue entry {claimed.id.hex()} is damaged: {error}", alert=True)
        again = self._ports.clock.now() + 86400.0
        await self._write(SettleSpool(claimed.id, self._ports.owner, tuple(RecipientOutcome(one.number, Fate.DEFERRED.value, again) for one in claimed.due)))

    def _tell(self, name: str, text: str, *, alert: bool = False) -> None:
        self._ports.events.emit(Event.of(name, text, alert=alert))


@dataclass(frozen=True, slots=True)
class _Means:
    """What all attempts share: the lanes to destinations, who signs, the queue's public half for notices."""

    lanes: Lanes
    signer: Signer
    queue_public: bytes


class _Attempt:
    """One attempt at one entry: who is due, where each goes, what came of it."""

    def __init__(self, ports: Ports, means: _Means, claimed: ClaimedSpool, opened: spool.Opened) -> None:
        self._ports = ports
        self._means = means
        self._claimed = claimed
        self._kept = opened.prefix
        self._signed = Signed(opened.prefix)
        self._envelope = envelope = opened.envelope
        self._content_key = opened.content_key
        self._entry_key = opened.entry_key
        self._due = {one.number: envelope.recipients[one.number] for one in claimed.due if one.number < len(envelope.recipients)}
        self._attempts = {one.number: one.attempts for one in claimed.due}
        self._outcomes: dict[int, Outcome] = {}
        self._deliveries: tuple[Delivery, ...] = ()
        self._header = b""

    async def run(self) -> SettleSpool:
        """Try every due recipient; give what is to be written. Never raises for what a remote host or the DNS did."""
        try:
            opener = await self._open_content()
            self._header = opener.read(0, opener.header_size)
            here, domains = await self._sort()
            self._deliver_here(opener, await self._read_reports(opener, here))
            if domains and not self._kept:
                # RFC 6376 §5: once; a later attempt sends the same fields, whatever became of the keys.
                self._signed = await self._means.signer.sign(self._claimed.kind, self._header, opener)
            letter = remote.Letter(opener, self._signed.prefix)
            await asyncio.gather(*(self._send(letter, domain, numbers) for domain, numbers in domains.items()))
        except SealBrokenError as error:
            self._tell("queue.damaged", f"content of queue entry {self._claimed.id.hex()} does not open: {error}", alert=True)
            self._give_all(Outcome(Fate.FAILED, _BROKEN))
        except SigningError as error:
            self._tell("signing.failed", f"queue entry {self._claimed.id.hex()} waits: {error}", alert=True)
            self._give_all(Outcome(Fate.DEFERRED, Reply.of(451, error.status, error.public)))
        except TemporaryError as error:
            self._give_all(Outcome(Fate.DEFERRED, Reply.of(451, error.status, error.public)))
        return self._settle()

    def _give_all(self, outcome: Outcome) -> None:
        for number in self._due:
            self._outcomes.setdefault(number, outcome)

    async def _open_content(self) -> ContentOpener:
        row = await self._ports.store.read(GetContent(self._claimed.content))
        if row is None:
            raise SealBrokenError("the content is gone")
        return ContentOpener(row.blob if row.blob is not None else self._ports.files.open(self._claimed.content), self._claimed.content, self._content_key)

    async def _sort(self) -> tuple[list[tuple[int, Resolution]], dict[str, list[int]]]:
        """Tell local recipients from remote ones, those by domain."""
        here: list[tuple[int, Resolution]] = []
        domains: dict[str, list[int]] = {}
        for number, recipient in self._due.items():
            resolution = await resolve(self._ports.store, recipient.address, self._ports.settings().reports.address)
            if resolution.ours:
                here.append((number, resolution))
            else:
                domains.setdefault(recipient.address.domain, []).append(number)
        return here, domains

    async def _read_reports(self, opener: ContentOpener, here: list[tuple[int, Resolution]]) -> list[tuple[int, Resolution]]:
        """Read what is for the address for reports; give who is left to get a copy."""
        for number, resolution in here:
            if resolution.reports:
                address, ours = self._due[number].address, self._claimed.kind == spool.GENERATED
                outcome = await local.read_report(self._ports.store, opener, address, self._ports.clock.now(), ours=ours)
                if not resolution.accounts:
                    self._outcomes[number] = outcome
        return [(number, resolution) for number, resolution in here if number not in self._outcomes]

    def _deliver_here(self, opener: ContentOpener, here: list[tuple[int, Resolution]]) -> None:
        kept: list[tuple[Address, Resolution]] = []
        for number, resolution in here:
            outcome = self._outcomes[number] = local.judge(resolution, opener.size)
            if outcome.fate is Fate.DELIVERED:
                kept.append((self._due[number].address, resolution))
        if kept:
            waiting = local.Waiting(opener, self._claimed.content, self._content_key, self._envelope.reverse_path)
            self._deliveries = local.deliveries(waiting, kept, self._ports.clock.now())

    async def _send(self, letter: remote.Letter, domain: str, numbers: list[int]) -> None:
        recipients = tuple(self._due[number] for number in numbers)
        async with self._means.lanes.enter(self._ports.settings().delivery.smart_host or domain):
            outcomes = await remote.send(self._ports, domain, self._envelope, recipients, letter)
        self._outcomes.update(zip(numbers, outcomes, strict=True))

    # ------------------------------------------------------------ what is written

    def _settle(self) -> SettleSpool:
        now = self._ports.clock.now()
        rows, failed = [], []
        for number, outcome in self._outcomes.items():
            ended, again = self._end(number, outcome, now)
            rows.append(RecipientOutcome(number, ended.fate.value, again, spool.seal_reply(self._entry_key, self._claimed.id, ended.reply)))
            self._tell_outcome(self._due[number], ended)
            if ended.fate is Fate.FAILED:
                failed.append((self._due[number], ended))
        contents, spools = self._bounce(failed, now)
        return SettleSpool(self._claimed.id, self._ports.owner, tuple(rows), self._deliveries, contents, spools, sealed_prefix=self._prefix_to_keep(rows))

    def _prefix_to_keep(self, rows: list[RecipientOutcome]) -> bytes | None:
        """Give what was signed now, sealed, where somebody still waits for it (some may not have been due today); None: nothing new."""
        ended = len(rows) == len(self._envelope.recipients) and all(row.state != Fate.DEFERRED.value for row in rows)
        if not self._signed.prefix or self._kept or ended:
            return None
        return spool.seal_prefix(self._entry_key, self._claimed.id, self._signed.prefix)

    def _end(self, number: int, outcome: Outcome, now: float) -> tuple[Outcome, float]:
        """Turn a deferral into the next attempt, or into a failure when the time is over."""
        if outcome.fate is not Fate.DEFERRED:
            return outcome, 0.0
        settings = self._ports.settings().delivery
        plan = schedule.Plan(tuple(60.0 * minutes for minutes in settings.retry_minutes), settings.give_up_days * 86400.0)
        again = plan.next_attempt(self._attempts[number] + 1, self._claimed.arrived_at, now, self._ports.random)
        if again is not None:
            return outcome, again
        return Outcome(Fate.FAILED, outcome.reply, outcome.host), 0.0

    def _bounce(self, failed: list[tuple[Recipient, Outcome]], now: float) -> tuple[tuple[NewContent, ...], tuple[NewSpool, ...]]:
        """Make the failure notice, once, in the transaction that ends the recipients (RFC 5321 §6.1)."""
        told = bounce.worth_telling(self._envelope, failed)
        if not told:
            return (), ()
        arrival = bounce.Arrival(self._envelope, self._header, self._claimed.arrived_at)
        notice = bounce.compose(self._ports.hostname, arrival, told, new_id(int(now * 1000)).hex(), now)
        content, entry = spool.generated(self._means.queue_public, notice.content, notice.envelope, now)
        return (content,), (entry,)

    def _tell_outcome(self, recipient: Recipient, outcome: Outcome) -> None:
        sender = str(self._envelope.reverse_path or "<>")
        host = f" by {outcome.host}" if outcome.host else ""
        # Servers elsewhere quote subjects and header fields in their words: those stay sealed with the entry, the log has the codes.
        why = f"{outcome.reply.code} {outcome.reply.status}".rstrip() if outcome.host else str(outcome.reply)
        text = f"{_WORDS[outcome.fate]} from {sender} for {recipient.address}{host} because {why}"
        if unsigned := ", ".join(self._signed.unsigned):
            self._tell(f"delivery.{outcome.fate.value}", f"{text} (unsigned: no signing key of {unsigned})", unsigned=unsigned)
        else:
            self._tell(f"delivery.{outcome.fate.value}", text)

    def _tell(self, name: str, text: str, *, alert: bool = False, **facts: str) -> None:
        self._ports.events.emit(Event.of(name, text, alert=alert, id=self._claimed.id.hex(), **facts))


_WORDS: Final = {Fate.DELIVERED: "delivered", Fate.RELAYED: "sent on", Fate.DEFERRED: "deferred", Fate.FAILED: "failed"}
