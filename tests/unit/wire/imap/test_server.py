# SPDX-License-Identifier: Apache-2.0
"""The engine's contract with its driver and its application, beyond what the dialogues show.

Obeys RFC 3501 §3-§6.
Must never know a socket.
"""

from __future__ import annotations

import pytest

from moatmail.core.errors import LocalProtocolError
from moatmail.core.limits import imap as limits
from moatmail.wire.imap import events
from moatmail.wire.imap.flags import FlagList
from moatmail.wire.imap.profile import Profile, State
from moatmail.wire.imap.server import IMAPServer, Result


def engine(*, login: bool = False, select: bool = False) -> IMAPServer:
    """Make an engine inside TLS, on wish already further."""
    server = IMAPServer(Profile(b"mx.example.test", tls_active=True))
    if login or select:
        server.receive(b"x LOGIN a b\r\n" + (b"y SELECT INBOX\r\n" if select else b""))
        while isinstance(command := server.next_event(), events.Command):
            server.finish(command, Result.OK, b"done")
        server.take_output()
    return server


def command(server: IMAPServer) -> events.Command:
    """Take the next event, which is a command."""
    event = server.next_event()
    assert isinstance(event, events.Command)
    return event


def test_greeting_has_the_capabilities() -> None:
    """The greeting spares the client a CAPABILITY."""
    server = IMAPServer(Profile(b"mx.example.test"))
    server.greeting(b"mx.example.test ready")
    assert server.take_output() == b"* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE STARTTLS LOGINDISABLED] mx.example.test ready\r\n"


def test_what_is_announced_after_login() -> None:
    """Each name was earned by tests of its own; APPENDLIMIT tells the door's limit (RFC 7889 §3)."""
    assert b" ".join(Profile(b"mx.example.test", tls_active=True, append_limit=1000).capabilities(State.AUTHENTICATED)) == (
        b"IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE NAMESPACE UIDPLUS MOVE IDLE UNSELECT CHILDREN LIST-EXTENDED LIST-STATUS SPECIAL-USE "
        b"CREATE-SPECIAL-USE ESEARCH CONDSTORE STATUS=SIZE WITHIN SEARCHRES PARTIAL UIDONLY PREVIEW INPROGRESS "
        b"SORT SORT=DISPLAY ESORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES "
        b"MULTIAPPEND BINARY NOTIFY OBJECTID QUOTA QUOTA=RES-STORAGE UTF8=ACCEPT SAVEDATE REPLACE QRESYNC APPENDLIMIT=1000"
    )


def test_the_next_command_waits_for_the_answer() -> None:
    """Pipelined commands are given one at a time."""
    server = engine(login=True)
    server.receive(b"a NOOP\r\nb NOOP\r\n")
    first = command(server)
    assert (first.tag, server.next_event()) == (b"a", None)
    server.finish(first, Result.OK, b"done")
    assert command(server).tag == b"b"


def test_answers_nobody_asked_for_are_our_fault() -> None:
    """An application that answers out of turn is told at once."""
    server = engine(login=True)
    for act in (server.continue_, server.admit, server.tls_started, lambda: server.finish(events.Noop(b"a"), Result.OK, b"x")):
        with pytest.raises(LocalProtocolError):
            act()
    server.receive(b"a NOOP\r\n")
    noop = command(server)
    with pytest.raises(LocalProtocolError):
        server.finish(events.Noop(b"b"), Result.OK, b"x")
    with pytest.raises(LocalProtocolError):
        server.continue_()
    server.finish(noop, Result.OK, b"done")
    with pytest.raises(LocalProtocolError):
        server.finish(noop, Result.OK, b"twice")
    assert server.take_output() == b"a OK done\r\n"


