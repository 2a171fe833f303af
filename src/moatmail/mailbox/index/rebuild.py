# SPDX-License-Identifier: Apache-2.0
"""Summaries, words, segments and what ties messages made anew from contents, counts from rows: for the repair of a damaged folder.

Obeys docs/security.md: what is made is sealed under the keys of its message, as delivery does it.
Must never know how damage was found, nor hold the loop: what takes time runs in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from moatmail.core.errors import NotFoundError, SealBrokenError
from moatmail.core.limits import mailbox as limits
from moatmail.core.limits.store import SEGMENTS_DROPPED
from moatmail.crypto.content_seal import ContentOpener
from moatmail.crypto.cover import open_cover
from moatmail.crypto.seal import Purpose, SealKey
from moatmail.mailbox.index import words
from moatmail.mailbox.index.tend import Tender, open_unindexed, words_of
from moatmail.mailbox.prefix import Prefix, summarize
from moatmail.mailbox.reading import Owner
from moatmail.mailbox.thread_links import links
from moatmail.message import summary
from moatmail.message.structure import StructureParser
from moatmail.message.summary import Summary
from moatmail.store.index_items import AddWords, DropSegments, ListSegments, ListUnindexed, SetSummary, UnindexedRow
from moatmail.store.queries import GetContent, ListMailboxes
from moatmail.store.repair_items import Recount
from moatmail.store.thread_items import AddThreads

_UNREADABLE: Final = (SealBrokenError, NotFoundError, OSError)


class Rebuilt(NamedTuple):
    """What a rebuilding did: summaries and words that were others before, the numbers of messages that do not open, messages tied otherwise before."""

    summaries: int
    words: int
    unreadable: tuple[int, ...]
    tied: int = 0


class _Made(NamedTuple):
    """What a message should have: summary and words sealed, empty where it has that already, and its links."""

    summary: bytes
    words: bytes
    links: bytes


async def drop_segments(owner: Owner) -> int:
    """Drop every segment of the account: all its placed messages are in the tail. Gives how many there were."""
    dropped = 0
    while segments := await owner.store.read(ListSegments(owner.id)):
        dropped += await owner.store.write(DropSegments(owner.id, segments[:SEGMENTS_DROPPED]))
    return dropped


async def rebuild(owner: Owner, still_open: Callable[[], bool], now: float) -> Rebuilt:
    """Make summaries, words and links of an account anew from its contents, then merge them anew; what is right stays. Raises what the store raises.

    A thread once given stays (RFC 8474 §5.2); a message that lost its own finds it by its links, or begins another.
    """
    await drop_segments(owner)
    done = Rebuilt(0, 0, ())
    after = 0
    while still_open() and (rows := await owner.store.read(ListUnindexed(owner.id, after, limits.INDEX_BATCH))):
        summaries: list[tuple[int, bytes, bytes]] = []
        made_words: list[tuple[int, bytes]] = []
        ties: list[tuple[int, bytes]] = []
        unreadable: list[int] = []
        octets = 0
        for row in rows:
            after = row.number
            try:
                made = await _rebuild_row(owner, row)
            except _UNREADABLE:
                unreadable.append(row.number)
                continue
            ties.append((row.number, made.links))
            if made.summary:
                summaries.append((row.number, row.summary, made.summary))
            if made.words:
                made_words.append((row.number, made.words))
            # Summaries travel twice, the old one and the new one.
            octets += len(made.words) + (len(row.summary) + len(made.summary) if made.summary else 0)
            if octets >= limits.INDEX_BATCH_OCTETS:
                break
        if summaries:
            await owner.store.write(SetSummary(owner.id, tuple(summaries)))
        if made_words:
            await owner.store.write(AddWords(owner.id, tuple(made_words)))
        tied = await owner.store.write(AddThreads(owner.id, tuple(ties)))
        done = Rebuilt(done.summaries + len(summaries), done.words + len(made_words), (*done.unreadable, *unreadable), done.tied + tied)
    await Tender(owner, still_open).run(now)
    return done


async def recount(owner: Owner) -> int:
    """Count every mailbox of the account anew, and the room that its messages take; give how many of these counts were wrong."""
    listed = await owner.store.read(ListMailboxes(owner.id))
    wrong = [await owner.store.write(Recount(owner.id, mailbox)) for mailbox in (*(row.id for row in listed.mailboxes), 0)]
    return sum(wrong)


async def fetch_summary(owner: Owner, row: UnindexedRow) -> Summary:
    """Make the summary of a message from its content, as delivery made it; raises SealBrokenError, NotFoundError."""
    found = await owner.store.read(GetContent(row.content))
    if found is None:
        raise NotFoundError(f"content {row.content.hex()} is gone")
    return await asyncio.to_thread(_make_summary, owner, row, found.blob)


def _make_summary(owner: Owner, row: UnindexedRow, blob: bytes | None) -> Summary:
    keys = open_cover(owner.keys, owner.id, row.id, row.cover)
    prefix = Prefix(b"")
    if row.prefix:
        prefix = Prefix.decode(SealKey(keys.message_key).open(Purpose.PREFIX, owner.id, row.id, row.prefix))
    opener = ContentOpener(owner.files.open(row.content) if blob is None else blob, row.content, keys.content_key)
    parser = StructureParser()
    for piece in opener.chunks(0, opener.size):
        parser.feed(piece)
    return summarize(prefix, parser.finish(), 0)


async def _rebuild_row(owner: Owner, row: UnindexedRow) -> _Made:
    made = await fetch_summary(owner, row)
    sealing = SealKey(open_cover(owner.keys, owner.id, row.id, row.cover).message_key)
    encoded = summary.encode(made)
    sealed = b"" if _opened(sealing, Purpose.SUMMARY, owner, row, row.summary) == encoded else sealing.seal(Purpose.SUMMARY, owner.id, row.id, encoded)
    message = await open_unindexed(owner, msgspec.structs.replace(row, summary=sealed or row.summary))
    found = await asyncio.to_thread(words_of, message)
    if _same(_opened(sealing, Purpose.WORDS, owner, row, row.words), found):
        return _Made(sealed, b"", links(made))
    return _Made(sealed, words.seal(sealing, owner.id, row.id, found), links(made))


def _opened(sealing: SealKey, purpose: Purpose, owner: Owner, row: UnindexedRow, sealed: bytes) -> bytes | None:
    """Give what was sealed; None where it is damaged or missing: that is what repairing is for."""
    try:
        return sealing.open(purpose, owner.id, row.id, sealed) if sealed else None
    except SealBrokenError:
        return None


def _same(kept: bytes | None, found: words.Words) -> bool:
    """Tell whether the words kept are the words found: their order says nothing."""
    if kept is None:
        return False
    try:
        before = words.decode(kept)
    except ValueError:
        return False
    return before.whole == found.whole and all(set(one.split(b"\n")) == set(other.split(b"\n")) for one, other in zip(before.texts, found.texts, strict=True))
