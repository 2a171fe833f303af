# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Notify, Recipient, Return
from moatmail.core.errors import LocalProtocolError
from moatmail.core.limits.smtp import REMOTE_INPUT_MAX, REMOTE_REPLY_LINES_MAX
from moatmail.wire import sasl
from moatmail.wire.smtp.client import ClientProfile, SMTPClient, TlsUse
from moatmail.wire.smtp.client_events import (
    Cause,
    ClientEvent,
    Closed,
    ContentWanted,
    Fate,
    HandshakeDue,
    Outcome,
    Ready,
    SessionFailed,
    Stage,
)
from tests.transcripts.smtp_player import DATA

PLAIN_EHLO = "250-mx.remote.example\r\n250 8BITMIME\r\n"
FULL_EHLO = "250-mx.remote.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250 DSN\r\n"
TLS_EHLO = "250-mx.remote.example\r\n250 STARTTLS\r\n"
AUTH_EHLO = "250-mx.remote.example\r\n250 AUTH PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS\r\n"
ONE = Envelope(Address("ann", "case.test"), (Recipient(Address("bob", "remote.example")),))
REPLY = b"250 ok\r\n"

octets = pytest.mark.parametrize("octets", [False, True], ids=["whole", "octet-by-octet"])


class Session:
    """A client and a server that says what the test tells it."""

    def __init__(self, profile: ClientProfile | None = None, *, octets: bool = False) -> None:
        self.client = SMTPClient(profile or ClientProfile(b"mail.case.test", TlsUse.NONE))
        self.events: list[ClientEvent] = []
        self.octets = octets

    def hear(self, text: str | bytes) -> bytes:
        """Let the server say something; give what the client then wrote."""
        data = text.encode() if isinstance(text, str) else text
        for place in range(0, len(data), 1 if self.octets else len(data)):
            self.client.receive(data[place : place + 1] if self.octets else data)
            self.gather()
        return self.client.take_output()

    def gather(self) -> None:
        while (event := self.client.next_event()) is not None:
            self.events.append(event)

    def lose(self) -> None:
        self.client.receive_eof()
        self.gather()

    def last(self) -> ClientEvent:
        return self.events[-1]

    def open(self, ehlo: str) -> bool:
        assert self.hear("220 mx.remote.example ESMTP\r\n") == b"EHLO mail.case.test\r\n"
        assert self.hear(ehlo) == b""
        assert isinstance(self.last(), Ready)
        return self.client.ready

    def send(self, envelope: Envelope, *, size: int = 100, eight_bit: bool = False) -> bytes:
        self.client.send(envelope, size=size, eight_bit=eight_bit)
        self.gather()
        return self.client.take_output()

    def fates(self) -> list[tuple[str, Fate, int | None]]:
        outcome = next(event for event in reversed(self.events) if isinstance(event, Outcome))
        return [(one.recipient.address.localpart, one.fate, one.reply.code if one.reply else None) for one in outcome.results]


def to(*names: str, **fields: object) -> Envelope:
    return Envelope(Address("ann", "case.test"), tuple(Recipient(Address(name, "remote.example")) for name in names), **fields)  # type: ignore[arg-type]


@octets
def test_a_message_goes_step_by_step_without_pipelining(octets: bool) -> None:
    session = Session(octets=octets)
    session.open(PLAIN_EHLO)
    assert session.send(to("a", "b"), eight_bit=True) == b"MAIL FROM:<ann@case.test> BODY=8BITMIME\r\n"
    assert session.hear(REPLY) == b"RCPT TO:<a@remote.example>\r\n"
    assert session.hear("251 will forward\r\n") == b"RCPT TO:<b@remote.example>\r\n"
    assert session.hear(REPLY) == b"DATA\r\n"
    assert session.hear("354 go\r\n") == b""
    assert session.last() == ContentWanted()
    session.client.send_content(b"a: b\r\n\r\n.x\r\n")
    session.client.end_content()
    assert session.client.take_output() == b"a: b\r\n\r\n..x\r\n.\r\n"
    assert session.hear("250 2.0.0 taken\r\n") == b""
    assert session.fates() == [("a", Fate.DELIVERED, 250), ("b", Fate.DELIVERED, 250)]
    assert session.client.ready
    session.client.quit()
    assert session.client.take_output() == b"QUIT\r\n"
    session.hear("221 bye\r\n")
    assert session.last() == Closed()
    assert session.client.closing


