# SPDX-License-Identifier: Apache-2.0
"""Plays SMTP dialogues on the engine, whole or octet by octet; the format is told in tests/transcripts/smtp/README.md."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from moatmail.core.envelope import Envelope
from moatmail.core.status import Reply
from moatmail.wire import sasl
from moatmail.wire.smtp.content import ContentLimits
from moatmail.wire.smtp.events import Auth, Content, Data, End, Event, Helo, Mail, Rcpt, Reset, StartTLS, Violation
from moatmail.wire.smtp.profile import Door, Profile, SessionLimits
from moatmail.wire.smtp.server import SMTPServer

DATA = Path(os.environ.get("MOATMAIL_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
ACCOUNT, PASSWORD, OTHER = "alice@example.test", "correct horse", "bob@example.test"
VERIFIER = sasl.scram_verifier(PASSWORD, b"0123456789abcdef", 4096)
MECHANISMS = (sasl.SCRAM_PLUS, sasl.SCRAM, sasl.PLAIN, sasl.LOGIN)
OK = Reply.of(250, "2.1.0", "ok")


class Application:
    """Decides as a small server would: takes @example.test but nobody@, knows one password, and writes a line about each fact."""

    def __init__(self, server: SMTPServer) -> None:
        self.server = server
        self.log: list[str] = []
        self.messages: list[bytes] = []
        self.handshake_due = False
        self.content = bytearray()
        self.envelope = Envelope(None)

    def serve(self) -> None:
        while (event := self.server.next_event()) is not None:
            self.note(event)
            reply = self.decide(event)
            if isinstance(event, Auth) and isinstance(event.step, sasl.NeedsVerifier):
                self.server.answer_verifier(VERIFIER if event.step.authcid == ACCOUNT else None)
            elif event.awaits:
                assert reply is not None
                self.server.answer(reply)
                self.handshake_due |= isinstance(event, StartTLS)

    def note(self, event: Event) -> None:
        match event:
            case Content():
                self.content += event.data
            case End() if event.fault is not None:
                self.log.append(f"refused {event.fault.name}")
            case End():
                sender = self.envelope.reverse_path
                recipients = ",".join(str(one.address) for one in self.envelope.recipients)
                self.log.append(f"message <{sender or ''}> {recipients} {event.size}")
                self.messages.append(bytes(self.content))
                assert event.size == len(self.content)
            case Violation():
                self.log.append(f"violation {event.offence.name}")
            case Auth():
                self.log.append(f"auth {event.mechanism.decode()} {type(event.step).__name__}")
            case Reset():
                self.log.append("reset")
            case Helo() if not event.valid:
                self.log.append(f"odd name {event.name}")

    def decide(self, event: Event) -> Reply | None:  # noqa: PLR0911 - a table of events and their answers
        match event:
            case Helo():
                return Reply.of(250, "", "")
            case Mail(envelope):
                self.envelope = envelope
                return OK
            case Rcpt(recipient):
                if recipient.address.localpart == "nobody":
                    return Reply.of(550, "5.1.1", "no such user")
                self.envelope = self.envelope.with_recipient(recipient)
                return OK
            case Data():
                self.content.clear()
                return Reply.of(451, "4.3.0", "not now") if self.envelope.reverse_path and self.envelope.reverse_path.localpart == "later" else OK
            case End(fault=fault):
                return fault.reply if fault else Reply.of(250, "2.0.0", "accepted")
            case Auth(step=sasl.NeedsPassword(authcid, authzid, password)):
                good = authcid == ACCOUNT and password == PASSWORD and not authzid
                return Reply.of(235, "2.7.0", "welcome") if good else Reply.of(535, "5.7.8", "credentials invalid")
            case Auth(step=sasl.Success()):
                return Reply.of(235, "2.7.0", "welcome")
            case Auth():
                return Reply.of(535, "5.7.8", "credentials invalid")
            case StartTLS():
                return Reply.of(220, "2.0.0", "go ahead")
        return None


class Player:
    """One dialogue against one engine."""

    def __init__(self, *, octets: bool) -> None:
        self.octets = octets
        self.options: dict[str, str] = {}
        self.output = b""
        self.unsent: list[bytes] = []
        self.noted = 0
        self.server: SMTPServer | None = None
        self.application: Application | None = None

    def begin(self) -> tuple[SMTPServer, Application]:
        if self.server is None or self.application is None:
            door = Door(self.options.get("door", "mx"))
            content = ContentLimits(size=int(self.options.get("size", 100_000)), header=int(self.options.get("header", 262_144)))
            content = ContentLimits(content.size, content.header, int(self.options.get("line", 1_048_576)))
            session = SessionLimits(
                recipients=int(self.options.get("recipients", 100)),
                errors=int(self.options.get("errors", 10)),
                refusals=int(self.options.get("refusals", 50)),
                idle_commands=int(self.options.get("idle", 100)),
                overrun=int(self.options.get("overrun", 100_000)),
            )
            profile = Profile(b"mx.example.test", door, "notls" not in self.options, MECHANISMS, content, session, b"k" * 32, 4096)
            self.server = SMTPServer(profile)
            self.application = Application(self.server)
            if "tls" in self.options or door is Door.SUBMISSIONS:
                self.server.tls_started((b"\1" * 32,))
            if "early" in self.options:
                self.feed(self.options["early"].encode().decode("unicode_escape").encode("latin-1"))
            self.server.greeting()
            self.flush()
        return self.server, self.application

    def feed(self, data: bytes) -> None:
        assert self.server is not None
        assert self.application is not None
        for place in range(0, len(data), 1 if self.octets else len(data) or 1):
            self.server.receive(data[place : place + (1 if self.octets else len(data))])
            self.flush()
        if self.application.handshake_due and not self.server.closing:
            self.application.handshake_due = False
            self.server.tls_started((b"\1" * 32,))

    def flush(self) -> None:
        assert self.server is not None
        assert self.application is not None
        self.application.serve()
        self.output += self.server.take_output()

    def send_waiting(self) -> None:
        if self.unsent:
            data = b"".join(self.unsent)
            self.unsent.clear()
            self.feed(data)

    def next_reply(self) -> str:
        match = re.match(rb"(?:(\d{3})-[^\r\n]*\r\n)*(\d{3})(?: [^\r\n]*)?\r\n", self.output)
        assert match is not None, f"no whole reply in {self.output!r}"
        assert len(match[0].splitlines()) == 1 or {line[:3] for line in match[0].splitlines()} == {match[2]}
        assert all(len(line) <= 512 for line in match[0].splitlines(keepends=True))
        self.output = self.output[match.end() :]
        return match[0].decode().rstrip("\r\n").replace("\r\n", "\n")

    def step(self, kind: str, text: str) -> None:
        if kind == "@":
            name, _, value = text.partition(" ")
            self.options[name] = value
            return
        server, application = self.begin()
        if kind in {"C:", "C~"}:
            self.unsent.append(text.encode() + b"\r\n" if kind == "C:" else text.encode().decode("unicode_escape").encode("latin-1"))
            return
        self.send_waiting()
        if kind == "S:":
            reply = self.next_reply()
            assert re.search(text, reply), f"{text!r} does not fit {reply!r}"
        elif kind == "N:":
            assert not self.output, f"unexpected {self.output!r}"
        elif kind == "X:":
            assert not self.output, f"unexpected {self.output!r}"
            assert server.closing
        elif kind == "EOF":
            server.receive_eof()
            self.flush()
        elif kind == "A:":
            assert application.log[self.noted : self.noted + 1] == [text], application.log[self.noted :]
            self.noted += 1
        else:
            raise AssertionError(f"unknown line {kind!r}")

    def finish(self) -> Application:
        _, application = self.begin()
        self.send_waiting()
        assert not self.output, f"replies left over: {self.output!r}"
        if self.noted:
            assert application.log[self.noted :] == []
        return application


def placeholders() -> Mapping[str, str]:
    def b64(*parts: str) -> str:
        return base64.b64encode("\0".join(parts).encode()).decode()

    return {
        "b64user": b64(ACCOUNT),
        "b64pass": b64(PASSWORD),
        "b64plain": b64("", ACCOUNT, PASSWORD),
        "b64plain_authzid": b64(ACCOUNT, ACCOUNT, PASSWORD),
        "b64plain_wrong": b64("", ACCOUNT, "wrong"),
        "b64plain_as2": b64(OTHER, ACCOUNT, PASSWORD),
        "address": ACCOUNT,
        "sender": "sender@example.org",
        "rand": "r4nd0m",
    }


def fill(text: str) -> str:
    text = re.sub(r"\{repeat:([^:}]+):(\d+)\}", lambda match: match[1] * int(match[2]), text)
    known = placeholders()
    return re.sub(r"\{([a-z0-9_]+)\}", lambda match: known.get(match[1], match[0]), text)


def read(path: Path) -> Iterator[tuple[str, str]]:
    for raw in path.read_text("utf-8").splitlines():
        if not raw.strip() or raw.startswith("#"):
            continue
        if raw.startswith("@"):
            yield "@", raw[1:].strip()
        elif raw.strip() == "EOF":
            yield "EOF", ""
        else:
            yield raw[:2], fill(raw[3:] if raw[2:3] == " " else raw[2:])


# ---------------------------------------------------------------------- the case bank's dialogues


def macros(kind: str, text: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Turn a line of a case's dialogue into lines of ours."""
    name, _, value = text.partition(" ")
    if kind != "@":
        yield ("N:", "") if kind == "Q:" else (kind, text)
    elif name == "greet":
        yield "S:", "^220 "
    elif name in {"ehlo", "secure", "auth"}:
        yield from [("S:", "^220 "), ("C:", "EHLO client.example.org"), ("S:", "^250-")]
        if name != "ehlo":
            yield from [("C:", "STARTTLS"), ("S:", "^220"), ("C:", "EHLO client.example.org"), ("S:", "AUTH .*PLAIN LOGIN")]
        if name == "auth":
            yield from [("C:", fill("AUTH PLAIN {b64plain}")), ("S:", "^235")]
    elif name == "bdat":
        data = (folder / value.split()[0]).read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").decode("latin-1")
        escaped = data.encode("unicode_escape").decode()
        yield "C~", f"BDAT {len(data)}\\r\\n{escaped}"
        yield "S:", "^250"
        yield "C:", "BDAT 0 LAST"
        yield "S:", "^250"
    else:
        assert name in {"need", "need-auth", "sleep", "pass-if"}, name


def read_case(folder: Path) -> Iterator[tuple[str, str]]:
    toml = (folder / "case.toml").read_text("utf-8")
    if "any-submission" in toml:
        yield "@", "door submission"
    for raw in (folder / "dialogue.txt").read_text("utf-8").splitlines():
        if not raw.strip() or raw.startswith("#"):
            continue
        if raw.startswith("@"):
            yield from macros("@", raw[1:].strip(), folder)
        else:
            yield from macros(raw[:2], fill(raw[3:] if raw[2:3] == " " else raw[2:]), folder)
