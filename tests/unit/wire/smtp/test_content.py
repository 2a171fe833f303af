# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest

from moatmail.wire.buffer import Buffer
from moatmail.wire.smtp.content import ContentLimits, Reception
from moatmail.wire.smtp.events import Fault
from moatmail.wire.smtp.transparency import ChunkWriter, DotWriter
from tests.transcripts.smtp_player import DATA

WIDE = ContentLimits(10_000, 10_000, 10_000)


def cuts(data: bytes) -> list[list[bytes]]:
    """Cut whole, in octets, and in two at each place."""
    ways = [[data], [bytes((octet,)) for octet in data]]
    return ways + [[data[:place], data[place:]] for place in range(1, len(data))]


def read(pieces: list[bytes], limits: ContentLimits = WIDE) -> tuple[bytes, bytes | None, Fault | None]:
    """Give content, what follows it (None if the end did not come) and the fault."""
    reception, buffer, content = Reception(limits), Buffer(), b""
    reception.expect_dots()
    for number, piece in enumerate(pieces):
        buffer.feed(piece)
        out, whole = reception.read(buffer)
        content += out
        if whole:
            assert reception.size == len(content)
            return content, buffer.take_all() + b"".join(pieces[number + 1 :]), reception.finish()
    return content, None, reception.finish()


@pytest.mark.parametrize(
    ("wire", "content", "rest"),
    [
        (b".\r\n", b"", b""),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b"...\r\n.\r\n", b"..\r\n", b""),
        (b".a\r\n.b\r\n\r\n..\r\n.\r\n.\r\n", b"a\r\nb\r\n\r\n.\r\n", b".\r\n"),
        (b"a\r\n. \r\n.\r\n", b"a\r\n \r\n", b""),
        (b"a\r\n..\r\n..\r\n.\r\n", b"a\r\n.\r\n.\r\n", b""),
        (b"a.\r\n.\r\n", b"a.\r\n", b""),
    ],
    ids=repr,
)
def test_dots_are_taken_away_and_the_end_is_found_in_any_cut(wire: bytes, content: bytes, rest: bytes) -> None:
    for pieces in cuts(wire):
        assert read(pieces) == (content, rest, None), pieces


@pytest.mark.parametrize(
    "wire", [b"", b".", b".\r", b"a\r\n.", b"a\r\n.\r", b"a\r\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r\n", b"..\r\n", b"\r\n.\r.\r\n"], ids=repr
)
def test_nothing_else_is_the_end(wire: bytes) -> None:
    for pieces in cuts(wire):
        assert read(pieces)[1] is None, pieces


@pytest.mark.parametrize(
    ("wire", "fault"),
    [
        (b"a\nb\r\n.\r\n", Fault.BARE),
        (b"a\rb\r\n.\r\n", Fault.BARE),
        (b"a\0b\r\n.\r\n", Fault.BARE),
        (b"a\r\r\n.\r\n", Fault.BARE),
        (b"a\n\r\n.\r\n", Fault.BARE),
        (b"\n.\r\n\r\n.\r\n", Fault.BARE),
        (b"a\r\nb\r\n.\r\n", None),
    ],
    ids=repr,
)
def test_bare_line_ends_and_nul_are_found_in_any_cut(wire: bytes, fault: Fault | None) -> None:
    for pieces in cuts(wire):
        assert read(pieces)[2] is fault, pieces


@pytest.mark.parametrize(
    ("wire", "limits", "fault"),
    [
        (b"12345678\r\n.\r\n", ContentLimits(10), None),
        (b"123456789\r\n.\r\n", ContentLimits(10), Fault.OVERSIZE),
        (b"..12345678\r\n.\r\n", ContentLimits(11), None),
        (b"a: b\r\n\r\nxxxxxxxxxx\r\n.\r\n", ContentLimits(header=6), None),
        (b"a: bc\r\n\r\nxxxxxxxxxx\r\n.\r\n", ContentLimits(header=6), Fault.LONG_HEADER),
        (b"\r\nxxxxxxxxxxxxxxxx\r\n.\r\n", ContentLimits(header=6), None),
        (b"xxxxxxxxxxxxxxxx\r\n.\r\n", ContentLimits(header=6), Fault.LONG_HEADER),
        (b"12345\r\n1\r\n12345\r\n.\r\n", ContentLimits(line=5), None),
        (b"12345\r\n1\r\n123456\r\n.\r\n", ContentLimits(line=5), Fault.LONG_LINE),
        (b"123456\r\n1\r\n.\r\n", ContentLimits(line=5), Fault.LONG_LINE),
        (b"..234\r\n.\r\n", ContentLimits(line=5), None),
        (b"1\r\n" * 9 + b"123456\r\n" + b"1\r\n" * 9 + b".\r\n", ContentLimits(line=5), Fault.LONG_LINE),
        (b"123456\r\n1\r\n.\r\n", ContentLimits(line=0), None),
        (b"123\n4567890\r\n.\r\n", ContentLimits(10, 2, 2), Fault.BARE),
    ],
    ids=repr,
)
def test_limits_are_exact_in_any_cut(wire: bytes, limits: ContentLimits, fault: Fault | None) -> None:
    for pieces in cuts(wire):
        assert read(pieces, limits)[2] is fault, pieces


