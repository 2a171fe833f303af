# SPDX-License-Identifier: Apache-2.0
"""The dialogue language of ImapTest's scripted tests: reading a script, and matching a server's answers against it.

Obeys the description of that language (project's documentation, page "Scripted Testing Configuration"); RFC 3501 §9 for arguments.
Must never know a connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

Arg: TypeAlias = "str | list[Arg]"  # an atom, a string or a literal as text (latin-1), or a parenthesised list
Variables: TypeAlias = dict[str, str]

RESULTS = ("ok", "no", "bad", '""')
STATES = ("nonauth", "auth", "created", "appended", "selected")
_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z0-9_]+)\}|\$([A-Za-z0-9_]+)|\$")
_CONDITIONS = frozenset(("ok", "no", "bad", "bye", "preauth"))
_TAG = re.compile(r"tag[1-9][0-9]*")
_CONNECTION = re.compile(r"([0-9]+) +")


class ScriptError(Exception):
    """The script is not in the language."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An untagged reply: `existence` is ``*`` (must come), ``!`` (must not) or ``?`` (may)."""

    existence: str
    args: list[Arg]


@dataclass(slots=True)
class Step:
    """One command: on which connection, its text (literals inside as IMAP literals), the wanted result and how its line begins."""

    connection: int
    tag: str
    text: str
    result: str = ""
    prefix: list[Arg] = field(default_factory=list)


@dataclass(slots=True)
class Group:
    """Commands sent together (mostly one) and the untagged replies to them, in any order."""

    steps: list[Step] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """Tell whether a command still lacks its result."""
        return any(not step.result for step in self.steps)


@dataclass(slots=True)
class Script:
    """A whole test: its header and its groups; `messages` is None for all of the mbox."""

    name: str
    capabilities: tuple[str, ...] = ()
    connections: int = 1
    state: str = "selected"
    messages: int | None = None
    ignore_extra: bool = True
    users: dict[int, str] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)


# ---- reading a script ----


def parse(name: str, data: bytes) -> Script:
    """Read a script; raises ScriptError with the line's number."""
    lines = data.decode("latin-1").split("\n")
    script = Script(name)
    number = _parse_header(script, lines)
    while number < len(lines):
        line, following = _logical_line(lines, number)
        try:
            _parse_line(script, line)
        except ScriptError as error:
            raise ScriptError(f"{name}:{number + 1}: {error}") from error
        number = following
    if script.groups and script.groups[-1].open:
        raise ScriptError(f"{name}: the last command has no result")
    return script


def _parse_header(script: Script, lines: list[str]) -> int:
    """Read the header and give the number of the first line behind it; a script may have none and begin with a comment."""
    for number, line in enumerate(lines):
        if not line:
            return number + 1
        if line.startswith("#"):
            continue
        key, colon, value = line.partition(":")
        if not colon:
            raise ScriptError(f"{script.name}:{number + 1}: no ':' in the header")
        _set_header(script, key.strip().lower(), value.strip())
    return len(lines)


def _set_header(script: Script, key: str, value: str) -> None:
    if key == "capabilities":
        script.capabilities = tuple(value.upper().split())
    elif key == "connections":
        script.connections = int(value)
    elif key == "messages":
        script.messages = None if value == "all" else int(value)
    elif key == "state" and value.lower() in STATES:
        script.state = value.lower()
    elif key == "ignore_extra_untagged":
        script.ignore_extra = value.startswith("y")
    elif key.startswith("user "):
        script.users[int(key[5:])] = value
    else:
        raise ScriptError(f"{script.name}: unknown header {key}: {value}")


def _logical_line(lines: list[str], number: int) -> tuple[str, int]:
    """Join a line with its ``{{{`` blocks, each becoming an IMAP literal: lines joined by CRLF, or as they are behind ``~{{{``."""
    line = lines[number]
    number += 1
    while line.endswith("{{{"):
        raw = line.endswith("~{{{")
        block: list[str] = []
        while number < len(lines) and not lines[number].startswith("}}}"):
            block.append(lines[number])
            number += 1
        if number == len(lines):
            raise ScriptError("a block does not end")
        content = ("\n" if raw else "\r\n").join(block)
        line = f"{line[:-3]}{{{len(content)}}}\r\n{content}{lines[number][3:]}"
        number += 1
    return line, number


