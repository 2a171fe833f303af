# SPDX-License-Identifier: Apache-2.0
"""Plays ImapTest's scripted tests against a live IMAP server.

Obeys RFC 3501 as a client; the language is `imaptest_language`'s.
Must never know our server: any can be played.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.imaptest_language import (
    Group,
    Reply,
    Script,
    ScriptError,
    Step,
    Variables,
    expand,
    match_list,
    match_reply,
    parse,
    read_mbox,
    tokenize,
)

_MARKER = re.compile(rb"\{([0-9]+)\+?\}\r\n$")
_COMMAND_LITERAL = re.compile(r"\{([0-9]+)\}\r\n")


@dataclass(frozen=True, slots=True)
class Account:
    """Who logs in."""

    user: str
    password: str


@dataclass(slots=True)
class Outcome:
    """What became of one script: `skipped` says why, `failures` are empty if all went well."""

    name: str
    commands: int = 0
    skipped: str = ""
    failures: list[str] = field(default_factory=list)


class Connection:
    """A client connection: lines with their literals out, whole responses in."""

    def __init__(self, sock: socket.socket) -> None:
        """Speak over a connected socket, TLS or not; its time-out bounds each read."""
        self._socket = sock
        self._file = sock.makefile("rb")
        self._count = 0
        self.sequences: list[int] = []  # place of each first message number now, 0 when it is gone
        self.read()  # the greeting

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def read(self) -> str:
        """Read one response with its literals, without the last CRLF."""
        whole = bytearray()
        while True:
            line = self._file.readline()
            if not line:
                raise ConnectionError("the server closed the connection")
            whole += line
            marker = _MARKER.search(line)
            if marker is None:
                return whole[:-2].decode("latin-1")
            whole += self._file.read(int(marker[1]))

    def send(self, text: str) -> tuple[str, list[str]]:
        """Send a command and give its tag and what came while its literals waited."""
        self._count += 1
        tag = f"t{self._count}"
        early: list[str] = []
        position = 0
        text = f"{tag} {text}"
        while (marker := _COMMAND_LITERAL.search(text, position)) is not None:
            self._socket.sendall(text[position : marker.end()].encode("latin-1"))
            position = marker.end()
            while not (line := self.read()).startswith("+"):
                early.append(line)
                if line.startswith(f"{tag} "):
                    return tag, early
            end = position + int(marker[1])
            self._socket.sendall(text[position:end].encode("latin-1"))
            position = end
        self._socket.sendall(text[position:].encode("latin-1") + b"\r\n")
        return tag, early

    def command(self, text: str) -> tuple[str, list[str]]:
        """Send a command and give its tagged line (without the tag) and the untagged ones."""
        tag, lines = self.send(text)
        while not (lines and lines[-1].startswith(f"{tag} ")):
            lines.append(self.read())
        return lines[-1][len(tag) + 1 :], lines[:-1]

    def demand(self, text: str) -> list[str]:
        """Send a command that has to succeed."""
        result, lines = self.command(text)
        if not result.upper().startswith("OK"):
            raise ScriptError(f"{text[:60]}: {result}")
        return lines


class Runner:
    """Plays scripts of `folder` over connections made by `connect`, as `accounts` (the second for scripts that want two users)."""

    def __init__(self, folder: Path, connect: Callable[[], Connection], accounts: list[Account], mailbox: str = "imaptest") -> None:
        """Prepare; nothing is sent."""
        self._folder = folder
        self._connect = connect
        self._accounts = accounts
        self._mailbox = mailbox

    def run(self, name: str) -> Outcome:
        """Play one script from its preparation to its end."""
        script = parse(name, (self._folder / name).read_bytes())
        outcome = Outcome(name)
        if script.users and len(self._accounts) < 2:
            outcome.skipped = "needs a second user"
            return outcome
        links = [self._connect() for _ in range(script.connections)]
        try:
            missing = self._prepare(script, links)
            if missing:
                outcome.skipped = f"the server does not offer {missing}"
            else:
                _Play(script, links, self._variables(), self._messages(name), outcome).play()
        except (OSError, ScriptError) as error:
            outcome.failures.append(f"{type(error).__name__}: {error}")
        finally:
            for link in links:
                link.close()
        return outcome

    def _variables(self) -> Variables:
        user = self._accounts[0].user
        variables = {
            "user": user,
            "username": user.partition("@")[0],
            "domain": user.partition("@")[2],
            "password": self._accounts[0].password,
            "mailbox": self._mailbox,
            "mailbox_url": self._mailbox,
        }
        if len(self._accounts) > 1:
            variables["user2"] = self._accounts[1].user
        return variables

    def _messages(self, name: str) -> list[tuple[str, bytes]]:
        own = self._folder / f"{name}.mbox"
        return read_mbox(own if own.exists() else self._folder / "default.mbox")

    def _prepare(self, script: Script, links: list[Connection]) -> str:
        """Bring every connection into the script's first state; gives the name of a missing capability instead."""
        for number, link in enumerate(links, 1):
            if script.state != "nonauth":
                account = self._accounts[1 if number in script.users else 0]
                link.demand(f'LOGIN "{account.user}" "{account.password}"')
        offered = " ".join(links[0].demand("CAPABILITY")).upper().split()
        missing = next((word for word in script.capabilities if word not in offered), "")
        if missing or script.state == "nonauth":
            return missing
        self._clean(links[0])
        if script.state != "auth":
            links[0].demand(f"CREATE {self._mailbox}")
        if script.state in ("appended", "selected"):
            messages = self._messages(script.name)
            for index in range(len(messages) if script.messages is None else script.messages):
                links[0].demand(f"APPEND {self._mailbox} {_message(*messages[index % len(messages)])}")
        if script.state == "selected":
            for link in links:
                link.demand(f"SELECT {self._mailbox}")
        return ""

    def _clean(self, link: Connection) -> None:
        """Delete what earlier scripts left, the deepest first."""
        names = [tokenize(line[2:])[-1] for line in link.demand(f'LIST "" "{self._mailbox}*"') if line.upper().startswith("* LIST")]
        for name in sorted((name for name in names if isinstance(name, str)), key=len, reverse=True):
            link.command(f'DELETE "{name}"')
        subscribed = [tokenize(line[2:])[-1] for line in link.demand(f'LSUB "" "{self._mailbox}*"') if line.upper().startswith("* LSUB")]
        for subscription in subscribed:
            link.command(f'UNSUBSCRIBE "{subscription}"')


