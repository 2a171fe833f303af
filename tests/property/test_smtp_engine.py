# SPDX-License-Identifier: Apache-2.0
"""SMTP: chunking changes nothing; any octets in any state end in a legal state or a protocol error, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moatmail.core.address import Address, AddressError, parse_mailbox
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.limits.smtp import COMMAND_LINE_MAX, REMOTE_INPUT_MAX
from moatmail.wire.buffer import Buffer
from moatmail.wire.smtp.client import ClientProfile, SMTPClient, TlsUse
from moatmail.wire.smtp.client_events import ContentWanted, HandshakeDue, Outcome, Ready, SessionFailed
from moatmail.wire.smtp.content import ContentLimits, Reception
from moatmail.wire.smtp.grammar import CommandError, decode_xtext, encode_xtext
from moatmail.wire.smtp.profile import Door, Profile, SessionLimits
from moatmail.wire.smtp.server import SMTPServer
from moatmail.wire.smtp.transparency import ChunkWriter, DotWriter
from tests.transcripts.smtp_player import MECHANISMS, Application

SMALL = ContentLimits(2_000, 300, 120)
WORDS = st.sampled_from(
    [
        b"EHLO x\r\n",
        b"HELO [IPv6:::1]\r\n",
        b"MAIL FROM:<a@example.org>\r\n",
        b"MAIL FROM:<> SIZE=10 SMTPUTF8\r\n",
        b"RCPT TO:<alice@example.test>\r\n",
        b"RCPT TO:<nobody@example.test> NOTIFY=NEVER\r\n",
        b"DATA\r\n",
        b"BDAT 3\r\nabc",
        b"BDAT 0 LAST\r\n",
        b"BDAT 3 LAST\r\na\r\n",
        b"BDAT x\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"STARTTLS\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH SCRAM-SHA-256 biwsbj1hLHI9YWJj\r\n",
        b"AGFsaWNlQGV4YW1wbGUudGVzdABjb3JyZWN0IGhvcnNl\r\n",
        b"*\r\n",
        b"a: b\r\n\r\nbody\r\n..\r\n.\r\n",
        b"\r\n.\r\n",
        b"\n.\r\n",
        b"\0",
        b"x" * 200,
        b"QUIT\r\n",
    ]
)
STREAMS = st.lists(st.one_of(WORDS, st.binary(max_size=12)), max_size=40)
CUTS = st.lists(st.integers(1, 50), min_size=1, max_size=30)
PIECES = st.sampled_from([b"\r", b"\n", b".", b"\0", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"a", b"abcdef", b"\r\n\r\n"])
CONTENTS = st.lists(PIECES, max_size=30).map(b"".join)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    while data:
        for size in sizes:
            pieces.append(data[:size])
            data = data[size:]
    return pieces


def server(door: Door) -> tuple[SMTPServer, Application]:
    engine = SMTPServer(Profile(b"mx", door, mechanisms=MECHANISMS, content=SMALL, session=SessionLimits(errors=20, overrun=500), decoy_key=b"k" * 32))
    if door is Door.SUBMISSIONS:
        engine.tls_started((b"\1" * 32,))
    engine.greeting()
    return engine, Application(engine)


@given(st.sampled_from(Door), STREAMS, CUTS)
def test_any_octets_in_any_state_end_legally_in_bounded_memory(door: Door, stream: list[bytes], sizes: list[int]) -> None:
    engine, application = server(door)
    answered = 0
    for piece in cut(b"".join(stream), sizes):
        engine.receive(piece)
        application.serve()
        answered += len(engine.take_output())
        assert len(engine._input) <= COMMAND_LINE_MAX + 16_500
        assert engine.wants_input
        if application.handshake_due:
            application.handshake_due = False
            engine.tls_started(())
    engine.receive_eof()
    application.serve()
    assert engine.closing
    assert engine.next_event() is None
    assert answered + len(engine.take_output()) < 20_000 + 100 * len(b"".join(stream))
    assert all(b"\0" not in message and message.count(b"\r\n") == message.count(b"\n") == message.count(b"\r") for message in application.messages)
    assert all(len(message) <= SMALL.size for message in application.messages)


@given(CONTENTS, CUTS)
def test_chunking_changes_nothing_for_the_server(content: bytes, sizes: list[int]) -> None:
    outcomes = []
    for pieces in ([content], cut(content, sizes), cut(content, [1])):
        engine, application = server(Door.MX)
        for command in (b"EHLO x\r\n", b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\n", b"DATA\r\n"):
            engine.receive(command)
            application.serve()
        engine.take_output()
        for piece in pieces:
            engine.receive(piece)
            application.serve()
        outcomes.append((engine.take_output(), application.messages, application.log, engine.state, engine.closing))
    assert outcomes[0] == outcomes[1] == outcomes[2]


@given(st.lists(WORDS.filter(lambda word: word not in {b"DATA\r\n", b"STARTTLS\r\n"}), max_size=30), CUTS)
def test_chunking_changes_nothing_for_commands(stream: list[bytes], sizes: list[int]) -> None:
    outcomes = []
    for pieces in ([b"".join(stream)], cut(b"".join(stream), sizes), cut(b"".join(stream), [1])):
        engine, application = server(Door.MX)
        for piece in pieces:
            engine.receive(piece)
            application.serve()
        outcomes.append((engine.take_output(), application.messages, application.log, engine.state, engine.closing))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def read(wire: bytes) -> tuple[bytes, bytes | None]:
    reception, buffer = Reception(ContentLimits()), Buffer()
    reception.expect_dots()
    buffer.feed(wire)
    content, whole = reception.read(buffer)
    return content, buffer.take_all() if whole else None


@given(CONTENTS, CUTS)
def test_what_we_write_is_one_message_for_every_reader(content: bytes, sizes: list[int]) -> None:
    dots, chunks = DotWriter(), ChunkWriter()
    pieces = cut(content, sizes)
    wire = b"".join(map(dots.feed, pieces)) + dots.finish()
    assert wire.count(b"\r\n") == wire.count(b"\r") == wire.count(b"\n")
    got, rest = read(wire)
    assert rest == b""
    # No line of a lone dot but the last, by whatever ends a reader counts lines.
    assert [line for line in wire.splitlines() if line == b"."] == [b"."]
    whole = DotWriter()
    assert whole.feed(content) + whole.finish() == wire
    assert b"".join(map(chunks.feed, pieces)) + chunks.finish() != b""
    if content.count(b"\r\n") == content.count(b"\r") == content.count(b"\n") and b"\0" not in content:
        assert got == (content if content.endswith(b"\r\n") or not content else content + b"\r\n")


REPLIES = st.sampled_from(
    [
        b"220 x\r\n",
        b"250 ok\r\n",
        b"250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 SIZE 1000\r\n",
        b"250-x\r\n250-STARTTLS\r\n250 AUTH PLAIN SCRAM-SHA-256\r\n",
        b"334 \r\n",
        b"235 2.7.0 ok\r\n",
        b"354 go\r\n",
        b"421 4.3.2 bye\r\n",
        b"451 4.7.1 later\r\n",
        b"452 4.5.3 many\r\n",
        b"550-5.1.1 no\r\n550 5.1.1 such\r\n",
        b"221 bye\r\n",
    ]
)


@given(st.sampled_from(TlsUse), st.booleans(), st.lists(st.one_of(REPLIES, REPLIES, REPLIES, st.binary(max_size=8)), max_size=30), CUTS)
def test_any_replies_end_legally_and_settle_every_recipient_once(use: TlsUse, login: bool, replies: list[bytes], sizes: list[int]) -> None:
    client = SMTPClient(ClientProfile(b"x", use, ("a", "b") if login else None))
    sent = settled = failed = 0
    clear = b""
    envelope = Envelope(None, tuple(Recipient(Address(name, "x.example")) for name in "abc"))

    def serve() -> None:
        nonlocal sent, settled, failed
        while (event := client.next_event()) is not None:
            match event:
                case Ready():
                    client.send(envelope, size=3, eight_bit=False)
                    sent += 1
                case ContentWanted():
                    client.send_content(b"a\r\n")
                    client.end_content()
                case Outcome(results):
                    assert [one.recipient for one in results] == list(envelope.recipients)
                    settled += 1
                case HandshakeDue():
                    client.tls_started(None)
                case SessionFailed():
                    failed += 1

    for reply in replies:
        for piece in cut(reply, sizes):
            client.receive(piece)
            serve()
            if not client.tls:
                clear += client.take_output()
            assert len(client._input) <= REMOTE_INPUT_MAX
    client.receive_eof()
    serve()
    assert client.closing
    assert (sent, failed) == (settled, 1)
    assert b"AUTH" not in clear
    if use is TlsUse.REQUIRED:
        assert b"MAIL" not in clear


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=20), st.sampled_from(["x.example", "[192.0.2.1]", "[IPv6:::1]"]))
def test_an_address_goes_to_the_wire_and_back(localpart: str, domain: str) -> None:
    address = Address(localpart, domain)
    assert parse_mailbox(address.wire, utf8=True) == address


@given(st.binary(max_size=60))
def test_the_parser_of_addresses_raises_its_own_error_or_gives_an_address(text: bytes) -> None:
    try:
        address = parse_mailbox(text, utf8=True)
    except AddressError:
        return
    assert parse_mailbox(address.wire, utf8=True) == address


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40))
def test_xtext_comes_back(text: str) -> None:
    assert decode_xtext(encode_xtext(text.encode()), 1000) == text.encode()


@given(st.binary(max_size=40))
def test_xtext_gives_printable_ascii_or_an_error(text: bytes) -> None:
    try:
        decoded = decode_xtext(text, 100)
    except CommandError:
        return
    assert decoded.decode("ascii").isprintable()
