# SPDX-License-Identifier: Apache-2.0
"""Successes of the last ten minutes, as keyed hashes in memory that processes share."""

from __future__ import annotations

import os

import pytest

from moatmail.core.limits.directory import LOGIN_MEMORY_BUCKETS, LOGIN_MEMORY_SECONDS, LOGIN_MEMORY_WAYS
from moatmail.directory.remembered import Remembered

KEPT = b"$argon2id$v=19$m=19456,t=2,p=1$salt$hash"
NOW = 5000.0


@pytest.fixture
def remembered() -> Remembered:
    one = Remembered()
    one.note(7, KEPT, "secret", NOW)
    return one


@pytest.mark.parametrize(
    ("account", "credential", "secret", "later"),
    [
        pytest.param(8, KEPT, "secret", 0.0, id="another account with the same kept hash"),
        pytest.param(7, KEPT + b"x", "secret", 0.0, id="another kept hash: the password was changed"),
        pytest.param(7, KEPT, "Secret", 0.0, id="another password"),
        pytest.param(7, KEPT + b"s", "ecret", 0.0, id="the same octets cut elsewhere"),
        pytest.param(7, b"", "secret", 0.0, id="an account without password"),
        pytest.param(7, KEPT, "secret", LOGIN_MEMORY_SECONDS, id="ten minutes later"),
        pytest.param(7, KEPT, "secret", -60.0, id="a minute before it was right"),
    ],
)
def test_what_was_not_right_is_not_known(remembered: Remembered, account: int, credential: bytes, secret: str, later: float) -> None:
    assert remembered.knows(7, KEPT, "secret", NOW)
    assert not remembered.knows(account, credential, secret, NOW + later)


def test_nothing_is_known_at_first() -> None:
    assert not Remembered().knows(0, b"", "", 0.0)


def test_every_memory_has_a_key_of_its_own(remembered: Remembered) -> None:
    other = Remembered()
    other._memory[32:] = remembered._memory[32:]
    assert not other.knows(7, KEPT, "secret", NOW)


def test_nothing_of_account_credential_or_password_is_kept(remembered: Remembered) -> None:
    kept = remembered._memory[:]
    assert b"secret" not in kept
    assert KEPT not in kept
    assert sum(slot != bytes(32) for slot in (kept[start : start + 32] for start in range(32, len(kept), 32))) == 1


def test_it_costs_what_it_costs_and_the_oldest_goes() -> None:
    remembered = Remembered()
    count = LOGIN_MEMORY_BUCKETS * LOGIN_MEMORY_WAYS
    for account in range(2 * count):
        remembered.note(account, KEPT, "secret", NOW + 500 * account / (2 * count))
    newest = sum(remembered.knows(account, KEPT, "secret", NOW + 501) for account in range(2 * count - count // 4, 2 * count))
    assert newest > count // 4 * 0.95


def test_a_password_changed_often_drives_nobody_else_out_for_long(remembered: Remembered) -> None:
    for number in range(100):
        remembered.note(9, KEPT, f"secret {number}", NOW + 30 * (number % 10))
    assert remembered.knows(7, KEPT, "secret", NOW)


def test_a_process_that_was_parted_shares_it_and_closing_is_for_itself(remembered: Remembered) -> None:
    """A role of strangers closes it; those of users go on."""
    told, telling = os.pipe()
    if (child := os.fork()) == 0:
        known = remembered.knows(7, KEPT, "secret", NOW)
        remembered.note(11, KEPT, "of the child", NOW)
        remembered.close()
        os.write(telling, b"knew" if known else b"knew not")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(told, 10) == b"knew"
    assert remembered.knows(11, KEPT, "of the child", NOW)
    assert remembered.knows(7, KEPT, "secret", NOW)
    os.close(told)
    os.close(telling)
    remembered.close()
    with pytest.raises(ValueError, match="closed"):
        remembered.knows(7, KEPT, "secret", NOW)
