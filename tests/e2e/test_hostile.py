# SPDX-License-Identifier: Apache-2.0
"""Peers that mean harm, on the live server: smuggled messages, injected commands, limits passed, relays wanted."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moatmail.core.limits import smtp as limits
from tests.e2e.raw_smtp import DOORS, USERS, Answer, Peer, kept, subjects, until_kept
from tests.e2e.traffic import settings
from tests.e2e.tree import unfinished
from tests.e2e.trial import Trial, trial

DATA = Path(os.environ.get("MOATMAIL_TEST_DATA", Path(__file__).parents[2] / "../shared/data")).resolve()
SEQUENCES = DATA / "smtp-smuggling" / "sequences.json"
FORMS: list[str] = []
if SEQUENCES.exists():
    _lists = json.loads(SEQUENCES.read_text())
    FORMS = list(
        dict.fromkeys(form for name in ("inbound_must_not_end_data", "outbound_must_not_leave_the_server_unescaped", "also_try_here") for form in _lists[name])
    )


def fine(content: bytes) -> bool:
    """Tell whether content has no bare CR, LF or NUL."""
    rest = content.replace(b"\r\n", b"")
    return not any(octet in rest for octet in b"\r\n\0")


# ---------------------------------------------------------------- smuggling (CVE-2023-51764 and its sisters)


def smuggle(peer: Peer, form: bytes, number: int) -> tuple[bytes, bytes]:
    """Give a message with a form in the middle and commands of another message behind it."""
    envelope = b"MAIL FROM:<" + peer.sender + b">\r\nRCPT TO:<" + peer.server.account(1)[0].encode() + b">\r\nDATA\r\n"
    second = peer.head(f"smuggled {peer.door} {number}") + b"nobody sent this\r\n"
    return peer.head(f"carrier {peer.door} {number}") + b"x" + form, envelope + second


@pytest.mark.skipif(not FORMS, reason="the smuggling sequences are not here")
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("chunked", [False, True], ids=["DATA", "BDAT"])
def test_nothing_is_smuggled(server: Trial, door: str, chunked: bool) -> None:
    arrived = []
    for number, form in enumerate(FORMS):
        with Peer(server, door) as peer:
            first, second = smuggle(peer.hello(), form.encode(), number * 2 + chunked)
            peer.envelope()
            if chunked:
                peer.send(b"BDAT %d LAST\r\n" % len(first + second) + first + second)
            else:
                assert peer.ask(b"DATA").code == 354
                peer.send(first + second + b"\r\n.\r\n")
            told = peer.answer()
            if fine(first):
                assert told.code == 250, form
                arrived.append(f"carrier {door} {number * 2 + chunked}")
            else:
                assert told.octets.startswith(b"550 5.5.2 "), (form, told)
            # One reply to one message: what stood behind the form was content and no command.
            assert peer.ask(b"NOOP").octets == b"250 2.0.0 ok\r\n", form
            assert peer.ask(b"QUIT").code == 221
    here = [one for one in subjects(server) if door in one.split()]
    assert not [one for one in here if one.startswith("smuggled")]
    assert [one for one in here if int(one.split()[-1]) % 2 == chunked] == arrived


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("last", [b"\r", b"\n", b"\0", b"\r\n\r", b"\r\n.\r"], ids=repr)
def test_a_chunk_that_ends_in_half_a_line_end_is_not_kept(server: Trial, door: str, last: bytes) -> None:
    with Peer(server, door) as peer:
        peer.hello().envelope()
        content = peer.head("half a line end") + b"x" + last
        peer.send(b"BDAT %d\r\n" % len(content) + content)
        first = peer.answer()
        if first.code == 250:
            peer.send(b"BDAT 0 LAST\r\n")
            first = peer.answer()
        assert first.octets.startswith(b"550 5.5.2 ")
    assert "half a line end" not in subjects(server)


@pytest.mark.parametrize("door", DOORS)
def test_who_smuggles_three_times_is_sent_away(server: Trial, door: str) -> None:
    with Peer(server, door) as peer:
        peer.hello()
        for _ in range(limits.SMUGGLED_MAX):
            peer.data().send(peer.head("bare") + b"a\nb\r\n.\r\n")
            assert peer.answer().octets.startswith(b"550 5.5.2 ")
        assert peer.rest().startswith(b"421 4.7.0 ")
    assert "bare" not in subjects(server)


@pytest.mark.parametrize("door", DOORS)
def test_octets_behind_data_before_354_are_no_content_and_no_commands(server: Trial, door: str) -> None:
    with Peer(server, door) as peer:
        peer.hello().envelope()
        peer.send(b"DATA\r\n" + peer.head("early") + b"x\r\n.\r\nMAIL FROM:<a@friend.test>\r\n")
        assert peer.answer().octets.startswith(b"503 5.5.1 ")
        assert peer.rest() == b""
    assert "early" not in subjects(server)


# ---------------------------------------------------------------- STARTTLS


@pytest.mark.parametrize("door", ["smtp", "submission"])
@pytest.mark.parametrize("injected", [b"EHLO evil\r\nMAIL FROM:<evil@friend.test>\r\n", b"RSET", b"\0" * 4096, b"\x16\x03\x01garbage"], ids=range(4))
def test_what_was_pipelined_behind_starttls_is_dropped_with_all_state(server: Trial, door: str, injected: bytes) -> None:
    with Peer(server, door) as peer:
        peer.answer()
        assert peer.ask(b"EHLO before").code == 250
        peer.send(b"STARTTLS\r\n" + injected)
        assert peer.answer().code == 220
        peer.start_tls()  # would fail if a reply to what was injected stood in the way
        assert peer.ask(b"MAIL FROM:<carol@friend.test>").code in {503, 530}
        assert peer.ask(b"AUTH PLAIN " + peer.token()).code in {503, 502}
        peer.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.answer()


def test_a_transaction_in_clear_does_not_go_on_inside_tls(server: Trial) -> None:
    with Peer(server, "smtp") as peer:
        peer.hello().envelope()
        assert peer.ask(b"STARTTLS").code == 503  # RFC 3207 §4: not in the middle of a transaction
        assert peer.ask(b"RSET").code == 250
        assert peer.ask(b"STARTTLS").code == 220
        peer.start_tls()
        assert peer.ask(b"RCPT TO:<bob@example.test>").code == 503
        assert peer.ask(b"STARTTLS").code == 503
        assert b"STARTTLS" not in peer.ask(b"EHLO again").octets


# ---------------------------------------------------------------- limits


def refusal(peer: Peer, content: bytes) -> Answer:
    peer.data().send(content + b"\r\n.\r\n")
    return peer.answer()


@pytest.mark.parametrize("door", DOORS)
def test_lines_and_headers_over_their_limits_are_refused_at_the_end(server: Trial, door: str) -> None:
    with Peer(server, door) as peer:
        peer.hello()
        head = peer.head(f"limits {door}")
        assert refusal(peer, head + b"x" * (limits.TEXT_LINE_MAX + 1)).octets.startswith(b"554 5.6.0 ")
        assert refusal(peer, b"X-Long: " + b"x" * limits.HEADER_MAX + b"\r\n" + head).octets.startswith(b"554 5.6.0 ")
        assert refusal(peer, b"X-Many: x\r\n" * (limits.HEADER_MAX // 11) + head).octets.startswith(b"554 5.6.0 ")
        assert refusal(peer, b"x" * (limits.HEADER_MAX + 1)).octets.startswith(b"554 5.6.0 ")
        assert refusal(peer, head + b"x" * limits.TEXT_LINE_MAX).code == 250
    assert subjects(server).count(f"limits {door}") == 1


@pytest.mark.parametrize("door", DOORS)
def test_a_message_that_came_round_a_hundred_times_is_a_loop(server: Trial, door: str) -> None:
    trace = b"Received: from a by b; Thu, 1 Jan 2026 00:00:00 +0000\r\n"
    with Peer(server, door) as peer:
        peer.hello()
        assert refusal(peer, trace * 101 + peer.head(f"loop 101 {door}")).octets.startswith(b"554 5.4.6 ")
        assert refusal(peer, trace * 100 + peer.head(f"loop 100 {door}")).code == 250
    assert [one for one in subjects(server) if one.startswith("loop") and one.endswith(f" {door}")] == [f"loop 100 {door}"]


@pytest.mark.parametrize(
    "line", [b"NOOP " + b"x" * limits.COMMAND_LINE_MAX, b"x" * 100_000, b"AUTH PLAIN " + b"A" * limits.AUTH_LINE_MAX], ids=["noop", "x", "auth"]
)
def test_a_command_line_over_the_limit_ends_the_session(server: Trial, line: bytes) -> None:
    with Peer(server, "submissions") as peer:
        peer.answer()
        peer.ask(b"EHLO peer")
        peer.send(line)
        assert peer.answer().octets.startswith(b"500 5.5.2 ")
        assert peer.rest() == b""


@pytest.mark.parametrize(
    "line",
    [
        b"NOOP\n",
        b"NOOP\rNOOP\r\n",
        b"NOOP\nNOOP\r\n",
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<>\r\n",
        b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3",
    ],
)
def test_what_is_no_smtp_is_sent_away(server: Trial, line: bytes) -> None:
    with Peer(server, "smtp") as peer:
        peer.answer()
        peer.send(line)
        assert peer.answer().octets.startswith(b"500 5.5.2 ")
        assert peer.rest() == b""


@pytest.mark.parametrize("octets", [b"\0\r\n", b"NO\0OP\r\n", b"\xff\xfe\r\n", b"MAIL\r\n", b"EHLO \x01\r\n"])
def test_garbage_is_refused_and_the_session_goes_on(server: Trial, octets: bytes) -> None:
    with Peer(server, "smtp") as peer:
        peer.hello()
        peer.send(octets)
        assert 500 <= peer.answer().code < 504
        peer.data().send(peer.head("after garbage") + b"x\r\n.\r\n")
        assert peer.answer().code == 250


@pytest.mark.parametrize("door", DOORS)
def test_too_many_errors_end_the_session(server: Trial, door: str) -> None:
    with Peer(server, door) as peer:
        peer.hello()
        replies = [peer.ask(b"NONSENSE").code for _ in range(10)]
        assert replies == [500] * 10
        assert peer.rest().startswith(b"421 4.7.0 ")


def test_a_harvester_of_names_is_sent_away(server: Trial) -> None:
    with Peer(server, "smtp") as peer:
        peer.hello().ask(b"MAIL FROM:<carol@friend.test>")
        codes = [peer.ask(b"RCPT TO:<guess%d@example.test>" % number).code for number in range(limits.REFUSALS_MAX + 1)]
        assert codes == [550] * (limits.REFUSALS_MAX + 1)
        assert peer.rest().startswith(b"421 4.7.0 ")


def test_more_recipients_than_the_limit_are_for_the_next_transaction(server: Trial) -> None:
    with Peer(server, "smtp") as peer:
        peer.hello().ask(b"MAIL FROM:<carol@friend.test>")
        codes = [peer.ask(b"RCPT TO:<bob+%d@example.test>" % number).code for number in range(101)]
        assert codes == [250] * 100 + [452]
        assert peer.ask(b"DATA").code == 354
        peer.send(peer.head("to a hundred") + b"x\r\n.\r\n")
        assert peer.answer().code == 250
    assert subjects(server).count("to a hundred") == 1


def test_three_wrong_passwords_end_the_session(server: Trial) -> None:
    wrong = base64.b64encode(b"\0alice@example.test\0wrong")
    with Peer(server, "submissions") as peer:
        peer.answer()
        peer.ask(b"EHLO peer")
        assert [peer.ask(b"AUTH PLAIN " + wrong).code for _ in range(3)] == [535] * 3
        assert peer.rest().startswith(b"421 4.7.0 ")


@pytest.mark.parametrize("door", DOORS)
def test_an_address_outside_ascii_wants_its_parameter(server: Trial, door: str) -> None:
    with Peer(server, door) as peer:
        peer.hello()
        if door == "smtp":
            assert peer.ask("MAIL FROM:<jörg@friend.test>".encode()).octets.startswith(b"553 5.6.7 ")
            assert peer.ask("MAIL FROM:<jörg@friend.test> SMTPUTF8".encode()).code == 250
            assert peer.ask(b"RSET").code == 250
        assert peer.ask(b"MAIL FROM:<" + peer.sender + b">").code == 250
        assert peer.ask("RCPT TO:<jörg@example.test>".encode()).octets.startswith(b"553 5.6.7 ")


@pytest.mark.parametrize(
    "name",
    [
        "a\n00:00:00 accepted from nobody",
        "a\r\n00:00:00 accepted from nobody",
        "a\x1b[2Jaccepted from nobody",
        "a\u2028accepted from nobody",
        "a\x9baccepted from nobody",
    ],
    ids=["LF", "CRLF", "escape", "line separator", "C1 control"],
)
def test_nobody_writes_lines_of_his_own_into_the_log(server: Trial, name: str) -> None:
    before = len(server.log)
    with Peer(server, "submissions") as peer:
        peer.answer()
        peer.ask(b"EHLO peer")
        assert peer.ask(b"AUTH PLAIN " + base64.b64encode(f"\0{name}\0wrong".encode())).code in {535, 501}
        assert peer.ask(b"AUTH LOGIN " + base64.b64encode(name.encode())).code in {334, 501}
        peer.send(base64.b64encode(b"wrong") + b"\r\n")
        assert peer.answer().code in {535, 500}
        peer.ask(b"QUIT")
    with Peer(server, "smtp") as peer:
        peer.answer()
        peer.send(b"EHLO " + name.encode() + b"\r\n")
        peer.answer()
    until_told(server, before, "login as")
    for line in server.log[before:]:
        assert not re.match(r"\d\d:\d\d:\d\d accepted from nobody", line)
        assert line.rstrip("\n").isprintable(), line


def until_told(server: Trial, before: int, words: str) -> None:
    """Wait for an event after the `before` first lines."""
    end = time.monotonic() + 5
    while not any(words in line for line in server.log[before:]):
        assert time.monotonic() < end, server.log[before:]
        time.sleep(0.01)


# ---------------------------------------------------------------- open relay


RELAYS = [
    "victim@elsewhere.test",
    "victim%elsewhere.test@example.test",
    "victim%elsewhere.test",
    "victim%elsewhere.test@[127.0.0.1]",
    "@example.test:victim@elsewhere.test",
    "@example.test,@localhost:victim@elsewhere.test",
    "@localhost:victim@elsewhere.test",
    "elsewhere.test!victim@example.test",
    "example.test!elsewhere.test!victim",
    "elsewhere.test!victim",
    '"victim@elsewhere.test"',
    '"victim@elsewhere.test"@example.test',
    '"victim%elsewhere.test"@example.test',
    "victim@elsewhere.test@example.test",
    "victim@example.test@elsewhere.test",
    "victim@[127.0.0.2]",
    "victim@[IPv6:::1]",
    "victim@127.0.0.2",
    "victim@localhost",
    "victim@elsewhere.test.",
    "victim@example.test.elsewhere.test",
    "victim@sub.example.test",
    "victim@elsewhere.test\\@example.test",
    "bob@example.test,victim@elsewhere.test",
    "bob@example.test> <victim@elsewhere.test",
    "bob@example.test\\r\\nRCPT TO:<victim@elsewhere.test",
    "victim",
]


@pytest.mark.parametrize("sender", [b"carol@friend.test", b"", b"alice@example.test", b"postmaster@[127.0.0.1]", b"spammer@localhost"])
def test_a_stranger_can_relay_nowhere(server: Trial, sender: bytes) -> None:
    for secured in (False, True):
        with Peer(server, "smtp") as peer:
            peer.hello()
            if secured:
                assert peer.ask(b"STARTTLS").code == 220
                peer.start_tls()
                peer.ask(b"EHLO peer")
            for relay in RELAYS:
                told = peer.ask(b"MAIL FROM:<" + sender + b">")
                if told.code == 421:
                    break
                told = peer.ask(b"RCPT TO:<" + relay.encode() + b">")
                assert 500 <= told.code < 560, (relay, told)
                if b"421 " in told.octets or peer.ask(b"RSET").code == 421:
                    break


def test_a_stranger_can_relay_nowhere_with_any_form_one_by_one(server: Trial) -> None:
    for relay in RELAYS:
        with Peer(server, "smtp") as peer:
            peer.hello().ask(b"MAIL FROM:<carol@friend.test>")
            told = peer.ask(b"RCPT TO:<" + relay.encode() + b">")
            assert 500 <= told.code < 560, (relay, told)
            assert peer.ask(b"DATA").code == 503
    assert not [line for line in server.log if line[9:].startswith("accepted from") and " 0 to be sent on" not in line]


def test_without_a_login_submission_sends_nothing_not_even_to_ourselves(server: Trial) -> None:
    for door in USERS:
        with Peer(server, door) as peer:
            peer.answer()
            peer.ask(b"EHLO peer")
            assert peer.ask(b"MAIL FROM:<alice@example.test>").octets.startswith(b"530 5.7.0 ")
            assert peer.ask(b"RCPT TO:<bob@example.test>").code == 503
            assert peer.ask(b"DATA").code == 503


# ---------------------------------------------------------------- sizes and deadlines, set low


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A server with the smallest size and the shortest patience that can be set."""
    with trial(tmp_path_factory.mktemp("strict") / "moatmail-try") as one:
        one.stop()
        settings(one, smtp__max_message_octets="65536", smtp__command_seconds="1.5", smtp__transaction_seconds="10")
        yield one.start()


