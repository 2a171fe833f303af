# SPDX-License-Identifier: Apache-2.0
"""`moatmail alias`: addresses that lead to others.

Obeys no RFC.
Must never judge: `admin/aliases` does.
"""

from __future__ import annotations

import click

from moatmail.admin import aliases
from moatmail.app.cli.frame import at_desk, example, print_done, print_one, print_rows, where
from moatmail.store.queries import AliasRow


@click.group("alias", epilog=example("moatmail alias add sales@example.org ann@example.org bob@example.org"))
def alias() -> None:
    """Addresses that lead to others."""


@alias.command("add", epilog=example("moatmail alias add sales@example.org ann@example.org bob@example.org"))
@click.argument("address")
@click.argument("targets", nargs=-1, required=True)
@where
def add(address: str, targets: tuple[str, ...], folder: str | None, *, as_json: bool) -> None:
    """Let an address lead to one or several targets."""
    added = str(at_desk(folder, lambda desk: aliases.add(desk, address, targets)))
    print_done(f"added {added} → {', '.join(targets)}", {"added": added, "targets": targets}, as_json=as_json)


@alias.command("list", epilog=example("moatmail alias list --domain example.org"))
@click.option("--domain", metavar="NAME", help="Only of this domain.")
@where
def listing(domain: str | None, folder: str | None, *, as_json: bool) -> None:
    """List the aliases."""
    rows = at_desk(folder, lambda desk: aliases.listing(desk, domain))
    print_rows([_facts(row) for row in rows], as_json=as_json, empty="no aliases; add one with `moatmail alias add ADDRESS TARGET`")


@alias.command("show", epilog=example("moatmail alias show sales@example.org"))
@click.argument("address")
@where
def show(address: str, folder: str | None, *, as_json: bool) -> None:
    """Show one alias."""
    print_one(_facts(at_desk(folder, lambda desk: aliases.show(desk, address))), as_json=as_json)


@alias.command("remove", epilog=example("moatmail alias remove sales@example.org"))
@click.argument("address")
@where
def remove(address: str, folder: str | None, *, as_json: bool) -> None:
    """Remove an alias."""
    at_desk(folder, lambda desk: aliases.remove(desk, address))
    print_done(f"removed {address}", {"removed": address}, as_json=as_json)


def _facts(row: AliasRow) -> dict[str, object]:
    return {"alias": f"{row.localpart}@{row.domain}", "targets": list(row.targets)}
