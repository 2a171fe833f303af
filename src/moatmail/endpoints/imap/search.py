# SPDX-License-Identifier: Apache-2.0
"""SEARCH and UID SEARCH: the client's keys as criteria of the mailbox, what was found as SEARCH or ESEARCH.

Obeys RFC 3501 §6.4.4 and §7.2.5, RFC 4731 §3.1 (RETURN), RFC 5032 (WITHIN), RFC 5182 (SAVE), RFC 7162 §3.1.5 and §3.1.10 (MODSEQ),
RFC 8474 §6 (EMAILID, THREADID), RFC 9394 §3.1 (PARTIAL), RFC 9585 (INPROGRESS).
Must never know how a message is matched.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress
from typing import Any, Final

from moatmail.core.limits.endpoints import PROGRESS_EVERY, SLICE
from moatmail.core.limits.mailbox import PAGE
from moatmail.endpoints.imap.alter import current_view
from moatmail.endpoints.imap.answers import Numbers, put_extended, put_numbers
from moatmail.endpoints.imap.conversation import Conversation
from moatmail.endpoints.imap.selected import Selected
from moatmail.endpoints.imap.sync import enable_condstore, sync
from moatmail.mailbox import criteria
from moatmail.mailbox.criteria import Criterion
from moatmail.mailbox.numbering import Numbering
from moatmail.mailbox.search import Need, Slices, search
from moatmail.mailbox.search_columns import Snapshot, flag_octets
from moatmail.mailbox.search_reader import MailboxReader
from moatmail.mailbox.view import View
from moatmail.net.drive import PeerGoneError
from moatmail.store.queries import FindMessages
from moatmail.store.thread_items import FindThread
from moatmail.wire.imap import events, flags, responses
from moatmail.wire.imap import search as keys
from moatmail.wire.imap.object_id import read_email_id, read_thread_id
from moatmail.wire.imap.search import SearchKey, SearchReturn
from moatmail.wire.imap.sequence import merge

_RECENT: Final = bytes(value | flags.RECENT for value in range(256))
_NEEDS: Final = {frozenset((SearchReturn.MIN,)): Need.FIRST, frozenset((SearchReturn.MAX,)): Need.LAST}
_SAVE: Final = frozenset((SearchReturn.SAVE,))
_ENDS: Final = frozenset((SearchReturn.MIN, SearchReturn.MAX))


async def run(conversation: Conversation, command: events.Search) -> None:
    """Search among the messages that the client was told of."""
    if command.returns is None and conversation.rev2:
        # RFC 9051 §6.4.4, appendix E: IMAP4rev2 knows the extended answer only.
        command = replace(command, returns=frozenset((SearchReturn.ALL,)))
    with saving(conversation.box, command):
        await _run(conversation, command)


@contextmanager
def saving(selected: Selected, command: events.Search | events.Sort) -> Iterator[None]:
    """Leave nothing saved where a search that was to save fails, rather than what an earlier one found (RFC 5182 §2.1)."""
    try:
        yield
    except Exception:
        if SearchReturn.SAVE in (command.returns or ()):
            selected.saved = Numbering()
        raise


async def on_refused(conversation: Conversation, notice: events.SearchRefused) -> None:
    """Forget what was saved."""
    del notice
    if conversation.selected is not None:
        conversation.selected.saved = Numbering()


async def _run(conversation: Conversation, command: events.Search) -> None:
    returns = command.returns or frozenset()
    found = await find(conversation, command, _NEEDS.get(returns - _SAVE, Need.ALL))
    if found is not None:
        await answer(conversation, command, found, found.places)
        conversation.done(command, b"searched")


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: `places` in `snapshot`, rising; `aligned`: place n is message number n + 1."""

    selected: Selected
    snapshot: Snapshot
    aligned: bool
    places: list[int]
    reader: MailboxReader
    slices: Slices

    def numbers(self, places: Sequence[int], *, uid: bool) -> list[int]:
        """Give UIDs or message numbers of places."""
        if self.aligned and not uid:
            return [place + 1 for place in places]
        uids = [self.snapshot.uids[place] for place in places]
        return uids if uid else list(map(self.selected.numbering.number, uids))


async def find(conversation: Conversation, command: events.Search | events.Sort | events.Thread, need: Need = Need.ALL) -> Found | None:
    """Bring the client up to date and search; None when the mailbox went, and the session with it."""
    if isinstance(command, events.Search | events.Sort) and command.modseq:
        enable_condstore(conversation)
    # RFC 3501 §7.4.1: SEARCH counts messages, so none may go meanwhile; UID SEARCH does not mind unless numbers are among
    # its keys (RFC 7162 §3.2.10.2).
    counts = not command.uid or any(isinstance(named, keys.Numbers) and named.sequence.ranges for named in keys.leaves(command.key))
    await sync(conversation, expunge=not counts, uid=command.uid)
    if conversation.selected is None:
        return None
    selected = conversation.selected
    view = await current_view(conversation)
    aligned = selected.is_aligned(view)
    snapshot = take_snapshot(selected, view)
    uids_of = await _email_ids(conversation, selected, command.key)
    slices = watched(conversation, command)
    threads = {one: await _in_thread(conversation, selected, one, snapshot, slices) for one in _thread_ids(command.key)}
    criterion = translate(command.key, Present(selected, conversation.now(), uids_of, threads))
    reader = MailboxReader(conversation.account, selected.mailbox, conversation.door.events, utf8=conversation.utf8)
    await slices.pause()
    places = await search(criterion, snapshot, reader, slices, need)
    slices.goal = 0  # what comes after it, an order or threads, was not counted
    return Found(selected, snapshot, aligned, places, reader, slices)