@pytest.mark.parametrize("door", DOORS)
def test_size_is_enforced_whatever_was_declared(strict: Trial, door: str) -> None:
    with Peer(strict, door) as peer:
        peer.hello()
        assert peer.ask(b"MAIL FROM:<" + peer.sender + b"> SIZE=65537").octets.startswith(b"552 5.3.4 ")
        line = b"x" * 98 + b"\r\n"
        peer.envelope(b" SIZE=100")
        assert peer.ask(b"DATA").code == 354
        peer.send(peer.head(f"lied {door}") + line * 700 + b".\r\n")
        assert peer.answer().octets.startswith(b"552 5.3.4 ")
        peer.envelope(b" SIZE=100")
        peer.send(b"BDAT 60000\r\n" + peer.head(f"lied {door}").ljust(60_000, b"x"))
        assert peer.answer().code == 250
        peer.send(b"BDAT 6000 LAST\r\n" + b"x" * 6000)
        assert peer.answer().octets.startswith(b"552 5.3.4 ")
        peer.envelope(b" SIZE=100")
        assert peer.ask(b"DATA").code == 354
        peer.send(peer.head(f"fits {door}") + line * 600 + b".\r\n")
        assert peer.answer().code == 250
    assert [one for one in subjects(strict) if one.endswith(door)] == [f"fits {door}"]
    assert unfinished(strict) == []


