# SPDX-License-Identifier: Apache-2.0
"""The reports that others asked us for: once a day, for each policy domain and each domain of ours that received, to who may have them.

Obeys RFC 9990 §3.1.1 (one policy domain a report), §3.4 (who asks for reports), §3.5.2 (must itself pass DMARC), §4 (external destinations).
Must never know sockets, or how a report is signed and sent: it ends in the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Notify, Recipient
from moatmail.core.events import Event
from moatmail.core.limits.delivery import REPORT_DAYS_BACK, REPORT_DOMAINS_AT_ONCE, REPORT_ROWS_MAX, REPORT_RUN_SECONDS
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.ports.resolver import DNSError, Lookups
from moatmail.core.settings.mail import Mail
from moatmail.mailauth.dmarc.consent import report_addresses
from moatmail.mailauth.dmarc.walk import PolicyRecords
from moatmail.mailauth.reports.build import Letter, compose
from moatmail.mailauth.reports.gather import DAY, Gathered, Reporter, gather
from moatmail.mailqueue import spool
from moatmail.mailqueue.queue_key import QueueKey
from moatmail.store.interface import Store
from moatmail.store.operations import ForgetObserved, SentReport
from moatmail.store.queries import ListDomains, ListObserved

_POSTMASTER: Final = "postmaster"
Rows = list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Ports:
    """What reporting needs of the world."""

    store: Store
    resolver: Lookups
    clock: Clock
    events: EventSink
    queue_key: QueueKey
    hostname: str
    settings: Callable[[], Mail]


async def send_reports(ports: Ports) -> int:
    """Put the reports of the days that are over into the queue, each once; gives how many. Raises StoreUnavailableError.

    May run at any time and as often as one likes: what was sent is known by day, policy domain and receiver, in the transaction that queued it. What
    there was no time for, or no answer of the DNS, waits for the next run.
    """
    today = int(ports.clock.now()) // DAY
    if not ports.settings().reports.send:
        return 0
    until = ports.clock.monotonic() + REPORT_RUN_SECONDS
    return sum([await _report_day(ports, day, until) for day in range(today - REPORT_DAYS_BACK, today)])


async def _report_day(ports: Ports, day: int, until: float) -> int:
    """Report one day, some domains side by side; what is done with is forgotten domain by domain."""
    ours: frozenset[str] | None = None
    total = 0
    async for some in _batches(_observed(ports.store, day)):
        if ports.clock.monotonic() > until:
            break
        # A day without observations costs one question an hour, and no more.
        ours = ours if ours is not None else frozenset(one.name for one in await ports.store.read(ListDomains()))
        work = _Day(ports, day, ours)
        total += sum(await asyncio.gather(*(_finish_domain(work, domain, rows) for domain, rows in some)))
    return total


async def _observed(store: Store, day: int) -> AsyncIterator[tuple[str, Rows]]:
    """Give the observations of a day domain by domain; of one that has too many the rest is left out."""
    domain, rows, after = "", Rows(), ("", "")
    while page := await store.read(ListObserved(day, after)):
        for name, row, count in page:
            if name != domain and rows:
                yield domain, rows
                rows = Rows()
            domain = name
            if len(rows) < REPORT_ROWS_MAX:
                rows.append((row, count))
        after = page[-1][:2]
    if rows:
        yield domain, rows


async def _batches(domains: AsyncIterator[tuple[str, Rows]]) -> AsyncIterator[list[tuple[str, Rows]]]:
    some: list[tuple[str, Rows]] = []
    async for one in domains:
        some.append(one)
        if len(some) == REPORT_DOMAINS_AT_ONCE:
            yield some
            some = []
    if some:
        yield some


@dataclass(frozen=True, slots=True)
class _Day:
    """One day's work: the ports, the day, the domains that are ours now."""

    ports: Ports
    day: int
    ours: frozenset[str]


async def _finish_domain(work: _Day, domain: str, rows: Rows) -> int:
    """Report one policy domain and forget what was observed of it; gives how many reports."""
    sent = await _report_domain(work, domain, rows)
    if sent is not None:
        await work.ports.store.write(ForgetObserved(work.day, domain))
    return sent or 0


async def _report_domain(work: _Day, domain: str, rows: Rows) -> int | None:
    """Queue the reports of one policy domain; gives how many, None where the DNS did not say who may have them."""
    ports = work.ports
    resolver = ports.resolver.for_message()
    # RFC 9990 §3.4: whoever asks for reports says so in the policy record. It is asked again, for the wish may have ended since.
    try:
        record = await PolicyRecords(resolver).at(domain)
    except DNSError:
        return None
    if record is None or not record.rua:
        return 0
    found = await report_addresses(resolver, domain, record)
    if not found.aggregate:
        return None if found.deferred else 0
    # Whose host could not be asked today would get a second report tomorrow with all others: one report a day goes to who may have it now.
    recipients = tuple(one.address for one in found.aggregate)
    settings = ports.settings().reports
    reporter = Reporter(settings.organization or ports.hostname, settings.contact or f"{_POSTMASTER}@{ports.hostname}")
    # What was received for a domain that we gave up since cannot be signed in its name any more.
    gathered = [one for one in await asyncio.to_thread(_gathered, domain, work.day, rows, reporter) if one.receiver in work.ours]
    for one in gathered:
        await _queue(work, one, recipients)
    return len(gathered)


def _gathered(domain: str, day: int, rows: Rows, reporter: Reporter) -> list[Gathered]:
    return list(gather(domain, day, rows, reporter))


async def _queue(work: _Day, one: Gathered, recipients: tuple[Address, ...]) -> None:
    """Queue one report. It comes from the domain that received, so that its signature is aligned (RFC 9990 §3.5.2)."""
    ports = work.ports
    now = ports.clock.now()
    author = Address(_POSTMASTER, one.receiver)
    message = await asyncio.to_thread(compose, one.report, Letter(author, recipients, one.receiver, now))
    # RFC 5321 §4.5.5: a report has a reverse-path. RFC 3461 §4.1, NEVER: nobody here wants to hear of a report that did not arrive.
    told = tuple(Recipient(address, notify=Notify.NEVER) for address in recipients)
    envelope = Envelope(author, told, smtputf8=any(address.needs_utf8 for address in recipients))
    sent = SentReport(work.day, one.report.published.domain, one.receiver)
    await spool.put(ports.store, await ports.queue_key.get(), message, envelope, now, sent=sent)
    text = f"DMARC report of {one.receiver} about {one.report.published.domain} queued for {', '.join(map(str, recipients))}"
    ports.events.emit(Event.of("report.queued", text, records=len(one.report.records)))