def _message(date: str, content: bytes) -> str:
    stamp = f'"{date}" ' if date else ""
    return f"{stamp}{{{len(content)}}}\r\n{content.decode('latin-1')}"


class _Play:
    """One script at work."""

    def __init__(self, script: Script, links: list[Connection], variables: Variables, messages: list[tuple[str, bytes]], outcome: Outcome) -> None:
        self._script = script
        self._links = links
        self._variables = variables
        self._messages = messages
        self._appended = 0
        self._outcome = outcome

    def play(self) -> None:
        """Play all groups; the first that fails ends the script, as later ones build on it."""
        for group in self._script.groups:
            self._outcome.commands += len(group.steps)
            self._play_group(group)
            if self._outcome.failures:
                return

    def _play_group(self, group: Group) -> None:
        link = self._links[group.steps[0].connection - 1]
        link.sequences = list(range(1000))
        waiting: dict[str, Step] = {}
        lines: list[str] = []
        for step in group.steps:
            text = self._text(step)
            tag, early = link.send(text)
            waiting[tag] = step
            lines += early
        self._variables["tag"] = next(iter(waiting))
        missing = list(group.replies)
        while waiting:
            line = lines.pop(0) if lines else link.read()
            tag, _, rest = line.partition(" ")
            if tag == "*":
                self._match_untagged(rest, missing, link)
            elif tag in waiting:
                self._match_result(waiting.pop(tag), rest)
        self._outcome.failures += [f"{group.steps[0].text[:80]!r}: no reply {reply.args}" for reply in missing if reply.existence == "*"]

    def _text(self, step: Step) -> str:
        text = expand(step.text, self._variables)
        words = text.split(" ", 1)
        if words[0].lower() == "append" and "{" not in text and "catenate" not in text.lower():
            message = _message(*self._messages[self._appended % len(self._messages)])
            self._appended += 1
            if '"' in text.partition(" ")[2].replace('""', ""):  # a date of its own
                message = message[message.index("{") :]
            text = f"{text if len(words) > 1 else text + ' ' + self._variables['mailbox']} {message}"
        return text

    def _match_untagged(self, rest: str, missing: list[Reply], link: Connection) -> None:
        got = tokenize(rest)
        numbers = {str(number): str(place) for number, place in enumerate(link.sequences) if place}
        known = False
        for reply in list(missing):  # one line may be all of several wanted ones: a server is free to join FETCH items
            learnt = match_reply(reply.args, got, self._variables | numbers)
            if learnt is None:
                continue
            known = True
            if reply.existence == "!":
                self._outcome.failures.append(f"unwanted reply {rest[:200]!r}")
                continue
            self._variables = {name: value for name, value in learnt.items() if not name.isdigit()}
            missing.remove(reply)
        if not known and not self._script.ignore_extra:
            self._outcome.failures.append(f"unexpected reply {rest[:200]!r}")
        if len(got) == 2 and str(got[1]).upper() == "EXPUNGE":
            gone = int(str(got[0]))
            link.sequences = [0 if place == gone else place - (place > gone) for place in link.sequences]

    def _match_result(self, step: Step, rest: str) -> None:
        got = tokenize(rest) if step.prefix else []
        word = rest.split(" ", 1)[0].lower()
        if step.result not in ('""', word):
            self._outcome.failures.append(f"{step.text[:80]!r}: wanted {step.result}, got {rest[:200]!r}")
        elif step.prefix:
            learnt = match_list(step.prefix, got[1 : 1 + len(step.prefix)], self._variables)
            if learnt is None:
                self._outcome.failures.append(f"{step.text[:80]!r}: wanted {step.prefix}, got {rest[:200]!r}")
            else:
                self._variables = learnt