@octets
def test_a_message_goes_in_two_groups_with_pipelining_and_chunks(octets: bool) -> None:
    session = Session(octets=octets)
    session.open(FULL_EHLO)
    envelope = Envelope(None, (Recipient(Address("jörg", "remote.example"), b"rfc822;J+rg@x", Notify.SUCCESS | Notify.DELAY),), ret=Return.FULL, envid=b"a=b")
    assert session.send(envelope) == (
        b"MAIL FROM:<> SIZE=100 SMTPUTF8 RET=FULL ENVID=a+3Db\r\n" + "RCPT TO:<jörg@remote.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;J+2Brg@x\r\n".encode()
    )
    session.hear(REPLY * 2)
    assert session.last() == ContentWanted()
    session.client.send_content(b".a\r\n")
    session.client.send_content(b"")
    session.client.end_content()
    assert session.client.take_output() == b"BDAT 4\r\n.a\r\nBDAT 0 LAST\r\n"
    session.hear(REPLY * 2)
    assert session.fates() == [("jörg", Fate.DELIVERED, 250)]


def test_never_is_never_and_parameters_stay_home_where_nothing_is_offered() -> None:
    session = Session()
    session.open(PLAIN_EHLO)
    envelope = Envelope(None, (Recipient(Address("a b", "remote.example"), b"rfc822;x@y", Notify.NEVER),), ret=Return.HEADERS)
    assert session.send(envelope) == b"MAIL FROM:<>\r\n"
    assert session.hear(REPLY) == b'RCPT TO:<"a b"@remote.example>\r\n'


@octets
@pytest.mark.parametrize("pipelining", [False, True], ids=["one at a time", "pipelined"])
def test_four_recipients_have_four_fates(pipelining: bool, octets: bool) -> None:
    """Case queue-13."""
    session = Session(octets=octets)
    session.open("250-x\r\n250 PIPELINING\r\n" if pipelining else PLAIN_EHLO)
    session.send(to("a", "b", "c", "d"))
    for reply in ("250 ok", "250 ok", "550 5.1.1 unknown", "450 4.2.0 greylisted"):
        session.hear(reply + "\r\n")
    assert session.hear("452 4.5.3 too many recipients\r\n") == b"DATA\r\n"
    session.hear("354 go\r\n")
    session.client.end_content()
    session.hear("250 taken\r\n")
    assert session.fates() == [("a", Fate.DELIVERED, 250), ("b", Fate.REFUSED, 550), ("c", Fate.DEFERRED, 450), ("d", Fate.NEXT_TRANSACTION, 452)]
    assert session.send(to("d")).startswith(b"MAIL FROM:<ann@case.test>\r\n")


@octets
def test_421_at_a_recipient_keeps_the_verdicts_before_it(octets: bool) -> None:
    """Case queue-06."""
    session = Session(octets=octets)
    session.open(PLAIN_EHLO)
    session.send(to("ok", "gone", "bob"))
    session.hear(REPLY)
    session.hear(REPLY)
    session.hear("550 5.1.1 no such user\r\n")
    assert session.hear("421 4.3.2 too many connections, try again later\r\n") == b""
    assert session.fates() == [("ok", Fate.DEFERRED, 421), ("gone", Fate.REFUSED, 550), ("bob", Fate.DEFERRED, 421)]
    failed = session.last()
    assert isinstance(failed, SessionFailed)
    assert (failed.stage, failed.cause, failed.reply and failed.reply.status) == (Stage.RCPT, Cause.REFUSED, "4.3.2")
    assert session.client.closing


@octets
def test_a_greeting_with_554_is_a_failure_of_the_host_and_is_left_politely(octets: bool) -> None:
    """Case queue-05."""
    session = Session(octets=octets)
    assert session.hear("554-5.7.1 192.0.2.1 is not welcome\r\n554 5.7.1 ask postmaster\r\n") == b"QUIT\r\n"
    failed = session.last()
    assert isinstance(failed, SessionFailed)
    assert (failed.stage, failed.cause) == (Stage.GREETING, Cause.REFUSED)
    assert failed.reply is not None
    assert failed.reply.permanent
    assert failed.reply.status == "5.7.1"
    assert failed.reply.lines == ("192.0.2.1 is not welcome", "ask postmaster")


