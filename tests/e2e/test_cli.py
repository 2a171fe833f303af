# SPDX-License-Identifier: Apache-2.0
"""Every command of `moatmail`: help with an example, answers in JSON, exit statuses, the same with a server or without; what stands in the way of a trial."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from moatmail.app.access import open_desk
from moatmail.app.cli.main import root, run
from moatmail.core.settings.load import load_start
from moatmail.store.operations import AddDomain
from tests.e2e.trial import Trial, free_base


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give the path of every command, groups included."""
    yield path
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            inner = group.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


ALL = [" ".join(path) for path in commands(root)]


def moatmail(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in this process; what it prints and its exit status are those of the program."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        patch.setattr("moatmail.app.confine.guard_memory", lambda: None)
        status = run(arguments)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def program(*arguments: str, folder: Path | None = None, user: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own."""
    command = [sys.executable, "-m", "moatmail.app.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder, check=False, user=user, group=user)


# ---------------------------------------------------------------- help


def test_the_commands_are_those_that_were_promised() -> None:
    promised = {f"{group} {verb}" for group in ("domain", "account", "alias") for verb in ("add", "list", "show", "remove")}
    promised |= {"domain dns", "dkim list", "dkim new", "dkim use", "dkim retire", "dkim remove"}
    promised |= {"account password", "settings show", "settings set", "check-config", "try", "serve", "demo crash"}
    assert promised <= set(ALL)


@pytest.mark.parametrize("command", ALL)
def test_every_command_has_help_with_an_example(command: str) -> None:
    told = moatmail(*command.split(), "--help")
    assert (told.returncode, told.stderr) == (0, "")
    _, found, example = told.stdout.partition("\n  Example:\n")
    assert found, told.stdout
    lines = example.strip().splitlines()
    assert lines
    assert all(line.strip().startswith("moatmail " + command) for line in lines), example
    assert moatmail(*command.split(), "-h").stdout == told.stdout


@pytest.mark.parametrize(
    "command", [one for one in ALL if one.split()[:1] not in ([], ["try"], ["serve"], ["demo"]) and (len(one.split()) > 1 or one == "check-config")]
)
def test_every_command_that_answers_can_answer_in_json(command: str) -> None:
    assert "--json" in moatmail(*command.split(), "--help").stdout


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["domain", "nonsense"], ["--nonsense"], ["domain", "add"], ["account", "list", "--nonsense"], ["serve", "--config"]]
)
def test_a_command_line_that_means_nothing_is_one_line_and_2(arguments: list[str]) -> None:
    told = moatmail(*arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("moatmail: ")
    assert told.stderr.endswith(" --help`\n")
    assert told.stderr.count("\n") == 1


# ---------------------------------------------------------------- the same with the server running or not


@pytest.fixture(params=["running", "not running"])
def folder(request: pytest.FixtureRequest, own_server: Trial) -> str:
    """A trial's folder, with its server running or ended."""
    if request.param == "not running":
        assert own_server.stop() == 0
    return str(own_server.folder)


def answer(told: subprocess.CompletedProcess[str]) -> Any:  # noqa: ANN401 - JSON
    assert (told.returncode, told.stderr) == (0, ""), told
    return json.loads(told.stdout)


def refusal(told: subprocess.CompletedProcess[str], status: int) -> str:
    assert (told.returncode, told.stdout) == (status, ""), told
    assert told.stderr.startswith("moatmail: ")
    assert told.stderr.count("\n") == 1, told.stderr
    return told.stderr.removeprefix("moatmail: ").rstrip("\n")


def test_a_domain_from_its_first_to_its_last_day(folder: str) -> None:
    def do(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return moatmail(*arguments, "--dir", folder, stdin=stdin)

    assert answer(do("domain", "add", "Bücher.Test", "--json"))["added"] == "xn--bcher-kva.test"
    assert refusal(do("domain", "add", "bücher.test"), 1) == "the domain xn--bcher-kva.test exists already"
    shown = {"domain": "xn--bcher-kva.test", "accounts": 0, "aliases": 0, "catch_all": None}
    assert answer(do("domain", "show", "bücher.test", "--json")) == shown
    assert [row["domain"] for row in answer(do("domain", "list", "--json"))] == ["example.test", "xn--bcher-kva.test"]

    made = answer(do("account", "add", "ann@bücher.test", "--generate", "--quota", "1000000", "--json"))
    assert made["added"] == "ann@xn--bcher-kva.test"
    assert len(made["password"]) > 20
    assert answer(do("account", "show", "ANN@bücher.test", "--json")) == {
        "address": "ann@xn--bcher-kva.test",
        "status": "active",
        "used": 0,
        "quota": 1_000_000,
    }
    assert refusal(do("account", "add", "ann@bücher.test", "--generate"), 1) == "the address ann@xn--bcher-kva.test exists already"
    assert refusal(do("account", "add", "ann@nowhere.test", "--generate"), 1) == "there is no domain nowhere.test here"
    assert refusal(do("account", "add", "ann+x@bücher.test", "--generate"), 2).startswith("'ann+x@bücher.test' has a '+'")
    assert refusal(do("account", "add", "ann"), 2) == "no terminal to ask for a password; use --generate, or --password-stdin"
    assert refusal(do("account", "add", "ann", "--generate"), 2) == "'ann' is no mail address; write it as name@domain"
    bell = do("account", "password", "ann@bücher.test", "--password-stdin", stdin="ring the \a bell\n")
    assert refusal(bell, 1) == "the password holds a control or unassigned character"
    assert answer(do("account", "password", "ann@bücher.test", "--password-stdin", "--json", stdin="a long enough password\n")) == {
        "changed": "ann@bücher.test"
    }

    assert answer(do("alias", "add", "team@bücher.test", "ann@bücher.test", "bob@example.test", "--json"))["added"] == "team@xn--bcher-kva.test"
    assert answer(do("alias", "show", "team@bücher.test", "--json")) == {
        "alias": "team@xn--bcher-kva.test",
        "targets": ["ann@xn--bcher-kva.test", "bob@example.test"],
    }
    assert len(answer(do("alias", "list", "--domain", "bücher.test", "--json"))) == 1
    assert refusal(do("domain", "remove", "bücher.test"), 1) == "the domain xn--bcher-kva.test still has accounts or aliases; remove them first"

    assert answer(do("alias", "remove", "team@bücher.test", "--json")) == {"removed": "team@bücher.test"}
    assert refusal(do("alias", "remove", "team@bücher.test"), 1) == "there is no alias team@xn--bcher-kva.test here"
    assert do("account", "remove", "ann@bücher.test").returncode == 1, "nobody said yes"
    assert answer(do("account", "remove", "ann@bücher.test", "--yes", "--json")) == {"removed": "ann@bücher.test"}
    assert refusal(do("account", "remove", "ann@bücher.test", "--yes"), 1) == "there is no account ann@xn--bcher-kva.test here"
    assert answer(do("domain", "remove", "bücher.test", "--json")) == {"removed": "bücher.test"}
    assert refusal(do("domain", "show", "bücher.test"), 1) == "no domain xn--bcher-kva.test here; `moatmail domain list` shows what there is"


def test_signing_keys_from_their_first_to_their_last_day(folder: str) -> None:
    def do(*arguments: str) -> subprocess.CompletedProcess[str]:
        return moatmail(*arguments, "--dir", folder)

    first = answer(do("dkim", "list", "example.test", "--json"))
    assert [(row["algorithm"], row["state"], row["next"]) for row in first] == [("ed25519-sha256", "active", "new"), ("rsa-sha256", "active", "new")]
    old = [row["selector"] for row in first]

    added = do("domain", "add", "new.test")
    assert (added.returncode, added.stderr) == (0, "")
    head, *zone = added.stdout.splitlines()
    assert head == "added new.test"
    assert zone[0].startswith("; its DNS needs these records; `moatmail domain dns new.test` prints them again")
    assert zone[1:] == do("domain", "dns", "new.test").stdout.splitlines()
    records = answer(do("domain", "dns", "new.test", "--json"))
    assert records["domain"] == "new.test"
    assert [one["purpose"] for one in records["dns"]] == ["mx", "spf", "dkim", "dkim", "dmarc"]
    assert [line for line in zone if not line.startswith(";")] == [one["line"] for one in records["dns"]]

    made = answer(do("dkim", "new", "example.test", "--json"))
    assert len(made["made"]) == 2
    assert [one["name"] for one in made["dns"]] == [f"{selector}._domainkey.example.test" for selector in made["made"]]
    assert all(one["value"].startswith("v=DKIM1; k=") for one in made["dns"])
    assert made["next"] == [{"command": "moatmail dkim use example.test", "from": None}]
    used = answer(do("dkim", "use", "example.test", "--json"))
    assert used["in_use"] == made["made"]
    (then,) = used["next"]
    assert then["command"] == "moatmail dkim retire example.test"
    assert then["from"].endswith("Z")
    early = refusal(do("dkim", "retire", "example.test"), 1)
    assert early.startswith("too early to retire ")
    assert early.endswith(" or now with --now if it is no longer safe")
    retired = do("dkim", "retire", "example.test", "--now")
    assert retired.stdout.startswith("retired: ")
    assert "\nleave in the DNS:\n  " in retired.stdout
    assert all(selector in retired.stdout for selector in old)
    notes = {one["name"].partition(".")[0]: one["note"] for one in answer(do("domain", "dns", "example.test", "--json"))["dns"]}
    assert all(notes[selector].startswith("retired: leave it until ") for selector in old)
    assert all(notes[selector] == "in use" for selector in made["made"])
    gone = answer(do("dkim", "remove", "example.test", "--now", "--json"))
    assert gone["removed"] == old
    assert gone["next"] == []
    assert [row["selector"] for row in answer(do("dkim", "list", "example.test", "--json"))] == sorted(made["made"])
    last = next(selector for selector in made["made"] if selector.startswith("rsa"))
    assert refusal(do("dkim", "retire", "example.test", last, "--now"), 1).startswith(
        f"{last} is the last RSA key in use of example.test; make and use another"
    )
    assert refusal(do("dkim", "use", "example.test", "nonsense"), 1).startswith("example.test has no key nonsense; its keys: ")
    assert refusal(do("domain", "dns", "nowhere.test"), 1) == "no domain nowhere.test here; `moatmail domain list` shows what there is"
    assert answer(do("domain", "remove", "new.test", "--json")) == {"removed": "new.test"}
    assert {row["domain"] for row in answer(do("dkim", "list", "--json"))} == {"example.test"}


def test_a_domain_of_an_older_server_gets_its_keys_at_the_next_start(own_server: Trial) -> None:
    own_server.stop()
    add_as_before(own_server.folder, "older.test")
    assert answer(moatmail("dkim", "list", "older.test", "--dir", str(own_server.folder), "--json")) == []
    own_server.start()
    rows = answer(moatmail("dkim", "list", "older.test", "--dir", str(own_server.folder), "--json"))
    assert [(row["algorithm"], row["state"]) for row in rows] == [("ed25519-sha256", "active"), ("rsa-sha256", "active")]
    assert any("signing keys made for older.test;" in line for line in own_server.log)


def add_as_before(folder: Path, domain: str) -> None:
    """Add a domain as versions without signing keys did."""

    async def add() -> None:
        async with open_desk(load_start(folder / "moatmail.toml"), "test") as desk:
            await desk.apply(AddDomain(domain))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moatmail.app.confine.guard_memory", lambda: None)
        asyncio.run(add())


def test_settings_are_shown_changed_refused_and_given_back(folder: str) -> None:
    def do(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return moatmail("settings", *arguments, "--dir", folder, stdin=stdin)

    rows = answer(do("show", "--json"))
    assert len(rows) > 20
    assert all(set(row) == {"key", "value", "unit", "default"} for row in rows)
    assert all(row["default"] is True for row in rows)
    assert answer(do("set", "delivery.retry_minutes", "1, 2.5", "--json"))["key"] == "delivery.retry_minutes"
    shown = answer(do("show", "delivery.retry_minutes", "--json"))
    assert (shown["value"], shown["default"]) == ([1.0, 2.5], False)
    assert shown["about"]
    assert do("set", "delivery.smart_host_password", "--stdin", stdin="hunter2 hunter2\n").stdout == "delivery.smart_host_password is now a new value\n"
    assert "hunter2" not in do("show").stdout + do("show", "delivery.smart_host_password").stdout + do("show", "--json").stdout
    assert refusal(do("set", "delivery.retry_minutes", "x"), 2).startswith("delivery.retry_minutes")
    assert refusal(do("set", "nonsense.key", "1"), 2) == "nonsense.key: unknown key; `moatmail settings show` lists all"
    assert refusal(do("set", "smtp.max_errors", "0"), 2) == "smtp.max_errors: must be from 1 to 1000"
    assert refusal(do("set", "smtp.max_errors", "5", "--default"), 2).startswith("give a VALUE, --stdin or --default")
    assert do("set", "delivery.retry_minutes", "--default").stdout == "delivery.retry_minutes is now its default\n"
    assert answer(do("show", "delivery.retry_minutes", "--json"))["default"] is True


# ---------------------------------------------------------------- check-config and serve


def test_check_config_tells_every_mistake_at_once(own_server: Trial, tmp_path: Path) -> None:
    good = own_server.folder / "moatmail.toml"
    assert answer(moatmail("check-config", "--config", str(good), "--json"))["good"] is True
    added = good.read_text().count("[[listener]]")
    bad = tmp_path / "bad.toml"
    bad.write_text(good.read_text().replace('hostname = "localhost"', 'hostname = "-"\nnonsense = 1') + '\n[[listener]]\ndoor = "pop9"\nport = 99999\n')
    for arguments in (["check-config", "--config", str(bad)], ["serve", "--config", str(bad)]):
        told = moatmail(*arguments)
        assert told.returncode == 2
        lines = told.stderr.splitlines()
        assert len(lines) >= 4, lines
        assert all(line.startswith("moatmail: ") for line in lines)
        for word in ("node.hostname", "nonsense", f"listener[{added}].door", f"listener[{added}].port"):
            assert any(word in line for line in lines), (word, lines)


def test_without_a_server_anywhere_the_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOATMAIL_DIR", raising=False)
    assert refusal(moatmail("account", "list"), 2).endswith("give --dir DIR, or start one with `moatmail try`")
    assert refusal(moatmail("serve"), 2).endswith("give --config FILE, or start one with `moatmail try`")
    assert "let --dir name a folder" in refusal(moatmail("account", "list", "--dir", "nope"), 2)


# ---------------------------------------------------------------- what stands in the way of a trial


def file_in_the_way(place: Path) -> Path:
    (place / "try").write_text("mine")
    return place / "try"


def below_a_file(place: Path) -> Path:
    return file_in_the_way(place) / "try"


def holds_other_things(place: Path) -> Path:
    (place / "my letters").mkdir()
    return place


def of_another_user(place: Path) -> Path:
    os.chown(place, 1, 1)
    return place


def link_to_a_file(place: Path) -> Path:
    (place / "target").write_text("mine")
    (place / "try").symlink_to(place / "target")
    return place / "try"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (file_in_the_way, "cannot be used (File exists)"),
        (below_a_file, "cannot be used (Not a directory)"),
        (holds_other_things, "holds other things than a trial"),
        pytest.param(of_another_user, "belongs to another user", marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to give a folder away")),
        (link_to_a_file, "cannot be used (File exists)"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line_and_2(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    place = make(tmp_path)
    before = sorted(str(one) for one in tmp_path.rglob("*"))
    told = program("try", "--dir", str(place), "--base-port", str(free_base()))
    assert refusal(told, 2).startswith(f"{place}: {words}")
    assert sorted(str(one) for one in tmp_path.rglob("*")) == before, "it left something behind"


@pytest.mark.parametrize("base", ["64543", "-1", "70000"])
def test_ports_that_do_not_exist_are_one_line_and_2(tmp_path: Path, base: str) -> None:
    assert refusal(program("try", "--dir", str(tmp_path / "x"), "--base-port", base), 2).startswith(f"--base-port {base}: must be from 0 to ")


@pytest.mark.parametrize("offset", [25, 587, 465, 143, 993])
def test_a_port_in_use_is_named_whichever_it_is(tmp_path: Path, offset: int) -> None:
    base = free_base()
    with socket.create_server(("127.0.0.1", base + offset)):
        told = program("try", "--dir", str(tmp_path / "x"), "--base-port", str(base))
    assert refusal(told, 2) == f"port 127.0.0.1:{base + offset} is in use by another program; stop it, or choose other ports"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to be another user")
@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
def test_a_folder_that_may_not_be_written_is_one_line_and_2(tmp_path: Path) -> None:
    """Root may write everywhere, so it gives that right up first; the interpreter may lie where only root may read."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", sys.executable, "-m", "moatmail.app.cli", "try"]
    told = subprocess.run([*command, "--dir", str(closed / "x"), "--base-port", str(free_base())], capture_output=True, text=True, timeout=60, check=False)
    assert refusal(told, 2) == f"{closed / 'x'}: cannot be used (Permission denied); use another folder"
