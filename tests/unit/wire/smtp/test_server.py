# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from moatmail.core.address import Address
from moatmail.core.envelope import Body, Envelope, Notify, Recipient, Return
from moatmail.core.errors import LocalProtocolError
from moatmail.core.limits.smtp import INPUT_MAX, INPUT_PAUSE
from moatmail.core.status import Reply
from moatmail.wire import sasl
from moatmail.wire.smtp.content import ContentLimits
from moatmail.wire.smtp.events import Auth, Content, Data, End, Fault, Helo, Mail, Offence, Quit, Rcpt, Reset, StartTLS, Violation
from moatmail.wire.smtp.profile import Door, Profile
from moatmail.wire.smtp.server import SMTPServer
from moatmail.wire.smtp.states import State
from tests.transcripts.smtp_player import ACCOUNT, MECHANISMS, PASSWORD, VERIFIER, Application

OK = Reply.of(250, "2.0.0", "ok")
END_POINT = b"\1" * 32


def server(door: Door = Door.MX) -> SMTPServer:
    engine = SMTPServer(Profile(b"mx.example.test", door, mechanisms=MECHANISMS, decoy_key=b"k" * 32, decoy_iterations=4096))
    if door is Door.SUBMISSIONS:
        engine.tls_started((END_POINT,))
    engine.greeting()
    engine.take_output()
    return engine


def play(engine: SMTPServer, data: bytes) -> bytes:
    engine.receive(data)
    Application(engine).serve()
    return engine.take_output()