async def answer(conversation: Conversation, command: events.Search | events.Sort, found: Found, places: list[int]) -> None:
    """Tell what was found, `places` in the order to be told, and keep it where that was asked."""
    told = _told(command, places)
    modseq = await _highest(found, told) if command.modseq else None
    if SearchReturn.SAVE in (command.returns or ()):
        found.selected.saved = await _saved(found, told)
    if command.returns == _SAVE:
        return  # RFC 5182 §2.1: who only saves is told nothing
    await found.slices.pause()
    numbers = Numbers(places, partial(found.numbers, uid=command.uid))
    if command.returns is None:
        await put_numbers(conversation, b"SORT" if isinstance(command, events.Sort) else b"SEARCH", numbers, modseq)
    else:
        await put_extended(conversation, command, numbers, modseq)


async def _highest(found: Found, places: list[int]) -> int | None:
    """Give the highest mod-sequence of what is told (RFC 7162 §3.1.5), None where nothing is."""
    highest = -1
    for start in range(0, len(places), SLICE):
        highest = max(highest, *map(found.snapshot.modseqs.__getitem__, places[start : start + SLICE]))
        await found.slices.pause()
    return None if highest < 0 else highest


async def _saved(found: Found, places: list[int]) -> Numbering:
    """Give the UIDs of places in any order as runs."""
    uids = found.snapshot.uids
    marks = bytearray(len(uids))
    for start in range(0, len(places), SLICE):
        for place in places[start : start + SLICE]:
            marks[place] = 1
        await found.slices.pause()
    return Numbering(array("I", compress(uids, marks)))


def watched(conversation: Conversation, command: events.Command) -> Slices:
    """Give slices that end work nobody waits for, and tell a client that waits how far it came (RFC 9585 §4)."""
    clock = conversation.door.clock
    told_at = clock.monotonic()

    def check() -> None:
        nonlocal told_at
        if conversation.connection.gone:
            raise PeerGoneError
        if clock.monotonic() - told_at >= PROGRESS_EVERY:
            told_at = clock.monotonic()
            conversation.untagged(responses.ok(responses.in_progress(command.tag, slices.progress, slices.goal), b"still at work"))
            conversation.connection.flush()

    slices = Slices(clock, check)
    return slices


def _told(command: events.Search | events.Sort, places: list[int]) -> list[int]:
    """Give those of the found that the answer names: the ends and the part asked for, or all.

    SAVE keeps the same (RFC 5182 §2.4, RFC 9394 §3.2), and of them is the modseq that goes with the answer (RFC 7162 §3.1.5, §3.1.10).
    """
    returns = (command.returns or frozenset()) - _SAVE
    if command.partial is None and not (returns and returns <= _ENDS):
        return places
    told = set(places[command.partial.places(len(places))]) if command.partial is not None else set()
    told.update(places[:1] if SearchReturn.MIN in returns else (), places[-1:] if SearchReturn.MAX in returns else ())
    return list(told)


def take_snapshot(selected: Selected, view: View) -> Snapshot:
    """Copy the numbers of the messages this session was told of and that are still there; nothing may wait here, for a view changes."""
    numbering = selected.numbering
    if selected.is_aligned(view):
        end = numbering.count
        uids, bits, modseqs = view.uids[:end], view.flags[:end], view.modseqs[:end]
    else:
        uids, bits, modseqs = array("I"), array("H"), array("Q")
        for low, high in numbering.uid_spans(1, numbering.count):
            first, beyond = bisect_left(view.uids, low), bisect_right(view.uids, high)
            uids.extend(view.uids[first:beyond])
            bits.extend(view.flags[first:beyond])
            modseqs.extend(view.modseqs[first:beyond])
    octets = flag_octets(bits)
    for low, high in selected.recent:
        first, beyond = bisect_left(uids, low), bisect_right(uids, high)
        octets = octets[:first] + octets[first:beyond].translate(_RECENT) + octets[beyond:]
    return Snapshot(uids, octets, modseqs, dict(view.keywords))


# ---------------------------------------------------------------- keys to criteria


@dataclass(frozen=True, slots=True)
class Present:
    """What keys are relative to: the messages the client was told of, the time, where messages named by EMAILID lie, and which THREADID names."""

    selected: Selected
    now: float
    uids_of: Mapping[bytes, Sequence[int]] = field(default_factory=dict)
    threads: Mapping[bytes, Criterion] = field(default_factory=dict)


