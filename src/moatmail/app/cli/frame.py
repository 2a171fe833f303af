# SPDX-License-Identifier: Apache-2.0
"""What all commands share: where the server is, how answers are printed, how a failure becomes one line and an exit status.

Obeys no RFC.
Must never know what a command does.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import stat
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from moatmail.admin.change import Desk
from moatmail.core.errors import ConfigError
from moatmail.core.settings.load import load_start
from moatmail.core.settings.start import Start

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

CONFIG: Final = "moatmail.toml"
DIR_VARIABLE: Final = "MOATMAIL_DIR"
TRIAL_FOLDER: Final = "moatmail-try"
_ROOT: Final = 0


class NoServerError(ConfigError):
    """Nothing was named, and there is no server where one is looked for."""


class Commands(click.Group):
    """A group whose commands are imported when they are used: `moatmail try` need not wait for all others."""

    def __init__(self, *args: Any, places: Mapping[str, str], **options: Any) -> None:  # noqa: ANN401 - click's own arguments
        """Take `places`: name of a command -> ``module:attribute``."""
        super().__init__(*args, **options)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order of the table."""
        del ctx
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and give one command."""
        del ctx
        module, _, name = self._places.get(cmd_name, "").partition(":")
        found = getattr(import_module(module), name) if module else None
        return found if isinstance(found, click.Command) else None


# ---------------------------------------------------------------- options


def where(command: F) -> F:
    """Add ``--dir`` and ``--json``."""
    command = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")(command)
    return click.option("--dir", "folder", metavar="DIR", help=f"The server's folder (with {CONFIG}); else ${DIR_VARIABLE}, ., ./{TRIAL_FOLDER}.")(command)


def example(text: str) -> str:
    """Give the epilog of a command: an example in a form that click leaves alone."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in text.splitlines())


def find_config(folder: str | None, *, option: str = "--dir DIR") -> Path:
    """Give the path of moatmail.toml: of ``--dir``, MOATMAIL_DIR, the current folder, ./moatmail-try, in this order. Raises ConfigError.

    `option` is what the command takes to name another place.
    """
    named = folder or os.environ.get(DIR_VARIABLE)
    if named:
        path = Path(named) / CONFIG
        if _there(path) is None:
            source = "--dir" if folder else DIR_VARIABLE
            raise ConfigError(f"{path}: no such file; let {source} name a folder that holds {CONFIG}")
        return path
    for path in (Path(CONFIG), Path(TRIAL_FOLDER, CONFIG)):
        owner = _there(path)
        if owner is None:
            continue
        if owner not in {os.geteuid(), _ROOT}:
            # Whoever may write here could send our passwords to a server of his.
            raise ConfigError(f"./{path} belongs to another user; if it is the one you mean, say so with {option}")
        return path
    raise NoServerError(f"no server found: neither ./{CONFIG} nor ./{TRIAL_FOLDER}; give {option}, or start one with `moatmail try`")


def _there(path: Path) -> int | None:
    """Give the owner of a file, or None where there is none; what may not be looked at is told by who reads it."""
    try:
        found = path.stat()
    except PermissionError:
        return os.geteuid()
    except OSError:
        return None
    return found.st_uid if stat.S_ISREG(found.st_mode) else None


def find_start(folder: str | None) -> Start:
    """Load the settings of the server that `find_config` finds. Raises ConfigError."""
    return load_start(find_config(folder))


def actor() -> str:
    """Name the person at the command line for the record of changes: as the system knows the user, whatever the environment says."""
    user = os.getuid()
    try:
        return f"cli:{pwd.getpwuid(user).pw_name}"
    except KeyError:  # a container's user has a number only
        return f"cli:{user}"


def at_desk(folder: str | None, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Do `work` on the server's store: through the server if it runs, else alone, by the same code. Raises what the work raises."""
    start = find_start(folder)
    from moatmail.app.access import open_desk  # noqa: PLC0415 - the store's room is heavy

    async def visit() -> T:
        async with open_desk(start, actor()) as desk:
            return await work(desk)

    return asyncio.run(visit())


# ---------------------------------------------------------------- answers


def print_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool, empty: str = "none") -> None:
    """Print a list: a table for eyes, an array for programs."""
    if as_json:
        click.echo(json.dumps(list(rows), default=str))
        return
    if not rows:
        click.echo(empty)
        return
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_one(facts: Mapping[str, object], *, as_json: bool) -> None:
    """Print one thing: a line per fact, or an object."""
    if as_json:
        click.echo(json.dumps(dict(facts), default=str))
        return
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        click.echo(f"{name.ljust(width)}  {_cell(value)}")


def print_done(text: str, facts: Mapping[str, object], *, as_json: bool) -> None:
    """Print that something was done: a sentence, or the facts as an object."""
    click.echo(json.dumps(dict(facts), default=str) if as_json else text)


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def complain(lines: Iterable[str]) -> None:
    """Print each line to stderr as ours: what happened; what to do."""
    for line in lines:
        click.echo(f"moatmail: {line}", err=True)


def confirmed(question: str) -> bool:
    """Ask for a yes; where nobody answers it is a no."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)
        return False


# ---------------------------------------------------------------- secrets


def read_secret(*, from_stdin: bool) -> str:
    """Read a password from stdin, or ask for it twice; never from the command line, which every user of the machine sees. Raises ConfigError."""
    if from_stdin:
        secret = sys.stdin.readline().rstrip("\r\n")
        if not secret:
            raise ConfigError("no password came on standard input; write one line, or use --generate")
        return secret
    if not sys.stdin.isatty():
        raise ConfigError("no terminal to ask for a password; use --generate, or --password-stdin")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
