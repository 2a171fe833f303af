# SPDX-License-Identifier: Apache-2.0
"""The command line: one line for every failure, an exit status that says which kind, an example behind every --help."""

from __future__ import annotations

import io
import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from moatmail.app.cli import frame
from moatmail.app.cli.main import CANNOT, DONE, REFUSED, root, run
from moatmail.core.errors import ConfigError, NotFoundError, StoreUnavailableError


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None, name
        yield from leaves(found, (*path, name))


LEAVES = list(leaves(root))


def test_the_promised_commands_are_there() -> None:
    kinds = {(kind, verb) for kind in ("domain", "account", "alias") for verb in ("add", "list", "show", "remove")}
    others = {
        ("domain", "catch-all"),
        ("domain", "dns"),
        *(("dkim", verb) for verb in ("list", "new", "use", "retire", "remove")),
        ("account", "password"),
        ("settings", "show"),
        ("settings", "set"),
        ("demo", "crash"),
        ("demo", "verdicts"),
        ("report", "list"),
        ("report", "show"),
        ("explain",),
        ("decisions",),
        ("try",),
        ("serve",),
        ("check-config",),
    }
    assert set(LEAVES) == kinds | others


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_help_has_an_example_of_the_command_itself(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == DONE
    text = capsys.readouterr().out
    assert f"moatmail {' '.join(path)}" in text.partition("Example:")[2]


@pytest.mark.parametrize("path", [one for one in LEAVES if one not in {("try",), ("serve",)}], ids=" ".join)
def test_every_answering_command_can_answer_in_json(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    run([*path, "--help"])
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        pytest.param(["tyr"], "moatmail: no such command 'tyr'; see `moatmail --help`", id="an unknown command"),
        pytest.param(
            ["try", "--bse-port", "1"], "moatmail: no such option '--bse-port'; did you mean '--base-port'; see `moatmail try --help`", id="an unknown option"
        ),
        pytest.param(["domain", "add"], "moatmail: missing argument 'NAME'; see `moatmail domain add --help`", id="a missing argument"),
        pytest.param(["account", "add", "a@b", "--quota", "x"], "moatmail: invalid value for '--quota'", id="a word for a number"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == CANNOT
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(line)
    assert told.err.count("\n") == 1


def test_a_group_without_command_shows_its_help_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["domain"]) == CANNOT
    assert "moatmail domain list" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        pytest.param(ConfigError("a: bad", "b: bad"), CANNOT, "moatmail: a: bad\nmoatmail: b: bad\n", id="mistakes, a line each"),
        pytest.param(
            NotFoundError("secret detail", public="no account x here"), REFUSED, "moatmail: no account x here\n", id="a refusal without its inner detail"
        ),
        pytest.param(StoreUnavailableError("x"), REFUSED, "moatmail: service temporarily unavailable, please try again\n", id="a trouble that may pass"),
        pytest.param(KeyboardInterrupt(), REFUSED, "moatmail: stopped\n", id="Ctrl-C"),
    ],
)
def test_a_failure_ends_in_its_line_and_status(
    error: BaseException, status: int, lines: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(folder: str | None, work: object) -> None:
        raise error

    monkeypatch.setattr("moatmail.app.cli.domain.at_desk", fail)
    assert run(["domain", "list"]) == status
    assert capsys.readouterr().err.lstrip() == lines


# ---------------------------------------------------------------- where the server is


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(frame.DIR_VARIABLE, raising=False)
    return tmp_path


def config_in(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "moatmail.toml").write_text("")
    return folder / "moatmail.toml"


def test_the_server_is_sought_in_the_promised_order(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = config_in(nowhere / "moatmail-try")
    assert frame.find_config(None).absolute() == trial
    here = config_in(nowhere)
    assert frame.find_config(None).absolute() == here
    named = config_in(nowhere / "named")
    monkeypatch.setenv("MOATMAIL_DIR", "named")
    assert frame.find_config(None).absolute() == named
    given = config_in(nowhere / "given")
    assert frame.find_config("given").absolute() == given


def test_no_server_anywhere_is_one_line_with_a_remedy(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["account", "list"]) == CANNOT
    assert (
        capsys.readouterr().err == "moatmail: no server found: neither ./moatmail.toml nor ./moatmail-try; give --dir DIR, or start one with `moatmail try`\n"
    )


def test_a_named_folder_without_settings_is_one_line(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["account", "list", "--dir", "x"]) == CANNOT
    assert capsys.readouterr().err == "moatmail: x/moatmail.toml: no such file; let --dir name a folder that holds moatmail.toml\n"


def test_a_named_folder_that_may_not_be_looked_into_is_left_to_who_reads_the_file(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refuse)
        found = frame.find_config("x")
    assert found == Path("x/moatmail.toml")


def test_settings_that_somebody_else_put_into_the_current_folder_are_not_followed(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config_in(nowhere)
    monkeypatch.setattr(os, "geteuid", lambda: nowhere.stat().st_uid + 4242)
    monkeypatch.setattr(frame, "_ROOT", -1)
    assert run(["account", "list"]) == CANNOT
    assert capsys.readouterr().err == "moatmail: ./moatmail.toml belongs to another user; if it is the one you mean, say so with --dir DIR\n"
    assert frame.find_config(".") == Path("moatmail.toml")


def test_the_record_names_the_user_whom_the_system_knows_not_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert frame.actor() == f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999)
    assert frame.actor() == "cli:3999999"


def test_a_removal_that_nobody_confirms_says_how(nowhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(["account", "remove", "a@example.org"]) == REFUSED
    assert capsys.readouterr().err.splitlines()[-1] == "moatmail: nothing removed; answer y, or give --yes"


def test_check_config_tells_every_mistake(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (nowhere / "m.toml").write_text("[roles]\nmx_workers = 0\ncompact = 1\n")
    assert run(["check-config", "--config", "m.toml"]) == CANNOT
    assert capsys.readouterr().err.splitlines() == [
        "moatmail: m.toml: roles.mx_workers: must be from 1 to 64",
        "moatmail: m.toml: roles.compact: must be true or false",
    ]


def test_check_config_says_what_will_listen(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config_in(nowhere)
    assert run(["check-config"]) == DONE
    assert capsys.readouterr().out == "good: mx [::]:25, submission [::]:587, submissions [::]:465, imap [::]:143, imaps [::]:993\n"
    assert run(["check-config", "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["listeners"][0] == "mx [::]:25"


# ---------------------------------------------------------------- answers


def test_rows_are_a_table_for_eyes_and_an_array_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, object]] = [{"address": "ann@example.org", "quota": None}, {"address": "b@example.org", "quota": 5}]
    frame.print_rows(rows, as_json=False)
    assert capsys.readouterr().out == "address          quota\nann@example.org  -\nb@example.org    5\n"
    frame.print_rows(rows, as_json=True)
    assert json.loads(capsys.readouterr().out) == rows


def test_nothing_is_said_so_for_eyes_and_an_empty_array_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    frame.print_rows([], as_json=False, empty="no domains")
    frame.print_rows([], as_json=True)
    assert capsys.readouterr().out == "no domains\n[]\n"


def test_a_password_never_comes_from_the_command_line(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["account", "add", "a@example.org", "secret"]) == CANNOT
    assert run(["account", "add", "a@example.org", "--generate", "--password-stdin"]) == CANNOT
    assert "exclude each other" in capsys.readouterr().err
