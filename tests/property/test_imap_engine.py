# SPDX-License-Identifier: Apache-2.0
"""Whatever octets come, in whatever pieces and state, the IMAP engine stays in a legal state and answers the same.

Obeys RFC 3501 §3 (states) and §9 (what a tagged line looks like).
Must never know a session.
"""

from __future__ import annotations

import re
from array import array
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from moatmail.core.limits import imap as limits
from moatmail.wire.imap import events, responses, utf7
from moatmail.wire.imap.mailbox_name import compile_pattern
from moatmail.wire.imap.profile import EXTENSIONS, Profile, State
from moatmail.wire.imap.sequence import compact, parse
from moatmail.wire.imap.server import IMAPServer
from tests.transcripts.imap.player import Application

# One line of output: untagged, continuation or tagged; nothing a client sent may make another line of ours.
_LINE = re.compile(rb"(\*|\+|[^\x00-\x20\x7f-\xff(){%*\"\\+]{1,64}) ?[^\r\n]*")
_WORDS = st.sampled_from(
    [
        *(b"NOOP SELECT EXAMINE INBOX APPEND LOGIN ann right AUTHENTICATE PLAIN IDLE DONE STARTTLS LOGOUT FETCH STORE SEARCH UID COPY MOVE").split(),
        *(b"LIST LSUB STATUS CREATE CLOSE ID NIL ENABLE RETURN (ALL) CHARSET UTF-8 BODY[TEXT]<0.5> BODY.PEEK[HEADER.FIELDS FLAGS +FLAGS").split(),
        *(b'(\\Seen) (UNCHANGEDSINCE 1:* 0 4294967296 OR NOT ( ) ((( ))) "" "a \\" * a1 a2 {3} {3+} {0+} ~{2+} {99999+} {4096} =').split(),
        *(b"NOTIFY SET (SELECTED (MESSAGENEW MESSAGEEXPUNGE FLAGCHANGE)) (PERSONAL (MAILBOXNAME)) SUBTREE NONE").split(),
        *(b"(QRESYNC (7 9 1:5 (1:2 (1,3)) VANISHED CHANGEDSINCE) SETQUOTA GETQUOTAROOT (STORAGE EMAILID").split(),
        b"AGFubgByaWdodA==", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b" ", b" ", b"\0", b"\xff", b"abc", b'"5-Mar-2025 07:06:05 +0000"', b"a" * 300,
    ]
)  # fmt: skip
_LINES = st.builds(lambda tag, words: tag + b" " + b" ".join(words) + b"\r\n", st.sampled_from([b"a", b"b7", b""]), st.lists(_WORDS, max_size=8))
_INPUT = st.lists(st.one_of(_WORDS, _LINES, st.binary(max_size=40)), max_size=30).map(b"".join)
_START = st.sampled_from(
    [b"", b"x LOGIN ann right\r\n", b"x LOGIN ann right\r\ny SELECT INBOX\r\n", b"x LOGIN ann right\r\ny IDLE\r\n", b"x AUTHENTICATE PLAIN\r\n"]
)
_PROFILES = st.sampled_from(
    [
        Profile(b"mx.example.test", tls_active=True),
        Profile(b"mx.example.test"),
        Profile(b"mx.example.test", tls_active=True, extensions=(*EXTENSIONS, b"MULTIAPPEND"), append_limit=1000),
        Profile(b"mx.example.test", tls_active=True, qresync=True),
    ]
)


def run(profile: Profile, pieces: list[bytes], *, end: bool) -> tuple[bytes, list[events.Event], State]:
    """Play input on an engine and give what it wrote, what it told (messages joined) and its last state."""
    engine = IMAPServer(profile)
    application = Application(engine)
    for piece in pieces:
        engine.receive(piece)
        application.run()
    if end:
        engine.receive_eof()
        application.run()
    told: list[events.Event] = []
    for event in application.seen:
        if isinstance(event, events.AppendData) and told and isinstance(last := told[-1], events.AppendData):
            told[-1] = events.AppendData(last.tag, last.data + event.data)
        else:
            told.append(event)
    return engine.take_output(), told, engine.state


