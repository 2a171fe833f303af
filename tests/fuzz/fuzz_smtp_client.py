# SPDX-License-Identifier: Apache-2.0
"""Invariant: any replies, in any pieces, leave the SMTP client in a legal state, every recipient settled once, bounded memory, and no secret in clear.

Obeys RFC 5321; started as tests/fuzz/harness.py says.
Must never know a session.
"""

from __future__ import annotations

from random import Random

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.limits.smtp import REMOTE_REPLY_LINE_MAX
from moatmail.wire.smtp.client import ClientProfile, SMTPClient, TlsUse
from moatmail.wire.smtp.client_events import ContentWanted, HandshakeDue, Outcome, Ready, SessionFailed
from tests.fuzz.harness import Target

ENVELOPE = Envelope(None, tuple(Recipient(Address(name, "x.example")) for name in "abc"))
CONTENT = b"a: b\r\n\r\n.\r\n"
SEEDS = (
    b"220 x\r\n",
    b"250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-DSN\r\n250-SMTPUTF8\r\n250 SIZE 1000\r\n",
    b"250-x\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS\r\n",
    b"250 2.1.0 ok\r\n",
    b"250 2.1.0 ok\r\n",
    b"334 \r\n",
    b"334 cj1hYmMscz1RVUZCUVE9PSxpPTQwOTY=\r\n",
    b"235 2.7.0 ok\r\n",
    b"354 go\r\n",
    b"421 4.3.2 bye\r\n",
    b"452 4.5.3 many\r\n",
    b"550-5.1.1 no\r\n550 5.1.1 such\r\n",
    b"500 what\r\n",
    b"221 bye\r\n",
)


class Check:
    """One session against what the fuzzer says."""

    def __init__(self, use: TlsUse, *, login: bool) -> None:
        self.client = SMTPClient(ClientProfile(b"x", use, ("ann", "s3cret") if login else None))
        self.use = use
        self.sent = self.settled = self.failed = 0

    def hear(self, piece: bytes) -> None:
        """Take a piece and what follows from it."""
        self.client.receive(piece)
        self.serve()
        assert len(self.client._input) <= REMOTE_REPLY_LINE_MAX + 256
        clear = not self.client.tls
        output = self.client.take_output()
        if clear:
            assert b"AUTH" not in output
            assert self.use is not TlsUse.REQUIRED or b"MAIL" not in output

    def serve(self) -> None:
        """React to events as a delivery would."""
        while (event := self.client.next_event()) is not None:
            match event:
                case Ready():
                    self.send()
                case ContentWanted():
                    self.client.send_content(CONTENT)
                    self.client.end_content()
                case Outcome(results):
                    assert [one.recipient for one in results] == list(ENVELOPE.recipients)
                    self.settled += 1
                    if self.client.ready and self.sent < 3:
                        self.send()
                case HandshakeDue():
                    assert b"AUTH" not in self.client.take_output()
                    self.client.tls_started(b"h" * 32)
                case SessionFailed():
                    self.failed += 1

    def send(self) -> None:
        """Begin a message."""
        self.sent += 1
        self.client.send(ENVELOPE, size=len(CONTENT), eight_bit=False)

    def finish(self) -> None:
        """Lose the connection and count."""
        self.client.receive_eof()
        self.serve()
        assert self.client.closing
        assert self.sent == self.settled
        assert self.failed == 1


def check(data: bytes) -> None:
    """Play `data` (its first two octets choose profile and pieces) and check the invariant."""
    if len(data) < 2:
        return
    session = Check(tuple(TlsUse)[data[0] % 4], login=bool(data[0] & 4))
    # Even first octets hear reply by reply, as a server speaks; odd ones hear in pieces.
    if data[0] & 8:
        pieces = [piece + b"\r\n" for piece in data[2:].split(b"\r\n")]
    else:
        step = data[1] or len(data)
        pieces = [data[place : place + step] for place in range(2, len(data), step)]
    for piece in pieces:
        session.hear(piece)
    session.finish()


def mutate(random: Random) -> bytes:
    """Make an input from the seeds: a plausible beginning, then anything."""
    data = bytearray(random.randbytes(2))
    if random.random() < 0.8:
        data += SEEDS[0] + random.choice(SEEDS[1:3])
    for _ in range(random.randint(1, 14)):
        data += random.choice(SEEDS)
    for _ in range(random.choice((0, 0, 0, 1, 3))):
        place = random.randrange(2, len(data))
        if random.random() < 0.5:
            data[place] = random.choice(b"0123459- \r\n\0\xff")
        else:
            data[place:place] = random.choice((b"\r\n", b"250-", b"x" * 3000, b"250 ok\r\n" * 3, b"\n"))
    return bytes(data)


TARGET = Target(check, mutate)

if __name__ == "__main__":
    TARGET.main()
