# SPDX-License-Identifier: Apache-2.0
"""Sealed content: body chunks of 64 KiB, the header block as chunk 0 sealed last, a chunk table, a footer of nine octets.

Obeys RFC 5116 (AEAD; §3.1 on counted nonces).
Must never know messages, accounts or where the octets lie.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag

from moatmail.core.errors import LocalProtocolError, SealBrokenError
from moatmail.core.limits import crypto as limits
from moatmail.core.ports.sealer import Purpose
from moatmail.crypto.compression import Octets, pack, unpack
from moatmail.crypto.seal import KEY_ID_SIZE, NONCE_SIZE, TAG_SIZE, SealKey, bind, new_key

# The layout, in this order:
#   chunk 1 ... chunk n   body, 64 KiB of plain text each, the last one shorter; none for an empty body
#   chunk 0               header block, sealed when the body is complete
#   table                 header size (4), body size (8), then for chunk 0 ... n: length of its ciphertext without tag, doubled, +1 if zstd (4)
#   footer                version (1), key id (4), length of the sealed table (4)
# Each chunk is sealed with nonce = its number and associated data = content's binding, number (8), flags (1); the table with a nonce no
# number reaches and the footer as associated data, so that every octet of the whole is authenticated.

_VERSION: Final = 1
_FOOTER: Final = struct.Struct(f">B{KEY_ID_SIZE}sI")
_SIZES: Final = struct.Struct(">IQ")
_ENTRY_SIZE: Final = 4
_NUMBERED: Final = struct.Struct(">QB")
_LAST: Final = 1
_PACKED: Final = 2
_TABLE_NONCE: Final = b"\xff" * NONCE_SIZE
_TABLE_MARK: Final = b"table"
_NO_OWNER: Final = 0


class Source(Protocol):
    """Sealed octets that can be read anywhere: a file, a row, an object of a store."""

    @property
    def size(self) -> int:
        """Octets of all."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Give `length` octets from `offset`, fewer only where the source ends."""
        ...


class ContentSealer:
    """Seals one content, once, under a fresh key of its own (`key`): `body` any number of times, then `finish`.

    There is no way to give it a key: each chunk number is sealed once in a key's life, so changed content gets a new key.
    """

    __slots__ = ("_binding", "_body_size", "_cipher", "_entries", "_finished", "_gathered", "_key_id", "key")

    def __init__(self, content_id: bytes) -> None:
        """Begin the content with this id (16 octets)."""
        self.key = _fresh_content_key()
        self._cipher, self._key_id = SealKey(self.key).cipher(Purpose.CONTENT)
        self._binding = bind(Purpose.CONTENT, _NO_OWNER, content_id)
        self._gathered = bytearray()
        self._entries: list[int] = []
        self._body_size = 0
        self._finished = False

    def __repr__(self) -> str:
        return f"ContentSealer({self._body_size} octets)"

    def __reduce_ex__(self, protocol: object) -> str:
        # A copy would seal the same chunk numbers again.
        raise TypeError("a content sealer cannot be copied")

    def body(self, data: Octets) -> bytes:
        """Take more body; give the sealed octets that are ready (none while no chunk is known not to be the last); raise LocalProtocolError after `finish`."""
        if self._finished:
            raise LocalProtocolError("body after the content was finished")
        self._body_size += len(data)
        gathered = self._gathered
        room = limits.CHUNK_SIZE - len(gathered)
        # A full chunk waits for its successor: whether it is the last is part of what is sealed.
        if len(data) <= room:
            gathered += data
            return b""
        sealed: list[bytes] = []
        with memoryview(data) as view:
            start = 0
            if gathered:
                gathered += view[:room]
                sealed.append(self._seal_body(gathered, last=False))
                start = room
                gathered.clear()
            while len(view) - start > limits.CHUNK_SIZE:
                sealed.append(self._seal_body(view[start : start + limits.CHUNK_SIZE], last=False))
                start += limits.CHUNK_SIZE
            gathered += view[start:]
        return sealed[0] if len(sealed) == 1 else b"".join(sealed)

    def finish(self, header: Octets) -> bytes:
        """Seal what is left, then the header block (at most 256 KiB), the table and the footer; raise LocalProtocolError if done before or too large."""
        if self._finished:
            raise LocalProtocolError("content finished twice")
        if len(header) > limits.HEADER_BLOCK_MAX:
            raise LocalProtocolError(f"header block larger than {limits.HEADER_BLOCK_MAX} octets")
        self._finished = True
        rest = self._seal_body(self._gathered, last=True) if self._gathered else b""
        self._gathered = bytearray()
        block, entry = self._seal_chunk(0, header, last=not self._entries)
        entries = (entry, *self._entries)
        table = _SIZES.pack(len(header), self._body_size) + struct.pack(f">{len(entries)}I", *entries)
        footer = _FOOTER.pack(_VERSION, self._key_id, len(table) + TAG_SIZE)
        sealed_table = self._cipher.encrypt(_TABLE_NONCE, table, self._binding + _TABLE_MARK + footer)
        return b"".join((rest, block, sealed_table, footer))

    def _seal_body(self, plain: Octets, *, last: bool) -> bytes:
        # The number comes from the count of chunks sealed, and the entry is appended before anyone sees the result: no number comes twice.
        sealed, entry = self._seal_chunk(len(self._entries) + 1, plain, last=last)
        self._entries.append(entry)
        return sealed

    def _seal_chunk(self, number: int, plain: Octets, *, last: bool) -> tuple[bytes, int]:
        packed = pack(plain)
        flags = (_LAST if last else 0) | (0 if packed is None else _PACKED)
        stored = plain if packed is None else packed
        sealed = self._cipher.encrypt(number.to_bytes(NONCE_SIZE, "big"), stored, self._binding + _NUMBERED.pack(number, flags))
        return sealed, len(stored) << 1 | (packed is not None)


