# SPDX-License-Identifier: Apache-2.0
"""`moatmail dkim`: the signing keys of our domains, step by step.

Obeys no RFC.
Must never judge whether a step may be taken: `admin/signing` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence

import click

from moatmail.admin import dns, signing
from moatmail.admin.change import Desk
from moatmail.app.cli.frame import F, at_desk, example, print_done, print_rows, where
from moatmail.store.queries import SigningKeyRow


@click.group("dkim", epilog=example("moatmail dkim list\nmoatmail dkim new example.org"))
def dkim() -> None:
    """Signing keys of our domains: made, used, retired, removed."""


def _key(command: F) -> F:
    command = click.argument("selector", required=False)(command)
    return click.argument("name", metavar="DOMAIN")(command)


_NOW = "Do not wait: for a key that may be known to others."


@dkim.command("list", epilog=example("moatmail dkim list example.org"))
@click.argument("name", metavar="DOMAIN", required=False)
@where
def listing(name: str | None, folder: str | None, *, as_json: bool) -> None:
    """List keys with their state and the step that comes next."""
    rows = at_desk(folder, lambda desk: signing.listing(desk, name))
    print_rows([_facts(row, rows) for row in rows], as_json=as_json, empty="no keys; `moatmail domain add NAME` makes a domain's first ones")


@dkim.command("new", epilog=example("moatmail dkim new example.org"))
@click.argument("name", metavar="DOMAIN")
@where
def new(name: str, folder: str | None, *, as_json: bool) -> None:
    """Make a new pair of keys; it is not used until its records are in the DNS and `use` says so."""
    _do(folder, lambda desk: signing.new(desk, name), "made", as_json=as_json)


@dkim.command("use", epilog=example("moatmail dkim use example.org"))
@_key
@where
def use(name: str, selector: str | None, folder: str | None, *, as_json: bool) -> None:
    """Sign with a published key, or with all of them, beside the older ones."""
    _do(folder, lambda desk: signing.use(desk, name, selector), "in use", as_json=as_json)


@dkim.command("retire", epilog=example("moatmail dkim retire example.org\nmoatmail dkim retire example.org rsa20260901 --now"))
@_key
@click.option("--now", "at_once", is_flag=True, help=_NOW)
@where
def retire(name: str, selector: str | None, folder: str | None, *, at_once: bool, as_json: bool) -> None:
    """Sign no more with a key, or with all that have a newer one in use; their records stay."""
    _do(folder, lambda desk: signing.retire(desk, name, selector, at_once=at_once), "retired", as_json=as_json)


@dkim.command("remove", epilog=example("moatmail dkim remove example.org\nmoatmail dkim remove example.org rsa20260901 --now"))
@_key
@click.option("--now", "at_once", is_flag=True, help=_NOW)
@where
def remove(name: str, selector: str | None, folder: str | None, *, at_once: bool, as_json: bool) -> None:
    """Forget a key that signs no more, or all whose records are due no longer."""
    _do(folder, lambda desk: signing.remove(desk, name, selector, at_once=at_once), "removed", as_json=as_json)


_DNS = {
    "made": "put into the DNS:",
    "in use": "must be in the DNS:",
    "retired": "leave in the DNS:",
    "removed": "take out of the DNS:",
}


def _do(folder: str | None, act: Callable[[Desk], Awaitable[signing.Step]], done: str, *, as_json: bool) -> None:
    step = at_desk(folder, act)
    records = dns.of_keys(step.keys)
    lines = [f"{done}: {', '.join(row.selector for row in step.keys)} of {step.domain}", _DNS[done], *(f"  {one.line}" for one in records)]
    following = _together(step.following)
    lines += [f"then, {_when(one)}: {one.command}" for one in following]
    facts = {
        "domain": step.domain,
        done.replace(" ", "_"): [row.selector for row in step.keys],
        "dns": [one.facts for one in records],
        "next": [_next_facts(one) for one in following],
    }
    print_done("\n".join(lines), facts, as_json=as_json)


def _together(steps: Sequence[signing.Next]) -> Sequence[signing.Next]:
    """Give one command for steps that may be taken in one: without a selector a command takes all keys that it concerns."""
    if len(steps) > 1 and len({(one.verb, one.domain, one.at) for one in steps}) == 1:
        return [dataclasses.replace(steps[0], selector="")]
    return steps


def _when(following: signing.Next) -> str:
    return f"from {signing.moment(following.at)}" if following.at else "when this can be seen everywhere"


def _next_facts(following: signing.Next) -> dict[str, object]:
    return {"command": following.command, "from": signing.moment(following.at) if following.at else None}


def _facts(row: SigningKeyRow, rows: tuple[SigningKeyRow, ...]) -> dict[str, object]:
    following = signing.following(row, [one for one in rows if one.domain == row.domain])
    return {
        "domain": row.domain,
        "selector": row.selector,
        "algorithm": row.algorithm,
        "state": row.state,
        "since": signing.moment(row.changed_at),
        "next": following.verb if following else None,
        "from": signing.moment(following.at) if following and following.at else None,
    }
