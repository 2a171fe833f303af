# SPDX-License-Identifier: Apache-2.0
"""`moatmail explain`, `moatmail decisions`, `moatmail demo verdicts`: a refusal read aloud is found by its code, with the server running or not; a file
is judged without a server, or by the settings of one."""

from __future__ import annotations

import re
import smtplib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moatmail.core.settings.start import DNS, Start
from tests.e2e.test_cli import answer, moatmail, refusal
from tests.e2e.trial import Trial

FORGED = b"From: Bank <service@bank.test>\r\nTo: bob@example.test\r\nSubject: urgent\r\nDate: Fri, 15 Jan 2027 08:00:00 +0000\r\n\r\nclick\r\n"
GOOD = b"From: carol@friend.test\r\nTo: bob@example.test\r\nSubject: lunch\r\nDate: Fri, 15 Jan 2027 08:00:00 +0000\r\n\r\nnoon?\r\n"
SECONDS = 10.0


@pytest.fixture(scope="module")
def busy(server: Trial) -> Trial:
    """A server that refuses what asks to be refused."""
    answer(moatmail("settings", "set", "policy.dmarc_failed", "reject", "--json", "--dir", str(server.folder)))
    return server


def send(server: Trial, sender: str, message: bytes) -> str:
    """Send a stranger's message to the second account; give the reply to its end, as text."""
    with smtplib.SMTP(*server.address("smtp"), "mail.friend.test", timeout=20) as client:
        client.ehlo()
        client.mail(sender)
        client.rcpt(server.account(1)[0])
        code, text = client.data(message)
        return f"{code} {text.decode()}"


def soon(work: Callable[[], Any]) -> Any:  # noqa: ANN401 - JSON
    """Do it until it succeeds: a decision is kept after the reply, and nobody waits for that."""
    until = time.monotonic() + SECONDS
    while True:
        try:
            return work()
        except AssertionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def refused(server: Trial) -> str:
    """Have a forged message refused; give the code of the refusal."""
    until = time.monotonic() + SECONDS
    while not (reply := send(server, "service@bank.test", FORGED)).startswith("550"):
        assert time.monotonic() < until, reply  # the setting is on its way to the role that listens
    found = re.search(r"\b([a-z2-7]{8})\)?$", reply)
    assert found, reply
    return found[1]


# ---------------------------------------------------------------- kept decisions


def test_a_refusal_is_explained_by_the_code_in_its_text(busy: Trial) -> None:
    folder, code = str(busy.folder), refused(busy)
    told = soon(lambda: answer(moatmail("explain", code, "--json", "--dir", folder)))
    assert (told["code"], told["door"], told["mail_from"]) == (code, "mx", "service@bank.test")
    assert told["reply"]["code"] == 550
    recipient = told["recipients"][0]
    assert (recipient["disposition"], recipient["reason"], recipient["ground"]) == ("reject", "dmarc.fail", "policy")
    assert recipient["settings"] == {"policy.dmarc_failed": "reject"}
    assert {"iprev", "spf", "dkim", "dmarc"} <= {one["name"].partition(".")[0] for one in told["findings"]}
    assert {"type": "TXT", "name": "_dmarc.bank.test", "answer": "v=DMARC1; p=reject"} in told["dns"]
    assert told["today"] == "the same"


@pytest.mark.parametrize("spoken", [str.upper, lambda code: f"{code[:4]}-{code[4:]}"], ids=["in capitals", "in two halves"])
def test_a_code_may_be_read_aloud(busy: Trial, spoken: Callable[[str], str]) -> None:
    code = refused(busy)
    assert soon(lambda: answer(moatmail("explain", spoken(code), "--json", "--dir", str(busy.folder))))["code"] == code


def test_an_accepted_message_is_explained_by_the_queue_id_of_its_reply(busy: Trial) -> None:
    queue_id = send(busy, "carol@friend.test", GOOD).rpartition(" ")[2]
    told = soon(lambda: answer(moatmail("explain", queue_id, "--json", "--dir", str(busy.folder))))
    assert (told["id"], told["reply"]["code"]) == (queue_id, 250)
    assert [(one["address"], one["disposition"], one["mailboxes"]) for one in told["recipients"]] == [(busy.account(1)[0], "accept", ["INBOX"])]


