# SPDX-License-Identifier: Apache-2.0
r"""Plays C:/S: dialogues on the POP3 engine, with a small application that answers.

A file holds blocks. Client lines of one block are sent together, the server lines behind them are all it may answer:
    C: text      a line, CRLF added             S: text     a line wanted, to the octet
    C~ text      octets with \r \n \0 \\        # comment
    @tls         the connection begins in TLS   @login      ann is logged in, in TLS
    @handshake   what STLS announced is done    @eof        the client closes its side
    @offence X   the offence told since the last one           @closed      the session is over
    @removed 1 2 the messages that QUIT removed, none without numbers         @kept          there was no QUIT
`{repeat:TEXT:N}` stands for N times TEXT. The application knows ann with password "right one" and a maildrop of three messages, the second
of them with dots at its lines' beginnings and no end of its last line; the third cannot be opened.
"""

from __future__ import annotations

import re
from pathlib import Path

from moatmail.wire import sasl
from moatmail.wire.pop3 import events, replies
from moatmail.wire.pop3.profile import Profile
from moatmail.wire.pop3.server import POP3Server

ACCOUNT, PASSWORD = "ann@example.test", "right one"
VERIFIER = sasl.scram_verifier(PASSWORD, b"0123456789abcdef", 4096)
MECHANISMS = (sasl.SCRAM_PLUS, sasl.SCRAM, sasl.PLAIN, sasl.LOGIN)
MESSAGES = (b"Subject: one\r\n\r\nfirst\r\nsecond\r\n", b"Subject: dots\r\n\r\n.\r\n..two\r\nno end", b"")
_REPEAT = re.compile(r"\{repeat:(.*?):([0-9]+)\}")
_ESCAPES = {"r": b"\r", "n": b"\n", "0": b"\0", "\\": b"\\"}


class Application:
    """Answers every event of one engine, as a session would."""

    def __init__(self, engine: POP3Server) -> None:
        self.engine = engine
        self.marked: set[int] = set()
        self.removed: list[set[int]] = []
        self.offences: list[str] = []
        self.logins: list[events.Login] = []
        self.flushed = b""
        self.handshake_due = False

    def run(self) -> None:
        while (event := self.engine.next_event()) is not None:
            self._answer(event)

    def take(self) -> bytes:
        octets, self.flushed = self.flushed + self.engine.take_output(), b""
        return octets

    def _missing(self, number: int) -> bool:
        if 0 < number <= len(MESSAGES) and number not in self.marked:
            return False
        self.engine.err(b"no such message")
        return True

    def _lines(self, text: bytes, *pieces: bytes) -> None:
        self.engine.begin(text)
        for piece in pieces:
            self.engine.write(piece)
        self.engine.end()

    def _answer(self, event: events.Event) -> None:  # noqa: PLR0912 - a table of events and their answers
        engine = self.engine
        match event:
            case events.Flush():
                self.flushed += engine.take_output()
            case events.Violation(offence):
                self.offences.append(offence.name)
            case events.StartTLS():
                engine.ok(b"begin TLS")
                engine.receive(b"QUIT\r\n")  # what was read with it
                self.handshake_due = True
            case events.Login(step=sasl.NeedsVerifier(authcid)):
                engine.answer_verifier(VERIFIER if authcid == ACCOUNT else None)
            case events.Login():
                self.logins.append(event)
                self._judge(event)
            case events.Stat():
                engine.ok(b"%d %d" % self._total())
            case events.List(None) | events.Uidl(None):
                left = [number for number in range(1, len(MESSAGES) + 1) if number not in self.marked]
                self._lines(b"list", b"".join(self._entry(event, number) + b"\r\n" for number in left))
            case events.List(number) | events.Uidl(number) if number is not None and not self._missing(number):
                engine.ok(self._entry(event, number))
            case events.Retr(3) | events.Top(3):
                engine.err(b"message damaged, the administrator was told", replies.PERMANENT)
            case events.Retr(number) if not self._missing(number):
                self._lines(b"message", *(MESSAGES[number - 1][place : place + 1] for place in range(len(MESSAGES[number - 1]))))
            case events.Top(number, lines) if not self._missing(number):
                head, _, body = MESSAGES[number - 1].partition(b"\r\n\r\n")
                self._lines(b"top", head + b"\r\n\r\n", b"".join(body.splitlines(keepends=True)[:lines]))
            case events.Dele(number) if not self._missing(number):
                self.marked.add(number)
                engine.ok(b"marked")
            case events.Rset():
                self.marked.clear()
                engine.ok(b"none marked")
            case events.Quit():
                self.removed.append(set(self.marked))
                engine.ok(b"bye")

    def _entry(self, event: events.Event, number: int) -> bytes:
        return b"%d %d" % (number, len(MESSAGES[number - 1])) if isinstance(event, events.List) else b"%d 7-%d" % (number, number)

    def _total(self) -> tuple[int, int]:
        left = [content for number, content in enumerate(MESSAGES, 1) if number not in self.marked]
        return len(left), sum(map(len, left))

    def _judge(self, event: events.Login) -> None:
        match event.step:
            case sasl.NeedsPassword("busy@example.test"):
                self.engine.err(b"another session has it", replies.IN_USE)
            case sasl.NeedsPassword(authcid, "", password) if (authcid, password) == (ACCOUNT, PASSWORD):
                self.engine.ok(b"welcome")
            case sasl.Success("ann@example.test", ""):
                self.engine.ok(b"welcome")
            case _:
                self.engine.err(b"wrong", replies.AUTH)


