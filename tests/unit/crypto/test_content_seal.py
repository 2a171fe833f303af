# SPDX-License-Identifier: Apache-2.0
"""Sealed content: chunks in any order of reading, and every way to tamper with them."""

from __future__ import annotations

import copy
import random
import struct
from itertools import pairwise
from os import urandom

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moatmail.core.errors import LocalProtocolError, SealBrokenError
from moatmail.core.limits import crypto as limits
from moatmail.core.ports.sealer import Purpose
from moatmail.crypto.content_seal import ContentOpener, ContentSealer, seal_content
from moatmail.crypto.seal import SealKey, bind

ID = bytes(range(16))
OTHER_ID = bytes(range(1, 17))
CHUNK = limits.CHUNK_SIZE
HEADER = b"From: <a@example.test>\r\nSubject: the eagle lands at dawn\r\n\r\n"


class Recorder:
    """A source that remembers what was read of it."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.size = len(octets)
        self.read: list[tuple[int, int]] = []

    def read_at(self, offset: int, length: int) -> bytes:
        self.read.append((offset, length))
        return self._octets[offset : offset + length]


def _whole(blob: bytes, key: bytes, content_id: bytes = ID) -> bytes:
    opener = ContentOpener(blob, content_id, key)
    return opener.read(0, opener.size)


def _body(size: int, seed: int = 1) -> bytes:
    """Half compressible, half not, so that both kinds of chunk occur."""
    chance = random.Random(seed)
    return b"".join(chance.randbytes(5000) if chance.random() < 0.5 else b"lorem ipsum dolor " * 300 for _ in range(size // 5000 + 1))[:size]


SIZES = [0, 1, 255, 256, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK + 17]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"a body of {size} octets")
def test_content_opens_to_header_and_body(size: int) -> None:
    body = _body(size)
    key, blob = seal_content(ID, HEADER, [body])
    opener = ContentOpener(blob, ID, key)
    assert (opener.header_size, opener.body_size, opener.size) == (len(HEADER), size, len(HEADER) + size)
    assert opener.read(0, opener.size) == HEADER + body


@pytest.mark.parametrize("header", [b"", b"x", b"h" * limits.HEADER_BLOCK_MAX], ids=["empty", "one octet", "the largest"])
def test_any_admitted_header_block_opens(header: bytes) -> None:
    key, blob = seal_content(ID, header, [b"body"])
    assert _whole(blob, key) == header + b"body"


@settings(max_examples=30, deadline=None)
@given(size=st.integers(0, 3 * CHUNK), cuts=st.lists(st.integers(0, 3 * CHUNK), max_size=8), start=st.integers(0, 3 * CHUNK), length=st.integers(0, 3 * CHUNK))
def test_how_the_body_arrives_changes_nothing_and_any_slice_opens(size: int, cuts: list[int], start: int, length: int) -> None:
    body = _body(size)
    borders = [0, *sorted(min(cut, size) for cut in cuts), size]
    sealer = ContentSealer(ID)
    blob = b"".join([*(sealer.body(body[low:high]) for low, high in pairwise(borders)), sealer.finish(HEADER)])
    opener = ContentOpener(memoryview(blob), ID, sealer.key)
    whole = HEADER + body
    assert opener.read(start, length) == whole[start : start + length]
    assert b"".join(opener.chunks(0, opener.size)) == whole


@pytest.mark.parametrize("parts", [(100, CHUNK - 100), (CHUNK, CHUNK), (CHUNK + 1, CHUNK - 1), (0, CHUNK, 0)], ids=str)
def test_a_body_that_ends_at_a_chunk_border_opens_however_it_came(parts: tuple[int, ...]) -> None:
    sealer = ContentSealer(ID)
    pieces = [urandom(size) for size in parts]
    blob = b"".join([*map(sealer.body, pieces), sealer.finish(HEADER)])
    assert _whole(blob, sealer.key) == HEADER + b"".join(pieces)


def test_octet_by_octet_gives_the_same_content() -> None:
    body = _body(CHUNK + 3)
    sealer = ContentSealer(ID)
    blob = b"".join([*(sealer.body(body[at : at + 1]) for at in range(len(body))), sealer.finish(HEADER)])
    assert _whole(blob, sealer.key) == HEADER + body


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview], ids=["bytes", "bytearray", "memoryview"])
def test_body_may_be_any_buffer_and_may_change_afterwards(kind: type) -> None:
    sealer = ContentSealer(ID)
    data = bytearray(_body(CHUNK + 100))
    wanted = bytes(data)
    given_data = data if kind is bytearray else kind(data)
    first = sealer.body(given_data)
    if kind is not bytes:
        data[:] = bytes(len(data))
    assert _whole(first + sealer.finish(HEADER), sealer.key) == HEADER + wanted


def test_nothing_is_given_out_before_a_chunk_is_known_not_to_be_the_last() -> None:
    sealer = ContentSealer(ID)
    assert sealer.body(urandom(CHUNK)) == b""
    assert len(sealer.body(b"x")) == CHUNK + 16


def test_a_sealer_holds_no_more_than_a_chunk() -> None:
    sealer = ContentSealer(ID)
    for _ in range(20):
        sealer.body(urandom(CHUNK // 3 * 4))
        assert len(sealer._gathered) <= CHUNK


def test_a_slice_reads_only_its_chunks() -> None:
    body = urandom(5 * CHUNK)
    key, blob = seal_content(ID, HEADER, [body])
    source = Recorder(blob)
    opener = ContentOpener(source, ID, key)
    source.read.clear()
    assert opener.read(len(HEADER) + 2 * CHUNK + 5, 10) == body[2 * CHUNK + 5 : 2 * CHUNK + 15]
    assert source.read == [(2 * (CHUNK + 16), CHUNK + 16)]
    opener.read(len(HEADER) + 2 * CHUNK + 500, 10)
    assert len(source.read) == 1, "the last opened chunk is remembered"


def test_streaming_opens_one_chunk_at_a_time() -> None:
    key, blob = seal_content(ID, HEADER, [urandom(4 * CHUNK)])
    source = Recorder(blob)
    stream = ContentOpener(source, ID, key).chunks(0, 10**9)
    source.read.clear()
    next(stream)
    assert len(source.read) == 1


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, -1)])
def test_negative_slices_are_refused(start: int, length: int) -> None:
    key, blob = seal_content(ID, HEADER, [b"body"])
    with pytest.raises(ValueError):
        ContentOpener(blob, ID, key).read(start, length)


def test_a_slice_beyond_the_end_is_empty() -> None:
    key, blob = seal_content(ID, HEADER, [b"body"])
    assert ContentOpener(blob, ID, key).read(10**6, 10) == b""


# ---- misuse ----


def test_no_chunk_number_is_sealed_twice() -> None:
    sealer = ContentSealer(ID)
    sealer.body(b"body")
    sealer.finish(HEADER)
    with pytest.raises(LocalProtocolError):
        sealer.finish(HEADER)
    with pytest.raises(LocalProtocolError):
        sealer.body(b"more")
    with pytest.raises(TypeError):
        copy.copy(sealer)
    with pytest.raises(TypeError):
        copy.deepcopy(sealer)


def test_every_nonce_of_a_content_is_used_once() -> None:
    sealer = ContentSealer(ID)
    used: list[bytes] = []
    cipher = sealer._cipher

    class Spy:
        def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
            used.append(nonce)
            return cipher.encrypt(nonce, data, aad)

    sealer._cipher = Spy()  # type: ignore[assignment]
    for size in (10, CHUNK, 3 * CHUNK, 1, CHUNK - 1):
        sealer.body(bytes(size))
    sealer.finish(HEADER)
    assert len(used) == len(set(used)) == 8
    assert used[:-2] == [number.to_bytes(12, "big") for number in range(1, 7)]


def test_each_content_has_a_key_of_its_own() -> None:
    assert len({seal_content(ID, HEADER, [b"same"])[0] for _ in range(100)}) == 100


def test_a_header_block_over_its_limit_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        seal_content(ID, bytes(limits.HEADER_BLOCK_MAX + 1), [])


# ---- tampering (R11) ----


@pytest.mark.parametrize("size", [0, 300, 2 * CHUNK + 300], ids=["without a body", "of one chunk", "of three chunks"])
def test_a_flipped_bit_anywhere_in_content_is_detected(size: int) -> None:
    key, blob = seal_content(ID, HEADER, [_body(size)])
    chance = random.Random(size)
    tail = range(max(0, len(blob) - 120), len(blob))  # header block, table and footer: every octet of them
    for octet in [*tail, *(chance.randrange(len(blob)) for _ in range(150))]:
        damaged = bytearray(blob)
        damaged[octet] ^= 1 << chance.randrange(8)
        with pytest.raises(SealBrokenError):
            _whole(bytes(damaged), key)


def test_content_under_another_id_or_key_does_not_open() -> None:
    key, blob = seal_content(ID, HEADER, [_body(CHUNK + 5)])
    other_key, other = seal_content(OTHER_ID, HEADER, [_body(CHUNK + 5)])
    for wrong_blob, content_id, wrong_key in [(blob, OTHER_ID, key), (blob, ID, other_key), (other, ID, key), (other, OTHER_ID, key)]:
        with pytest.raises(SealBrokenError):
            _whole(wrong_blob, wrong_key, content_id)


def test_truncation_at_every_chunk_border_and_elsewhere_is_detected() -> None:
    key, blob = seal_content(ID, HEADER, [urandom(3 * CHUNK)])
    footer, sealed_chunk = blob[-9:], CHUNK + 16
    borders = [0, sealed_chunk, 2 * sealed_chunk, 3 * sealed_chunk]
    cuts = [*borders, *range(len(blob) - 200, len(blob)), 1, 8, 9, 10]
    for wrong in [blob[:cut] for cut in cuts] + [blob[:border] + footer for border in borders] + [blob[border:] for border in borders[1:]]:
        with pytest.raises(SealBrokenError):
            _whole(wrong, key)


def test_a_whole_chunk_taken_out_before_the_table_is_detected() -> None:
    key, blob = seal_content(ID, HEADER, [urandom(3 * CHUNK)])
    sealed_chunk = CHUNK + 16
    for index in range(3):
        with pytest.raises(SealBrokenError):
            _whole(blob[: index * sealed_chunk] + blob[(index + 1) * sealed_chunk :], key)


def test_two_chunks_of_one_content_swapped_are_detected() -> None:
    key, blob = seal_content(ID, HEADER, [urandom(3 * CHUNK)])
    sealed_chunk = CHUNK + 16
    swapped = blob[sealed_chunk : 2 * sealed_chunk] + blob[:sealed_chunk] + blob[2 * sealed_chunk :]
    with pytest.raises(SealBrokenError):
        _whole(swapped, key)


@pytest.mark.parametrize("junk", [b"\x00", b"junk", bytes(CHUNK)], ids=["one octet", "a word", "a chunk"])
def test_octets_added_at_either_end_are_detected(junk: bytes) -> None:
    key, blob = seal_content(ID, HEADER, [_body(1000)])
    for wrong in (blob + junk, junk + blob, blob + junk + blob[-9:]):
        with pytest.raises(SealBrokenError):
            _whole(wrong, key)


def test_a_source_that_gives_less_than_it_promised_is_damage() -> None:
    key, blob = seal_content(ID, HEADER, [urandom(2 * CHUNK)])

    class Short(Recorder):
        def read_at(self, offset: int, length: int) -> bytes:
            return super().read_at(offset, length)[:-1] if offset == 0 else super().read_at(offset, length)

    with pytest.raises(SealBrokenError):
        ContentOpener(Short(blob), ID, key).read(len(HEADER), 10)


@given(st.binary(max_size=200))
def test_any_octets_are_no_content(octets: bytes) -> None:
    with pytest.raises(SealBrokenError):
        _whole(octets, bytes(32))


def _with_table(key: bytes, chunks: bytes, table: bytes) -> bytes:
    """Give chunks an authentic table of the forger's choice, as a process that was taken over could."""
    cipher, key_id = SealKey(key).cipher(Purpose.CONTENT)
    footer = struct.pack(">B4sI", 1, key_id, len(table) + 16)
    return chunks + cipher.encrypt(b"\xff" * 12, table, bind(Purpose.CONTENT, 0, ID) + b"table" + footer) + footer


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(struct.pack(">IQI", 2**32 - 1, 0, 0), id="a header block of four gigabytes"),
        pytest.param(struct.pack(">IQI", 0, 2**64 - 1, 0), id="a body beyond all measure"),
        pytest.param(struct.pack(">IQII", 0, 0, 0, 0), id="more chunks than the body has"),
        pytest.param(struct.pack(">IQI", 0, 0, 2**32 - 1), id="a chunk longer than the content"),
        pytest.param(struct.pack(">IQ", 0, 0), id="no chunk at all"),
        pytest.param(struct.pack(">IQIB", 0, 0, 0, 0), id="half an entry"),
    ],
)
def test_an_authentic_table_that_makes_no_sense_is_refused(table: bytes) -> None:
    with pytest.raises(SealBrokenError):
        ContentOpener(_with_table(bytes(32), b"", table), ID, bytes(32))


def test_a_chunk_that_unpacks_to_another_size_than_told_is_refused() -> None:
    cipher, _ = SealKey(bytes(32)).cipher(Purpose.CONTENT)
    chunk = cipher.encrypt(bytes(12), b"12345", bind(Purpose.CONTENT, 0, ID) + struct.pack(">QB", 0, 1))
    honest = _with_table(bytes(32), chunk, struct.pack(">IQI", 5, 0, 5 << 1))
    assert _whole(honest, bytes(32)) == b"12345"
    with pytest.raises(SealBrokenError):
        _whole(_with_table(bytes(32), chunk, struct.pack(">IQI", 6, 0, 5 << 1)), bytes(32))


def test_no_plain_octets_and_no_key_show() -> None:
    sealer = ContentSealer(ID)
    assert b"eagle" not in sealer.finish(HEADER)
    assert sealer.key.hex() not in repr(sealer)
