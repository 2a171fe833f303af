# SPDX-License-Identifier: Apache-2.0
"""What a process gives up; each test is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


MEASURE = """
import re
from pathlib import Path
from moatmail.app import confine
from moatmail.crypto.password import hash_password
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
{first}
for _ in range(3):
    hash_password("correct horse battery staple")
print(resident())
"""


@pytest.mark.skipif("glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="other C libraries give memory back by themselves")
def test_the_memory_of_a_password_hash_goes_back_to_the_system() -> None:
    kept = int(run(MEASURE.format(first="")))
    saved = int(run(MEASURE.format(first="confine.save_memory()")))
    assert kept - saved > 15 * 1024


def test_descriptors_of_others_are_closed() -> None:
    program = (
        "import os; from moatmail.app import confine; a, b = os.pipe(); os.set_inheritable(a, True); confine.close_foreign({b});"
        "print([fd for fd in range(64) if os.path.exists(f'/proc/self/fd/{fd}')] == [0, 1, 2, b])"
    )
    assert run(program) == "True"


def test_a_process_whose_parent_is_gone_already_ends_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from moatmail.app import confine; confine.die_with(1 << 22); print('alive')"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")


def test_a_process_has_a_name_that_a_person_can_read() -> None:
    assert run("from moatmail.app import confine; confine.name_process('moat:mx+access-12345'); print(open('/proc/self/comm').read())") == "moat:mx+access-"


def test_closed_standard_descriptors_are_filled_so_that_nothing_else_gets_their_numbers() -> None:
    program = (
        "import os; from moatmail.app import confine; os.close(0); os.close(2); confine.fill_standard_descriptors(); print(os.open('/dev/null', os.O_RDONLY))"
    )
    assert int(run(program)) > 2
