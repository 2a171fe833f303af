# SPDX-License-Identifier: Apache-2.0
"""`moatmail try`, `moatmail serve`, `moatmail check-config`.

Obeys no RFC.
Must never know how a server is made.
"""

from __future__ import annotations

from pathlib import Path

import click

from moatmail.app.cli.frame import CONFIG, example, find_config, print_done
from moatmail.core.settings.load import load_start
from moatmail.core.settings.start import Start


@click.command("try", epilog=example("moatmail try --dir /tmp/mail --base-port 20000"))
@click.option("--dir", "folder", metavar="DIR", default="./moatmail-try", show_default=True, help="Where mail and keys go; the same DIR again: same mail.")
@click.option(
    "--base-port", metavar="N", type=int, default=2000, show_default=True, help="Added to the usual ports: SMTP 25, submission 587 and 465, IMAP 143 and 993."
)
@click.option("-q", "--quiet", is_flag=True, help="No line per event; alerts only.")
def try_(folder: str, base_port: int, *, quiet: bool) -> int:
    """Run the whole server on this machine only, with two accounts to play with."""
    from moatmail.app.trial import run  # noqa: PLC0415 - heavy, and of this command alone

    return run(folder, base_port, quiet=quiet)


@click.command("serve", epilog=example("moatmail serve --config /etc/moatmail/moatmail.toml"))
@click.option("--config", metavar="FILE", help=f"The settings; else {CONFIG} of $MOATMAIL_DIR, ., ./moatmail-try.")
@click.option("--compact", is_flag=True, help="One process for strangers and users: less memory, but a hole in one door opens both.")
def serve_(config: str | None, *, compact: bool) -> int:
    """Run the server."""
    from moatmail.app.serve import serve  # noqa: PLC0415 - heavy, and of this command alone

    return serve(_load(config), compact=compact)


@click.command("check-config", epilog=example(f"moatmail check-config --config /etc/moatmail/{CONFIG}"))
@click.option("--config", metavar="FILE", help=f"The settings; else {CONFIG} of $MOATMAIL_DIR, ., ./moatmail-try.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def check_config(config: str | None, *, as_json: bool) -> None:
    """Tell every mistake in moatmail.toml at once."""
    start = _load(config)
    doors = [listener.name for listener in start.listener]
    print_done(f"good: {', '.join(doors)}", {"good": True, "hostname": start.node.hostname, "listeners": doors}, as_json=as_json)


def _load(config: str | None) -> Start:
    return load_start(Path(config) if config else find_config(None, option="--config FILE"))
