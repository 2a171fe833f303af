# SPDX-License-Identifier: Apache-2.0
"""`moatmail domain`: the domains this server is responsible for.

Obeys no RFC.
Must never judge: `admin/domains` does.
"""

from __future__ import annotations

from collections.abc import Iterable

import click

from moatmail.admin import dns, domains
from moatmail.admin.change import Desk
from moatmail.app.cli.frame import at_desk, example, find_start, print_done, print_one, print_rows, where
from moatmail.core.errors import ConfigError
from moatmail.store.queries import DomainRow


@click.group("domain", epilog=example("moatmail domain add example.org\nmoatmail domain list"))
def domain() -> None:
    """Domains this server is responsible for."""


@domain.command("add", epilog=example("moatmail domain add example.org --catch-all office@example.org"))
@click.argument("name")
@click.option("--catch-all", metavar="ADDRESS", help="Who gets mail for addresses that do not exist.")
@where
def add(name: str, catch_all: str | None, folder: str | None, *, as_json: bool) -> None:
    """Take responsibility for a domain: makes its signing keys and tells which DNS records are due."""
    hostname = find_start(folder).node.hostname

    async def work(desk: Desk) -> tuple[str, tuple[dns.Due, ...]]:
        added = await domains.add(desk, name, catch_all)
        return added, await dns.due(desk, added, hostname)

    added, records = at_desk(folder, work)
    text = f"added {added}\n; its DNS needs these records; `moatmail domain dns {added}` prints them again\n{_zone(records)}"
    print_done(text, {"added": added, "dns": [one.facts for one in records]}, as_json=as_json)


@domain.command("dns", epilog=example("moatmail domain dns example.org\nmoatmail domain dns example.org >> example.org.zone"))
@click.argument("name")
@where
def records(name: str, folder: str | None, *, as_json: bool) -> None:
    """Print the DNS records that a domain needs, as lines of a zone file."""
    hostname = find_start(folder).node.hostname
    found = at_desk(folder, lambda desk: dns.due(desk, name, hostname))
    print_done(_zone(found), {"domain": found[0].name, "dns": [one.facts for one in found]}, as_json=as_json)


def _zone(found: Iterable[dns.Due]) -> str:
    """Give records as lines of a zone file, what is to be known of one as a comment before it."""
    return "\n".join(line for one in found for line in ([f"; {one.note}", one.line] if one.note else [one.line]))


@domain.command("list", epilog=example("moatmail domain list --json"))
@where
def listing(folder: str | None, *, as_json: bool) -> None:
    """List the domains."""
    rows = at_desk(folder, domains.listing)
    print_rows([_facts(row) for row in rows], as_json=as_json, empty="no domains; add one with `moatmail domain add NAME`")


@domain.command("show", epilog=example("moatmail domain show example.org"))
@click.argument("name")
@where
def show(name: str, folder: str | None, *, as_json: bool) -> None:
    """Show one domain."""
    print_one(_facts(at_desk(folder, lambda desk: domains.show(desk, name))), as_json=as_json)


@domain.command("catch-all", epilog=example("moatmail domain catch-all example.org office@example.org\nmoatmail domain catch-all example.org --none"))
@click.argument("name")
@click.argument("address", required=False)
@click.option("--none", "nobody", is_flag=True, help="Refuse mail for addresses that do not exist.")
@where
def catch_all(name: str, address: str | None, folder: str | None, *, nobody: bool, as_json: bool) -> None:
    """Say who gets mail for addresses that do not exist."""
    if (address is None) != nobody:
        raise ConfigError("give an ADDRESS or --none, one of them; see `moatmail domain catch-all --help`")
    at_desk(folder, lambda desk: domains.set_catch_all(desk, name, address))
    print_done(
        f"{name}: mail for unknown addresses {f'goes to {address}' if address else 'is refused'}", {"domain": name, "catch_all": address}, as_json=as_json
    )


@domain.command("remove", epilog=example("moatmail domain remove example.org"))
@click.argument("name")
@where
def remove(name: str, folder: str | None, *, as_json: bool) -> None:
    """Remove a domain without accounts and aliases."""
    at_desk(folder, lambda desk: domains.remove(desk, name))
    print_done(f"removed {name}", {"removed": name}, as_json=as_json)


def _facts(row: DomainRow) -> dict[str, object]:
    return {"domain": row.name, "accounts": row.accounts, "aliases": row.aliases, "catch_all": row.catch_all}