STEPS: list[tuple[str, Callable[[Session], object], Stage]] = [
    ("the greeting", lambda one: None, Stage.GREETING),
    ("EHLO", lambda one: one.hear("220 x\r\n"), Stage.EHLO),
    ("HELO", lambda one: (one.hear("220 x\r\n"), one.hear("500 what\r\n")), Stage.HELO),
    ("idling", lambda one: one.open(PLAIN_EHLO), Stage.IDLE),
    ("MAIL", lambda one: (one.open(PLAIN_EHLO), one.send(ONE)), Stage.MAIL),
    ("RCPT", lambda one: (one.open(PLAIN_EHLO), one.send(ONE), one.hear(REPLY)), Stage.RCPT),
    ("DATA", lambda one: (one.open(PLAIN_EHLO), one.send(ONE), one.hear(REPLY), one.hear(REPLY)), Stage.DATA),
    ("content", lambda one: (one.open(PLAIN_EHLO), one.send(ONE), one.hear(REPLY), one.hear(REPLY), one.hear("354 go\r\n")), Stage.CONTENT),
    ("RSET", lambda one: (one.open(PLAIN_EHLO), one.send(ONE), one.hear(REPLY), one.hear("550 no\r\n")), Stage.RSET),
]
steps = pytest.mark.parametrize(("go", "stage"), [(go, stage) for _, go, stage in STEPS], ids=[name for name, _, _ in STEPS])


@steps
def test_421_ends_the_session_wherever_it_comes(go: Callable[[Session], object], stage: Stage) -> None:
    session = Session()
    go(session)
    session.client.take_output()
    assert session.hear("421 4.3.2 closing\r\n") == b""
    failed = session.last()
    assert isinstance(failed, SessionFailed)
    assert (failed.stage, failed.cause, failed.reply and failed.reply.code) == (stage, Cause.REFUSED, 421)
    assert session.client.closing
    if stage in {Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.CONTENT}:
        assert session.fates() == [("bob", Fate.DEFERRED, 421)]


@steps
def test_a_lost_connection_defers_wherever_it_happens(go: Callable[[Session], object], stage: Stage) -> None:
    session = Session()
    go(session)
    session.lose()
    failed = session.last()
    assert isinstance(failed, SessionFailed)
    assert failed.cause is Cause.LOST
    if stage in {Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.CONTENT}:
        assert session.fates() == [("bob", Fate.DEFERRED, None)]


@steps
@pytest.mark.parametrize("garbage", ["hello\r\n", "999 x\r\n", "250-a\r\n550 b\r\n", "25\r\n", "250 a\n", "\r\n", "250_x\r\n"])
def test_garbage_defers_wherever_it_comes(go: Callable[[Session], object], stage: Stage, garbage: str) -> None:
    session = Session()
    go(session)
    session.hear(garbage)
    failed = session.last()
    assert isinstance(failed, SessionFailed)
    assert failed.cause is Cause.PROTOCOL
    if stage in {Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.CONTENT}:
        assert session.fates() == [("bob", Fate.DEFERRED, None)]


def test_a_verdict_on_the_end_of_content_is_everybodys() -> None:
    for reply, fate in [("550 5.7.1 spam", Fate.REFUSED), ("451 4.3.0 later", Fate.DEFERRED)]:
        session = Session()
        session.open("250-x\r\n250 PIPELINING\r\n")
        session.send(to("a", "b"))
        session.hear(REPLY * 3)
        session.hear("354 go\r\n")
        session.client.end_content()
        session.hear(reply + "\r\n")
        assert {one[1] for one in session.fates()} == {fate}
        assert session.client.ready


def test_when_every_recipient_is_refused_no_content_travels() -> None:
    session = Session()
    session.open(FULL_EHLO)
    session.send(to("a", "b"))
    assert session.hear("250 ok\r\n550 5.1.1 no\r\n452 4.5.3 too many\r\n") == b"RSET\r\n"
    session.hear(REPLY)
    assert session.fates() == [("a", Fate.REFUSED, 550), ("b", Fate.DEFERRED, 452)]
    assert session.client.ready


def test_a_refused_reverse_path_settles_all_and_late_replies_mean_nothing() -> None:
    session = Session()
    session.open(FULL_EHLO)
    session.send(to("a", "b"))
    session.hear("451 4.7.1 greylisted\r\n250 ok\r\n503 no\r\n250 reset\r\n")
    assert session.fates() == [("a", Fate.DEFERRED, 451), ("b", Fate.DEFERRED, 451)]
    assert session.client.ready


