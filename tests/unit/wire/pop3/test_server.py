# SPDX-License-Identifier: Apache-2.0
"""The POP3 engine where dialogues do not reach: answers out of turn, status lines, what is secret, memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from moatmail.core.errors import LocalProtocolError
from moatmail.core.limits import pop3 as limits
from moatmail.wire import sasl
from moatmail.wire.pop3 import events, replies
from moatmail.wire.pop3.profile import Profile
from moatmail.wire.pop3.server import POP3Server
from tests.transcripts.pop3_player import MECHANISMS


def begun(*, tls: bool = True, profile: Profile | None = None) -> POP3Server:
    engine = POP3Server(profile or Profile(b"mx", mechanisms=MECHANISMS))
    if tls:
        engine.tls_started((b"\1" * 32,))
    engine.greeting()
    return engine


def asked(said: bytes, *, login: bool = False) -> POP3Server:
    engine = begun()
    if login:
        engine.receive(b"USER a\r\nPASS b\r\n")
        assert isinstance(engine.next_event(), events.Login)
        engine.ok(b"welcome")
    engine.receive(said)
    assert engine.next_event() is not None
    engine.take_output()
    return engine


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda engine: engine.ok(b"x"), id="ok where nobody asked"),
        pytest.param(lambda engine: engine.err(b"x"), id="err where nobody asked"),
        pytest.param(lambda engine: engine.begin(b"x"), id="lines where nobody asked"),
        pytest.param(lambda engine: engine.write(b"x"), id="a piece before the lines begin"),
        pytest.param(lambda engine: engine.end(), id="the end of lines that never began"),
        pytest.param(lambda engine: engine.answer_verifier(None), id="a verifier where nobody asked"),
        pytest.param(lambda engine: engine.tls_started(), id="a handshake that was not due"),
        pytest.param(lambda engine: engine.greeting(), id="a second greeting"),
        pytest.param(lambda engine: engine.receive(b"x" * (limits.INPUT_MAX + 1)), id="more than was asked for"),
    ],
)
def test_what_is_out_of_turn_is_a_fault_of_ours(wrong: Callable[[POP3Server], None]) -> None:
    with pytest.raises(LocalProtocolError):
        wrong(begun())


def test_lines_are_ended_before_anything_else_is_said() -> None:
    engine = asked(b"RETR 1\r\n", login=True)
    engine.begin(b"message")
    assert engine.answering
    for wrong in (engine.begin, engine.ok, engine.err):
        with pytest.raises(LocalProtocolError):
            wrong(b"x")
    engine.end()
    assert engine.take_output() == b"+OK message\r\n.\r\n"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"AUTH SCRAM-SHA-256 biwsbj1hLHI9YWJj\r\n", id="a verifier is asked for"),
        # y,,n=a,r=abc: the client believes that we have no channel binding, and we have
        pytest.param(b"AUTH SCRAM-SHA-256 eSwsbj1hLHI9YWJj\r\n", id="the mechanism failed"),
    ],
)
def test_a_login_that_is_not_proved_cannot_succeed(said: bytes) -> None:
    engine = asked(said)
    with pytest.raises(LocalProtocolError):
        engine.ok(b"welcome")


def test_a_password_is_in_no_repr() -> None:
    engine = begun()
    engine.receive(b"USER a\r\nPASS very secret\r\n")
    event = engine.next_event()
    assert isinstance(event, events.Login)
    assert isinstance(event.step, sasl.NeedsPassword)
    assert event.step.password == "very secret"
    assert "secret" not in repr(event)
    assert "kkk" not in repr(Profile(b"mx", decoy_key=b"k" * 32))


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        pytest.param(b"no", b"", b"-ERR no\r\n", id="without a code"),
        pytest.param(b"no", replies.IN_USE, b"-ERR [IN-USE] no\r\n", id="with one"),
        pytest.param(b"one\r\n+OK two\n", b"", b"-ERR one +OK two\r\n", id="line ends cannot make a second line"),
        pytest.param(b"x" * 1000, b"", b"-ERR " + b"x" * 505 + b"\r\n", id="at most 512 octets (RFC 2449 §4)"),
    ],
)
def test_status_lines(text: bytes, code: bytes, line: bytes) -> None:
    assert replies.negative(text, code) == line


def test_pipelined_answers_are_flushed_before_they_pile_up() -> None:
    engine = begun()
    engine.receive(b"CAPA\r\n" * 10_000)
    most = flushes = 0
    while (event := engine.next_event()) is not None:
        assert isinstance(event, events.Flush)
        most = max(most, len(engine.take_output()))
        flushes += 1
    assert flushes > 10
    assert most < limits.OUTPUT_PAUSE + 512


def test_without_tls_at_hand_it_is_not_offered() -> None:
    engine = begun(tls=False, profile=Profile(b"mx", tls_available=False))
    engine.receive(b"CAPA\r\nSTLS\r\nUSER a\r\n")
    assert engine.next_event() is None
    output = engine.take_output()
    assert b"STLS\r\n" not in output
    assert output.endswith(b".\r\n-ERR TLS is not available here\r\n-ERR not without TLS, use STLS first\r\n")


def test_a_refused_stls_drops_what_came_with_it() -> None:
    engine = begun(tls=False)
    engine.receive(b"STLS\r\nQUIT\r\n")
    assert engine.next_event() == events.Violation(events.Offence.STLS_INJECTION)
    assert isinstance(engine.next_event(), events.StartTLS)
    engine.err(b"not now")
    assert engine.next_event() is None
    assert not engine.closing


def test_an_endless_line_is_left_within_the_limit() -> None:
    engine = begun()
    octets = 0
    while not engine.closing:
        engine.receive(b"x" * 100)
        octets += 100
        engine.next_event()
    assert octets <= limits.LINE + 200
    engine.receive(b"QUIT\r\n")
    assert engine.take_output().endswith(b"-ERR line too long, closing\r\n")
