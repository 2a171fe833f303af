# SPDX-License-Identifier: Apache-2.0
"""Invariant: any octets, in any pieces, leave the IMAP engine in a legal state, with whole lines written and bounded memory, without an exception.

Obeys RFC 3501 §3; started as tests/fuzz/harness.py says.
Must never know a session.
"""

from __future__ import annotations

from random import Random

from moatmail.core.limits import imap as limits
from moatmail.wire.imap.profile import Profile, State
from moatmail.wire.imap.server import IMAPServer
from tests.fuzz.harness import Target
from tests.transcripts.imap.player import Application

STARTS = (b"", b"x LOGIN ann right\r\n", b"x LOGIN ann right\r\ny SELECT INBOX\r\n", b"x LOGIN ann right\r\ny IDLE\r\n", b"x AUTHENTICATE PLAIN\r\n")
SEEDS = (
    b'a UID FETCH 1:*,7 (FLAGS BODY.PEEK[1.2.HEADER.FIELDS (From "To")]<0.9>) (CHANGEDSINCE 5)\r\n',
    b'a SEARCH RETURN (MIN COUNT) CHARSET UTF-8 OR NOT (SEEN 1:3) HEADER X {3+}\r\nabc MODSEQ "/flags/\\\\seen" all 7 ON "1-Feb-1994"\r\n',
    b"a FETCH $,1 (BINARY.PEEK[1.2]<0.9> BINARY.SIZE[] PREVIEW (LAZY)) (PARTIAL -1:-5 CHANGEDSINCE 3)\r\na APPEND INBOX ~{3+}\r\na\0b\r\n",
    b"a UID SORT RETURN (PARTIAL -1:-5 SAVE) (REVERSE DATE SUBJECT) UTF-8 $,1\r\na THREAD REFERENCES {5+}\r\nUTF-8 OLDER 5\r\n",
    b'a LIST (SUBSCRIBED RECURSIVEMATCH) "" (%/* "&APg-*") RETURN (CHILDREN STATUS (UNSEEN))\r\n',
    b'a APPEND "INBOX" (\\Seen $a) " 5-Mar-2025 07:06:05 +0000" {5+}\r\nhello (\\Flagged) {3+}\r\nabc\r\n',
    b"a APPEND INBOX (b) UTF8 (~{3+}\r\nabc) UTF8 (~{3}\r\n abc)\r\na REPLACE 1 a utf8 (~{1+}\r\na)\r\n",
    b"a STORE 1 (UNCHANGEDSINCE 5) -FLAGS.SILENT (\\Deleted b)\r\na UID MOVE 1 {3}\r\na/b\r\nDONE\r\n",
    b"a SELECT a (QRESYNC (67 9 1:5,9 (1:3,7 1:2,5:6)) CONDSTORE)\r\na UID FETCH 1:* (FLAGS EMAILID SAVEDATE) (VANISHED CHANGEDSINCE 7)\r\n",
    b'a SETQUOTA "" (STORAGE 5 X 0)\r\na GETQUOTAROOT {3+}\r\na/b\r\na SEARCH EMAILID Eff NOT THREADID T-1 SAVEDON 1-Feb-1994\r\n',
    b"a NOTIFY SET STATUS (selected (MessageNew (UID BODY.PEEK[1.MIME]<0.9>) MessageExpunge)) (subtree (a {3+}\r\na/b) NONE) (personal (MailboxName))\r\n",
    b'a LOGIN {3+}\r\nann "ri\\"ght"\r\na ID ("name" NIL)\r\na ENABLE CONDSTORE\r\na CREATE x/ (USE (\\Sent))\r\na LOGOUT\r\n',
)
PROFILES = (
    Profile(b"mx.example.test", tls_active=True),
    Profile(b"mx.example.test"),
    Profile(b"mx.example.test", tls_active=True, append_limit=200, uid_only=True, rev2=True),
    Profile(b"mx.example.test", tls_active=True, qresync=True),
)


def check(data: bytes) -> None:
    """Play `data` (its first two octets choose start, profile and pieces) and check the invariant."""
    if len(data) < 2:
        return
    engine = IMAPServer(PROFILES[data[0] % len(PROFILES)])
    application = Application(engine)
    engine.receive(STARTS[data[0] // 3 % len(STARTS)])
    application.run()
    step = data[1] or len(data)
    for place in range(2, len(data), step):
        engine.receive(data[place : place + step])
        application.run()
        assert sum(map(len, engine._parts)) <= limits.LINE + limits.LITERALS
    engine.receive_eof()
    application.run()
    output = engine.take_output()
    assert not output or output.endswith(b"\r\n")
    assert engine.closing
    assert engine.state is State.LOGOUT


def mutate(random: Random) -> bytes:
    """Make an input from the seeds: joined, cut, overwritten."""
    data = bytearray(random.randbytes(2))
    for _ in range(random.randint(1, 4)):
        data += random.choice(SEEDS)
    for _ in range(random.randint(0, 8)):
        place = random.randrange(2, len(data))
        match random.randrange(4):
            case 0:
                data[place] = random.choice(b'(){}"\\*% \r\n\0\xff0+~')
            case 1:
                del data[place : place + random.randint(1, 9)]
            case 2:
                data[place:place] = random.choice(SEEDS)[: random.randint(1, 40)]
            case _:
                data[place:place] = random.choice((b"{3+}\r\n", b"{99999+}\r\n", b"((((", b"\r\n", b"NOT ", b'"', b"1:*,", b"~{2}\r\n"))
        if len(data) < 3:
            break
    return bytes(data)


# Whole commands to begin with: single octets would take hours to find one.
TARGET = Target(check, mutate, [start + seed for seed in SEEDS for start in (b"\x08\x00", b"\x07\x00")])

if __name__ == "__main__":
    TARGET.main()