def test_a_refused_chunk_ends_the_content_and_late_replies_meet_no_other_message() -> None:
    session = Session()
    session.open(FULL_EHLO)
    session.send(to("a"))
    session.hear(REPLY * 2)
    for _ in range(3):
        session.client.send_content(b"x" * 10 + b"\r\n")
    assert session.client.take_output().count(b"BDAT 12\r\n") == 3
    assert session.hear("552 5.3.4 too big\r\n") == b"RSET\r\n"
    assert not session.client.wants_content
    session.client.send_content(b"more")
    session.client.end_content()
    assert session.client.take_output() == b""
    assert not session.client.ready
    assert session.hear("503 no\r\n503 no\r\n250 reset\r\n") == b""
    assert session.fates() == [("a", Fate.REFUSED, 552)]
    assert session.client.ready


@pytest.mark.parametrize(
    ("envelope", "ehlo", "size", "eight_bit", "status"),
    [
        (to("jörg"), PLAIN_EHLO, 1, False, "5.6.7"),
        (to("a", smtputf8=True), PLAIN_EHLO, 1, False, "5.6.7"),
        (to("a"), FULL_EHLO, 1001, False, "5.3.4"),
        (to("a"), "250 x\r\n", 1, True, "5.6.3"),
    ],
    ids=["a non-ASCII address", "an internationalized header", "too big a message", "8-bit content"],
)
def test_what_the_server_cannot_take_is_not_sent(envelope: Envelope, ehlo: str, size: int, eight_bit: bool, status: str) -> None:
    session = Session()
    session.open(ehlo)
    assert session.send(envelope, size=size, eight_bit=eight_bit) == b""
    outcome = session.last()
    assert isinstance(outcome, Outcome)
    assert outcome.results[0].fate is Fate.REFUSED
    assert outcome.results[0].reply is not None
    assert outcome.results[0].reply.status == status
    assert session.client.ready


# ---------------------------------------------------------------------- TLS


def required(**fields: object) -> ClientProfile:
    return ClientProfile(b"mail.case.test", TlsUse.REQUIRED, **fields)  # type: ignore[arg-type]


def test_after_the_handshake_the_server_is_asked_again() -> None:
    session = Session(required())
    session.hear("220 x\r\n")
    assert session.hear(TLS_EHLO) == b"STARTTLS\r\n"
    session.hear("220 go\r\n")
    assert session.last() == HandshakeDue()
    session.client.tls_started()
    assert session.client.take_output() == b"EHLO mail.case.test\r\n"
    assert session.hear(FULL_EHLO) == b""
    ready = session.last()
    assert isinstance(ready, Ready)
    assert ready.tls
    assert "STARTTLS" not in ready.extensions


@pytest.mark.parametrize("rest", ["250-evil\r\n250 AUTH PLAIN\r\n", "2", "\r\n", "220 twice\r\n"])
@octets
def test_octets_behind_the_220_of_starttls_end_the_session(rest: str, octets: bool) -> None:
    for use in (TlsUse.REQUIRED, TlsUse.OPPORTUNISTIC):
        session = Session(ClientProfile(b"mail.case.test", use), octets=octets)
        session.hear("220 x\r\n")
        session.hear(TLS_EHLO)
        assert session.hear("220 go\r\n" + rest) == b""
        assert session.last() == SessionFailed(Stage.STARTTLS, Cause.PROTOCOL)
        with pytest.raises(LocalProtocolError):
            session.client.tls_started()


def test_an_answer_that_came_before_its_question_ends_the_session() -> None:
    session = Session(required())
    session.hear("220 x\r\n250-evil\r\n250 AUTH PLAIN\r\n")
    assert session.last() == SessionFailed(Stage.EHLO, Cause.PROTOCOL)
    session = Session(required())
    session.hear("220 x\r\n")
    session.hear(TLS_EHLO + "220 go\r\n")
    assert session.last() == SessionFailed(Stage.STARTTLS, Cause.PROTOCOL)


@pytest.mark.parametrize("reply", ["454 4.7.0 not now", "502 5.5.1 no", "500 what", "354 go on", "250 fine", "221 bye", "530 5.7.0 tls", "421 4.3.2 bye"])
def test_whatever_starttls_is_answered_required_means_required(reply: str) -> None:
    session = Session(required(credentials=("ann", "secret")))
    session.hear("220 x\r\n")
    session.hear(TLS_EHLO)
    assert session.hear(reply + "\r\n") in {b"QUIT\r\n", b""}
    failed = session.last()
    assert isinstance(failed, SessionFailed)
    assert failed.stage is Stage.STARTTLS
    assert not session.client.ready


