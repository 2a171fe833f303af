# SPDX-License-Identifier: Apache-2.0
r"""Plays C:/S: dialogues on the IMAP engine, with a small application that answers.

Obeys nothing of its own: the dialogues cite the RFCs.
Must never know a socket.

A file holds blocks. Client lines of one block are sent together, the server lines behind them are all it may answer:
    C: text      a line, CRLF added             S: text     a line wanted, to the octet
    C~ text      octets with \r \n \0 \\        # comment
    @tls         the connection is inside TLS   @login      already authenticated     @select    INBOX is selected
    @append-limit N                             @eof    the client closes its side
`{repeat:TEXT:N}` stands for N times TEXT, `{capabilities}` for what is announced after login (test_server.py tells it). The application
knows the mailboxes INBOX and "a/b", the user ann with password "right"; it stores a message of up to 100,000 octets and says
NO [OVERQUOTA] in the middle of a larger one.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

from moatmail.wire.imap import events, responses
from moatmail.wire.imap.profile import Profile, State
from moatmail.wire.imap.server import IMAPServer, Result

_REPEAT = re.compile(r"\{repeat:(.*?):([0-9]+)\}")
_ESCAPES = {"r": b"\r", "n": b"\n", "0": b"\0", "\\": b"\\"}
MAILBOXES = ("INBOX", "a/b")
ROOM = 100_000


class Application:
    """Answers every event of one engine, as a session would."""

    def __init__(self, engine: IMAPServer) -> None:
        """Serve `engine`."""
        self.engine = engine
        self.stored: list[bytes] = []
        self.seen: list[events.Event] = []
        self._message = bytearray()
        self._announced = 0
        self._first = 1  # UID of the first message of this APPEND

    def run(self) -> None:
        """Answer until the engine has nothing more to say."""
        while (event := self.engine.next_event()) is not None:
            self.seen.append(event)
            if isinstance(event, events.Command):
                self._answer(event)
            elif isinstance(event, events.AppendAborted):
                del self.stored[self._first - 1 :]
                self._message.clear()

    def _answer(self, event: events.Command) -> None:
        name = type(event).__name__.lower()
        handler = getattr(self, f"_on_{name}", None)
        if handler is not None:
            handler(event)
        elif getattr(event, "mailbox", "INBOX") not in MAILBOXES:
            self.engine.finish(event, Result.NO, b"no such mailbox", b"NONEXISTENT")
        else:
            self.engine.finish(event, Result.OK, name.encode() + b" done")

    def _on_create(self, event: events.Create) -> None:
        self.engine.finish(event, Result.OK, b"create done")

    def _on_capability(self, event: events.Capability) -> None:
        self.engine.untagged(responses.capability(self.engine.capabilities()))
        self.engine.finish(event, Result.OK, b"capability done")

    def _on_starttls(self, event: events.Starttls) -> None:
        self.engine.finish(event, Result.OK, b"begin")
        self.engine.receive(b"octets of the handshake are not ours")
        self.engine.tls_started()

    def _on_login(self, event: events.Login) -> None:
        self._judge(event, good=(event.username, event.password) == (b"ann", b"right"))

    def _on_authenticate(self, event: events.Authenticate) -> None:
        if event.initial is None:
            self.engine.continue_()
        else:
            self._judge(event, good=_plain(event.initial))

    def _on_authenticateresponse(self, event: events.AuthenticateResponse) -> None:
        self._judge(event, good=_plain(event.response))

    def _judge(self, event: events.Command, *, good: bool) -> None:
        if good:
            self.engine.finish(event, Result.OK, b"welcome")
        else:
            self.engine.finish(event, Result.NO, b"wrong", b"AUTHENTICATIONFAILED")

    def _on_idle(self, event: events.Idle) -> None:
        del event
        self.engine.continue_(b"idling")
        self.engine.untagged(responses.exists(3))

    def _on_append(self, event: events.Append) -> None:
        if event.mailbox not in MAILBOXES:
            self.engine.finish(event, Result.NO, b"no such mailbox", b"TRYCREATE")
            return
        if event.index:
            self._store()
        else:
            self._first = len(self.stored) + 1
        self._announced = event.size
        self.engine.admit()

    def _on_appenddata(self, event: events.AppendData) -> None:
        self._message += event.data
        if len(self._message) > ROOM:
            self._message.clear()
            self.engine.finish(event, Result.NO, b"no room", b"OVERQUOTA")

    def _on_appendend(self, event: events.AppendEnd) -> None:
        self._store()
        self.engine.finish(event, Result.OK, b"append done", responses.append_uid(7, range(self._first, len(self.stored) + 1)))

    def _store(self) -> None:
        assert len(self._message) == self._announced
        self.stored.append(bytes(self._message))
        self._message.clear()


def _plain(text: bytes) -> bool:
    return text == b64encode(b"\0ann\0right")


class Player:
    """One run of a dialogue; `chunk` is the number of octets fed at once, 0 for a whole block."""

    def __init__(self, path: Path, chunk: int) -> None:
        """Read the dialogue at `path`."""
        self._lines = path.read_text(encoding="utf-8").splitlines()
        self._chunk = chunk
        self._profile = Profile(b"mx.example.test")
        self._state = ""
        self._application: Application | None = None
        self._sent = bytearray()
        self._wanted = bytearray()

    def play(self) -> Application:
        """Play all blocks; an answer that is not the wanted one fails."""
        for number, line in enumerate(self._lines, 1):
            sort, text = line[:2], line[3:]
            if sort in ("C:", "C~") and self._wanted:
                self._check(number)
            if sort == "C:":
                self._sent += _expand(text).encode() + b"\r\n"
            elif sort == "C~":
                self._sent += _unescape(_expand(text))
            elif sort == "S:":
                self._wanted += text.encode().replace(b"{capabilities}", self._capabilities()) + b"\r\n"
            elif line.startswith("@"):
                self._set(line[1:].split(), number)
            else:
                assert not line or line.startswith("#"), f"line {number}: {line!r}"
        self._check(len(self._lines))
        return self._begin()

    def _set(self, words: list[str], number: int) -> None:
        match words:
            case ["tls"]:
                self._profile = replace(self._profile, tls_active=True)
            case ["login" | "select"]:
                self._state = words[0]
                self._profile = replace(self._profile, tls_active=True)
            case ["append-limit", size]:
                self._profile = replace(self._profile, append_limit=int(size))
            case ["eof"]:
                self._check(number)
                self._begin().engine.receive_eof()
                self._begin().run()
            case _:
                raise AssertionError(f"line {number}: {words}")

    def _capabilities(self) -> bytes:
        return b" ".join(self._profile.capabilities(State.AUTHENTICATED))

    def _begin(self) -> Application:
        if self._application is None:
            engine = IMAPServer(self._profile)
            self._application = Application(engine)
            if self._state:
                self._feed(b"x LOGIN ann right\r\n" + (b"y SELECT INBOX\r\n" if self._state == "select" else b""))
                engine.take_output()
        return self._application

    def _feed(self, data: bytes) -> None:
        application = self._begin()
        step = self._chunk or len(data) or 1
        for place in range(0, len(data), step):
            application.engine.receive(data[place : place + step])
            application.run()

    def _check(self, number: int) -> None:
        self._feed(bytes(self._sent))
        got = self._begin().engine.take_output()
        assert got == self._wanted, f"before line {number}: got {got!r}, wanted {bytes(self._wanted)!r}"
        self._sent.clear()
        self._wanted.clear()


def _expand(text: str) -> str:
    return _REPEAT.sub(lambda match: match[1] * int(match[2]), text)


def _unescape(text: str) -> bytes:
    return re.sub(rb"\\([rn0\\])", lambda match: _ESCAPES[match[1].decode()], text.encode())
