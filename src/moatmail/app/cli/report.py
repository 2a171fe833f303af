# SPDX-License-Identifier: Apache-2.0
"""`moatmail report`: what others report about mail in our name.

Obeys no RFC.
Must never judge: `admin/reports` adds up.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click
import msgspec

from moatmail.admin import reports
from moatmail.admin.reports import Opened, Summary, Totals
from moatmail.app.cli.frame import at_desk, example, print_one, print_rows, where
from moatmail.mailauth.reports.received import KINDS
from moatmail.store.queries import ReportRow

F = TypeVar("F", bound=Callable[..., Any])
_SHOWN: Final = 30
_NONE: Final = "no reports; `moatmail settings set reports.address ADDRESS` says where they come in, and a DMARC record with rua= asks for them"


def _which(command: F) -> F:
    """Add ``--domain``, ``--kind`` and ``--limit``."""
    command = click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many reports, the newest first.")(command)
    command = click.option("--kind", type=click.Choice(KINDS), help="Reports of one kind.")(command)
    return click.option("--domain", metavar="NAME", help="Reports about one domain.")(command)


@click.group("report", epilog=example("moatmail report list --domain example.org\nmoatmail report show"))
def report() -> None:
    """Look at what others report about mail in our name (DMARC, TLS, complaints)."""


@report.command("list", epilog=example("moatmail report list --kind dmarc --domain example.org"))
@_which
@where
def listing(domain: str | None, kind: str | None, limit: int, folder: str | None, *, as_json: bool) -> None:
    """List reports, with totals."""
    rows = at_desk(folder, lambda desk: reports.listing(desk, kind or "", domain or "", limit))
    total = reports.totals_of(rows)
    if as_json:
        click.echo(json.dumps({"reports": [_facts(row) for row in rows], "totals": _counts(total)}))
        return
    print_rows([_line(row) for row in rows], as_json=False, empty=_NONE)
    if rows:
        click.echo(f"{len(rows)} reports: {_sentence(total)}")


@report.command("show", epilog=example("moatmail report show --domain example.org\nmoatmail report show 0193f0a1b2c3d4e5f60718293a4b5c6d"))
@click.argument("report_id", metavar="[ID]", required=False)
@_which
@where
def show(report_id: str | None, domain: str | None, kind: str | None, limit: int, folder: str | None, *, as_json: bool) -> None:
    """Show one report, or what all of them together say of each source."""
    if report_id is None:
        _print_summary(at_desk(folder, lambda desk: reports.summary(desk, kind or "", domain or "", limit)), as_json=as_json)
    else:
        _print_report(at_desk(folder, lambda desk: reports.show(desk, report_id)), as_json=as_json)


def _print_summary(found: Summary, *, as_json: bool) -> None:
    if as_json:
        sources = [{"source": source, **_counts(totals)} for source, totals in found.sources.items()]
        click.echo(json.dumps({"reports": found.reports, "totals": _counts(found.totals), "sources": sources}))
        return
    _print_sources(found, empty=_NONE)
    if found.reports:
        click.echo(f"{found.reports} reports: {_sentence(found.totals)}")


def _print_report(one: Opened, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**_facts(one.row), **_sender(one), "report": json.loads(msgspec.json.encode(one.report))}))
        return
    notes = getattr(one.report, "notes", ())
    print_one({**_facts(one.row), **_sender(one), "notes": notes}, as_json=False)
    found = Summary()
    reports.add(found, one)
    click.echo()
    _print_sources(found, empty="no sources are named")


def _print_sources(found: Summary, *, empty: str) -> None:
    shown = list(found.sources.items())[:_SHOWN]
    print_rows([{"source": _plain(source), **_counts(totals)} for source, totals in shown], as_json=False, empty=empty)
    if len(found.sources) > len(shown):
        click.echo(f"and {len(found.sources) - len(shown)} sources more; --json tells all")


def _line(row: ReportRow) -> dict[str, object]:
    facts = _facts(row)
    return {name: facts[name] for name in ("id", "kind", "domain", "reporter", "begin", "messages", "pass", "fail")}


def _facts(row: ReportRow) -> dict[str, object]:
    return {
        "id": row.id.hex(),
        "kind": row.kind,
        "domain": row.domain,
        "reporter": _plain(row.reporter),
        "report_id": _plain(row.report_id),
        "begin": _moment(row.begin),
        "end": _moment(row.end),
        "received": _moment(row.received_at),
        **row.totals,
    }


def _sender(one: Opened) -> dict[str, object]:
    return {"sent_by": one.kept.sender, "proved": one.kept.authenticated}


def _counts(totals: Totals) -> dict[str, object]:
    return {"messages": totals.messages, "pass": totals.passed, "fail": totals.failed}


def _sentence(totals: Totals) -> str:
    return f"{totals.messages} messages, {totals.passed} pass, {totals.failed} fail"


def _moment(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""


def _plain(text: str) -> str:
    """Give a stranger's text as a terminal may see it."""
    return "".join(character if character.isprintable() else "?" for character in text)