@pytest.mark.parametrize("chunked", [False, True], ids=["DATA", "BDAT"])
def test_who_never_stops_is_left(strict: Trial, chunked: bool) -> None:
    with Peer(strict, "smtp") as peer:
        peer.hello().envelope()
        sent, line = 0, (b"x" * 998 + b"\r\n") * 100
        if not chunked:
            peer.ask(b"DATA")
        with contextlib.suppress(ConnectionError):
            while sent < 3 * limits.OVERRUN_MAX:
                peer.send(b"BDAT 100000\r\n" + line if chunked else line)
                sent += len(line)
        assert (0 if chunked else limits.OVERRUN_MAX // 2) < sent < 3 * limits.OVERRUN_MAX


def test_a_chunk_that_no_limit_would_allow_ends_the_session_at_once(strict: Trial) -> None:
    with Peer(strict, "smtp") as peer:
        peer.hello().envelope()
        peer.send(b"BDAT 99999999999999999999 LAST\r\n")
        assert peer.answer().octets.startswith(b"552 5.3.4 ")
        assert peer.rest() == b""


def between_chunks(peer: Peer) -> None:
    peer.hello().envelope().send(b"BDAT 7\r\nSubject")
    peer.answer()


def in_a_password(peer: Peer) -> None:
    peer.answer()
    peer.ask(b"EHLO peer")
    peer.ask(b"AUTH LOGIN YWxpY2U=")
    peer.send(b"cGFz")


SILENCES: dict[str, tuple[str, Callable[[Peer], object]]] = {
    "before EHLO": ("smtp", lambda peer: peer.answer()),
    "after EHLO": ("smtp", lambda peer: peer.hello()),
    "in a command": ("smtp", lambda peer: peer.hello().send(b"MAIL FR")),
    "after MAIL": ("smtp", lambda peer: peer.hello().ask(b"MAIL FROM:<carol@friend.test>")),
    "after RCPT": ("smtp", lambda peer: peer.hello().envelope()),
    "after 354": ("smtp", lambda peer: peer.hello().data()),
    "in content": ("smtp", lambda peer: peer.hello().data().send(b"Subject: half\r\n\r\nhal")),
    "in the end": ("smtp", lambda peer: peer.hello().data().send(b"Subject: half\r\n\r\nhalf\r\n.\r")),
    "in a chunk": ("smtp", lambda peer: peer.hello().envelope().send(b"BDAT 1000 LAST\r\nSubject: half\r\n\r\n")),
    "between chunks": ("smtp", between_chunks),
    "in a swallowed chunk": ("smtp", lambda peer: peer.hello().send(b"BDAT 1000 LAST\r\nSubject: half\r\n\r\n")),
    "in a login": ("submissions", lambda peer: (peer.answer(), peer.ask(b"EHLO peer"), peer.ask(b"AUTH LOGIN"))),
    "in a password": ("submissions", in_a_password),
    "logged in": ("submission", lambda peer: peer.hello()),
}


def test_the_silent_are_told_421_in_every_state(strict: Trial) -> None:
    def wait(case: str) -> tuple[bytes, float]:
        door, act = SILENCES[case]
        with Peer(strict, door) as peer:
            act(peer)
            begun = time.monotonic()
            return peer.rest(), time.monotonic() - begun

    with ThreadPoolExecutor(len(SILENCES)) as pool:
        for case, (told, seconds) in zip(SILENCES, pool.map(wait, SILENCES), strict=True):
            assert told == b"421 4.4.2 timeout, closing the connection\r\n", case
            assert 1.0 < seconds < 5.0, case
    assert "half" not in subjects(strict)
    assert unfinished(strict) == []


def drip(peer: Peer, octets: bytes, pause: float) -> tuple[bytes, float]:
    """Send an octet now and then until the server has had enough; give its last words, and how long it took."""
    begun = time.monotonic()

    def send() -> None:
        for octet in octets:
            try:
                peer.send(bytes((octet,)))
            except OSError:
                return
            time.sleep(pause)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    told = peer.rest()
    seconds = time.monotonic() - begun
    thread.join(5)
    return told, seconds


def test_who_sends_an_octet_a_second_is_not_waited_for(strict: Trial) -> None:
    def command() -> tuple[bytes, float]:
        with Peer(strict, "smtp") as peer:
            return drip(peer.hello(), b"MAIL FROM:<carol@friend.test>\r\n" * 9, 0.5)

    def content() -> tuple[bytes, float]:
        with Peer(strict, "smtp") as peer:
            return drip(peer.hello().data(), b"Subject: slow, slow, slow, slow, slow, slow", 0.5)

    def chunk() -> tuple[bytes, float]:
        with Peer(strict, "smtp") as peer:
            peer.hello().envelope().send(b"BDAT 1000 LAST\r\n")
            return drip(peer, b"Subject: slow\r\n\r\n" * 9, 0.5)

    def envelope() -> tuple[bytes, float]:
        with Peer(strict, "smtp") as peer:
            peer.hello().ask(b"MAIL FROM:<carol@friend.test>")
            begun = time.monotonic()
            try:
                while time.monotonic() - begun < 20 and peer.ask(b"RCPT TO:<bob@example.test>").code == 250:
                    time.sleep(0.7)
            except OSError:
                pass
            return b"421 4.4.2 timeout, closing the connection\r\n", time.monotonic() - begun

    with ThreadPoolExecutor(4) as pool:
        running = {one.__name__: pool.submit(one) for one in (command, content, chunk, envelope)}
        for name, one in running.items():
            told, seconds = one.result()
            assert told == b"421 4.4.2 timeout, closing the connection\r\n", name
            least, most = (1.0, 5.0) if name == "command" else (8.5, 14.0)
            assert least < seconds < most, (name, seconds)
    assert "slow" not in subjects(strict)


@pytest.mark.timeout(90)
def test_a_handshake_that_does_not_go_on_is_given_up(strict: Trial) -> None:
    def silent(door: str) -> float:
        begun = time.monotonic()
        if door == "submissions":
            with Peer(strict, door, seconds=40, in_clear=True) as peer:
                peer.send(b"\x16\x03\x01\x02")
                assert peer.rest() == b""
        else:
            with Peer(strict, door, seconds=40) as peer:
                peer.answer()
                peer.ask(b"EHLO peer")
                peer.ask(b"STARTTLS")
                assert peer.rest() == b""
        return time.monotonic() - begun

    with ThreadPoolExecutor(2) as pool:
        assert all(seconds < 40 for seconds in pool.map(silent, ("smtp", "submissions")))


def test_after_all_this_the_server_is_well(strict: Trial, server: Trial) -> None:
    for one in (strict, server):
        for door in DOORS:
            with Peer(one, door) as peer:
                peer.hello().data().send(peer.head(f"well {door}") + b"x\r\n.\r\n")
                assert peer.answer().code == 250
            until_kept(one, f"well {door}")
        assert unfinished(one) == []
        assert not [line for line in one.log if "ALERT" in line or "Traceback" in line], one.log
        assert all(isinstance(message, bytes) for message in kept(one))