def test_a_stranger_cannot_pile_up_input_behind_a_login() -> None:
    """While LOGIN is at work the driver is asked to stop; one that reads on is cut at 128 KB."""
    server = engine()
    server.receive(b"a LOGIN a b\r\n")
    login = command(server)
    server.receive(b"x" * limits.LINE_BEFORE_LOGIN)
    assert not server.wants_input
    server.receive(b"x" * limits.STATE_BEFORE_LOGIN)
    assert server.closing
    server.finish(login, Result.OK, b"too late")  # the check of the password ends after the BYE
    assert server.take_output() == b"* BYE too much input before login\r\n"
    assert server.state is State.LOGOUT


def test_input_is_held_back_while_a_command_is_at_work() -> None:
    """After login the driver is asked to wait, nobody is cut."""
    server = engine(login=True)
    server.receive(b"a NOOP\r\n")
    noop = command(server)
    server.receive(b"b NOOP\r\n" * 40_000)
    assert not server.wants_input
    assert not server.closing
    server.finish(noop, Result.OK, b"done")
    assert command(server).tag == b"b"


def test_a_message_streams_in_bounded_memory() -> None:
    """10 MB of APPEND pass through, each piece as it came, nothing is kept."""
    server = engine(login=True)
    server.receive(b"a APPEND INBOX {10485760}\r\n")
    append = command(server)
    assert append == events.Append(b"a", "INBOX", FlagList(), None, 10_485_760)
    assert server.take_output() == b""
    server.admit()
    assert server.take_output() == b"+ OK\r\n"
    piece = b"x" * 65_536
    for _ in range(160):
        server.receive(piece)
        assert server.next_event() == events.AppendData(b"a", piece)
        assert server.next_event() is None
        assert len(server._reader) == 0
    server.receive(b"\r\n")
    assert server.next_event() == events.AppendEnd(b"a")


def test_a_message_cut_short_is_aborted() -> None:
    """The end of the connection inside a message is told before the end itself."""
    server = engine(login=True)
    server.receive(b"a APPEND INBOX {10+}\r\nabc")
    server.receive_eof()
    command(server)
    assert server.next_event() is None  # the application still has to decide
    server.admit()
    assert server.next_event() == events.AppendData(b"a", b"abc")
    assert server.next_event() == events.AppendAborted(b"a")
    assert server.next_event() == events.Disconnected()
    assert server.next_event() is None
    assert server.closing


def test_what_came_before_the_end_is_still_served() -> None:
    """A client may close its side behind its last command."""
    server = engine(login=True)
    server.receive(b"a NOOP\r\nb NOOP\r\n")
    server.receive_eof()
    for tag in (b"a", b"b"):
        noop = command(server)
        assert noop.tag == tag
        assert server.next_event() is None
        server.finish(noop, Result.OK, b"done")
    assert server.next_event() == events.Disconnected()
    assert server.take_output() == b"a OK done\r\nb OK done\r\n"


def test_untagged_data_may_be_pushed_during_idle() -> None:
    """IDLE is there for that, and the end of the connection ends it."""
    server = engine(select=True)
    server.receive(b"a IDLE\r\n")
    idle = command(server)
    assert isinstance(idle, events.Idle)
    server.continue_(b"idling")
    server.untagged(b"4 EXISTS")
    assert server.take_output() == b"+ idling\r\n* 4 EXISTS\r\n"
    assert server.next_event() is None
    server.receive_eof()
    assert server.next_event() == events.Disconnected()


def test_a_refused_idle_is_no_idle() -> None:
    """NO instead of the continuation."""
    server = engine(select=True)
    server.receive(b"a IDLE\r\n")
    server.finish(command(server), Result.NO, b"not now")
    assert server.take_output() == b"a NO not now\r\n"


def test_octets_behind_starttls_are_dropped_also_while_it_is_at_work() -> None:
    """What came in clear is never read as said inside TLS."""
    server = IMAPServer(Profile(b"mx.example.test"))
    server.receive(b"a STARTTLS\r\nb LOGIN a b\r\n")
    starttls = command(server)
    server.receive(b"c LOGIN a b\r\n")
    server.finish(starttls, Result.OK, b"begin")
    server.receive(b"\x16\x03\x01")
    assert server.next_event() is None
    server.tls_started()
    assert server.next_event() is None
    server.receive(b"d NOOP\r\n")
    assert command(server).tag == b"d"


