# SPDX-License-Identifier: Apache-2.0
"""The table pid → role: what a peer's pid tells, and that a role cannot write it."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys

import pytest

from moatmail.app.roster import CLI, NOBODY, Roster, RosterView


@pytest.fixture
def roster() -> Roster:
    return Roster()


def view(roster: Roster, supervisor: int = 0) -> RosterView:
    return RosterView(os.dup(roster.reader_fd), supervisor)


def test_an_entered_pid_has_its_role_until_it_is_removed(roster: Roster) -> None:
    seen = view(roster)
    roster.enter(3, 4242, "access")
    assert seen.role_of(4242) == "access"
    roster.remove(3)
    assert seen.role_of(4242) != "access"


def test_a_stranger_of_the_same_user_is_the_command_line(roster: Roster) -> None:
    assert view(roster).role_of(os.getpid()) == CLI


def test_a_child_of_a_role_is_nobody(roster: Roster) -> None:
    roster.enter(0, os.getppid(), "mx")
    assert view(roster).role_of(os.getpid()) == NOBODY


def test_a_child_of_the_supervisor_without_a_role_is_nobody(roster: Roster) -> None:
    assert view(roster, supervisor=os.getppid()).role_of(os.getpid()) == NOBODY


def test_a_process_that_is_gone_is_nobody(roster: Roster) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert view(roster).role_of(ended.pid) == NOBODY


def test_the_roles_side_can_never_write(roster: Roster) -> None:
    with pytest.raises(PermissionError):
        mmap.mmap(roster.reader_fd, 4096)
    with pytest.raises(PermissionError):
        mmap.mmap(os.open(f"/proc/self/fd/{roster.reader_fd}", os.O_RDWR), 4096)


def test_a_process_the_kernel_cannot_name_is_nobody_and_never_takes_the_role_of_an_empty_slot(roster: Roster) -> None:
    roster.enter(1, 4242, "access")
    roster.remove(1)
    seen = view(roster)
    # SO_PEERCRED says 0 for a peer outside our pid namespace: that is also what an empty slot holds.
    assert seen.role_of(0) == NOBODY
    assert seen.role_of(-1) == NOBODY
