# SPDX-License-Identifier: Apache-2.0
"""`moatmail demo`: promises shown on a throw-away server, or in this process.

Obeys no RFC.
Must never touch the server of the folder it is started in.
"""

from __future__ import annotations

import dataclasses
import json

import click

from moatmail.app import demo_crash, demo_verdicts, explained
from moatmail.app.cli.frame import example


@click.group(help="Show a promise on a throw-away server.", epilog=example("moatmail demo crash\nmoatmail demo verdicts"))
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


@demo.command(epilog=example("moatmail demo verdicts\nmoatmail demo verdicts --json"))
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def verdicts(*, as_json: bool) -> int:
    """Judge a good, a forged and a damaged message, and explain each verdict.

    The same checks as at the door, in this process, over a DNS table with keys made for the occasion; nothing is sent or kept.
    """
    shown = demo_verdicts.run()
    kept = all(one.kept for one in shown)
    if as_json:
        told = [{"name": one.name, "about": one.about, "as_promised": one.kept, **explained.facts(one.told, explained.Beside())} for one in shown]
        click.echo(json.dumps({"as_promised": kept, "messages": told}))
        return 0 if kept else 1
    click.echo(f"Three messages, judged as at the door, with {' = '.join(demo_verdicts.SETTING)}.")
    for number, one in enumerate(shown, 1):
        click.echo(f"\n{number} {one.name}: {one.about}\n")
        click.echo("\n".join(f"    {line}".rstrip() for line in explained.lines(one.told, explained.Beside())))
    click.echo(f"\n{'All three ended as promised.' if kept else 'NOT AS PROMISED: ' + ', '.join(one.name for one in shown if not one.kept)}")
    return 0 if kept else 1