def test_a_vanished_mailbox_leaves_the_selected_state() -> None:
    """The application may say that the mailbox is gone."""
    server = engine(select=True)
    server.deselect()
    server.receive(b"a CHECK\r\nb NOOP\r\n")
    assert command(server).tag == b"b"
    assert server.take_output() == b"a BAD CHECK is not allowed in the authenticated state\r\n"


def test_bye_is_said_once() -> None:
    """A shutdown and a time-out may coincide."""
    server = engine(login=True)
    server.bye(b"shutting down", b"UNAVAILABLE")
    server.bye(b"too slow")
    server.receive(b"a NOOP\r\n")
    assert server.next_event() is None
    server.admit()  # answers that were under way find a closed engine and change nothing
    server.continue_(b"idling")
    server.finish(events.Noop(b"a"), Result.OK, b"done")
    assert server.take_output() == b"* BYE [UNAVAILABLE] shutting down\r\n"


def test_one_append_holds_so_many_messages() -> None:
    """RFC 3502 sets no bound; we do."""
    server = IMAPServer(Profile(b"mx.example.test", tls_active=True))
    server.receive(b"x LOGIN a b\r\n")
    server.finish(command(server), Result.OK, b"done")
    server.take_output()
    server.receive(b"a APPEND INBOX" + b" {1+}\r\nm" * (limits.APPEND_MESSAGES + 1) + b"\r\nb NOOP\r\n")
    told = []
    while not isinstance(event := server.next_event(), events.Noop):
        told.append(event)
        if isinstance(event, events.Append):
            server.admit()
    assert sum(isinstance(event, events.Append) for event in told) == limits.APPEND_MESSAGES
    assert told[-1] == events.AppendAborted(b"a")
    assert server.take_output() == b"a NO [LIMIT] too many messages\r\n"


def test_an_append_refused_while_it_comes_needs_no_notice() -> None:
    """The application that says NO knows it; the rest of the message is dropped, the line comes after it."""
    server = engine(login=True)
    server.receive(b"a APPEND INBOX {6+}\r\nabc")
    append = command(server)
    server.admit()
    assert server.next_event() == events.AppendData(b"a", b"abc")
    server.finish(append, Result.NO, b"no room", b"OVERQUOTA")
    assert server.next_event() is None
    assert server.take_output() == b""
    server.receive(b"def\r\nb NOOP\r\n")
    assert command(server).tag == b"b"
    assert server.take_output() == b"a NO [OVERQUOTA] no room\r\n"


def test_a_driver_that_heeds_wants_input_is_never_stuck() -> None:
    """The longest thing a stranger may send, an ID of 30 full pairs, is longer than what may wait behind a command."""
    server = engine()
    pairs = b" ".join(b'"%030d" "%b"' % (number, b"v" * limits.ID_VALUE) for number in range(limits.ID_PAIRS))
    data = b"a ID (" + pairs + b")\r\n"
    event: events.Event | None = None
    for place in range(0, len(data), 1000):
        assert server.wants_input
        server.receive(data[place : place + 1000])
        event = server.next_event()
    assert isinstance(event, events.Id)
    assert len(event.pairs or ()) == limits.ID_PAIRS


def test_a_line_too_long_behind_a_message_is_answered_with_the_tag_of_its_command() -> None:
    """What stands behind a message begins with no tag; the client waits for the one it gave."""
    server = engine(login=True)
    server.receive(b"a APPEND INBOX {3+}\r\nabc (" + b"x" * (limits.LINE + 1) + b"\r\nb NOOP\r\n")
    assert isinstance(command(server), events.Append)
    server.admit()
    while isinstance(event := server.next_event(), events.AppendData):
        pass
    assert isinstance(event, events.AppendAborted)
    assert isinstance(server.next_event(), events.Noop)
    assert server.take_output() == b"a BAD the line is too long\r\n"
