# SPDX-License-Identifier: Apache-2.0
"""The one place where a password is judged."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import patch

import pytest

from moatmail.admin import accounts
from moatmail.crypto import password
from moatmail.directory.login import FrozenAccountError, Login, WrongCredentialsError
from tests.house.indoors import PASSWORD, Indoors, indoors


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
