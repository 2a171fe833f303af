# SPDX-License-Identifier: Apache-2.0
"""The one place where a password is judged."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from moatmail.admin import accounts
from moatmail.crypto import password
from moatmail.directory.login import FrozenAccountError, Login, WrongCredentialsError
from moatmail.directory.remembered import Remembered
from tests.house.indoors import PASSWORD, Indoors, indoors


@dataclass
class RunningClock:
    """A monotonic clock that runs when a test says so; the wall clock is nobody's business here."""

    seconds: float = 0.0

    def now(self) -> float:
        raise AssertionError("the wall clock may be put back: how long ago something was is not its business")

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path) as one:
        yield one


async def test_the_right_password_gives_the_identity_with_its_grants(house: Indoors) -> None:
    await accounts.grant(house.desk, "ann@example.test", "team@example.test")
    identity = await house.login.with_password("Ann@Example.Test", PASSWORD)
    assert str(identity.address) == "ann@example.test"
    assert [str(one) for one in identity.granted] == ["team@example.test"]


@pytest.mark.parametrize("name", ["ann@example.test", "nobody@example.test", "ann", "", "ann@example.test\0", "a" * 5000])
async def test_every_wrong_credential_gets_the_same_answer(house: Indoors, name: str) -> None:
    with pytest.raises(WrongCredentialsError) as told:
        await house.login.with_password(name, "wrong")
    assert told.value.public == WrongCredentialsError.public


async def test_an_unknown_account_costs_a_hash_like_a_known_one(house: Indoors) -> None:
    with patch.object(password, "verify_password", wraps=password.verify_password) as verify:
        for name in ("ann@example.test", "nobody@example.test"):
            with pytest.raises(WrongCredentialsError):
                await house.login.with_password(name, "wrong")
        assert verify.call_count == 2


async def test_a_success_is_remembered_for_ten_minutes_and_a_new_password_ends_it(house: Indoors) -> None:
    """Hardening: a login storm after a restart must not cost a hash for each of a thousand sessions of one account."""
    with patch.object(password, "verify_password", wraps=password.verify_password) as verify:
        for _ in range(5):
            await house.login.with_password("ann@example.test", PASSWORD)
        assert verify.call_count == 1
        await accounts.set_password(house.desk, "ann@example.test", "another one")
        with pytest.raises(WrongCredentialsError):
            await house.login.with_password("ann@example.test", PASSWORD)


async def test_a_frozen_account_with_a_remembered_password_stays_out(house: Indoors) -> None:
    await house.login.with_password("ann@example.test", PASSWORD)
    await accounts.set_state(house.desk, "ann@example.test", status="frozen")
    with pytest.raises(FrozenAccountError):
        await house.login.with_password("ann@example.test", PASSWORD)


async def test_a_removed_account_with_a_remembered_password_stays_out_and_so_does_who_gets_its_name_next(house: Indoors) -> None:
    await house.login.with_password("ann@example.test", PASSWORD)
    await accounts.remove(house.desk, "ann@example.test")
    with pytest.raises(WrongCredentialsError):
        await house.login.with_password("ann@example.test", PASSWORD)
    await accounts.add(house.desk, "ann@example.test", "another one")
    with pytest.raises(WrongCredentialsError):
        await house.login.with_password("ann@example.test", PASSWORD)


async def test_what_was_wrong_is_judged_anew_each_time(house: Indoors) -> None:
    with patch.object(password, "verify_password", wraps=password.verify_password) as verify:
        for _ in range(3):
            with pytest.raises(WrongCredentialsError):
                await house.login.with_password("ann@example.test", "wrong")
        assert verify.call_count == 3


async def test_a_password_remembered_does_not_help_a_wrong_one(house: Indoors) -> None:
    await house.login.with_password("ann@example.test", PASSWORD)
    with patch.object(password, "verify_password", wraps=password.verify_password) as verify:
        for wrong in (PASSWORD + " ", PASSWORD[:-1], PASSWORD.upper(), ""):
            with pytest.raises(WrongCredentialsError):
                await house.login.with_password("ann@example.test", wrong)
        assert verify.call_count == 4


async def test_a_success_is_forgotten_after_ten_minutes(house: Indoors) -> None:
    clock = RunningClock()
    login = Login(house.store, clock)
    with patch.object(password, "verify_password", wraps=password.verify_password) as verify:
        for seconds, hashed in ((0.0, 1), (569.0, 1), (601.0, 2), (1100.0, 2), (1300.0, 3)):
            clock.seconds = seconds
            await login.with_password("ann@example.test", PASSWORD)
            assert verify.call_count == hashed, seconds


async def test_processes_that_share_what_they_remember_hash_once(house: Indoors) -> None:
    """Chance sends half of those who come back to another process."""
    remembered = Remembered()
    with patch.object(password, "verify_password", wraps=password.verify_password) as verify:
        for _ in range(3):
            await Login(house.store, house.clock, remembered).with_password("ann@example.test", PASSWORD)
        assert verify.call_count == 1
        await Login(house.store, house.clock).with_password("ann@example.test", PASSWORD)
        assert verify.call_count == 2


async def test_composed_and_decomposed_letters_are_one_password(house: Indoors) -> None:
    """Case guard-13."""
    secret = "für-Élodie-ñandú"
    await accounts.set_password(house.desk, "ann@example.test", unicodedata.normalize("NFC", secret))
    await house.login.with_password("ann@example.test", unicodedata.normalize("NFD", secret))


async def test_an_unknown_name_has_no_verifier_and_no_way_in(house: Indoors) -> None:
    login = Login(house.store, house.clock)
    found = await login.verifier("nobody@example.test")
    assert found.value is None
    with pytest.raises(WrongCredentialsError):
        login.after_scram(found)