def test_what_a_person_reads_begins_with_the_reply_and_says_what_decided(busy: Trial) -> None:
    code = refused(busy)
    told = soon(lambda: done(moatmail("explain", code, "--dir", str(busy.folder))))
    lines = told.splitlines()
    assert lines[0].startswith("550 5.7.26 ")
    assert lines[1].startswith(f"  code {code}, queue id ")
    assert "    policy.dmarc_failed is reject: what the domain asks for is done" in lines
    assert any(line.startswith("    without dmarc.fail") for line in lines)


def done(told: Any) -> str:  # noqa: ANN401 - a finished process
    assert (told.returncode, told.stderr) == (0, "")
    return str(told.stdout)


def test_the_newest_decisions_are_listed(busy: Trial) -> None:
    code = refused(busy)
    rows = soon(lambda: listed(busy, code))
    assert rows[0]["code"] == code
    assert (rows[0]["from"], rows[0]["to"]) == ("service@bank.test", busy.account(1)[0])
    assert "reject" in rows[0]["verdict"]
    assert moatmail("decisions", "--count", "1", "--dir", str(busy.folder)).stdout.splitlines()[0].split()[:4] == ["time", "code", "from", "to"]


def listed(server: Trial, code: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = answer(moatmail("decisions", "--json", "--dir", str(server.folder)))
    assert code in {row["code"] for row in rows}
    return rows


def test_what_is_not_kept_is_one_line_and_1(busy: Trial) -> None:
    told = refusal(moatmail("explain", "aaaaaaaa", "--dir", str(busy.folder)), 1)
    assert told == "no decision with code aaaaaaaa is kept; `moatmail decisions` lists the newest, and those older than 30 days are gone"
    assert "queue id " + "0" * 32 in refusal(moatmail("explain", "0" * 32, "--dir", str(busy.folder)), 1)


def test_what_is_neither_is_one_line_and_2(busy: Trial) -> None:
    told = refusal(moatmail("explain", "nothing.eml", "--dir", str(busy.folder)), 2)
    assert told == "'nothing.eml' is no file here, no queue id (32 digits 0-9 a-f) and no code (8 letters a-z or digits 2-7)"


def test_a_decision_is_explained_after_the_server_ended_and_after_the_settings_changed(own_server: Trial) -> None:
    folder = str(own_server.folder)
    answer(moatmail("settings", "set", "policy.dmarc_failed", "reject", "--json", "--dir", folder))
    code = refused(own_server)
    soon(lambda: answer(moatmail("explain", code, "--json", "--dir", folder)))
    assert own_server.stop() == 0
    assert answer(moatmail("explain", code, "--json", "--dir", folder))["today"] == "the same"
    answer(moatmail("settings", "set", "policy.dmarc_failed", "mark", "--json", "--dir", folder))
    told = answer(moatmail("explain", code, "--json", "--dir", folder))
    assert told["today"].startswith("250 2.0.0 message accepted; ")
    assert told["recipients"][0]["settings"] == {"policy.dmarc_failed": "reject"}


# ---------------------------------------------------------------- files


@pytest.fixture
def forged(tmp_path: Path) -> str:
    """A forged message in a file, as a mail program saves it."""
    path = tmp_path / "forged.eml"
    path.write_bytes(FORGED.replace(b"\r\n", b"\n"))
    return str(path)


CAME = ["--ip", "192.0.2.66", "--helo", "localhost", "--mail-from", "service@bank.test"]


def test_a_file_is_judged_by_the_settings_and_the_names_of_the_server(busy: Trial, forged: str) -> None:
    folder = str(busy.folder)
    told = answer(moatmail("explain", forged, *CAME, "--rcpt", busy.account(1)[0], "--json", "--dir", folder))
    assert (told["reply"]["code"], told["id"], told["code"], told["unchecked"], told["door_replies"]) == (550, None, None, [], [])
    assert {"type": "TXT", "name": "bank.test", "answer": "v=spf1 -all"} in told["dns"]
    before = {row["code"] for row in answer(moatmail("decisions", "--json", "--dir", folder))}
    answer(moatmail("explain", forged, "--json", "--dir", folder))
    assert {row["code"] for row in answer(moatmail("decisions", "--json", "--dir", folder))} == before, "a file that is judged is not kept"


def test_a_recipient_that_is_not_here_is_told_as_at_rcpt(busy: Trial, forged: str) -> None:
    told = answer(moatmail("explain", forged, "--rcpt", "nobody@example.test", "--rcpt", "zoe@far.test", "--json", "--dir", str(busy.folder)))
    replies = {one["about"]: one["reply"] for one in told["door_replies"]}
    assert replies["nobody@example.test"].startswith("550 5.1.1 ")
    assert replies["zoe@far.test"].startswith("550 5.7.1 ")


def test_a_file_is_judged_without_a_server_too(tmp_path: Path, forged: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOATMAIL_DIR", raising=False)
    monkeypatch.setattr("moatmail.app.cli.explain._ALONE", Start(dns=DNS("trial")))
    told = answer(moatmail("explain", forged, *CAME, "--json"))
    assert (told["reply"]["code"], told["recipients"][0]["mailboxes"]) == (250, ["Junk"])
    assert "no server was found" in told["notes"][0]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["forged.eml"], "nothing is written"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{}", "--ip", "192.0.2"], "--ip 192.0.2: is no IP address; write it like 192.0.2.1 or 2001:db8::1"),
        (["{}", "--mail-from", "ann"], "'ann' is no mail address; write it as name@domain"),
        (["{}", "--rcpt", "@"], "'@' is no mail address; write it as name@domain"),
        (["missing.eml", "--ip", "192.0.2.1"], "missing.eml: cannot be read (No such file or directory)"),
        (["."], ".: cannot be read (Is a directory)"),
        (["{}", "--dir", "nowhere"], "nowhere/moatmail.toml: no such file; let --dir name a folder that holds moatmail.toml"),
    ],
    ids=["an address that is none", "a sender that is none", "a recipient that is none", "a file that is not there", "a folder", "a server that is not there"],
)
def test_what_was_typed_wrongly_is_one_line_and_2(tmp_path: Path, forged: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(moatmail("explain", *(one.format(forged) for one in arguments)), 2) == says


# ---------------------------------------------------------------- the demonstration


def test_the_three_messages_end_as_promised() -> None:
    told = answer(moatmail("demo", "verdicts", "--json"))
    assert told["as_promised"]
    ends = [(one["name"], one["recipients"][0]["disposition"], one["recipients"][0]["mailboxes"], one["recipients"][0]["reason"]) for one in told["messages"]]
    assert ends == [("good", "accept", ["INBOX"], None), ("forged", "reject", [], "dmarc.fail"), ("damaged", "quarantine", ["Junk"], "dmarc.fail")]
    found = [{finding["name"] for finding in one["findings"]} for one in told["messages"]]
    assert {"iprev.pass", "spf.pass", "dkim.pass", "dmarc.pass"} <= found[0]
    assert {"spf.fail", "dkim.none", "dmarc.fail"} <= found[1]
    assert {"spf.pass", "dkim.fail", "dmarc.fail"} <= found[2]


def test_a_promise_that_is_not_kept_is_told_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moatmail.app.demo_verdicts.SETTING", ("policy.dmarc_failed", "mark"))
    told = moatmail("demo", "verdicts")
    assert told.returncode == 1
    assert told.stdout.endswith("\nNOT AS PROMISED: forged, damaged\n")


def test_a_person_reads_of_each_message_how_it_ended_and_why() -> None:
    told = done(moatmail("demo", "verdicts"))
    assert [line.split()[1] for line in told.splitlines() if re.match(r"[123] ", line)] == ["good:", "forged:", "damaged:"]
    assert told.count("would be answered ") == 3
    assert told.endswith("All three ended as promised.\n")
    assert all(line.isprintable() for line in told.splitlines())
