# SPDX-License-Identifier: Apache-2.0
"""POP3: chunking changes nothing; any octets in any state end in a legal state, with whole lines written, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moatmail.core.limits import pop3 as limits
from moatmail.wire.pop3.profile import Profile
from moatmail.wire.pop3.server import POP3Server
from tests.transcripts.pop3_player import MECHANISMS, Application

WORDS = st.sampled_from(
    [
        b"CAPA\r\n",
        b"STLS\r\n",
        b"USER ann@example.test\r\n",
        b"PASS right one\r\n",
        b"PASS wrong\r\n",
        b"AUTH PLAIN AGFubkBleGFtcGxlLnRlc3QAcmlnaHQgb25l\r\n",
        b"AUTH LOGIN\r\n",
        b"AUTH SCRAM-SHA-256 biwsbj1hbm5AZXhhbXBsZS50ZXN0LHI9YWJj\r\n",
        b"AGFubkBleGFtcGxlLnRlc3QAcmlnaHQgb25l\r\n",
        b"*\r\n",
        b"STAT\r\n",
        b"LIST\r\n",
        b"LIST 2\r\n",
        b"UIDL\r\n",
        b"RETR 1\r\n",
        b"RETR 2\r\n",
        b"TOP 2 1\r\n",
        b"DELE 1\r\n",
        b"DELE 9\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"QUIT\r\n",
        b"x\n",
        b"\r",
        b"\0",
        b"\x16\x03",
        b"x" * 300,
    ]
)
STREAMS = st.lists(st.one_of(WORDS, st.binary(max_size=12)), max_size=40)
CUTS = st.lists(st.integers(1, 50), min_size=1, max_size=30)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    while data:
        for size in sizes:
            pieces.append(data[:size])
            data = data[size:]
    return pieces


def begin(*, tls: bool) -> tuple[POP3Server, Application]:
    engine = POP3Server(Profile(b"mx", mechanisms=MECHANISMS, decoy_key=b"k" * 32))
    if tls:
        engine.tls_started((b"\1" * 32,))
    engine.greeting()
    return engine, Application(engine)


@given(st.booleans(), STREAMS, CUTS)
def test_any_octets_in_any_state_end_legally_in_bounded_memory(tls: bool, stream: list[bytes], sizes: list[int]) -> None:
    engine, application = begin(tls=tls)
    output = b""
    for piece in cut(b"".join(stream), sizes):
        engine.receive(piece)
        application.run()
        output += application.take()
        assert engine.waiting is None
        assert len(engine._input) <= limits.LINE + 64
        if application.handshake_due and not engine.closing:
            application.handshake_due = False
            engine.tls_started()
    engine.receive_eof()
    application.run()
    output += application.take()
    if not application.handshake_due:
        assert engine.closing
    assert output.startswith(b"+OK mx POP3 ready\r\n")
    assert output.endswith(b"\r\n")
    assert output.count(b"\r\n") == output.count(b"\r") == output.count(b"\n")
    assert len(application.removed) <= 1


@given(STREAMS, CUTS)
def test_chunking_changes_nothing(stream: list[bytes], sizes: list[int]) -> None:
    data = b"".join(stream).replace(b"STLS", b"STAT")  # what comes behind STLS is dropped or seen as the cut has it
    said = []
    # The nonce of SCRAM is fresh each time, so its challenge is not compared.
    data = data.replace(b"AUTH SCRAM", b"AUTH SCRUM")
    for pieces in ([data], cut(data, sizes)):
        engine, application = begin(tls=True)
        for piece in pieces:
            engine.receive(piece)
            application.run()
        engine.receive_eof()
        application.run()
        said.append((application.take(), application.removed, application.offences, application.marked))
    assert said[0] == said[1]


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1, max_size=10))
def test_lines_come_back_as_they_were(content: bytes, sizes: list[int]) -> None:
    content = content.replace(b"\0", b"").replace(b"\r", b"").replace(b"\n", b"\r\n").replace(b"a", b".")
    engine, _application = begin(tls=True)
    engine.receive(b"USER ann@example.test\r\nPASS right one\r\nRETR 1\r\n")
    for _ in range(2):
        event = engine.next_event()
        assert event is not None
        if engine.state.name == "AUTHORIZATION":
            engine.ok(b"welcome")
    engine.take_output()
    engine.begin(b"message")
    for piece in cut(content, sizes):
        engine.write(piece)
    engine.end()
    status, _, lines = engine.take_output().partition(b"\r\n")
    assert status == b"+OK message"
    # RFC 1939 §3, the client's side: one dot goes from each line that begins with one, the line of a dot alone is the end.
    body, dot, rest = (b"\r\n" + lines).partition(b"\r\n.\r\n")
    assert (dot, rest) == (b"\r\n.\r\n", b"")
    wanted = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    assert [line.removeprefix(b".") if line.startswith(b"..") else line for line in body.split(b"\r\n")[1:]] == wanted.split(b"\r\n")[:-1]
