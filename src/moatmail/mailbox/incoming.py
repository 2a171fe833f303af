# SPDX-License-Identifier: Apache-2.0
"""Content while it arrives: scanned as it comes, in memory when small, sealed in a temporary file when not.

Obeys RFC 5321 §4.5.3.1.7 (no needless limit on content) and docs/security.md (content is sealed before it touches a disk).
Must never know who sends, who receives, or what is decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits.mailbox import INLINE_MAX, MEMORY_MAX, SEARCH_ON_LOOP
from moatmail.core.limits.message import HEADER_FIELDS_MAX, HEADER_MAX
from moatmail.crypto.content_seal import ContentOpener, ContentSealer, seal_content
from moatmail.mailauth.signed import SignedMessage
from moatmail.mailbox.index.words import ContentWords, body_words, header_words
from moatmail.message.header import Header
from moatmail.message.structure import Structure, StructureParser
from moatmail.message.summary import places_of
from moatmail.store.content import ContentFiles, ContentWriter
from moatmail.store.operations import NewContent


class HeaderTooLargeError(ValueError):
    """The header block is over HEADER_MAX octets or HEADER_FIELDS_MAX fields; the rest of the content is dropped."""


class Incoming:
    """One content on its way in; a `core.transaction.Content` once `finish` was called."""

    def __init__(self, content_id: bytes, files: ContentFiles, *, watched: bool = False) -> None:
        """Begin; `watched` content is a stranger's: what its signatures cover is hashed while it comes, as a spilled body is not read again."""
        self.id = content_id
        self._watched = watched
        self._signed: SignedMessage | None = None
        self.size = 0
        self._files = files
        self._parser = StructureParser()
        self._structure: Structure | None = None
        self._parts: list[bytes] = []
        self._body_start = 0
        self._fields = 0
        self._tail = b"\n"  # the last octets of a header that goes on
        self._sealer: ContentSealer | None = None
        self._file: ContentWriter | None = None
        self._new_header: bytes | None = None

    # ------------------------------------------------------------ while it comes

    def feed(self, data: bytes) -> None:
        """Take the next octets; raises HeaderTooLargeError, OSError when the temporary file cannot be written."""
        self.size += len(data)
        if not self._parser.header_complete:
            self._count_fields(data)
        self._parser.feed(data)
        if self._sealer is not None:
            self._spill(data)
            return
        self._parts.append(data)
        if self.size > MEMORY_MAX:
            self._start_spilling()

    def _count_fields(self, data: bytes) -> None:
        """Count the fields of the header before anybody looks for them."""
        octets = self._tail + data
        end = octets.find(b"\n\r\n")  # the line that ends it may be cut in two
        head = octets if end < 0 else octets[: end + 1]
        self._fields += _beginnings(head) - _beginnings(self._tail)
        self._tail = octets[-2:]
        if self._fields > HEADER_FIELDS_MAX:
            raise HeaderTooLargeError

    def _start_spilling(self) -> None:
        if not self._parser.header_complete:
            raise HeaderTooLargeError
        head = self._parser.header_size
        whole = b"".join(self._parts)
        self._parts = [whole[:head]]
        self._sealer = ContentSealer(self.id)
        self._file = self._files.create(self.id)
        if self._watched:
            self._signed = SignedMessage(Header(self._parts[0]))
        self._spill(whole[head:])

    def _spill(self, data: bytes) -> None:
        if self._sealer is None or self._file is None:
            raise SealBrokenError("content is spilled before its file is open")
        if self._signed is not None and self._signed.needs_body:
            self._signed.feed(data)
        # What reaches the file is sealed: a fresh key, never written anywhere unless the message is accepted.
        if sealed := self._sealer.body(data):
            self._file.write(sealed)

    def finish(self) -> None:
        """End the content; raises HeaderTooLargeError."""
        self._structure = self._parser.finish()
        self._body_start = self._structure.header_size
        if self._body_start > HEADER_MAX:
            raise HeaderTooLargeError

    def abandon(self) -> None:
        """Forget the content: the key goes, the temporary file too."""
        self._parts = []
        self._sealer = None
        if self._file is not None:
            self._file.abandon()
            self._file = None

    # ------------------------------------------------------------ what stages see

    @property
    def structure(self) -> Structure:
        """Give the structure; only after `finish`."""
        if self._structure is None:
            raise SealBrokenError("content is read before its end")
        return self._structure

    @property
    def header(self) -> bytes:
        """Give the header block with its closing empty line; only after `finish`."""
        if self._sealer is None and len(self._parts) != 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0][: self._body_start]

    @property
    def signed(self) -> SignedMessage:
        """Give what is signed, with the hashes of the body; only after `finish`, and of watched content."""
        if self._signed is None:
            self._signed = SignedMessage(self.structure.header)
            if self._signed.needs_body:
                for piece in self.body():
                    self._signed.feed(piece)
        return self._signed

    def body(self) -> Iterator[bytes]:
        """Give the body in pieces; a spilled one only after it was sealed."""
        if self._sealer is not None:
            raise SealBrokenError("spilled content is read after it was sealed only")
        yield b"".join(self._parts)[self._body_start :]

    # ------------------------------------------------------------ keeping it

    def put_header(self, header: bytes) -> None:
        """Take `header` in place of the received block (a submission was completed); the body and its structure stay."""
        parser = StructureParser()
        parser.feed(header)
        made = parser.finish()
        structure = self.structure
        structure.header = made.header
        structure.root.envelope = made.root.envelope
        self._new_header = header

    @property
    def new_header(self) -> bytes:
        """Give the header block that will be stored, without trace fields; only after `finish` and before `seal`."""
        return self.header if self._new_header is None else self._new_header

    @property
    def moved(self) -> int:
        """Give by how many octets `put_header` moved the body."""
        return 0 if self._new_header is None else len(self._new_header) - self._body_start

    async def words(self, trace: bytes) -> ContentWords | None:
        """Give the words of what `seal(trace)` will keep, for the search index; None of spilled content, which is not read twice while somebody waits."""
        if self._sealer is not None:
            return None
        try:
            return await asyncio.to_thread(self._words, trace) if self.size > SEARCH_ON_LOOP else self._words(trace)
        except Exception:  # noqa: BLE001  the message counts, its index does not: who indexes it later tells what no parser expected
            return None

    def _words(self, trace: bytes) -> ContentWords:
        body = memoryview(b"".join(self._parts))[self._body_start :]

        def read(start: int, length: int) -> tuple[bytes]:
            first = start - self._body_start
            return (bytes(body[first : first + length]),)

        return ContentWords(header_words(trace + self.new_header), body_words(places_of(self.structure), read))

    async def seal(self, trace: bytes) -> tuple[NewContent, bytes]:
        """Seal the content with `trace` fields on top; give the row (the file, if one, is durable) and the content key."""
        header = trace + self.new_header
        if self._sealer is not None and self._file is not None:
            self._file.write(self._sealer.finish(header))
            size = len(header) + self.size - self._body_start
            key = self._sealer.key
            await self._file.commit()
            self._file = None
            return NewContent(self.id, size, None), key
        self._parts, whole = [], b"".join(self._parts)
        return await seal_whole(self.id, header, memoryview(whole)[self._body_start :], self._files)


async def seal_whole(content_id: bytes, header: bytes, body: bytes | memoryview, files: ContentFiles) -> tuple[NewContent, bytes]:
    """Seal content that is in memory as a whole: into the row, or into a durable file when it is too large for one; gives row and key."""
    key, blob = seal_content(content_id, header, (body,))
    size = len(header) + len(body)
    if len(blob) <= INLINE_MAX:
        return NewContent(content_id, size, blob), key
    file = files.create(content_id)
    try:
        file.write(blob)
        await file.commit()
    except BaseException:
        file.abandon()
        raise
    return NewContent(content_id, size, None), key


def open_content(content: NewContent, key: bytes, files: ContentFiles) -> ContentOpener:
    """Open sealed content for reading; raises SealBrokenError."""
    return ContentOpener(content.blob if content.blob is not None else files.open(content.id), content.id, key)


def _beginnings(lines: bytes) -> int:
    """Count the line ends that a field, or the end of the header, follows (RFC 5322 §2.2.3: a line that begins with a blank goes on with its field)."""
    return lines.count(b"\n") - lines.count(b"\n ") - lines.count(b"\n\t")