def test_opportunistic_goes_on_in_clear_but_never_logs_in() -> None:
    session = Session(ClientProfile(b"mail.case.test"))
    session.hear("220 x\r\n")
    session.hear(TLS_EHLO)
    session.hear("454 4.7.0 not now\r\n")
    assert session.last() == Ready(session.client.extensions, tls=False)
    session = Session(ClientProfile(b"mail.case.test", credentials=("ann", "secret")))
    session.hear("220 x\r\n")
    session.hear("250-x\r\n250-STARTTLS\r\n250 AUTH PLAIN SCRAM-SHA-256\r\n")
    assert session.hear("454 4.7.0 not now\r\n") == b"QUIT\r\n"
    assert session.last() == SessionFailed(Stage.AUTH, Cause.NO_TLS)


def _attacks() -> list[Path]:
    folder = DATA / "starttls-client" / "testcases" / "smtp"
    return sorted(folder.rglob("*.ron"))


@pytest.mark.parametrize("credentials", [None, ("ann", "secret")])
def test_a_missing_starttls_ends_a_session_that_requires_it(credentials: tuple[str, str] | None) -> None:
    session = Session(required(credentials=credentials))
    session.hear("220 x\r\n")
    assert session.hear(FULL_EHLO) == b"QUIT\r\n"
    assert session.last() == SessionFailed(Stage.STARTTLS, Cause.NO_TLS)
    session = Session(required(credentials=credentials))
    session.hear("220 x\r\n")
    assert session.hear("500 what is EHLO\r\n") == b"QUIT\r\n"


@pytest.mark.skipif(not _attacks(), reason="shared data starttls-client is absent")
@pytest.mark.parametrize("path", _attacks(), ids=lambda path: f"{path.parent.name}-{path.stem}")
@pytest.mark.parametrize("credentials", [None, ("ann", "secret")], ids=["no login", "login"])
def test_starttls_attack_gets_no_word_in_clear(path: Path, credentials: tuple[str, str] | None) -> None:
    text = "\n".join(line for line in path.read_text("utf-8").splitlines() if not line.lstrip().startswith("//"))
    said = {match[1]: match[2].encode().decode("unicode_escape") for match in re.finditer(r'"(\w+)":\s*"((?:[^"\\]|\\.)*)"', text)}
    starttls = re.search(r'stls_response:\s*"((?:[^"\\]|\\.)*)"', text)
    if starttls:
        said["starttls"] = starttls[1].encode().decode("unicode_escape")
    hidden = re.search(r"hide_commands:\s*\[(.*?)\]", text)
    for name in re.findall(r'"(\w+)"', hidden[1]) if hidden else []:
        said[name] = "500 unknown\r\n"
    offers = "STARTTLS" if re.search(r"capabilities:\s*\[\s*StartTLS", text) else "8BITMIME"
    answers = {
        "greeting": "220 x\r\n",
        "ehlo": f"250-x\r\n250-AUTH PLAIN\r\n250 {offers}\r\n",
        "helo": "250 x\r\n",
        "starttls": "220 go\r\n",
        "quit": "221 x\r\n",
    } | said
    session = Session(required(credentials=credentials))
    written = session.hear(answers["greeting"])
    for _ in range(10):
        if session.client.closing or isinstance(session.last() if session.events else None, HandshakeDue):
            break
        verb = written.split()[0].decode().lower() if written else "nothing"
        assert verb in {"ehlo", "helo", "starttls", "quit"}, written
        assert verb in answers, written
        written = session.hear(answers[verb])
    assert not session.client.ready
    assert session.client.closing or session.last() == HandshakeDue()


# ---------------------------------------------------------------------- AUTH


class ScramServer:
    def __init__(self, mechanism: bytes, end_points: tuple[bytes, ...]) -> None:
        self.exchange = sasl.start(mechanism, sasl.Context(end_points, offers_plus=bool(end_points)))
        self.verifier = sasl.scram_verifier("secret", b"salt" * 4, 4096)

    def answer(self, written: bytes) -> str:
        text = written.split()[-1]
        step = self.exchange.respond(sasl.decode_base64(text) if text != b"AUTH" else None)
        if isinstance(step, sasl.NeedsVerifier):
            step = self.exchange.supply(self.verifier)
        if isinstance(step, sasl.Challenge):
            return "334 " + sasl.encode_base64(step.data).decode() + "\r\n"
        return "235 2.7.0 welcome\r\n" if isinstance(step, sasl.Success) else "535 5.7.8 no\r\n"


