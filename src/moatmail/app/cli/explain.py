# SPDX-License-Identifier: Apache-2.0
"""`moatmail explain`: why a message was accepted, put off or refused; of a kept decision, or of a file that is judged now. `moatmail decisions` lists.

Obeys no RFC.
Must never send or keep the file, nor decide anything: `app/judging` judges it as the door would, `policy/explain` tells why.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import json
import sys
from pathlib import Path
from typing import Any, Final

import click

from moatmail.admin import decisions as room
from moatmail.admin import settings
from moatmail.admin.change import Desk, read_address
from moatmail.app.cli.frame import F, NoServerError, at_desk, example, find_start, print_rows, where
from moatmail.app.clock import SystemClock
from moatmail.app.explained import Beside, facts, lines
from moatmail.app.judging import Bench, Given, Judgement, judge
from moatmail.app.resolver import open_resolver
from moatmail.core.errors import ConfigError
from moatmail.core.settings.mail import Mail
from moatmail.core.settings.start import Start
from moatmail.policy.decision import Decided
from moatmail.policy.explain import explain as explain_decided

_NULL: Final = "<>"
_ALONE: Final = Start()
"""What stands for the settings of a server where there is none."""
_STDIN: Final = "-"
_WITHOUT_SERVER: Final = "no server was found: judged by the default settings, with the name service of this machine; --dir DIR names a server's folder"


def _how_it_came(command: F) -> F:
    """Add the options of a file, given to the command as one `given`."""

    @functools.wraps(command)
    def packed(*args: Any, ip: str | None, helo: str | None, mail_from: str | None, rcpt: tuple[str, ...], **rest: Any) -> Any:  # noqa: ANN401 - click's
        return command(*args, given=_given(ip, helo, mail_from, rcpt), **rest)

    made: Any = packed
    for option in (
        click.option("--rcpt", metavar="ADDRESS", multiple=True, help="Of a file: a recipient; may be given several times."),
        click.option("--mail-from", metavar="ADDRESS", help="Of a file: the envelope sender, <> for none. Without it SPF is left out."),
        click.option("--helo", metavar="NAME", help="Of a file: what the client calls itself."),
        click.option("--ip", metavar="ADDRESS", help="Of a file: the address of the client. Without it iprev and SPF are left out."),
    ):
        made = option(made)
    wrapped: F = made
    return wrapped


@click.command(
    "explain", epilog=example("moatmail explain k3rw7xqd\nmoatmail explain letter.eml --ip 192.0.2.1 --helo mx.example.org --mail-from ann@example.org")
)
@click.argument("what", metavar="ID|CODE|FILE.eml")
@_how_it_came
@where
def explain(what: str, folder: str | None, given: Given, *, as_json: bool) -> None:
    """Tell why a message was accepted, put off or refused.

    ID is the queue id of a message (32 digits, in the log and in the 250 reply), CODE the short code in the text of a refusal. A FILE is judged now, as
    if it came in, by this server's settings and name service; it is neither sent nor kept.
    """
    if given != Given() or what == _STDIN or Path(what).exists():
        decided, beside = _judged(what, given, folder)
    else:
        decided, beside = _kept(what, folder)
    told = explain_decided(decided)
    click.echo(json.dumps(facts(told, beside)) if as_json else "\n".join(lines(told, beside)))


@click.command("decisions", epilog=example("moatmail decisions\nmoatmail decisions --count 100 --json"))
@click.option("--count", metavar="N", type=click.IntRange(1, 500), default=20, show_default=True, help="How many.")
@where
def decisions(count: int, folder: str | None, *, as_json: bool) -> None:
    """List what was decided, newest first; `moatmail explain CODE` tells why."""
    rows = at_desk(folder, lambda desk: room.listing(desk, count))
    print_rows(rows, as_json=as_json, empty="nothing was decided yet, or only long ago")


# ---------------------------------------------------------------- a kept decision


def _kept(what: str, folder: str | None) -> tuple[Decided, Beside]:
    name = room.read_name(what)
    kept = at_desk(folder, lambda desk: room.find(desk, name))
    return kept.decided, Beside(id=kept.id.hex(), code=kept.code, today=kept.today)


# ---------------------------------------------------------------- a file


def _given(ip: str | None, helo: str | None, mail_from: str | None, rcpt: tuple[str, ...]) -> Given:
    """Read what was said of how a file came; raises ConfigError."""
    null = mail_from is not None and mail_from.strip() in {_NULL, ""}
    sender = None if mail_from is None or null else read_address(mail_from.strip().removeprefix("<").removesuffix(">"))
    return Given(_ip(ip), helo or "", sender, mail_from is not None, tuple(map(read_address, rcpt)))


def _ip(text: str | None) -> str:
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        raise ConfigError(f"--ip {text}: is no IP address; write it like 192.0.2.1 or 2001:db8::1") from None


def _judged(what: str, given: Given, folder: str | None) -> tuple[Decided, Beside]:
    """Judge a file by the server that is found, or by the defaults where nobody named one and there is none."""
    try:
        start = find_start(folder)
    except NoServerError:
        octets = _read(what, Mail())
        bench = Bench(Mail(), _ALONE.node.hostname, open_resolver(_ALONE.dns), SystemClock())
        return _told(asyncio.run(judge(octets, given, bench)), _WITHOUT_SERVER)

    async def work(desk: Desk) -> Judgement:
        mail = await settings.snapshot(desk)
        return await judge(_read(what, mail), given, Bench(mail, start.node.hostname, open_resolver(start.dns), desk.clock, desk.store))

    return _told(at_desk(folder, work))


def _told(judged: Judgement, *notes: str) -> tuple[Decided, Beside]:
    return judged.decided, Beside(unchecked=judged.unchecked, door=judged.door, notes=notes)


def _read(what: str, mail: Mail) -> bytes:
    """Read a message of at most the size that the server takes; raises ConfigError."""
    most = mail.smtp.max_message_octets
    try:
        if what == _STDIN:
            octets = sys.stdin.buffer.read(most + 1)
        else:
            with Path(what).open("rb") as file:
                octets = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"{what}: cannot be read ({error.strerror})") from None
    if len(octets) > most:
        raise ConfigError(f"{what}: over {most} octets, more than the server takes (smtp.max_message_octets)")
    return octets
