# SPDX-License-Identifier: Apache-2.0
"""The lock of maildrops: one session over all processes; it dies with its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moatmail.store.maildrop_lock import FILE, MaildropLock

OTHER = """
import sys
from pathlib import Path
from moatmail.store.maildrop_lock import MaildropLock
lock = MaildropLock(Path(sys.argv[1]))
print(lock.acquire(7), lock.acquire(8), lock.acquire(2**40), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[MaildropLock]:
    one = MaildropLock(tmp_path)
    yield one
    one.close()


def another(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def test_a_second_session_of_the_process_waits_its_turn(lock: MaildropLock) -> None:
    assert lock.acquire(7)
    assert not lock.acquire(7)
    assert lock.acquire(8)
    lock.release(7)
    assert lock.acquire(7)


def test_another_process_sees_what_is_held_and_holds_what_is_free(lock: MaildropLock, tmp_path: Path) -> None:
    assert lock.acquire(7)
    process = another(tmp_path)
    assert said(process) == ["False", "True", "True"]
    assert not lock.acquire(8)
    assert not lock.acquire(2**40)
    process.communicate("")
    assert lock.acquire(8)


def test_a_killed_process_lets_go(lock: MaildropLock, tmp_path: Path) -> None:
    process = another(tmp_path)
    assert said(process) == ["True", "True", "True"]
    assert not lock.acquire(7)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert lock.acquire(7)


def test_nothing_is_written_and_nobody_else_may_look(lock: MaildropLock, tmp_path: Path) -> None:
    lock.acquire(7)
    found = (tmp_path / FILE).stat()
    assert found.st_size == 0
    assert found.st_mode & 0o777 == 0o600


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        MaildropLock(tmp_path)