@settings(max_examples=400, deadline=None)
@given(profile=_PROFILES, start=_START, data=_INPUT, cuts=st.lists(st.integers(0, 2000), max_size=20))
def test_chunking_changes_nothing(profile: Profile, start: bytes, data: bytes, cuts: list[int]) -> None:
    """Whole, octet by octet or cut anywhere: the same answers, the same events.

    STARTTLS is left out: what is dropped behind it depends on when it came.
    """
    data = start + re.sub(rb"(?i)STARTTLS", b"NOOP", data)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[low:high] for low, high in pairwise(places)]
    whole = run(profile, [data], end=True)
    assert run(profile, [data[place : place + 1] for place in range(len(data))], end=True) == whole
    assert run(profile, pieces, end=True) == whole


@settings(max_examples=400, deadline=None)
@given(profile=_PROFILES, start=_START, data=_INPUT)
def test_any_octets_end_in_a_legal_state(profile: Profile, start: bytes, data: bytes) -> None:
    """No exception, whole lines out, every command given in a state that allows it, bounded memory."""
    engine = IMAPServer(profile)
    application = Application(engine)
    for piece in (start, data):
        engine.receive(piece)
        application.run()
    output = engine.take_output()
    assert not output or output.endswith(b"\r\n")
    for line in output.split(b"\r\n")[:-1]:
        assert _LINE.fullmatch(line), line
    assert len(engine._reader) <= len(data)
    assert sum(map(len, engine._parts)) <= limits.LINE + limits.LITERALS
    assert engine.closing == (engine.state is State.LOGOUT)
    if not profile.tls_active and b"STARTTLS" not in data.upper():
        assert not any(isinstance(event, events.Login | events.Authenticate) for event in application.seen)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_names_survive_the_wire(name: str) -> None:
    """Encode and decode are inverse for every name without lone surrogates; encoding is ASCII."""
    wire = utf7.encode(name)
    assert wire.isascii()
    clean = name.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "replace")
    assert utf7.decode(wire) == clean


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_a_decoded_name_is_written_the_same(octets: bytes) -> None:
    """There is one spelling of each name."""
    name = utf7.decode(octets)
    assert name is None or utf7.encode(name) == octets


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(1, 300), min_size=1))
def test_compact_and_resolve_are_inverse(numbers: set[int]) -> None:
    """A written set holds exactly its numbers, in as few members as there are runs."""
    text = compact(sorted(numbers))
    sequence = parse(text)
    assert sequence is not None
    ranges = sequence.resolve(300)
    assert {number for low, high in ranges for number in range(low, high + 1)} == numbers
    assert len(ranges) == len(sequence.ranges) == sum(number - 1 not in numbers for number in numbers)


@settings(max_examples=300, deadline=None)
@given(pattern=st.text("ab/*%", max_size=12), name=st.text("ab/", max_size=10))
def test_patterns_match_as_a_slow_matcher_does(pattern: str, name: str) -> None:
    """The automaton agrees with the plain recursive meaning of the wildcards."""

    def slow(left: str, right: str) -> bool:
        if not left:
            return not right
        if left[0] in "*%":
            return slow(left[1:], right) or bool(right and (left[0] == "*" or right[0] != "/") and slow(left, right[1:]))
        return bool(right) and left[0] == right[0] and slow(left[1:], right[1:])

    assert compile_pattern(pattern)(name) == slow(pattern, name)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2**32 - 1), st.integers(0, 63)), max_size=30, unique_by=lambda row: row[0]), st.integers(1, 2**31))
def test_rows_are_one_response_each(rows: list[tuple[int, int]], first: int) -> None:
    """Bulk rendering of any arrays gives one line for each message, in order."""
    rows.sort()
    text = responses.flag_rows(first, array("I", [uid for uid, _ in rows]), array("H", [bits for _, bits in rows]), {}, with_uid=True)
    lines = text.split(b"\r\n")[:-1]
    assert lines == [b"* " + responses.fetch(first + n, (responses.uid_item(u), responses.flags_item(b))) for n, (u, b) in enumerate(rows)]
