# SPDX-License-Identifier: Apache-2.0
"""`moatmail report`: what an administrator sees of reports that others sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from moatmail.admin.change import Desk
from moatmail.app.cli.main import run
from moatmail.mailauth.reports.build import aggregate_xml
from moatmail.mailauth.reports.received import Arrived, read_reports
from moatmail.mailauth.reports.report import AggregateReport, Published, Record
from moatmail.store.queries import GetReport, ListReports, ReportRow

FORGED = "Repor\u202eter"  # a mark that turns the direction of the text
RECORDS = (
    Record("192.0.2.1", "a.test", "none", "pass", "fail", count=5),
    Record("192.0.2.9", "a.test", "none", "fail", "fail", count=2),
)


def rows() -> list[ReportRow]:
    """Give two DMARC reports and a complaint, as the store keeps them."""
    dmarc = b"Content-Type: text/xml\r\n\r\n%b"
    mails = [
        dmarc % aggregate_xml(AggregateReport(name, "d@r.test", f"r{number}", 1_700_000_000, 1_700_086_399, Published("a.test", "none"), RECORDS[: number + 1]))
        for number, name in enumerate(("Honest", FORGED))
    ]
    mails.append(b"Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nSource-IP: 192.0.2.7\r\nReported-Domain: a.test\r\n")
    found = [one for mail in mails for one in read_reports(mail, Arrived(1_700_090_000, "r.test", "b.test", authenticated=True))]
    return [
        ReportRow(bytes([number]) * 16, one.kind, 1_700_090_000.0, one.domain, one.reporter, one.report_id, one.begin, one.end, one.totals, one.rows)
        for number, one in enumerate(found)
    ]


class Shelf:
    """A store that holds reports alone."""

    async def read(self, query: object) -> tuple[ReportRow, ...] | ReportRow | None:
        if isinstance(query, ListReports):
            return tuple(one for one in rows() if query.kind in {"", one.kind} and query.domain in {"", one.domain})
        assert isinstance(query, GetReport)
        return next((one for one in rows() if one.id == query.id), None)


@pytest.fixture(autouse=True)
def shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_desk(_folder: str | None, work: Callable[[Any], Awaitable[object]]) -> object:
        async def visit() -> object:
            return await work(Desk(Shelf(), None, "test", "test"))  # type: ignore[arg-type]

        return asyncio.run(visit())

    monkeypatch.setattr("moatmail.app.cli.report.at_desk", at_desk)


def test_the_list_shows_each_report_and_the_totals(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "list"]) == 0
    head, first, second, third, total = capsys.readouterr().out.splitlines()
    assert head.split() == ["id", "kind", "domain", "reporter", "begin", "messages", "pass", "fail"]
    assert first.split() == ["00" * 16, "dmarc", "a.test", "Honest", "(r.test)", "2023-11-14T22:13:20Z", "5", "5", "0"]
    assert "Repor?ter" in second  # what a stranger wrote cannot paint our terminal
    assert third.split()[1] == "abuse"
    assert total == "3 reports: 13 messages, 10 pass, 3 fail"


def test_the_list_in_json_has_the_totals_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "list", "--kind", "dmarc", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["totals"] == {"messages": 12, "pass": 10, "fail": 2}
    assert [one["report_id"] for one in told["reports"]] == ["r0", "r1"]
    assert told["reports"][0]["sources"] == 1


def test_all_reports_together_say_what_came_from_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "show", "--domain", "A.test"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split() for line in out[1:4]] == [["192.0.2.1", "10", "10", "0"], ["192.0.2.9", "2", "0", "2"], ["192.0.2.7", "1", "0", "1"]]
    assert out[4] == "3 reports: 13 messages, 10 pass, 3 fail"
    assert run(["report", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"][0] == {"source": "192.0.2.1", "messages": 10, "pass": 10, "fail": 0}


def test_one_report_says_who_sent_it_and_whether_that_was_proved(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "show", "01" * 16]) == 0
    facts = {line.split()[0]: line.partition(" ")[2].strip() for line in capsys.readouterr().out.splitlines() if line}
    assert (facts["sent_by"], facts["proved"], facts["messages"]) == ("r.test", "yes", "7")
    assert facts["192.0.2.9"].split() == ["2", "0", "2"]
    assert run(["report", "show", "01" * 16, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["report"]["records"][0]["source_ip"] == "192.0.2.1"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["report", "show", "zz"], 2, "no id of a report"),
        (["report", "show", "ff" * 16], 1, "no report"),
        (["report", "list", "--kind", "gossip"], 2, "gossip"),
    ],
    ids=["no id", "an unknown id", "an unknown kind"],
)
def test_what_is_not_there_is_said(capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str) -> None:
    assert run(arguments) == status
    assert words in capsys.readouterr().err


def test_an_empty_list_says_how_reports_come_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "list", "--domain", "nobody.test"]) == 0
    assert "reports.address" in capsys.readouterr().out
