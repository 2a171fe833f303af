# SPDX-License-Identifier: Apache-2.0
"""`moatmail demo`: promises shown on a throw-away server.

Obeys no RFC.
Must never touch the server of the folder it is started in.
"""

from __future__ import annotations

import dataclasses
import json

import click

from moatmail.app import demo_crash
from moatmail.app.cli.frame import example


@click.group(help="Show a promise on a throw-away server.", epilog=example("moatmail demo crash"))
def demo() -> None:
    """Group the demonstrations."""


@demo.command(epilog=example("moatmail demo crash\nmoatmail demo crash --rounds 20 --json"))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 1000), help="How often the server is killed.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def crash(rounds: int, *, as_json: bool) -> int:
    """Kill a server while mail comes in, start it again, and count what was lost.

    Every message that was answered with 250 must be there once and whole, whenever the kill came.
    """

    def tell(one: demo_crash.Round) -> None:
        if not as_json:
            click.echo(f"  round {one.number}: {one.acknowledged} messages acknowledged, then killed after {one.seconds:.1f} s")

    if not as_json:
        click.echo(f"A throw-away server is killed {rounds} times (SIGKILL to all of its processes) while {demo_crash.SENDERS} clients send.")
    result = demo_crash.run(rounds, tell)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(result)))
    else:
        click.echo(f"  acknowledged {result.acknowledged} · lost {result.lost} · twice {result.doubled} · torn {result.torn}")
        click.echo(f"  (kept though the kill came before the client read the 250: {result.unacknowledged})")
    return 0 if result.good else 1