class Player:
    """One run of a dialogue; `chunk` is the number of octets fed at once, 0 for a whole block."""

    def __init__(self, path: Path, chunk: int) -> None:
        self._path = path
        self._chunk = chunk
        self.engine = POP3Server(Profile(b"mx.example.test", mechanisms=MECHANISMS, decoy_key=b"k" * 32))
        self.application = Application(self.engine)
        self._greeted = False
        self._told = 0
        self._sent = bytearray()
        self._wanted = bytearray()

    def play(self) -> None:
        lines = self._path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            sort, text = line[:2], line[3:]
            if sort in ("C:", "C~") and self._wanted:
                self._check(number)
            if sort == "C:":
                self._sent += _expand(text).encode() + b"\r\n"
            elif sort == "C~":
                self._sent += _unescape(_expand(text))
            elif sort == "S:":
                self._wanted += _expand(text).encode() + b"\r\n"
            elif line.startswith("@"):
                self._do(line[1:].split(), number)
            else:
                assert not line or line.startswith("#"), f"line {number}: {line!r}"
        self._check(len(lines))
        assert self._told == len(self.application.offences), self.application.offences

    def _do(self, words: list[str], number: int) -> None:
        application = self.application
        if words[0] not in {"tls", "login"}:
            self._check(number)
        match words:
            case ["tls"]:
                self.engine.tls_started((b"\1" * 32,))
            case ["login"]:
                self.engine.tls_started((b"\1" * 32,))
                self._greet()
                self._feed(f"USER {ACCOUNT}\r\nPASS {PASSWORD}\r\n".encode())
                application.take()
            case ["handshake"]:
                assert application.handshake_due, f"line {number}"
                application.handshake_due = False
                self.engine.tls_started((b"\1" * 32,))
            case ["eof"]:
                self.engine.receive_eof()
                application.run()
            case ["offence", name]:
                assert application.offences[self._told :] == [name], f"line {number}: {application.offences}"
                self._told += 1
            case ["offence-if-seen", name]:
                # Octet by octet the engine is shaking hands already when the rest comes, and drops it unseen.
                assert application.offences[self._told :] == ([] if self._chunk == 1 else [name]), f"line {number}: {application.offences}"
                self._told = len(application.offences)
            case ["closed"]:
                assert self.engine.closing, f"line {number}"
            case ["removed", *numbers]:
                assert application.removed == [{int(one) for one in numbers}], f"line {number}: {application.removed}"
            case ["kept"]:
                assert application.removed == [], f"line {number}"
            case _:
                raise AssertionError(f"line {number}: {words}")

    def _greet(self) -> None:
        if not self._greeted:
            self._greeted = True
            self.engine.greeting()

    def _feed(self, data: bytes) -> None:
        step = self._chunk or len(data) or 1
        for place in range(0, len(data), step):
            self.engine.receive(data[place : place + step])
            self.application.run()

    def _check(self, number: int) -> None:
        self._greet()
        self._feed(bytes(self._sent))
        said = self.application.take()
        assert said == bytes(self._wanted), f"{self._path.name}, before line {number}:\n{said!r}\n{bytes(self._wanted)!r}"
        self._sent.clear()
        self._wanted.clear()


def _expand(text: str) -> str:
    return _REPEAT.sub(lambda match: match[1] * int(match[2]), text)


def _unescape(text: str) -> bytes:
    head, *rest = text.split("\\")
    octets = bytearray(head.encode())
    place = 0
    while place < len(rest):
        part = rest[place]
        if not part:  # an escaped backslash
            octets += b"\\"
            place += 1
            octets += rest[place].encode() if place < len(rest) else b""
        elif part[0] == "x":
            octets += bytes.fromhex(part[1:3]) + part[3:].encode()
        else:
            octets += _ESCAPES[part[0]] + part[1:].encode()
        place += 1
    return bytes(octets)