async def _email_ids(conversation: Conversation, selected: Selected, key: SearchKey) -> dict[bytes, list[int]]:
    """Give the UIDs of the messages that EMAILID keys name, by identifier: found by their index, no message is looked at."""
    wanted = {id_: named.object_id for named in keys.leaves(key) if isinstance(named, keys.EmailId) and (id_ := read_email_id(named.object_id))}
    uids_of: dict[bytes, list[int]] = {}
    if wanted:
        account = conversation.account
        for id_, uid in await account.store.read(FindMessages(account.id, selected.mailbox, tuple(wanted))):
            uids_of.setdefault(wanted[id_], []).append(uid)
    return uids_of


def _thread_ids(key: SearchKey) -> list[bytes]:
    return list(dict.fromkeys([named.object_id for named in keys.leaves(key) if isinstance(named, keys.ThreadId)]))


async def _in_thread(conversation: Conversation, selected: Selected, object_id: bytes, snapshot: Snapshot, slices: Slices) -> Criterion:
    """Give the messages that a THREADID key names as criterion, found by their index in pages: few as UIDs, many as marks, never more than there are."""
    thread = read_thread_id(object_id)
    store, account = conversation.account.store, conversation.account.id
    uids: list[int] = []
    marks = bytearray()
    last = (0, 0)
    while thread and (page := await store.read(FindThread(account, selected.mailbox, thread, *last, limit=PAGE))):
        last = page[-1]
        uids.extend([uid for _number, uid in page])
        if len(uids) > PAGE and not marks:
            marks = bytearray(len(snapshot.uids))
        if marks:
            _mark(marks, snapshot.uids, uids)
            uids.clear()
        await slices.pause()
    return criteria.Marked(bytes(marks)) if marks else criteria.Uids(tuple([(uid, uid) for uid in sorted(uids)]))


def _mark(marks: bytearray, present: Sequence[int], uids: Sequence[int]) -> None:
    for uid in uids:
        place = bisect_left(present, uid)
        if place < len(present) and present[place] == uid:
            marks[place] = 1


def translate(key: SearchKey, present: Present) -> Criterion:
    """Give a search key as criterion; message numbers become the UIDs they stand for."""
    return _TRANSLATORS[type(key)](key, present)


def _everything(_key: keys.Everything, _present: Present) -> Criterion:
    return criteria.And()


def _and(key: keys.And, present: Present) -> Criterion:
    return criteria.And(tuple([translate(part, present) for part in key.keys]))


def _or(key: keys.Or, present: Present) -> Criterion:
    return criteria.Or((translate(key.left, present), translate(key.right, present)))


def _not(key: keys.Not, present: Present) -> Criterion:
    return criteria.Not(translate(key.key, present))


def _numbers(key: keys.Numbers, present: Present) -> Criterion:
    numbering = present.selected.numbering
    # A number beyond the mailbox names no message here, as in RFC 4731's answers without ALL; other commands refuse it.
    ranges = [(first, min(last, numbering.count)) for first, last in key.sequence.resolve(numbering.count) if first <= numbering.count]
    named = [(numbering.uid(first), numbering.uid(last)) for first, last in ranges]
    return criteria.Uids(merge(named + present.selected.saved_ranges()) if key.sequence.saved else tuple(named))


def _uids(key: keys.Uids, present: Present) -> Criterion:
    return criteria.Uids(present.selected.uid_ranges(key.sequence))


def _email_id(key: keys.EmailId, present: Present) -> Criterion:
    return criteria.Uids(tuple([(uid, uid) for uid in present.uids_of.get(key.object_id, ())]))


_TRANSLATORS: Final[dict[type[Any], Callable[[Any, Present], Criterion]]] = {
    keys.Everything: _everything,
    keys.And: _and,
    keys.Or: _or,
    keys.Not: _not,
    keys.Numbers: _numbers,
    keys.Uids: _uids,
    keys.HasFlag: lambda key, _: criteria.Flag(key.bit),
    keys.HasKeyword: lambda key, _: criteria.Keyword(key.keyword),
    keys.HeaderText: lambda key, _: criteria.HeaderText(key.field, key.text),
    keys.BodyText: lambda key, _: criteria.Body(key.text),
    keys.AnyText: lambda key, _: criteria.Text(key.text),
    keys.Larger: lambda key, _: criteria.Larger(key.size),
    keys.Smaller: lambda key, _: criteria.Smaller(key.size),
    keys.Received: lambda key, _: criteria.Received(criteria.Relation(key.relation.value), key.day),
    keys.Saved: lambda key, _: criteria.Saved(criteria.Relation(key.relation.value), key.day),
    # RFC 5032 §3: both ends belong to the interval.
    keys.Older: lambda key, present: criteria.ReceivedUntil(present.now - key.seconds),
    keys.Younger: lambda key, present: criteria.ReceivedFrom(present.now - key.seconds),
    keys.Sent: lambda key, _: criteria.Sent(criteria.Relation(key.relation.value), key.day),
    keys.ModSeq: lambda key, _: criteria.ModSeq(key.value),
    keys.EmailId: _email_id,
    keys.ThreadId: lambda key, present: present.threads[key.object_id],
}