def implicit(password: str = "secret") -> ClientProfile:
    return ClientProfile(b"mail.case.test", TlsUse.IMPLICIT, credentials=("ann", password))


@pytest.mark.parametrize(("end_point", "name"), [(None, b"SCRAM-SHA-256"), (b"h" * 32, b"SCRAM-SHA-256-PLUS")], ids=["without binding", "bound"])
def test_the_strongest_mechanism_is_taken(end_point: bytes | None, name: bytes) -> None:
    session = Session(implicit())
    session.client.tls_started(end_point)
    session.hear("220 x\r\n")
    written = session.hear(AUTH_EHLO)
    assert written.startswith(b"AUTH " + name + b" ")
    server = ScramServer(name, (end_point,) if end_point else ())
    written = session.hear(server.answer(written))
    written = session.hear(server.answer(written))
    assert written == b"\r\n"
    session.hear("235 2.7.0 welcome\r\n")
    assert isinstance(session.last(), Ready)


def test_a_server_that_proves_nothing_is_not_believed() -> None:
    session = Session(implicit())
    session.hear("220 x\r\n")
    session.hear(AUTH_EHLO)
    session.hear("235 2.7.0 welcome\r\n")
    failed = session.last()
    assert isinstance(failed, SessionFailed)
    assert (failed.stage, failed.cause) == (Stage.AUTH, Cause.PROTOCOL)


@pytest.mark.parametrize(
    ("offered", "dialogue"),
    [
        ("PLAIN", [("AUTH PLAIN AGFubgBzZWNyZXQ=", "235 ok")]),
        ("PLAIN", [("AUTH PLAIN AGFubgBzZWNyZXQ=", "334 "), ("AGFubgBzZWNyZXQ=", "235 ok")]),
        ("LOGIN", [("AUTH LOGIN", "334 VXNlcm5hbWU6"), ("YW5u", "334 UGFzc3dvcmQ6"), ("c2VjcmV0", "235 ok")]),
    ],
    ids=["PLAIN", "PLAIN whose initial response was ignored", "LOGIN"],
)
def test_older_mechanisms_work(offered: str, dialogue: list[tuple[str, str]]) -> None:
    session = Session(implicit())
    session.hear("220 x\r\n")
    written = session.hear(f"250-x\r\n250 AUTH {offered}\r\n")
    for line, reply in dialogue:
        assert written == line.encode() + b"\r\n"
        written = session.hear(reply + "\r\n")
    assert isinstance(session.last(), Ready)


def test_a_refused_login_ends_the_session() -> None:
    session = Session(implicit())
    session.hear("220 x\r\n")
    session.hear("250-x\r\n250 AUTH PLAIN\r\n")
    assert session.hear("535 5.7.8 wrong\r\n") == b"QUIT\r\n"
    failed = session.last()
    assert isinstance(failed, SessionFailed)
    assert (failed.stage, failed.cause, failed.reply and failed.reply.status) == (Stage.AUTH, Cause.REFUSED, "5.7.8")
    session = Session(implicit())
    session.hear("220 x\r\n")
    session.hear("250-x\r\n250 AUTH CRAM-MD5\r\n")
    assert session.last() == SessionFailed(Stage.AUTH, Cause.NO_AUTH)


# ---------------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    "flood",
    [b"2" * 10_000, b"250-x\r\n" * (REMOTE_REPLY_LINES_MAX + 1), b"250-" + b"x" * 2000 + b"\r\n", b"\0" * (REMOTE_INPUT_MAX + 1)],
    ids=["an endless line", "an endless reply", "long lines", "more than anybody reads"],
)
def test_hostile_replies_never_fill_memory(flood: bytes) -> None:
    session = Session()
    session.hear("220 x\r\n")
    for _ in range(40):
        session.hear(flood)
        assert len(session.client._input) <= REMOTE_INPUT_MAX
    assert session.client.closing
    assert isinstance(session.last(), SessionFailed)
    assert len(session.events) == 1


def test_controls_in_a_reply_do_not_reach_a_log() -> None:
    session = Session()
    session.hear("554 5.7.1 a\x1b[2Jb\x00c\xff\r\n".encode("latin-1"))
    failed = session.last()
    assert isinstance(failed, SessionFailed)
    assert failed.reply is not None
    assert failed.reply.text == "a?[2Jb?c\N{REPLACEMENT CHARACTER}"