def seal_content(content_id: bytes, header: bytes, body_parts: Sequence[Octets]) -> tuple[bytes, bytes]:
    """Seal content that is in memory; give its fresh key and the sealed whole."""
    sealer = ContentSealer(content_id)
    sealed = [sealer.body(part) for part in body_parts]
    sealed.append(sealer.finish(header))
    return sealer.key, b"".join(sealed)


class ContentOpener:
    """Opens parts of one sealed content, only the chunks that are asked for; remembers the last one.

    Everything that is not exactly this content under this key raises SealBrokenError.
    """

    __slots__ = ("_binding", "_cipher", "_entries", "_last", "_offsets", "_source", "body_size", "header_size", "size")

    def __init__(self, source: bytes | memoryview | Source, content_id: bytes, key: bytes) -> None:
        """Read and check footer and table."""
        self._source: Source = _Octets(source) if isinstance(source, bytes | memoryview) else source
        self._binding = bind(Purpose.CONTENT, _NO_OWNER, content_id)
        self._cipher, key_id = SealKey(key).cipher(Purpose.CONTENT)
        table, chunks_end = self._open_table(key_id)
        sizes: tuple[int, int] = _SIZES.unpack_from(table)
        self.header_size, self.body_size = sizes
        self._entries: tuple[int, ...] = struct.unpack_from(f">{(len(table) - _SIZES.size) // _ENTRY_SIZE}I", table, _SIZES.size)
        self._offsets = self._place_chunks(chunks_end)
        self.size: int = self.header_size + self.body_size
        self._last = (-1, b"")  # one value: several threads may read through one opener

    def __repr__(self) -> str:
        return f"ContentOpener({self.size} octets)"

    def read(self, start: int, length: int) -> bytes:
        """Give plain octets `start` to `start + length` (the header block first), fewer where the content ends."""
        parts = list(self.chunks(start, length))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        """Give the same octets chunk by chunk, for streaming; raise ValueError for negative numbers."""
        if start < 0 or length < 0:
            raise ValueError("start and length are not negative")
        end = min(start + length, self.size)
        while start < end:
            number, within = self._locate(start)
            plain = self._open_chunk(number)
            piece = plain[within : within + end - start]
            start += len(piece)
            yield piece

    def _locate(self, position: int) -> tuple[int, int]:
        """Give the chunk that holds a plain position, and the position within it."""
        if position < self.header_size:
            return 0, position
        index, within = divmod(position - self.header_size, limits.CHUNK_SIZE)
        return index + 1, within

    def _plain_size(self, number: int) -> int:
        if number == 0:
            return self.header_size
        return min(limits.CHUNK_SIZE, self.body_size - (number - 1) * limits.CHUNK_SIZE)

    def _open_table(self, key_id: bytes) -> tuple[bytes, int]:
        """Give the opened table and where the chunks end."""
        size = self._source.size
        footer = self._read(max(size - _FOOTER.size, 0), _FOOTER.size)
        version, sealed_under, table_size = _FOOTER.unpack(footer)
        if version != _VERSION:
            raise self._broken("no sealed content of a version we know")
        if sealed_under != key_id:
            raise self._broken("sealed under another key, or cut")
        chunks_end = size - _FOOTER.size - table_size
        if chunks_end < 0 or table_size < TAG_SIZE + _SIZES.size + _ENTRY_SIZE or (table_size - TAG_SIZE - _SIZES.size) % _ENTRY_SIZE:
            raise self._broken("its table has an impossible size")
        try:
            return self._cipher.decrypt(_TABLE_NONCE, self._read(chunks_end, table_size), self._binding + _TABLE_MARK + footer), chunks_end
        except InvalidTag:
            raise self._broken("its table is damaged, or another content's") from None

    def _place_chunks(self, chunks_end: int) -> tuple[int, ...]:
        """Give where each chunk begins; the table was authentic, but a hostile sealer's table still must make sense."""
        wanted = 1 + -(-self.body_size // limits.CHUNK_SIZE)
        if self.header_size > limits.HEADER_BLOCK_MAX or len(self._entries) != wanted:
            raise self._broken("its table contradicts itself")
        lengths = [(entry >> 1) + TAG_SIZE for entry in self._entries]
        # On disk the body comes first, the header block after it.
        body = list(accumulate(lengths[1:], initial=0))
        if body[-1] + lengths[0] != chunks_end:
            raise self._broken("octets are missing or too many")
        return (body[-1], *body[:-1])

    def _open_chunk(self, number: int) -> bytes:
        last = self._last
        if number == last[0]:
            return last[1]
        entry = self._entries[number]
        # A sealer puts the flag on the highest number: of an empty body that is the header block.
        flags = (_LAST if number == len(self._entries) - 1 else 0) | (_PACKED if entry & 1 else 0)
        sealed = self._read(self._offsets[number], (entry >> 1) + TAG_SIZE)
        try:
            plain = self._cipher.decrypt(number.to_bytes(NONCE_SIZE, "big"), sealed, self._binding + _NUMBERED.pack(number, flags))
        except InvalidTag:
            raise self._broken(f"chunk {number} is damaged, or another content's") from None
        wanted = self._plain_size(number)
        if entry & 1:
            plain = unpack(plain, wanted)
        if len(plain) != wanted:
            raise self._broken(f"chunk {number} has another size than its table says")
        self._last = (number, plain)
        return plain

    def _read(self, offset: int, length: int) -> bytes:
        octets = self._source.read_at(offset, length)
        if len(octets) != length:
            raise self._broken("cut")
        return octets

    def _broken(self, why: str) -> SealBrokenError:
        return SealBrokenError(f"content {self._binding[-limits.OBJECT_ID_SIZE :].hex()}: {why}")


class _Octets:
    """Sealed octets in memory, as a source."""

    __slots__ = ("_view", "size")

    def __init__(self, octets: bytes | memoryview) -> None:
        self._view = memoryview(octets)
        self.size = len(self._view)

    def read_at(self, offset: int, length: int) -> bytes:
        return bytes(self._view[offset : offset + length])


def _fresh_content_key() -> bytes:
    """Give the key of one content, never of two."""
    return new_key()
