# SPDX-License-Identifier: Apache-2.0
"""The program `moatmail`: its commands, and how every failure ends in one line and an exit status of 0, 1 or 2.

Obeys no RFC.
Must never know what a command does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from moatmail.app.cli.frame import Commands, complain, example
from moatmail.core.errors import ConfigError, MoatmailError

DONE: Final = 0
REFUSED: Final = 1
"""The server said no, or could not; the same command may work later."""
CANNOT: Final = 2
"""The command, the settings or the place is wrong; the same command will fail again."""

_PLACES: Final = {
    "try": "moatmail.app.cli.server:try_",
    "serve": "moatmail.app.cli.server:serve_",
    "check-config": "moatmail.app.cli.server:check_config",
    "domain": "moatmail.app.cli.domain:domain",
    "account": "moatmail.app.cli.account:account",
    "alias": "moatmail.app.cli.alias:alias",
    "dkim": "moatmail.app.cli.dkim:dkim",
    "report": "moatmail.app.cli.report:report",
    "settings": "moatmail.app.cli.settings:settings",
    "explain": "moatmail.app.cli.explain:explain",
    "decisions": "moatmail.app.cli.explain:decisions",
    "demo": "moatmail.app.cli.demo:demo",
}

root = Commands(
    "moatmail",
    places=_PLACES,
    help="A whole, secure mail server in one program.",
    epilog=example("moatmail try\nmoatmail account list"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
click.version_option(package_name="moatmail", message="%(prog)s %(version)s")(root)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; gives the exit status."""
    try:
        given = root.main(args=list(arguments), prog_name="moatmail", standalone_mode=False)
        return given if isinstance(given, int) else DONE
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return CANNOT
    except (click.ClickException, click.Abort, KeyboardInterrupt, MoatmailError) as error:
        status, lines = _judge(error)
        complain(lines)
        return status
    except BrokenPipeError:
        # Whoever read our answer has enough; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return DONE


def _judge(error: BaseException) -> tuple[int, Sequence[str]]:
    """Give the exit status of a failure, and what to say."""
    if isinstance(error, click.ClickException):
        return CANNOT, [f"{_sentence(error.format_message())}; see `{_path(error)} --help`"]
    if isinstance(error, ConfigError):
        return CANNOT, error.mistakes
    if isinstance(error, MoatmailError):
        return REFUSED, [error.public]
    return REFUSED, ["stopped"]


def _sentence(text: str) -> str:
    """Give click's message in our form: one line, no full stop, a small letter."""
    text = " ".join(text.split()).removesuffix(".").removesuffix("?").replace(". Did you", "; did you")
    return text[:1].lower() + text[1:]


def _path(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if isinstance(context, click.Context) else "moatmail"


def main() -> None:
    """Run the program."""
    sys.exit(run(sys.argv[1:]))