def test_ten_times_the_content_costs_about_ten_times_the_time() -> None:
    def cost(body: bytes) -> float:
        best = 1.0
        for _ in range(5):
            begun = time.process_time()
            assert read([body[place : place + 65_536] for place in range(0, len(body), 65_536)], ContentLimits(10**8))[1] == b""
            best = min(best, time.process_time() - begun)
        return best

    for line in (b"x" * 70 + b"\r\n", b"..\r\n", b"\r\n", b".x\r\n.\r", b"\r\n.\r"):
        small, large = (cost(line * (size // len(line)) + b"\r\n.\r\n") for size in (200_000, 2_000_000))
        assert large < 50 * small, line


# ---------------------------------------------------------------------- out


def outbound() -> list[str]:
    path = DATA / "smtp-smuggling" / "sequences.json"
    return json.loads(path.read_text("utf-8"))["outbound_must_not_leave_the_server_unescaped"] if path.exists() else []


@pytest.mark.skipif(not outbound(), reason="shared data smtp-smuggling is absent")
def test_all_nine_outbound_sequences_are_here() -> None:
    assert len(outbound()) == 9


@pytest.mark.parametrize("sequence", outbound(), ids=repr)
def test_no_smuggling_sequence_leaves_us_by_data_or_bdat(sequence: str) -> None:
    content = b"Subject: x\r\n\r\nbody" + sequence.encode() + b"MAIL FROM:<evil@x.example>\r\n"
    for pieces in cuts(content):
        dots, chunks = DotWriter(), ChunkWriter()
        wire = b"".join(map(dots.feed, pieces)) + dots.finish()
        # What any reader may take for a line end is one, and then no lone dot stands on a line but the last.
        assert wire.count(b"\r\n") == wire.count(b"\r") == wire.count(b"\n")
        assert b"\0" not in wire
        assert wire.find(b"\r\n.\r\n") == len(wire) - 5
        chunked = b"".join(map(chunks.feed, pieces)) + chunks.finish()
        data = unchunk(chunked)
        assert data.count(b"\r\n") == data.count(b"\r") == data.count(b"\n")
        assert b"\0" not in data
        assert read([wire])[0] in {data, data + b"\r\n"}


def unchunk(wire: bytes) -> bytes:
    data = b""
    while wire:
        line, _, wire = wire.partition(b"\r\n")
        words = line.split()
        assert words[0] == b"BDAT"
        data, wire = data + wire[: int(words[1])], wire[int(words[1]) :]
        assert (words[-1] == b"LAST") is (not wire)
    return data


@pytest.mark.parametrize("content", [b"", b".", b"..", b".\r\n", b"a", b"a\r\n", b"\r\n.", b"a\r\n.\r\n.b\r\n", b"\r\n\r\n", b"a\r\n..\r\n"], ids=repr)
def test_what_is_written_is_read_again(content: bytes) -> None:
    whole = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    for pieces in cuts(content) if content else [[]]:
        writer = DotWriter()
        wire = b"".join(map(writer.feed, pieces)) + writer.finish()
        assert read([wire]) == (whole, b"", None), pieces


def test_faults_have_a_reply_that_refuses_for_good() -> None:
    assert [fault.reply.code for fault in Fault] == [550, 552, 554, 554]
    assert all(fault.reply.permanent for fault in Fault)
    assert all(left is not right for left, right in pairwise(Fault))
