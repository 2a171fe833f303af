# SPDX-License-Identifier: Apache-2.0
"""`moatmail try` before it serves: its folder, its settings, its passwords, and the one line for each thing that can be in the way."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from moatmail.app import trial
from moatmail.app.cli.main import CANNOT, run
from moatmail.app.picture import Trial
from moatmail.core.errors import ConfigError
from moatmail.core.settings.load import load_start
from moatmail.core.settings.start import Log
from moatmail.store.instance import InstanceLock
from tests.e2e.trial import free_base

TRIAL = Trial("x", {"mx": "127.0.0.1:2025", "submissions": "127.0.0.1:2465"}, (("alice@example.test", "abc"), ("bob@example.test", "def")))


@pytest.fixture(autouse=True)
def _this_process_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What serve() does to its own process is seen in test_supervisor, on a process of its own."""
    monkeypatch.setattr("moatmail.app.confine.guard_memory", lambda: None)


def test_the_ports_are_the_usual_ones_plus_the_base_on_loopback() -> None:
    listeners = trial.start_of(2000).listener
    assert {one.door: one.port for one in listeners} == {
        "mx": 2025,
        "submission": 2587,
        "submissions": 2465,
        "imap": 2143,
        "imaps": 2993,
        "pop3": 2110,
        "pop3s": 2995,
    }
    assert {one.address for one in listeners} == {"127.0.0.1"}


@pytest.mark.parametrize("base", [-1, 64_541, 70_000])
def test_a_base_without_ports_is_refused(base: int, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["try", "--dir", str(tmp_path / "t"), "--base-port", str(base)]) == CANNOT
    assert capsys.readouterr().err == f"moatmail: --base-port {base}: must be from 0 to 64540, for the usual ports are added to it\n"


def test_serve_with_the_written_file_starts_the_very_same(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    start = trial._write_config(tmp_path, 3000, quiet=False)
    assert load_start(tmp_path / "moatmail.toml") == start
    assert start.folders.data == tmp_path / "mail"
    assert start.keys.master == tmp_path / "keys" / "master.key"


def test_silence_is_of_this_run_and_not_of_the_file(tmp_path: Path) -> None:
    start = trial._write_config(tmp_path, 3000, quiet=True)
    assert (start.log, load_start(tmp_path / "moatmail.toml").log) == (Log("none"), Log("text"))


def test_the_facts_are_for_their_owner_and_say_all_a_case_runner_needs(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    trial._write_facts(tmp_path, TRIAL)
    file = tmp_path / "try.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_bytes()) == {
        "smtp": "127.0.0.1:2025",
        "submissions": "127.0.0.1:2465",
        "ca": str(tmp_path / "ca.pem"),
        "name": "localhost",
        "sender": "carol@friend.test",
        "helo": "mail.friend.test",
        "accounts": [{"address": "alice@example.test", "password": "abc"}, {"address": "bob@example.test", "password": "def"}],
    }


def test_the_next_run_knows_the_passwords_and_hides_the_facts_until_it_listens(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    trial._write_facts(tmp_path, TRIAL)
    known = trial._passwords(tmp_path)
    assert known == dict(TRIAL.accounts)
    assert not (tmp_path / "try.json").exists()
    assert trial._passwords(tmp_path) == known  # a run that ended before it listened loses nothing
    trial._write_facts(tmp_path, TRIAL)
    assert [one.name for one in tmp_path.rglob("try.json")] == ["try.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"accounts": 3}', '{"accounts": [{"address": "a"}]}'])
def test_damaged_facts_mean_new_passwords(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "try.json").write_text(content)
    assert trial._passwords(tmp_path) == {}


# ---------------------------------------------------------------- one line each, status 2


def refused(folder: Path, capsys: pytest.CaptureFixture[str], base: int = 20_000) -> str:
    assert run(["try", "--dir", str(folder), "--base-port", str(base)]) == CANNOT
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err


def test_a_folder_in_use_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "keys").mkdir()
    trial._write_facts(tmp_path, TRIAL)
    (tmp_path / "moatmail.toml").write_text("# theirs\n")
    lock = InstanceLock(tmp_path / "mail")
    assert "in use by another Moatmail" in refused(tmp_path, capsys)
    lock.release()
    assert (tmp_path / "try.json").exists()
    assert (tmp_path / "moatmail.toml").read_text() == "# theirs\n"


def test_a_port_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = free_base()
    with socket.create_server(("127.0.0.1", base + 993)):
        line = refused(tmp_path / "t", capsys, base)
    assert line == f"moatmail: port 127.0.0.1:{base + 993} is in use by another program; stop it, or choose other ports\n"


def test_a_folder_that_holds_other_things_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    assert "holds other things than a trial" in refused(tmp_path, capsys)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_place_of_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot be used (File exists)" in refused(tmp_path / "file", capsys)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t").mkdir(mode=0o500)
    (tmp_path / "t" / "inner").parent.chmod(0o500)
    assert "moatmail: " in refused(tmp_path / "t" / "inner", capsys)


def test_a_folder_that_cannot_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be used" in refused(Path("/proc/moatmail-try"), capsys)


def test_the_master_key_lost_is_told_before_anything_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "mail.sqlite").write_bytes(b"x")
    assert "is missing; put it back" in refused(tmp_path, capsys, free_base())


def test_the_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    trial._claim(tmp_path / "t")
    assert {stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / "t", tmp_path / "t" / "keys")} == {0o700}


def test_two_mistakes_in_the_child_that_makes_the_store_ready_are_both_told() -> None:
    from moatmail.app.serve import in_child  # noqa: PLC0415

    def fail() -> None:
        raise ConfigError("a: bad", "b: bad")

    with pytest.raises(ConfigError) as caught:
        in_child(fail)
    assert caught.value.mistakes == ("a: bad", "b: bad")