def _parse_line(script: Script, line: str) -> None:
    if not line.strip() or line.startswith("#"):
        return
    if line[:2] in ("* ", "! ", "? "):
        if not script.groups:
            raise ScriptError("a reply before any command")
        script.groups[-1].replies.append(Reply(line[0], _with_defaults(tokenize(line[2:]))))
        return
    connection = 1
    if script.connections > 1:
        match = _CONNECTION.match(line)
        if match is None or not 1 <= int(match[1]) <= script.connections:
            raise ScriptError("no connection number")
        connection, line = int(match[1]), line[match.end() :]
    tag, rest = "", line
    word, _, tail = line.partition(" ")
    if _TAG.fullmatch(word):
        tag, rest = word, tail
    _parse_step(script, connection, tag, rest)


def _parse_step(script: Script, connection: int, tag: str, text: str) -> None:
    word, _, tail = text.partition(" ")
    result = word.lower() if word.lower() in RESULTS else ""
    group = script.groups[-1] if script.groups and script.groups[-1].open else None
    if result and group is not None:
        for step in group.steps:
            if step.tag == tag and step.connection == connection and not step.result:
                step.result, step.prefix = result, tokenize(tail)
                return
        raise ScriptError("a result without its command")
    step = Step(connection, tag, tail if result else text, result)
    if not step.text:
        raise ScriptError("no command")
    if group is not None and tag and not group.replies:
        group.steps.append(step)
    elif group is None:
        script.groups.append(Group([step]))
    else:
        raise ScriptError("the command before has no result")


