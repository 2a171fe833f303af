# SPDX-License-Identifier: Apache-2.0
"""The dearest input a client can send: bounded memory and linear time, whatever it is (hardening: CPU by clever input, memory before login).

Obeys RFC 3501 §9 only in so far as the inputs come close to it.
Must never know a session.
"""

from __future__ import annotations

from time import process_time

import pytest

from moatmail.core.limits import imap as limits
from moatmail.wire.imap.grammar import BadSyntaxError, Cursor
from moatmail.wire.imap.profile import Profile
from moatmail.wire.imap.server import IMAPServer
from tests.transcripts.imap.player import Application

ROOM = limits.LINE - 100
DEAR = {
    "parentheses": b"SEARCH " + b"(" * ROOM,
    "NOT": b"SEARCH " + b"NOT " * (ROOM // 4),
    "OR": b"SEARCH " + b"OR " * (ROOM // 3),
    "escapes in a quoted string": b'SELECT "' + b"\\\\" * (ROOM // 2) + b'"',
    "escaped quotes without an end": b'SELECT "' + b'\\"' * (ROOM // 2),
    "many strings with one escape each": b"SEARCH " + b'TEXT "a\\"b" ' * (ROOM // 13),
    "a set of singles": b"FETCH " + b"1," * (ROOM // 2) + b"1 FLAGS",
    "a set of colons": b"FETCH " + b":" * ROOM,
    "one number": b"FETCH " + b"9" * ROOM + b" FLAGS",
    "items": b"FETCH 1 (" + b"UID " * (ROOM // 4) + b")",
    "different items": b"FETCH 1 (" + b" ".join(b"BODY[%d]" % n for n in range(1, 5000)) + b")",
    "a deep part": b"FETCH 1 BODY[" + b"1." * (ROOM // 2) + b"]",
    "field names": b"FETCH 1 BODY[HEADER.FIELDS (" + b"a " * (ROOM // 2) + b")]",
    "flags": b"STORE 1 FLAGS (" + b" ".join(b"k%d" % n for n in range(8000)) + b")",
    "patterns": b'LIST "" (' + b"%* " * (ROOM // 3) + b")",
    "shifts of UTF-7": b'SELECT "' + b"&-" * (ROOM // 2) + b'"',
    "braces": b"SELECT " + b"{" * ROOM,
    "a literal's size": b"SELECT {" + b"9" * ROOM + b"}",
    "a tag": b"t" * ROOM,
    "capabilities": b"ENABLE " + b"A " * (ROOM // 2),
}


def session(start: bytes) -> tuple[IMAPServer, Application]:
    """Make an engine with its application, after `start`."""
    engine = IMAPServer(Profile(b"mx.example.test", tls_active=True))
    application = Application(engine)
    engine.receive(start)
    application.run()
    engine.take_output()
    return engine, application


@pytest.mark.parametrize("text", DEAR.values(), ids=DEAR.keys())
def test_no_line_is_dear(text: bytes) -> None:
    """The longest line of each shape is answered within a fraction of a second."""
    engine, application = session(b"x LOGIN ann right\r\ny SELECT INBOX\r\n")
    start = process_time()
    engine.receive(b"a " + text + b"\r\n")
    application.run()
    assert process_time() - start < 0.5
    assert engine.take_output().startswith((b"a ", b"* BAD"))


def test_octet_by_octet_is_not_dearer() -> None:
    """A line that comes in single octets is scanned once, not once for each octet."""
    engine, application = session(b"x LOGIN ann right\r\n")
    start = process_time()
    for _ in range(ROOM):
        engine.receive(b"x")
        application.run()
    engine.receive(b"\r\n")
    application.run()
    assert process_time() - start < 2
    assert engine.take_output() == b"* BAD the tag is too long\r\n"


@pytest.mark.parametrize(
    ("start", "limit"),
    [(b"", limits.LINE_BEFORE_LOGIN), (b"x AUTHENTICATE PLAIN\r\n", limits.SASL_RESPONSE), (b"x LOGIN ann right\r\n", limits.LINE)],
    ids=["before login", "inside AUTHENTICATE", "after login"],
)
def test_a_line_without_end_is_not_kept(start: bytes, limit: int) -> None:
    """A megabyte without an end of line is dropped as it comes."""
    engine, application = session(start)
    for _ in range(256):
        engine.receive(b"x" * 4096)
        application.run()
        assert len(engine._reader) <= limit + 4096
    assert not engine.take_output()
    engine.receive(b"\r\na NOOP\r\n")
    application.run()
    assert b" BAD " in engine.take_output().splitlines()[0]


def test_a_dropped_literal_is_not_kept() -> None:
    """A megabyte announced by a refused command passes through without being held."""
    engine, application = session(b"x LOGIN ann right\r\n")
    engine.receive(b"a SELECT {1000000+}\r\n")
    for _ in range(100):
        engine.receive(b"y" * 10_000)
        application.run()
        assert len(engine._reader) == 0
    engine.receive(b"\r\nb NOOP\r\n")
    application.run()
    assert engine.take_output() == b"a BAD the literal is too large\r\nb OK noop done\r\n"


def test_a_literal_holds_no_nul() -> None:
    """RFC 3501 §9: CHAR8 is every octet but NUL."""
    with pytest.raises(BadSyntaxError, match="NUL"):
        Cursor([b"{3}", b"a\0b", b""]).astring(b"a name")
