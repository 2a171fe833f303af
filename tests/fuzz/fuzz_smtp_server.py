# SPDX-License-Identifier: Apache-2.0
"""Invariant: any octets, in any pieces, leave the SMTP server in a legal state, with whole reply lines written, bounded memory and no smuggled content.

Obeys RFC 5321; started as tests/fuzz/harness.py says.
Must never know a session.
"""

from __future__ import annotations

from random import Random

from moatmail.core.limits.smtp import AUTH_LINE_MAX
from moatmail.wire.smtp.content import ContentLimits
from moatmail.wire.smtp.profile import Door, Profile, SessionLimits
from moatmail.wire.smtp.server import SMTPServer
from tests.fuzz.harness import Target
from tests.transcripts.smtp_player import MECHANISMS, Application

TRANSACTION = b"EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\n"
STARTS = (b"", b"EHLO x\r\n", TRANSACTION, TRANSACTION + b"DATA\r\n", TRANSACTION + b"BDAT 9\r\n", b"EHLO x\r\nAUTH PLAIN\r\n", b"EHLO x\r\nSTARTTLS\r\n")
SEEDS = (
    TRANSACTION + b"BDAT 5\r\nab\r\ncBDAT 0 LAST\r\nNOOP\r\n",
    b'MAIL FROM:<@a,@b:"x > y"@[IPv6:::1]> SIZE=10 BODY=8BITMIME RET=FULL ENVID=a+2B AUTH=<>\r\n',
    b"RCPT TO:<postmaster> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+40b\r\n",
    "MAIL FROM:<jörg@müller.example> SMTPUTF8\r\n".encode(),
    b"Subject: x\r\n\r\nbody\r\n..\r\n.\r\nRSET\r\nQUIT\r\n",
    b"x\n.\nMAIL FROM:<>\r\n.\r\n\r\r\n.\r\n\0",
    b"AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9YWJj\r\nYz1iaXdzLHI9YWJj\r\n*\r\nAUTH LOGIN dXNlcg==\r\ncGFzcw==\r\n",
    b"HELO x\r\nVRFY a\r\nEXPN b\r\nHELP\r\nNOOP\r\nSTARTTLS\r\nGET / HTTP/1.1\r\n",
)
SMALL = ContentLimits(1_000, 200, 100)
LIMITS = SessionLimits(overrun=300)


def check(data: bytes) -> None:
    """Play `data` (its first two octets choose door, start and pieces) and check the invariant."""
    if len(data) < 2:
        return
    door = tuple(Door)[data[0] % 3]
    engine = SMTPServer(Profile(b"mx", door, mechanisms=MECHANISMS, content=SMALL, session=LIMITS, decoy_key=b"k" * 32, decoy_iterations=4096))
    if door is Door.SUBMISSIONS:
        engine.tls_started((b"\1" * 32,))
    engine.greeting()
    application = Application(engine)
    output = b""
    step = data[1] or len(data)
    for piece in (STARTS[data[0] // 3 % len(STARTS)], *(data[place : place + step] for place in range(2, len(data), step))):
        engine.receive(piece)
        application.serve()
        output += engine.take_output()
        assert len(engine._input) <= AUTH_LINE_MAX + 256
        assert engine.waiting is None
        if application.handshake_due and not engine.closing:
            application.handshake_due = False
            engine.tls_started(())
    engine.receive_eof()
    application.serve()
    output += engine.take_output()
    assert engine.closing
    assert output.endswith(b"\r\n")
    assert all(line[:3].isdigit() and line[3:4] in b" -" and len(line) <= 510 for line in output.split(b"\r\n")[:-1])
    for message in application.messages:
        assert len(message) <= SMALL.size
        assert b"\0" not in message
        assert message.count(b"\r\n") == message.count(b"\r") == message.count(b"\n")


def mutate(random: Random) -> bytes:
    """Make an input from the seeds: joined, cut, overwritten."""
    data = bytearray(random.randbytes(2))
    for _ in range(random.randint(1, 4)):
        data += random.choice(SEEDS)
    for _ in range(random.randint(0, 8)):
        place = random.randrange(2, len(data))
        match random.randrange(4):
            case 0:
                data[place] = random.choice(b'<>@:." \r\n\0\xff0+=;')
            case 1:
                del data[place : place + random.randint(1, 9)]
            case 2:
                data[place:place] = random.choice(SEEDS)[: random.randint(1, 60)]
            case _:
                data[place:place] = random.choice(
                    (b"\r\n.\r\n", b"BDAT 3 LAST\r\n", b"DATA\r\n", b"\r\n", b"\n", b'"', b"x" * 300, b"BDAT 18446744073709551616\r\n")
                )
        if len(data) < 3:
            break
    return bytes(data)


TARGET = Target(check, mutate)

if __name__ == "__main__":
    TARGET.main()
