# SPDX-License-Identifier: Apache-2.0
"""The two commands of a stranger: a fresh clone and `make run`; or the wheel alone. What is printed is played as it stands.

Needs the package registry, as making the environment of these tests did.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from moatmail.app.picture import WORDS
from tests.e2e.trial import free_base

ROOT = Path(__file__).parents[2]
COLD_SECONDS = 90.0
WARM_SECONDS = 5.0

pytestmark = [
    pytest.mark.timeout(280),
    pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="needs git and a repository to clone"),
    pytest.mark.skipif(not shutil.which("make") or not shutil.which("curl"), reason="needs make and curl"),
]


def environment() -> dict[str, str]:
    """Give the environment of a stranger's shell: nothing of these tests' own, HOME as it is."""
    mine = {"PYTHONPATH", "VIRTUAL_ENV", "PYTHON", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MOATMAIL_DIR", "PYTEST_CURRENT_TEST"}
    kept = {name: value for name, value in os.environ.items() if name not in mine}
    own = str(Path(sys.executable).parent)
    return kept | {"PATH": os.pathsep.join(one for one in kept["PATH"].split(os.pathsep) if one != own)}


@dataclass
class Shell:
    """A command in the foreground of a terminal: what it prints, and Ctrl-C."""

    command: list[str]
    folder: Path
    log: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    seconds: float = 0.0

    def start(self, until: str, patience: float) -> Shell:
        """Run until it printed `until`."""
        begun = time.monotonic()
        self.process = subprocess.Popen(
            self.command, cwd=self.folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        while until not in "".join(self.log):
            assert self.process.poll() is None, "".join(self.log)
            assert time.monotonic() - begun < patience, "".join(self.log)
            time.sleep(0.01)
        self.seconds = time.monotonic() - begun
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.log.extend(process.stdout)

    def interrupt(self) -> int:
        """Press Ctrl-C: every process of the foreground gets SIGINT; gives the exit status."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def printed(self, begin: str) -> str:
        """Give a command of the picture as a person copies it; the note behind the arrow is none of it."""
        found = re.search(rf"^  {re.escape(begin)} +(.*?)(?:   → .*)?$", "".join(self.log), re.MULTILINE)
        assert found, "".join(self.log)
        return found[1]


def play(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", line], cwd=folder, env=environment(), capture_output=True, text=True, timeout=200, check=False)


LAST_LINE = "  5 why?"


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    """A fresh clone, in a folder that is nobody's default."""
    folder = Path(tempfile.mkdtemp(prefix="moatmail clone "))  # with a blank in its name
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "moatmail")], check=True, capture_output=True, timeout=60)
    yield folder / "moatmail"
    shutil.rmtree(folder, ignore_errors=True)


def test_a_fresh_clone_and_two_commands(clone: Path, record_property: Callable[[str, object], None]) -> None:
    make = ["make", "run", f"ARGS=--base-port {free_base()}"]
    cold = Shell(make, clone)
    try:
        cold.start(LAST_LINE, COLD_SECONDS)
        record_property("cold_seconds", cold.seconds)
        facts: dict[str, Any] = json.loads((clone / "moatmail-try" / "try.json").read_text())
        told = play(cold.printed("1 send"), clone)
        assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
        told = play(cold.printed("2 read"), clone)
        assert (told.returncode, told.stderr) == (0, "")
        assert f"\n{WORDS}\n" in told.stdout.replace("\r\n", "\n")
        told = play(cold.printed("3 sealed?"), clone)
        assert (told.returncode, told.stdout, told.stderr) == (1, "", "")
        told = play(cold.printed("4 durable?"), clone)
        assert told.returncode == 0, told.stdout + told.stderr
        assert re.search(r"lost:? 0\b|0 (?:were )?lost", told.stdout), told.stdout
        told = play(cold.printed("5 why?"), clone)
        assert (told.returncode, told.stderr) == (0, "")
        assert told.stdout.endswith("All three ended as promised.\n")
        told = play("curl -sS --max-time 2 telnet://" + facts["smtp"] + " </dev/null", clone)
        assert told.stdout.startswith("220 "), told
        cold.interrupt()
    finally:
        cold.end()
    assert "Traceback" not in "".join(cold.log), cold.log

    warm = Shell(make, clone)
    try:
        warm.start(LAST_LINE, 60)
        record_property("warm_seconds", warm.seconds)
        again = json.loads((clone / "moatmail-try" / "try.json").read_text())
        assert again == facts, "the same command has other passwords"
        told = play(warm.printed("2 read"), clone)
        assert f"\n{WORDS}\n" in told.stdout.replace("\r\n", "\n"), told
        warm.interrupt()
    finally:
        warm.end()
    print(f"clone to first mail: cold {cold.seconds:.1f} s, warm {warm.seconds:.1f} s")  # noqa: T201
    assert warm.seconds <= WARM_SECONDS
    told = play("git status --porcelain", clone)
    assert told.stdout == "", "a trial leaves the clone as it was"


def test_the_wheel_alone_is_a_server(clone: Path) -> None:
    """Runs after the clone's environment was made: its locked build tools make the wheel."""
    made = play(".venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --disable-pip-version-check -w dist . && ls dist", clone)
    assert made.returncode == 0, made
    elsewhere = clone.parent / "elsewhere"
    elsewhere.mkdir()
    told = play(f"python3 -m venv new && new/bin/pip install --quiet --disable-pip-version-check '{clone}'/dist/*.whl && new/bin/moatmail --version", elsewhere)
    assert told.returncode == 0, told
    assert re.fullmatch(r"moatmail \d+\.\d+\.\d+\n", told.stdout)
    trial = Shell([str(elsewhere / "new/bin/moatmail"), "try", "--base-port", str(free_base())], elsewhere)
    try:
        trial.start(LAST_LINE, 60)
        assert play(trial.printed("1 send"), elsewhere).returncode == 0
        assert WORDS in play(trial.printed("2 read"), elsewhere).stdout
        assert trial.interrupt() == 0
    finally:
        trial.end()
    assert "Traceback" not in "".join(trial.log), trial.log
