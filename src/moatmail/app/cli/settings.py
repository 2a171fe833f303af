# SPDX-License-Identifier: Apache-2.0
"""`moatmail settings`: what can be changed while the server runs.

Obeys no RFC.
Must never judge a value: `admin/settings` does.
"""

from __future__ import annotations

import sys

import click

from moatmail.admin import settings as room
from moatmail.app.cli.frame import at_desk, example, print_done, print_one, print_rows, where
from moatmail.core.errors import ConfigError


@click.group("settings", epilog=example("moatmail settings show\nmoatmail settings set smtp.max_recipients 200"))
def settings() -> None:
    """Change what can be changed while the server runs."""


@settings.command("show", epilog=example("moatmail settings show delivery.give_up_days"))
@click.argument("key", required=False)
@where
def show(key: str | None, folder: str | None, *, as_json: bool) -> None:
    """Show all settings, or one with its help."""
    if key is None:
        rows = at_desk(folder, room.listing)
        print_rows([_facts(row) for row in rows], as_json=as_json)
        return
    row = at_desk(folder, lambda desk: room.show(desk, key))
    print_one({**_facts(row), "about": row.about}, as_json=as_json)


@settings.command("set", epilog=example("moatmail settings set smtp.max_recipients 200\nmoatmail settings set smtp.max_recipients --default"))
@click.argument("key")
@click.argument("value", required=False)
@click.option("--default", "to_default", is_flag=True, help="Go back to the default.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the value from standard input, one line: for secrets.")
@where
def put(key: str, value: str | None, folder: str | None, *, to_default: bool, from_stdin: bool, as_json: bool) -> None:
    """Change a setting; it holds at once, without a restart."""
    if sum((value is not None, to_default, from_stdin)) != 1:
        raise ConfigError("give a VALUE, --stdin or --default, one of them; see `moatmail settings set --help`")
    text = sys.stdin.readline().rstrip("\r\n") if from_stdin else value

    def nothing_to_hide() -> str:
        return "its default" if text is None else ("a new value" if from_stdin else text)

    version = at_desk(folder, lambda desk: room.put(desk, key, text))
    print_done(f"{key} is now {nothing_to_hide()}", {"key": key, "version": version}, as_json=as_json)


def _facts(row: room.Shown) -> dict[str, object]:
    value = list(row.value) if isinstance(row.value, tuple) else row.value
    return {"key": row.key, "value": value, "unit": row.unit, "default": row.default}
