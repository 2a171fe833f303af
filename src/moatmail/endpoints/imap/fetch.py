# SPDX-License-Identifier: Apache-2.0
r"""FETCH: flags from the shared arrays, lists from summaries, content only where a section of it is asked for; all in slices.

Obeys RFC 3501 §6.4.5, §7.4.2 (setting ``\Seen``), RFC 7162 §3.1.4 (CHANGEDSINCE, MODSEQ), RFC 8474 §5 (EMAILID, THREADID),
RFC 8514 §4.2 (SAVEDATE), RFC 8970 (PREVIEW), RFC 9394 §3.3 (PARTIAL), RFC 9586 §3.3 (UIDFETCH).
Must never know how anything is sealed: `mailbox/reading` opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

from moatmail.core.errors import NotFoundError, SealBrokenError, TemporaryError
from moatmail.core.imap_string import string
from moatmail.core.limits.endpoints import CONTENT_PAGE, FLAG_OCTETS, FLAG_ROWS, NUMBERS, PAGE, WRITE_OCTETS
from moatmail.core.limits.mailbox import LISTING_FROM
from moatmail.core.limits.mailbox import PAGE as LISTED_PAGE
from moatmail.core.limits.store import KEYWORD_OCTETS, KEYWORDS
from moatmail.endpoints.imap.alter import current_view, resolve
from moatmail.endpoints.imap.binary import Streamed, UnknownEncodingError, check_encoding, render
from moatmail.endpoints.imap.conversation import Conversation, RefusedError
from moatmail.endpoints.imap.fetch_listed import Listed, ListedRows
from moatmail.endpoints.imap.fetch_response import FetchResponse
from moatmail.endpoints.imap.sections import cut, is_listed, lister, needs_summary
from moatmail.endpoints.imap.selected import Selected
from moatmail.endpoints.imap.sync import enable_condstore, sync, sync_silently
from moatmail.endpoints.imap.vanished import tell_earlier
from moatmail.mailbox import placements
from moatmail.mailbox.known import Known
from moatmail.mailbox.listings import Listings
from moatmail.mailbox.numbering import Numbering, Span
from moatmail.mailbox.placements import FlagChange
from moatmail.mailbox.reading import OpenMessage, fetch_rows
from moatmail.mailbox.view import View
from moatmail.message.summary import Summary, for_utf8
from moatmail.store.index_items import PlacedRow
from moatmail.store.queries import MessageRow
from moatmail.store.thread_items import GetThreads
from moatmail.wire.imap import events, flags, responses
from moatmail.wire.imap.fetch import Attribute, BinarySection, BodySection, FetchItem
from moatmail.wire.imap.moment import ZonedMoment, format_date_time
from moatmail.wire.imap.object_id import email_id, thread_id
from moatmail.wire.imap.sequence import SequenceSet

_Maker = Callable[["_Subject"], bytes | None]
_FROM_ARRAYS: Final = frozenset((Attribute.FLAGS, Attribute.UID, Attribute.MODSEQ))
_FROM_SUMMARY: Final = frozenset((Attribute.ENVELOPE, Attribute.BODY, Attribute.BODYSTRUCTURE, Attribute.PREVIEW))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a FETCH needs of each message."""

    items: tuple[FetchItem, ...]
    sections: tuple[BodySection | BinarySection, ...]
    from_arrays: bool
    content: bool
    summary: bool
    sets_seen: bool
    threads: bool = False
    quick: tuple[_Maker, ...] = ()
    """What makes each item without the content; None of a message means that its content is needed all the same."""

    @property
    def known(self) -> bool:
        """Tell whether more than the bare rows is needed."""
        return self.content or self.summary

    @property
    def listed(self) -> bool:
        """Tell whether a listing of many messages may hold all of it."""
        return self.summary and bool(self.quick) and not self.sets_seen

    def told(self, *, condstore: bool) -> tuple[FetchItem, ...]:
        """Give the items, and what belongs beside them after a CONDSTORE enabling command (RFC 7162 §3.2.4)."""
        beside = condstore and Attribute.FLAGS in self.items and Attribute.MODSEQ not in self.items
        return (*self.items, Attribute.MODSEQ) if beside else self.items

    @classmethod
    def of(cls, command: events.Fetch, *, utf8: bool = False) -> Plan:
        """Look through the items once; who reads UTF-8 may see messages of another size than the rows tell."""
        items = list(dict.fromkeys(command.items))
        if command.changed_since is not None and Attribute.MODSEQ not in items:
            items.append(Attribute.MODSEQ)  # RFC 7162 §3.1.4.1: CHANGEDSINCE asks for it
        sections = tuple([item for item in items if isinstance(item, BodySection | BinarySection)])
        content = not all(map(is_listed, sections))
        return cls(
            tuple(items),
            sections,
            from_arrays=_FROM_ARRAYS.issuperset(items),
            content=content,
            summary=not _FROM_SUMMARY.isdisjoint(items)
            or any(map(needs_summary, sections))
            or bool(sections and not content)
            or (utf8 and Attribute.RFC822_SIZE in items),
            sets_seen=any(not section.peek for section in sections),
            threads=Attribute.THREADID in items,
            quick=() if content else tuple([_quick(item) for item in items]),
        )