def read_mbox(path: Path) -> list[tuple[str, bytes]]:
    """Read the messages of an mbox: the date of the envelope line as IMAP date-time (empty if unreadable), and the octets with CRLF."""
    messages: list[tuple[str, bytes]] = []
    for piece in re.split(rb"(?m)^(?=From )", path.read_bytes()):
        head, _, body = piece.partition(b"\n")
        if head:
            messages.append((_envelope_date(head.decode("latin-1")), body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")))
    return messages


def _envelope_date(head: str) -> str:
    match = re.search(r"([A-Z][a-z]{2}) +([0-9]{1,2}) ([0-9:]{8}) ([0-9]{4})(?: ([+-][0-9]{4}))?$", head)
    return "" if match is None else f"{int(match[2]):2d}-{match[1]}-{match[4]} {match[3]} {match[5] or '+0000'}"


# ---- arguments ----


def tokenize(text: str) -> list[Arg]:
    """Split a line into arguments; as lenient as a client has to be with any server."""
    stack: list[list[Arg]] = [[]]
    position = 0
    while position < len(text):
        character = text[position]
        if character == " ":
            position += 1
        elif character == "(":
            stack.append([])
            position += 1
        elif character == ")":
            if len(stack) == 1:
                raise ScriptError("unexpected ')'")
            finished = stack.pop()
            stack[-1].append(finished)
            position += 1
        else:
            value, position = _token(text, position)
            stack[-1].append(value)
    if len(stack) != 1:
        raise ScriptError("a list does not end")
    return stack[0]


_ATOM = re.compile(r'[^ ()"][^ ()]*')
_LITERAL = re.compile(r"~?\{([0-9]+)\+?\}\r\n")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def _token(text: str, position: int) -> tuple[str, int]:
    if literal := _LITERAL.match(text, position):
        end = literal.end() + int(literal[1])
        return text[literal.end() : end], end
    if quoted := _QUOTED.match(text, position):
        return re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()
    atom = _ATOM.match(text, position)
    if atom is None:
        raise ScriptError("a string does not end")
    return atom[0], atom.end()


# ---- matching ----


def _with_defaults(args: list[Arg]) -> list[Arg]:
    """Add the directives that lists of well-known replies have unless they name their own."""
    words = [arg.lower() if isinstance(arg, str) else "" for arg in args]
    if words[:1] in (["list"], ["lsub"]) and len(args) > 1:
        args[1] = _directed(args[1], "$!unordered")
    elif words[:1] == ["status"] and len(args) > 2:
        args[2] = _directed(args[2], "$!unordered=2")
    elif words[1:2] == ["fetch"] and len(args) > 2 and isinstance(items := args[2], list):
        names = [item.lower() if isinstance(item, str) else "" for item in items]
        if "flags" in names[:-1]:
            place = names.index("flags") + 1
            items[place] = _directed(items[place], "$!unordered", "$!noextra", "$!ignore=\\recent")
        args[2] = _directed(items, "$!unordered=2")
    return args


def _directed(arg: Arg, *directives: str) -> Arg:
    if not isinstance(arg, list) or (arg and isinstance(arg[0], str) and arg[0].startswith("$!")):
        return arg
    return [*directives, *arg]


def match_reply(wanted: list[Arg], got: list[Arg], variables: Variables) -> Variables | None:
    """Match a whole reply and give the variables with what was learnt, or None; conditions (OK ...) need only begin as wanted."""
    first = got[0].lower() if got and isinstance(got[0], str) else ""
    if first in _CONDITIONS:
        got = got[: len(wanted)]
    return match_list(wanted, got, variables)


def match_list(wanted: list[Arg], got: list[Arg], variables: Variables) -> Variables | None:
    """Match the members of a list, by the directives at its head."""
    directives: list[str] = []
    for arg in wanted:
        if not isinstance(arg, str) or not arg.startswith("$!"):
            break
        directives.append(arg[2:].lower())
    wanted = wanted[len(directives) :]
    chain = next((int(word.partition("=")[2] or 1) for word in directives if word.startswith("unordered")), 0)
    if chain:
        return _match_unordered(_chains(wanted, chain), _chains(got, chain), directives, variables)
    if len(wanted) != len(got):
        return None
    learnt: Variables | None = variables
    for left, right in zip(wanted, got, strict=True):
        learnt = match(left, right, learnt) if learnt is not None else None
    return learnt


def _match_unordered(wanted: list[list[Arg]], got: list[list[Arg]], directives: list[str], variables: Variables) -> Variables | None:
    left = list(got)
    for chain in wanted:
        for place, candidate in enumerate(left):
            learnt = match_list(chain, candidate, variables)
            if learnt is not None:
                variables = learnt
                del left[place]
                break
        else:
            return None
    named = {kind: [word.partition("=")[2] for word in directives if word.startswith(kind + "=")] for kind in ("ignore", "ban")}
    extras = [chain[0].lower() for chain in left if isinstance(chain[0], str)]
    if any(extra in named["ban"] for extra in extras):
        return None
    if "noextra" in directives and any(extra not in named["ignore"] for extra in extras):
        return None
    return variables


def _chains(args: list[Arg], size: int) -> list[list[Arg]]:
    return [args[place : place + size] for place in range(0, len(args), size)]


def match(wanted: Arg, got: Arg, variables: Variables) -> Variables | None:
    """Match one argument without regard to case; an unknown variable takes what stands in its place."""
    if wanted == "$":
        return variables
    if isinstance(wanted, list) or isinstance(got, list):
        return match_list(wanted, got, variables) if isinstance(wanted, list) and isinstance(got, list) else None
    # The published tool compares as C does, up to the first NUL, and one script leans on it.
    wanted, got = wanted.partition("\0")[0], got.partition("\0")[0]
    pattern, unknown = _pattern(wanted, variables)
    found = re.fullmatch(pattern, got, re.IGNORECASE | re.DOTALL)
    if found is None:
        return None
    return {**variables, **{name: found[f"v{place}"] for place, name in enumerate(unknown)}}


def _pattern(wanted: str, variables: Variables) -> tuple[str, list[str]]:
    pattern, position = "", 0
    unknown: list[str] = []
    for found in _VARIABLE.finditer(wanted):
        pattern += re.escape(wanted[position : found.start()])
        position = found.end()
        name = found[1] or found[2]
        if name is None:
            pattern += r"\$" if found[0] == "$$" else ".*?"
        elif name in variables:
            pattern += re.escape(variables[name])
        elif name in unknown:
            pattern += f"(?P=v{unknown.index(name)})"
        else:
            pattern += f"(?P<v{len(unknown)}>.*?)"
            unknown.append(name)
    return pattern + re.escape(wanted[position:]), unknown


def expand(text: str, variables: Variables) -> str:
    """Put variables into a command; raises ScriptError for one that is unknown."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name is None:
            return "$"
        if name not in variables:
            raise ScriptError(f"${name} has no value")
        return variables[name]

    return _VARIABLE.sub(value, text)