def at_data() -> SMTPServer:
    engine = server()
    play(engine, b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\n")
    engine.receive(b"DATA\r\n")
    assert engine.next_event() == Data(chunked=False)
    return engine


def test_one_event_at_a_time_and_nothing_goes_on_before_its_answer() -> None:
    engine = server()
    engine.receive(b"EHLO x.example\r\nMAIL FROM:<a@b.example>\r\nRSET\r\nQUIT\r\n")
    assert engine.next_event() == Helo("x.example", extended=True, valid=True)
    assert engine.next_event() is None
    assert engine.take_output() == b""
    engine.answer(OK)
    assert engine.next_event() == Mail(Envelope(Address("a", "b.example")))
    assert engine.waiting == Mail(Envelope(Address("a", "b.example")))
    engine.answer(OK)
    assert [engine.next_event(), engine.next_event(), engine.next_event()] == [Reset(), Quit(), None]
    assert engine.closing
    assert engine.take_output().endswith(b"250 STARTTLS\r\n250 2.0.0 ok\r\n250 2.0.0 ok\r\n221 2.0.0 bye\r\n")


def test_every_parameter_reaches_the_envelope() -> None:
    engine = server()
    play(engine, b"EHLO x\r\n")
    engine.receive(b"mail from: <a+b@Example.ORG> size=99 body=8bitmime ret=hdrs envid=x+2By AUTH=e+3Dmc2@example.com\r\n")
    event = engine.next_event()
    assert event == Mail(
        Envelope(
            Address("a+b", "example.org"), (), 99, Body.EIGHT_BIT_MIME, smtputf8=False, ret=Return.HEADERS, envid=b"x+y", auth=Address("e=mc2", "example.com")
        )
    )
    engine.answer(OK)
    engine.receive(b"RCPT TO:<@hop.example:B@C.example> notify=delay,failure orcpt=rfc822;b+2Bc@d\r\n")
    assert engine.next_event() == Rcpt(Recipient(Address("B", "c.example"), b"rfc822;b+c@d", Notify.DELAY | Notify.FAILURE))
    engine.answer(OK)
    engine.receive(b"RCPT TO:<PostMaster> NOTIFY=NEVER\r\n")
    assert engine.next_event() == Rcpt(Recipient(Address("PostMaster", ""), b"", Notify.NEVER))


def test_a_utf8_orcpt_may_stand_unencoded() -> None:
    engine = server()
    play(engine, b"EHLO x\r\nMAIL FROM:<> SMTPUTF8\r\n")
    engine.receive("RCPT TO:<b@c.example> ORCPT=utf-8;jörg@d.example\r\n".encode())
    event = engine.next_event()
    assert isinstance(event, Rcpt)
    assert event.recipient.original == "utf-8;jörg@d.example".encode()


def test_an_answer_without_a_question_raises() -> None:
    engine = server()
    with pytest.raises(LocalProtocolError):
        engine.answer(OK)
    with pytest.raises(LocalProtocolError):
        engine.answer_verifier(None)
    with pytest.raises(LocalProtocolError):
        engine.greeting()
    with pytest.raises(LocalProtocolError):
        engine.tls_started()


def test_content_with_a_fault_cannot_be_accepted() -> None:
    engine = at_data()
    engine.answer(OK)
    engine.receive(b"a\nb\r\n.\r\n")
    assert engine.next_event() == End(5, Fault.BARE)
    with pytest.raises(LocalProtocolError):
        engine.answer(OK)
    engine.answer(Fault.BARE.reply)
    assert engine.next_event() == Violation(Offence.SMUGGLING)
    assert engine.take_output().endswith(b"\r\n550 5.5.2 content holds a bare CR, LF or NUL; lines end with CR LF\r\n")


@pytest.mark.parametrize("late", [False, True], ids=["in the same piece", "while the application thinks"])
def test_octets_before_354_are_refused_and_end_the_session(late: bool) -> None:
    engine = server()
    play(engine, b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\n")
    engine.receive(b"DATA\r\n" if late else b"DATA\r\na: b\r\n.\r\n")
    assert engine.next_event() == Data(chunked=False)
    if late:
        engine.receive(b"MAIL FROM:<>\r\n")
    engine.answer(OK)
    assert engine.next_event() == Violation(Offence.EARLY_DATA)
    assert engine.next_event() is None
    assert engine.take_output() == b"503 5.5.1 octets came before the 354 reply\r\n"
    assert engine.closing


def test_reading_pauses_while_the_application_thinks_and_is_bounded() -> None:
    engine = at_data()
    paused = []
    for size in (INPUT_PAUSE - 1, 1):
        engine.receive(b"x" * size)
        paused.append(not engine.wants_input)
    assert paused == [False, True]
    with pytest.raises(LocalProtocolError):
        engine.receive(b"x" * INPUT_MAX)


def test_big_pieces_come_out_as_big_pieces() -> None:
    engine = at_data()
    engine.answer(OK)
    body = b"x" * 70 + b"\r\n"
    pieces = 0
    for _ in range(16):
        engine.receive(b"\r\n" + body * 900)
        while isinstance(event := engine.next_event(), Content):
            pieces += 1
            assert len(event.data) >= 64_000
    assert pieces == 16
    engine.receive(b".\r\n")
    assert [type(engine.next_event()) for _ in range(2)] == [Content, End]


def test_a_refused_session_takes_only_quit() -> None:
    engine = SMTPServer(Profile(b"mx.example.test", Door.MX))
    engine.greeting(Reply.of(554, "5.7.1", "not you"))
    assert engine.take_output() == b"554 not you\r\n"
    assert play(engine, b"EHLO x\r\n").startswith(b"503 5.5.1 ")
    assert play(engine, b"QUIT\r\n").startswith(b"221 ")
    assert engine.closing
    engine = SMTPServer(Profile(b"mx.example.test", Door.MX))
    engine.greeting(Reply.of(421, "4.3.2", "busy"))
    assert (engine.take_output(), engine.closing) == (b"421 busy\r\n", True)


def test_an_unwelcome_name_leaves_the_session_as_it_was() -> None:
    engine = server()
    engine.receive(b"EHLO bad\r\n")
    engine.next_event()
    engine.answer(Reply.of(550, "5.7.1", "no"))
    assert engine.take_output() == b"550 5.7.1 no\r\n"
    assert engine.state is State.GREETED


@pytest.mark.parametrize("stage", [b"", b"EHLO x\r\n", b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n", b"BDAT 10\r\nabc"])
def test_the_door_may_end_the_session_anywhere(stage: bytes) -> None:
    engine = server()
    play(engine, stage)
    engine.shut(Reply.of(421, "4.4.2", "idle too long"))
    assert engine.take_output() == b"421 4.4.2 idle too long\r\n"
    assert engine.closing
    engine.receive(b"QUIT\r\n")
    assert engine.next_event() is None


def test_a_verdict_after_the_deadline_means_nothing() -> None:
    engine = at_data()
    engine.shut(Reply.of(421, "4.4.2", "too slow"))
    engine.answer(OK)
    engine.answer_verifier(None)
    assert engine.take_output().endswith(b"421 4.4.2 too slow\r\n")


# ---------------------------------------------------------------------- TLS and closing


def test_what_follows_starttls_in_clear_is_dropped_whenever_it_comes() -> None:
    engine = server(Door.SUBMISSION)
    play(engine, b"EHLO x\r\n")
    engine.receive(b"STARTTLS\r\nEHLO injected\r\n")
    assert engine.next_event() == Violation(Offence.STARTTLS_INJECTION)
    assert engine.next_event() == StartTLS()
    engine.receive(b"NOOP\r\n")
    engine.answer(Reply.of(220, "2.0.0", "go"))
    engine.receive(b"NOOP\r\n")
    assert engine.next_event() is None
    assert engine.take_output() == b"220 2.0.0 go\r\n"
    engine.tls_started((END_POINT,))
    assert engine.next_event() is None
    assert (engine.state, engine.extended, engine.tls) == (State.GREETED, False, True)
    assert b"AUTH SCRAM-SHA-256-PLUS" in play(engine, b"EHLO x\r\n")


def test_starttls_may_be_refused_for_now_and_a_failed_handshake_is_the_end() -> None:
    engine = server()
    play(engine, b"EHLO x\r\n")
    engine.receive(b"STARTTLS\r\nNOOP\r\n")
    assert [engine.next_event(), engine.next_event()] == [Violation(Offence.STARTTLS_INJECTION), StartTLS()]
    engine.answer(Reply.of(454, "4.7.0", "not now"))
    assert play(engine, b"NOOP\r\n") == b"454 4.7.0 not now\r\n250 2.0.0 ok\r\n"
    engine.receive(b"STARTTLS\r\n")
    engine.next_event()
    engine.answer(Reply.of(220, "2.0.0", "go"))
    engine.tls_refused()
    assert engine.closing


DIALOGUE = [
    b"EHLO x\r\n",
    b"STARTTLS\r\n",
    b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\n",
    b"BDAT 6\r\na: b\r\nBDAT 6 LAST\r\n\r\nbody",
    b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\n",
    b"DATA\r\n",
    b"a: b\r\n\r\n..\r\n.\r\n",
    b"BDAT 4\r\nabcdQUIT\r\n",
]


def test_closing_at_each_octet_leaves_no_half_message() -> None:
    """CVE-2026-45185 and its kin: inside BDAT, DATA and TLS the reader dies with the connection."""
    ends = [(sum(map(len, DIALOGUE[:4])), 12), (sum(map(len, DIALOGUE[:7])), 11)]
    for place in range(sum(map(len, DIALOGUE)) + 1):
        engine = server()
        application = Application(engine)
        left = place
        for block in DIALOGUE:
            engine.receive(block[:left])
            application.serve()
            left = max(left - len(block), 0)
            if application.handshake_due and left:
                application.handshake_due = False
                engine.tls_started(())
        engine.receive_eof()
        application.serve()
        assert engine.closing, place
        assert engine.next_event() is None
        assert [len(message) for message in application.messages] == [size for end, size in ends if place >= end], place


# ---------------------------------------------------------------------- login


@pytest.mark.parametrize("plus", [False, True], ids=["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
@pytest.mark.parametrize(("name", "password", "good"), [(ACCOUNT, PASSWORD, True), (ACCOUNT, "wrong", False), ("who@example.test", PASSWORD, False)])
def test_scram_over_smtp(plus: bool, name: str, password: str, good: bool) -> None:
    engine = server(Door.SUBMISSIONS)
    application = Application(engine)
    play(engine, b"EHLO x\r\n")
    client = sasl.ScramClient(name, password, end_point=END_POINT if plus else None)
    line = b"AUTH %b %b\r\n" % (client.name, sasl.encode_base64(client.initial()))
    while True:
        engine.receive(line)
        application.serve()
        reply = engine.take_output()
        if not reply.startswith(b"334 "):
            break
        challenge = sasl.decode_base64(reply[4:-2])
        assert challenge is not None
        line = sasl.encode_base64(client.respond(challenge)) + b"\r\n"
    assert reply.startswith(b"235 2.7.0" if good else b"535 5.7.8")
    assert engine.authenticated is good
    assert application.log[-1] == f"auth {client.name.decode()} {'Success' if good else 'Failure'}"


def test_a_known_and_an_unknown_name_get_the_same_first_message() -> None:
    shapes = []
    for name in (ACCOUNT, "who@example.test", "who@example.test"):
        engine = server(Door.SUBMISSIONS)
        play(engine, b"EHLO x\r\n")
        client = sasl.ScramClient(name, "x")
        reply = sasl.decode_base64(play(engine, b"AUTH SCRAM-SHA-256 %b\r\n" % sasl.encode_base64(client.initial()))[4:-2]) or b""
        nonce, salt, rounds = reply.split(b",")
        shapes.append((len(nonce), salt, rounds))
    assert shapes[1] == shapes[2]
    assert [(size, len(salt), rounds) for size, salt, rounds in shapes[:2]] == [(shapes[0][0], len(shapes[0][1]), shapes[0][2])] * 2


def test_the_steps_of_a_login_take_only_their_own_answer() -> None:
    engine = server(Door.SUBMISSIONS)
    play(engine, b"EHLO x\r\n")
    engine.receive(b"AUTH SCRAM-SHA-256 %b\r\n" % sasl.encode_base64(sasl.ScramClient(ACCOUNT, "x").initial()))
    event = engine.next_event()
    assert isinstance(event, Auth)
    with pytest.raises(LocalProtocolError):
        engine.answer(Reply.of(235, "2.7.0", "welcome"))
    engine.answer_verifier(VERIFIER)
    assert engine.take_output().startswith(b"334 ")


def test_a_temporary_failure_of_the_directory_is_no_failed_login() -> None:
    engine = server(Door.SUBMISSIONS)
    play(engine, b"EHLO x\r\n")
    for _ in range(5):
        engine.receive(b"AUTH PLAIN AGEAYg==\r\n")
        assert isinstance(engine.next_event(), Auth)
        engine.answer(Reply.of(454, "4.7.0", "try later"))
        assert engine.take_output() == b"454 4.7.0 try later\r\n"
    assert not engine.closing


# ---------------------------------------------------------------------- replies


def test_a_reply_never_grows_a_second_one() -> None:
    engine = at_data()
    engine.answer(Reply(451, "4.3.0", ("a\r\n250 ok\x00", "ü" * 400)))
    lines = engine.take_output().split(b"\r\n")[-3:]
    assert lines[0] == b"451-4.3.0 a??250 ok?"
    assert len(lines[1]) <= 510
    assert lines[1].decode("utf-8").startswith("451 4.3.0 üü")


def test_the_profile_announces_its_size() -> None:
    engine = SMTPServer(Profile(b"mx", Door.MX, tls_available=False, content=ContentLimits(size=12345)))
    engine.greeting(Reply.of(220, "", "hello"))
    assert engine.take_output() == b"220 mx hello\r\n"
    assert b"\r\n250-SIZE 12345\r\n" in play(engine, b"EHLO x\r\n")
