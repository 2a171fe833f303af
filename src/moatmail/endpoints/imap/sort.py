# SPDX-License-Identifier: Apache-2.0
"""SORT, THREAD and their UID forms: what a search finds, in another order.

Obeys RFC 5256 §3 and §4, RFC 5267 §3 (ESORT), RFC 5957 (DISPLAYFROM, DISPLAYTO), RFC 7162 §3.1.6 (MODSEQ).
Must never know how messages are compared or joined: `mailbox/sorting` and `mailbox/threads` do.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Final

from moatmail.core.limits.mailbox import SORT_SLICE
from moatmail.endpoints.imap.answers import put_threads
from moatmail.endpoints.imap.conversation import Conversation, RefusedError
from moatmail.endpoints.imap.search import Found, answer, find, saving
from moatmail.mailbox.sorting import Order, SortBy, Subject, casemap, each, in_slices, sort
from moatmail.mailbox.threads import Interned, Member, Steps, Threads, by_references, by_subject, walk
from moatmail.wire.imap import events
from moatmail.wire.imap.events import SortKey, ThreadAlgorithm

_BY: Final = {
    SortKey.ARRIVAL: SortBy.ARRIVAL,
    SortKey.CC: SortBy.CC,
    SortKey.DATE: SortBy.DATE,
    SortKey.FROM: SortBy.FROM,
    SortKey.SIZE: SortBy.SIZE,
    SortKey.SUBJECT: SortBy.SUBJECT,
    SortKey.TO: SortBy.TO,
    SortKey.DISPLAY_FROM: SortBy.DISPLAY_FROM,
    SortKey.DISPLAY_TO: SortBy.DISPLAY_TO,
}


async def on_sort(conversation: Conversation, command: events.Sort) -> None:
    """Answer SORT and UID SORT."""
    with saving(conversation.box, command):
        found = await find(conversation, command)
        if found is None:
            return
        program = [Order(_BY[order.key], order.reverse) for order in command.orders]
        places = await sort(program, found.snapshot.uids, found.places, found.reader, found.slices)
        await answer(conversation, command, found, places)
    conversation.done(command, b"sorted")


async def on_thread(conversation: Conversation, command: events.Thread) -> None:
    """Answer THREAD and UID THREAD."""
    found = await find(conversation, command)
    if found is None:
        return
    try:
        threads = await _thread(found, command.algorithm)
    except OverflowError:
        raise RefusedError(b"these messages have too many references", b"LIMIT") from None
    await put_threads(conversation, walk(threads), partial(found.numbers, uid=command.uid))
    while threads.children:  # letting go of a hundred thousand lists at once would hold everybody up, too
        for parent in tuple(islice(threads.children, SORT_SLICE)):
            del threads.children[parent]
        await found.slices.pause()
    conversation.done(command, b"threaded")


async def _thread(found: Found, algorithm: ThreadAlgorithm) -> Threads:
    members: list[Member] = []
    dates: list[float] = []
    number_of = Interned()
    make = _member_by_references if algorithm is ThreadAlgorithm.REFERENCES else _member_by_subject
    async for subject in each(found.snapshot.uids, found.places, found.reader, found.slices, summaries=True):
        members.append(make(subject, number_of))
        dates.append(subject.sent_at)
    order = await in_slices(list(range(len(members))), dates.__getitem__, found.slices)
    if algorithm is ThreadAlgorithm.REFERENCES:
        threads = await _run(by_references(members, order), found)
    else:
        threads = await _run(by_subject([members[index] for index in order]), found)
    while members:
        del members[-SORT_SLICE:]
        await found.slices.pause()
    return threads


def _member_by_subject(subject: Subject, _number_of: Interned) -> Member:
    summary = subject.summary
    return Member(subject.place, casemap(summary.base_subject) if summary is not None else "", is_reply=False)


def _member_by_references(subject: Subject, number_of: Interned) -> Member:
    summary = subject.summary
    if summary is None:
        return Member(subject.place, "", is_reply=False)
    return Member(
        subject.place,
        casemap(summary.base_subject),
        summary.is_reply,
        number_of(summary.message_id) if summary.message_id else -1,
        tuple(map(number_of, summary.references)),
    )


async def _run(steps: Steps, found: Found) -> Threads:
    """Run steps, letting others have their turn between them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            threads: Threads = end.value
            return threads
        await found.slices.pause()
