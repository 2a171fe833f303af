# SPDX-License-Identifier: Apache-2.0
"""`moatmail account`: who has mail here. Passwords are asked for or read from stdin, never taken from the command line.

Obeys no RFC.
Must never judge or keep a password: `admin/accounts` does.
"""

from __future__ import annotations

import click

from moatmail.admin import accounts, settings
from moatmail.admin.change import Desk
from moatmail.app.cli.frame import F, at_desk, confirmed, example, print_done, print_one, print_rows, read_secret, where
from moatmail.core.errors import PermanentError
from moatmail.crypto.password import generate_password
from moatmail.store.queries import AccountRow


@click.group("account", epilog=example("moatmail account add ann@example.org --generate\nmoatmail account list"))
def account() -> None:
    """Who has mail here."""


def _secret_options(command: F) -> F:
    command = click.option("--password-stdin", is_flag=True, help="Read the password from standard input, one line.")(command)
    return click.option("--generate", is_flag=True, help="Make a password and print it.")(command)


@account.command("add", epilog=example("moatmail account add ann@example.org --generate"))
@click.argument("address")
@click.option("--quota", metavar="OCTETS", type=click.IntRange(min=0), default=0, help="How much mail it may keep; 0 is no limit.")
@_secret_options
@where
def add(address: str, quota: int, folder: str | None, *, generate: bool, password_stdin: bool, as_json: bool) -> None:
    """Add an account of a domain that exists."""
    secret = _secret(generate=generate, from_stdin=password_stdin)

    async def work(desk: Desk) -> str:
        scram = (await settings.snapshot(desk)).submission.scram
        return str(await accounts.add(desk, address, secret, quota_octets=quota, with_scram=scram))

    _tell("added", at_desk(folder, work), secret if generate else None, as_json=as_json)


@account.command("password", epilog=example("moatmail account password ann@example.org"))
@click.argument("address")
@_secret_options
@where
def password(address: str, folder: str | None, *, generate: bool, password_stdin: bool, as_json: bool) -> None:
    """Replace an account's password."""
    secret = _secret(generate=generate, from_stdin=password_stdin)

    async def work(desk: Desk) -> None:
        await accounts.set_password(desk, address, secret, with_scram=(await settings.snapshot(desk)).submission.scram)

    at_desk(folder, work)
    _tell("changed", address, secret if generate else None, as_json=as_json)


@account.command("list", epilog=example("moatmail account list --domain example.org"))
@click.option("--domain", metavar="NAME", help="Only of this domain.")
@where
def listing(domain: str | None, folder: str | None, *, as_json: bool) -> None:
    """List the accounts."""
    rows = at_desk(folder, lambda desk: accounts.listing(desk, domain))
    print_rows([_facts(row) for row in rows], as_json=as_json, empty="no accounts; add one with `moatmail account add ADDRESS`")


@account.command("show", epilog=example("moatmail account show ann@example.org"))
@click.argument("address")
@where
def show(address: str, folder: str | None, *, as_json: bool) -> None:
    """Show one account."""
    print_one(_facts(at_desk(folder, lambda desk: accounts.show(desk, address))), as_json=as_json)


@account.command("remove", epilog=example("moatmail account remove ann@example.org --yes"))
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask.")
@where
def remove(address: str, folder: str | None, *, yes: bool, as_json: bool) -> None:
    """Remove an account with all its mail; its keys go too, so this cannot be undone."""
    if not yes and not confirmed(f"Remove {address} with all its mail, for ever?"):
        raise PermanentError("not confirmed", public="nothing removed; answer y, or give --yes")
    at_desk(folder, lambda desk: accounts.remove(desk, address))
    _tell("removed", address, None, as_json=as_json)


def _secret(*, generate: bool, from_stdin: bool) -> str:
    if generate and from_stdin:
        raise click.UsageError("--generate and --password-stdin exclude each other")
    return generate_password() if generate else read_secret(from_stdin=from_stdin)


def _tell(done: str, address: str, secret: str | None, *, as_json: bool) -> None:
    facts: dict[str, object] = {done: address}
    if secret is not None:
        facts["password"] = secret
    print_done(f"{done} {address}" + (f"  password {secret}" if secret else ""), facts, as_json=as_json)


def _facts(row: AccountRow) -> dict[str, object]:
    return {"address": f"{row.localpart}@{row.domain}", "status": row.status, "used": row.used_octets, "quota": row.quota_octets or None}
