# SPDX-License-Identifier: Apache-2.0
"""Invariant: any octets, in any pieces, leave the POP3 server in a legal state, with whole lines written and bounded memory; only QUIT removes.

Obeys RFC 1939; started as tests/fuzz/harness.py says.
Must never know a session.
"""

from __future__ import annotations

from random import Random

from moatmail.core.limits import pop3 as limits
from moatmail.core.limits.sasl import RESPONSE_MAX
from moatmail.wire.pop3.profile import Profile
from moatmail.wire.pop3.server import POP3Server, State
from tests.fuzz.harness import Target, changed, joined
from tests.transcripts.pop3_player import MECHANISMS, Application

LOGIN = b"USER ann@example.test\r\nPASS right one\r\n"
STARTS = (b"", b"USER ann@example.test\r\n", LOGIN, LOGIN + b"DELE 1\r\n", b"AUTH PLAIN\r\n", b"AUTH LOGIN YW5u\r\n", b"STLS\r\n")
SEEDS = (
    LOGIN + b"STAT\r\nLIST\r\nUIDL\r\nQUIT\r\n",
    b"RETR 1\r\nRETR 2\r\nRETR 3\r\nTOP 2 1\r\nTOP 1 999999999\r\n",
    b"DELE 1\r\nRSET\r\nDELE 2\r\nNOOP\r\nLIST 2\r\nUIDL 3\r\n",
    b"CAPA\r\nSTLS\r\nCAPA\r\n",
    b"AUTH PLAIN AGFubkBleGFtcGxlLnRlc3QAcmlnaHQgb25l\r\n",
    b"AUTH SCRAM-SHA-256 biwsbj1hbm5AZXhhbXBsZS50ZXN0LHI9YWJj\r\nYz1iaXdzLHI9YWJj\r\n*\r\n",
    b"AUTH LOGIN\r\nYW5uQGV4YW1wbGUudGVzdA==\r\ncmlnaHQgb25l\r\n",
    b"apop a b\r\nlast\r\nUTF8\r\nGET / HTTP/1.1\r\n",
)
TOKENS = (b"\r\n", b"\n", b"\r", b"\0", b"\xff", b" ", b"-1", b"99999999999", b"=", b"*\r\n", b"x" * 300, b"\x16\x03", b"QUIT\r\n", b"STLS\r\n")


def check(data: bytes) -> None:
    """Play `data` (its first two octets choose door, start and pieces) and check the invariant."""
    if len(data) < 2:
        return
    engine = POP3Server(Profile(b"mx", mechanisms=MECHANISMS, decoy_key=b"k" * 32))
    if data[0] & 1:
        engine.tls_started((b"\1" * 32,))
    engine.greeting()
    application = Application(engine)
    output = b""
    step = data[1] or len(data)
    for piece in (STARTS[(data[0] >> 1) % len(STARTS)], *(data[place : place + step] for place in range(2, len(data), step))):
        for place in range(0, len(piece), limits.INPUT_MAX // 4):
            engine.receive(piece[place : place + limits.INPUT_MAX // 4])
            application.run()
        output += application.take()
        assert len(engine._input) <= RESPONSE_MAX + limits.LINE
        assert engine.waiting is None
        assert not engine.answering
        if application.handshake_due and not engine.closing:
            application.handshake_due = False
            engine.tls_started(())
    engine.receive_eof()
    application.run()
    output += application.take()
    assert engine.closing
    assert output.endswith(b"\r\n")
    assert output.count(b"\r\n") == output.count(b"\r") == output.count(b"\n")
    assert all(len(line) <= limits.RESPONSE_LINE for line in output.split(b"\r\n"))
    assert bool(application.removed) == (engine.state is State.UPDATE)
    assert engine.tls or not application.logins


def mutate(random: Random) -> bytes:
    """Make an input from the seeds: joined, cut, overwritten."""
    data = bytearray(random.randbytes(2)) + joined(random, SEEDS, 5)
    return changed(random, data, TOKENS, 2)


TARGET = Target(check, mutate)

if __name__ == "__main__":
    TARGET.main()
