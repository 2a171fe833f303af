# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moatmail.core import errors
from moatmail.core.errors import MoatmailError, PermanentError
from moatmail.core.limits import store as limits
from moatmail.store import frames
from moatmail.store import operations as o
from moatmail.store import queries as q

REQUESTS = [q.LookupAddresses("a.test", ("x", "y")), o.Journal(1.0, "w", "x" * 3000), q.GetSettings()]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 13, 1000, 10**6])
def test_frames_come_out_whole_however_the_stream_is_cut(size: int) -> None:
    stream = b"".join(bytes(frames.pack(number, frames.ASK, request)) for number, request in enumerate(REQUESTS))
    unpacker = frames.Unpacker()
    got = [(frame.number, frame.kind, frames.read_request(frame.body)) for at in range(0, len(stream), size) for frame in unpacker.feed(stream[at : at + size])]
    assert got == [(number, frames.ASK, request) for number, request in enumerate(REQUESTS)]


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_any_octets_are_frames_or_a_frame_error_and_little_is_held(pieces: list[bytes]) -> None:
    unpacker = frames.Unpacker()
    try:
        for piece in pieces:
            for frame in unpacker.feed(piece):
                frames.read_request(frame.body)
    except frames.FrameError:
        return
    assert len(unpacker._rest) <= sum(map(len, pieces))


@pytest.mark.parametrize("length", [0, 8, limits.FRAME + 1, 2**32 - 1])
def test_an_impossible_length_is_refused_at_once(length: int) -> None:
    with pytest.raises(frames.FrameError):
        list(frames.Unpacker().feed(length.to_bytes(4, "little") + bytes(9)))


def test_a_frame_too_large_is_refused_by_its_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FRAME", 1000)
    with pytest.raises(PermanentError) as told:
        frames.pack(1, frames.ASK, o.Journal(0.0, "", "x" * 1000))
    assert told.value.status == "5.3.4"


@pytest.mark.parametrize(
    "error", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MoatmailError)], ids=lambda kind: kind.__name__
)
def test_an_error_arrives_as_what_it_was(error: type[MoatmailError]) -> None:
    sent = error("detail") if error is errors.ConfigError else error("detail", status="4.7.7", public="told to strangers")
    body = memoryview(frames.pack(1, frames.FAILURE, frames.describe(sent)))[13:]
    got = frames.read_failure(body)
    assert (got.status, got.public, str(got)) == (sent.status, sent.public, "detail")
    assert type(got) is (error if error is not errors.ConfigError else MoatmailError)
