# SPDX-License-Identifier: Apache-2.0
"""moatmail.toml: the example loads, paths count from the file, and every mistake is told at once with its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from moatmail.core.errors import ConfigError
from moatmail.core.settings.document import example, render
from moatmail.core.settings.load import load_start, parse_start
from moatmail.core.settings.start import DOORS, USUAL_PORTS, Listener, Start

HERE = Path("/srv/moatmail")


def mistakes_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_start(text, HERE)
    return caught.value.mistakes


def test_the_example_says_what_an_empty_file_means() -> None:
    assert parse_start(example(), HERE) == parse_start("", HERE)


def test_the_example_explains_every_key() -> None:
    lines = example().splitlines()
    table = ""
    for number, line in enumerate(lines):
        if line.startswith("["):
            table = line
        elif " = " in line and not line.startswith("#") and table != "[[listener]]":
            assert lines[number - 1].startswith("# "), line


def test_what_is_rendered_is_read_back() -> None:
    start = Start(listener=(Listener("mx", 2025, "127.0.0.1"), Listener("imaps", 2993, "::1")))
    assert parse_start(render(start, ["# trial"], helped=False), HERE).listener == start.listener


def test_every_door_has_a_usual_port() -> None:
    assert set(USUAL_PORTS) == set(DOORS)


def test_pop3_is_open_only_where_somebody_asked_for_it() -> None:
    assert {listener.door for listener in Start().listener} == set(DOORS) - {"pop3", "pop3s"}
    assert parse_start('[[listener]]\ndoor = "pop3s"\nport = 995', HERE).listener == (Listener("pop3s", 995),)


def test_relative_paths_count_from_the_files_folder() -> None:
    start = parse_start('[folders]\ndata = "m"\n[keys]\nmaster = "/etc/key"', HERE)
    assert (start.folders.data, start.folders.run, start.keys.master) == (HERE / "m", HERE / "run", Path("/etc/key"))


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        pytest.param("[folder]\n", "folder: unknown key; did you mean folders?", id="a misspelt table"),
        pytest.param("[xyz]\n", "xyz: unknown key; remove it", id="an unknown table"),
        pytest.param('[node]\nhostnam = "x"', "node.hostnam: unknown key; did you mean node.hostname?", id="a misspelt key"),
        pytest.param("[node]\nname = 3", "node.name: must be text of one line", id="a number for a text"),
        pytest.param('[node]\nname = "a\\nb"', "node.name: must be text of one line", id="a text of two lines"),
        pytest.param("[roles]\ncompact = 1", "roles.compact: must be true or false", id="a number for a truth value"),
        pytest.param("[roles]\nmx_workers = true", "roles.mx_workers: must be a whole number", id="a truth value for a number"),
        pytest.param("[roles]\nmx_workers = 0", "roles.mx_workers: must be from 1 to 64", id="a number out of range"),
        pytest.param("roles = 3", "roles: must be a table", id="a number for a table"),
        pytest.param("[listener]\n", "listener: must be repeated tables [[listener]]", id="a single table for a repeated one"),
        pytest.param("[[listener]]\nport = 25", "listener[0].door: missing", id="a required key left out"),
        pytest.param(
            '[[listener]]\ndoor = "pop"\nport = 1',
            "listener[0].door: must be one of mx, submission, submissions, imap, imaps, pop3, pop3s",
            id="an unknown door",
        ),
        pytest.param('[dns]\nsource = "servers"', 'dns.servers: must not be empty if dns.source is "servers"', id="servers without servers"),
        pytest.param('[dns]\nservers = ["x"]', "dns.servers: must be an IP address, such as 127.0.0.1 or ::1", id="a name for a resolver"),
        pytest.param("[smtp]\nmax_recipients = 100", "smtp: lives in the store; change it with `moatmail settings set`", id="a setting of the store"),
        pytest.param(
            '[keys]\nmaster = "mail/key"',
            "keys.master: must lie outside folders.data (else a copy of the data carries its key)",
            id="the key inside the data folder",
        ),
        pytest.param(
            '[[listener]]\ndoor="mx"\nport=25\naddress="127.0.0.1"\n[[listener]]\ndoor="imap"\nport=25\naddress="127.0.0.1"',
            "listener: imap 127.0.0.1:25 and mx share a port",
            id="two listeners on one port",
        ),
    ],
)
def test_a_mistake_is_told_with_its_path(text: str, mistake: str) -> None:
    assert mistake in mistakes_of(text)


def test_all_mistakes_are_told_at_once() -> None:
    assert len(mistakes_of("[roles]\nmx_workers = 0\ncompact = 1\n[nod]\n")) == 3


def test_what_is_not_toml_is_said_so() -> None:
    assert mistakes_of("a b")[0].startswith("not TOML")


def test_a_missing_file_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file or directory\); name another file"):
        load_start(tmp_path / "moatmail.toml")


def test_a_files_mistakes_carry_its_name(tmp_path: Path) -> None:
    file = tmp_path / "moatmail.toml"
    file.write_text("[roles]\nmx_workers = 0\n")
    with pytest.raises(ConfigError, match=f"^{file}: roles.mx_workers"):
        load_start(file)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "moatmail.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_start(file)