async def on_fetch(conversation: Conversation, command: events.Fetch) -> None:
    """Answer FETCH and UID FETCH."""
    selected = conversation.box
    if command.changed_since is not None or Attribute.MODSEQ in command.items:
        enable_condstore(conversation)
    if command.uid and (selected.reaches_new(command.sequence) or command.changed_since is not None):
        # Else what others did is told behind the answer: getmail takes the first FETCH response for the message that it asked for.
        await sync(conversation, uid=True)
    spans = await resolve(conversation, command.sequence, uid=command.uid)
    if command.vanished and command.changed_since is not None:
        # RFC 7162 §3.2.6: ahead of what changed. A set that ends with * reaches up to what came last, though it may be gone.
        await tell_earlier(conversation, selected, selected.past_ranges(command.sequence), command.changed_since)
    fetch = Fetch(conversation, selected, Plan.of(command, utf8=conversation.utf8), command.changed_since)
    conversation.begin_slice()
    if command.partial is not None:
        # RFC 9394 §3.4: the range is of the messages named; which of these changed is asked afterwards.
        spans = _part(spans, command.partial.places(sum(last - first + 1 for first, last in spans)))
    await fetch.run(spans)
    if _asks_for_one(command.sequence) and (fetch.missing or not spans):
        await sync_silently(conversation, uid=command.uid)
    else:
        await sync(conversation, expunge=command.uid, uid=command.uid)
    if fetch.damaged is not None:
        raise RefusedError(fetch.damaged.public.encode(), b"CORRUPTION")  # the administrator was told of each
    if fetch.undecodable:
        raise RefusedError(b"a part is in an unknown transfer encoding", b"UNKNOWN-CTE")  # RFC 3516 §4.3
    if fetch.missing and not command.uid:
        # RFC 5530 §3: not NO, for which clients that copy a mailbox give all of it up; the code tells that somebody removed some of them.
        conversation.done(command, b"fetched, but for those that are gone", b"EXPUNGEISSUED")
        return
    conversation.done(command, b"fetched")


class Fetch:
    """One FETCH at work."""

    def __init__(self, conversation: Conversation, selected: Selected, plan: Plan, changed_since: int | None) -> None:
        self._conversation = conversation
        self._selected = selected
        self._plan = plan
        self._changed_since = changed_since
        self._written = 0
        self._seen_at = 0  # the modseq at which \Seen was set
        self.missing = False
        """Whether a message of the set is gone."""
        self.undecodable = False
        """Whether a part is in an encoding that nobody here can undo."""
        self.damaged: SealBrokenError | None = None
        """The first message that did not open; the others are served."""

    async def run(self, spans: list[Span]) -> None:
        """Write the responses for ranges of message numbers."""
        plan = self._plan
        if plan.from_arrays and Attribute.FLAGS in plan.items and self._changed_since is None:
            view = await current_view(self._conversation)
            if self._selected.is_aligned(view):
                await self._write_flag_rows(spans, _rows_at_once(view))
                return
        if plan.listed and sum(last - first + 1 for first, last in spans) >= LISTING_FROM:
            await self._write_listed(spans)
            return
        size = CONTENT_PAGE if plan.content else PAGE
        for page in self._pages(spans, size):
            await self._write_page(page)

    async def changed(self, spans: list[Span], since: int) -> list[Span]:
        """Give those of the ranges whose messages changed after a modseq."""
        changed: list[int] = []
        for first, last in spans:
            for start in range(first, last + 1, NUMBERS):
                view = await current_view(self._conversation)
                for number, uid in self._numbered(start, min(start + NUMBERS - 1, last)):
                    place = view.place(uid)
                    if place >= 0 and view.modseqs[place] > since:
                        changed.append(number)
                await self._conversation.pause()
        return list(Numbering(changed).uid_spans(1, len(changed)))

    # ---- FLAGS, UID and MODSEQ of many messages: whole slices of the arrays ----

    async def _write_flag_rows(self, spans: list[Span], at_once: int) -> None:
        items = self._plan.items
        for first, last in spans:
            for start in range(first, last + 1, at_once):
                view = await current_view(self._conversation)
                if not self._selected.is_aligned(view):
                    # A message went between two slices: the rest of these ranges is told one by one.
                    for page in self._pages([(start, last)], PAGE):
                        await self._write_page(page)
                    break
                end = min(start + at_once - 1, last, len(view.uids))
                uids = view.uids[start - 1 : end]
                bits = view.flags[start - 1 : end]
                if self._selected.recent:
                    for place, uid in enumerate(uids):
                        bits[place] = self._selected.bits(uid, bits[place])
                rows = responses.flag_rows(
                    None if self._conversation.uid_only else start,
                    uids,
                    bits,
                    view.keywords,
                    with_uid=Attribute.UID in items,
                    modseqs=view.modseqs[start - 1 : end] if Attribute.MODSEQ in items else None,
                )
                self._conversation.engine.write(rows)
                await self._conversation.flush()

    # ---- everything else: pages ----

    def _numbered(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        return zip(range(first, last + 1), self._selected.numbering.uids(first, last), strict=True)

    def _pages(self, spans: list[Span], size: int) -> Iterator[list[tuple[int, int]]]:
        page: list[tuple[int, int]] = []
        for first, last in spans:
            for start in range(first, last + 1, size):
                page.extend(self._numbered(start, min(start + size - 1, last)))
                if len(page) >= size:
                    yield page
                    page = []
        if page:
            yield page

    async def _write_page(self, page: Sequence[tuple[int, int]]) -> None:
        view = await current_view(self._conversation)
        page = self._present(view, page)
        seen: frozenset[int] = frozenset()
        if self._plan.sets_seen and not self._selected.read_only:
            seen = await self._set_seen(view, [uid for _number, uid in page])
            view = await current_view(self._conversation)
        rows: dict[int, Known] = {}
        if self._plan.known:
            rows = await self._conversation.account.known.find(self._selected.mailbox, [uid for _number, uid in page])
        elif not self._plan.from_arrays:
            found = await fetch_rows(self._conversation.account, self._selected.mailbox, [uid for _number, uid in page])
            rows = {uid: Known(row) for uid, row in found.items()}
        threads = await _fetch_threads(self._conversation, self._plan, page)
        await self._conversation.pause()
        for number, uid in page:
            known = rows.get(uid)
            if known is None and not self._plan.from_arrays:
                self.missing = True
                continue
            subject = _Subject(number, uid, self._selected, view, known.row if known is not None else None, thread=threads.get(uid, b""))
            if not await self._write_quickly(subject, known, told_seen=uid in seen):
                await self._write_one(subject, known, told_seen=uid in seen)
        if seen and not (self.missing or self.undecodable or self.damaged):
            # Only where every response was written; else `sync` tells that \Seen was set: no mod-sequence is passed over untold (RFC 7162 §3.2).
            self._selected.own.add(self._seen_at)

    async def _write_quickly(self, subject: _Subject, known: Known | None, *, told_seen: bool) -> bool:
        """Write one FETCH response without the content; tells whether that could be done, or will never be."""
        if self._plan.content:
            return False
        try:
            if self._plan.summary and known is not None:
                subject.summary = self._summary(known)
            items = self._quick_items(subject, told_seen=told_seen)
        except SealBrokenError as error:
            self._note_damage(error)
            return True
        except NotFoundError:
            self.missing = True
            return True
        if items is None:
            return False  # an older summary, or a long header
        if self._put_quickly(subject, items):
            await self._flush()
        return True

    def _quick_items(self, subject: _Subject, *, told_seen: bool) -> list[bytes] | None:
        made = [make(subject) for make in self._plan.quick]
        if None in made:
            return None
        items = cast("list[bytes]", made)
        if told_seen or self._conversation.condstore:
            items.extend(_besides(subject, self._plan, self._conversation, told_seen=told_seen))
        return items

    def _summary(self, known: Known) -> Summary:
        summary = known.summary(self._conversation.account.keys, self._conversation.account.id)
        return for_utf8(summary) if self._conversation.utf8 else summary

    def _put_quickly(self, subject: _Subject, items: list[bytes]) -> bool:
        """Write a response; tells whether it is time to flush."""
        if self._conversation.uid_only:
            line = b"* %b\r\n" % responses.fetch(subject.uid, items, by_uid=True)
        else:
            line = b"* %d FETCH (%b)\r\n" % (subject.number, b" ".join(items))
        self._conversation.engine.write(line)
        self._written += len(line)
        # Looking at the clock costs as much as rendering an item does: a few messages more or less are nothing.
        return self._written >= WRITE_OCTETS or (not subject.number % 8 and self._conversation.slice_is_over())

    async def _flush(self) -> None:
        await self._conversation.flush()
        self._written = 0

    # ---- thousands of messages: from listings ----

    async def _write_listed(self, spans: list[Span]) -> None:
        rows = ListedRows(self._selected, self._plan.told(condstore=self._conversation.condstore), _FROM_ROWS, by_uid=self._conversation.uid_only)
        listings = Listings(self._conversation.account, self._selected.mailbox, rows.kinds, rows=rows.needs_rows)
        for numbered in self._pages(spans, LISTED_PAGE):
            view = await current_view(self._conversation)
            page = self._present(view, numbered)
            runs = await listings.find([uid for _number, uid in page]) if page else []
            await self._conversation.pause()
            beyond = 0
            for run in runs:
                await self._write_rest(page[beyond : run.first])
                for first in range(run.first, run.beyond, rows.at_once):
                    beyond = min(first + rows.at_once, run.beyond)
                    await self._write_chunk(rows, view, page[first:beyond], Listed(run.listing, run.part(first, beyond), listings.rows))
            await self._write_rest(page[beyond:])
        for error in listings.damaged:
            self._conversation.alert(error)

    async def _write_rest(self, page: Sequence[tuple[int, int]]) -> None:
        """Write messages that no listing holds."""
        for start in range(0, len(page), PAGE):
            await self._write_page(page[start : start + PAGE])

    async def _write_chunk(self, rows: ListedRows, view: View, page: Sequence[tuple[int, int]], listed: Listed) -> None:
        """Write messages of one listing."""
        at = self._selected.places(view, page)
        if at is None:
            await self._write_rest(page)  # somebody removed one meanwhile: they are told one by one
            return
        for line in rows.render(page, view, at, listed):
            self._conversation.engine.write(line)
            self._written += len(line)
            if self._written >= WRITE_OCTETS:
                await self._flush()
        await self._conversation.pause()

    def _note_damage(self, error: SealBrokenError) -> None:
        self._conversation.alert(error)
        self.damaged = self.damaged or error

    def _present(self, view: View, page: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Leave out who is gone, and who did not change since."""
        since = self._changed_since
        if since is None and self._selected.is_aligned(view) and page and page[-1][0] <= len(view.uids):
            return list(page)
        present = []
        for number, uid in page:
            place = view.place(uid)
            if place < 0:
                self.missing = True
            elif since is None or view.modseqs[place] > since:
                present.append((number, uid))
        return present

    async def _set_seen(self, view: View, uids: list[int]) -> frozenset[int]:
        r"""Set ``\Seen`` where it is missing (RFC 3501 §6.4.5); gives who has it now and had it not."""
        unseen = tuple([uid for uid in uids if (place := view.place(uid)) >= 0 and not view.flags[place] & flags.SEEN])
        if unseen:
            # A store that cannot write for a moment (a full disk) must not keep anybody from reading.
            with suppress(TemporaryError):
                change = FlagChange("add", flags.SEEN)
                stored = await placements.set_flags(self._conversation.account, self._selected.mailbox, unseen, change, self._conversation.now())
                self._seen_at = stored.highestmodseq
        return frozenset(unseen)

    async def _write_one(self, subject: _Subject, known: Known | None, *, told_seen: bool) -> None:
        """Write one FETCH response; a message that does not open is left out, and told at the end."""
        by_uid = self._conversation.uid_only
        response = FetchResponse(self._conversation, subject.uid if by_uid else subject.number, by_uid=by_uid)
        try:
            if known is not None and self._plan.known:
                if self._plan.summary:
                    subject.summary = self._summary(known)
                subject.message = OpenMessage(self._conversation.account, known.row, known.opened, utf8=self._conversation.utf8)
            await self._write_items(subject, response, told_seen=told_seen)
        except (SealBrokenError, NotFoundError, UnknownEncodingError) as error:
            if response.begun:
                response.cut_off(error)
            if isinstance(error, SealBrokenError):
                self._note_damage(error)
            elif isinstance(error, UnknownEncodingError):
                self.undecodable = True
            else:
                self.missing = True

    async def _write_items(self, subject: _Subject, response: FetchResponse, *, told_seen: bool) -> None:
        if self._plan.sections and subject.message is not None:
            await subject.message.open(self._conversation.account)
            for section in self._plan.sections:
                if isinstance(section, BinarySection):
                    check_encoding(subject.message, section)  # while all of it can still be refused
        last = list(_besides(subject, self._plan, self._conversation, told_seen=told_seen))
        for item in self._plan.items:
            if isinstance(item, BodySection):
                await response.add(_section(subject, item))
            elif isinstance(item, BinarySection):
                await response.add(await render(subject.opened(), item, self._conversation.pause))
            else:
                await response.add(_ITEMS[item](subject))
        self._written += response.end(last)
        if await self._conversation.pause(self._written):
            self._written = 0


async def _fetch_threads(conversation: Conversation, plan: Plan, page: Sequence[tuple[int, int]]) -> dict[int, bytes]:
    """Give the threads of a page's messages by UID, where they are asked for; nobody keeps them, for a message that has none may get one."""
    if not plan.threads or not page:
        return {}
    account, mailbox = conversation.account, conversation.box.mailbox
    return dict(await account.store.read(GetThreads(account.id, mailbox, tuple([uid for _number, uid in page]))))


def _asks_for_one(sequence: SequenceSet) -> bool:
    return len(sequence.ranges) == 1 and sequence.ranges[0][0] == sequence.ranges[0][1] and not sequence.saved


def _rows_at_once(view: View) -> int:
    """Give how many rows of flags to render at once, were every keyword on each of them."""
    words = view.spellings.values() if len(view.spellings) <= KEYWORDS else ()
    octets = sum(map(len, words)) if words else KEYWORD_OCTETS * bool(view.spellings)
    return max(1, min(FLAG_ROWS, FLAG_OCTETS // (min(octets, KEYWORD_OCTETS) + 1)))


def _part(spans: list[Span], places: slice) -> list[Span]:
    """Give the part of ranges that lies at some places, counted over all of them."""
    kept: list[Span] = []
    before = 0
    for first, last in spans:
        low, high = max(first, first + places.start - before), min(last, first + places.stop - 1 - before)
        if low <= high:
            kept.append((low, high))
        before += last - first + 1
    return kept


@dataclass(slots=True)
class _Subject:
    """One message to be told of."""

    number: int
    uid: int
    selected: Selected
    view: View
    row: MessageRow | None
    message: OpenMessage | None = None
    summary: Summary | None = None
    thread: bytes = b""

    def known(self) -> MessageRow:
        """Give the row."""
        if self.row is None:
            raise NotFoundError
        return self.row

    def opened(self) -> OpenMessage:
        """Give the message."""
        if self.message is None:
            raise NotFoundError
        return self.message

    def summarized(self) -> Summary:
        """Give the summary."""
        if self.summary is None:
            raise NotFoundError
        return self.summary

    def place(self) -> int:
        """Give the place in the arrays."""
        # Where nothing went that the client was not told of, its number tells the place.
        place, uids = self.number - 1, self.view.uids
        if place < len(uids) and uids[place] == self.uid:
            return place
        place = self.view.place(self.uid)
        if place < 0:
            raise NotFoundError
        return place


def _section(subject: _Subject, item: BodySection) -> bytes | Streamed:
    message = subject.opened()
    piece = cut(message, item)
    if not piece.length:
        return responses.section_item(item.label, piece.whole)
    return Streamed(responses.section_head(item.label, piece.length), map(responses.without_nul, message.read(piece.start, piece.length)))


def _flags(subject: _Subject) -> bytes:
    bits = subject.selected.bits(subject.uid, subject.view.flags[subject.place()])
    return responses.flags_item(bits, subject.view.keywords.get(subject.uid, ()))


def _modseq(subject: _Subject) -> bytes:
    return responses.modseq_item(subject.view.modseqs[subject.place()])


def _besides(subject: _Subject, plan: Plan, conversation: Conversation, *, told_seen: bool) -> Iterator[bytes]:
    """Give the items that were not asked for and belong into the response."""
    # RFC 3501 §6.4.5: that the flags changed is told with what changed them; RFC 7162 §3.2.4: and with the UID, after a CONDSTORE enabling command.
    if told_seen and Attribute.FLAGS not in plan.items:
        yield _flags(subject)
    if not conversation.condstore:
        return
    if told_seen and Attribute.UID not in plan.items and not conversation.uid_only:
        yield responses.uid_item(subject.uid)
    if Attribute.MODSEQ not in plan.items and (told_seen or Attribute.FLAGS in plan.items):
        yield _modseq(subject)


def _save_date(row: MessageRow | PlacedRow) -> bytes:
    return responses.rendered_item(b"SAVEDATE", format_date_time(ZonedMoment(int(row.saved_at // 1))))


def _email_id(row: MessageRow | PlacedRow) -> bytes:
    return responses.rendered_item(b"EMAILID", b"(%b)" % email_id(row.id))


def _thread_id(thread: bytes) -> bytes:
    # RFC 8474 §5.2: NIL of a message of before that has none yet; one told once never changes.
    return responses.rendered_item(b"THREADID", b"(%b)" % thread_id(thread) if thread else b"NIL")


def _size(subject: _Subject) -> bytes:
    # RFC 9051 §7.5.2: as many octets as BODY[] has for this very reader; only for who reads UTF-8 the row may not know it.
    if subject.message is not None:
        return responses.size_item(subject.message.told_size)
    return responses.size_item(subject.summary.size if isinstance(subject.summary, Summary) else subject.known().size)


def _internal_date(subject: _Subject) -> bytes:
    return responses.rendered_item(b"INTERNALDATE", format_date_time(ZonedMoment(int(subject.known().received_at // 1))))


_FROM_ROWS: Final[dict[Attribute, Callable[[PlacedRow], bytes]]] = {
    Attribute.SAVEDATE: _save_date,
    Attribute.EMAILID: _email_id,
    Attribute.THREADID: lambda row: _thread_id(row.thread),
}
_ITEMS: Final[dict[Attribute, Callable[[_Subject], bytes]]] = {
    Attribute.UID: lambda subject: responses.uid_item(subject.uid),
    Attribute.FLAGS: _flags,
    Attribute.MODSEQ: _modseq,
    Attribute.INTERNALDATE: _internal_date,
    Attribute.RFC822_SIZE: _size,
    Attribute.SAVEDATE: lambda subject: _save_date(subject.known()),
    Attribute.EMAILID: lambda subject: _email_id(subject.known()),
    Attribute.THREADID: lambda subject: _thread_id(subject.thread),
    # RFC 8970 §3.1: made at delivery; a message that has none is told as the empty string.
    Attribute.PREVIEW: lambda subject: responses.rendered_item(b"PREVIEW", string(subject.summarized().preview.encode())),
    Attribute.ENVELOPE: lambda subject: responses.rendered_item(b"ENVELOPE", subject.summarized().envelope),
    Attribute.BODY: lambda subject: responses.rendered_item(b"BODY", subject.summarized().body),
    Attribute.BODYSTRUCTURE: lambda subject: responses.rendered_item(b"BODYSTRUCTURE", subject.summarized().bodystructure),
}


def _quick(item: FetchItem) -> _Maker:
    if isinstance(item, Attribute):
        return _ITEMS[item]
    if isinstance(item, BinarySection):
        raise TypeError("a decoded part is not made without the content")
    octets_of, label = lister(item), item.label

    def section(subject: _Subject) -> bytes | None:
        octets = octets_of(subject.summarized())
        return None if octets is None else responses.section_item(label, octets)

    return section
