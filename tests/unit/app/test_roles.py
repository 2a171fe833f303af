# SPDX-License-Identifier: Apache-2.0
"""Which processes a node runs, and which listeners each serves."""

from __future__ import annotations

import pytest

from moatmail.app.roles import DOORS, ROLES, plan
from moatmail.core.settings import start as settings
from moatmail.core.settings.start import Listener, Roles, Start


def shape(start: Start, *, compact: bool = False, cores: int = 2) -> list[tuple[str, tuple[str, ...]]]:
    return [(worker.name, tuple(start.listener[number].door for number in worker.listeners)) for worker in plan(start, compact=compact, cores=cores)]


USERS = ("submission", "submissions", "imap", "imaps")


def test_the_usual_node_has_one_access_process_a_core() -> None:
    assert shape(Start()) == [("store", ()), ("mx", ("mx",)), ("access", USERS), ("access-2", USERS), ("back", ())]


@pytest.mark.parametrize("start", [Start(), Start(roles=Roles(compact=True))])
def test_compact_folds_strangers_and_users_into_one_process(start: Start) -> None:
    assert shape(start, compact=True) == [("store", ()), ("mx+access", ("mx", *USERS)), ("back", ())]
    assert shape(Start(roles=Roles(compact=True))) == shape(start, compact=True)


def test_the_number_of_processes_can_be_set() -> None:
    assert [name for name, _ in shape(Start(roles=Roles(mx_workers=2, access_workers=1)))] == ["store", "mx", "mx-2", "access", "back"]


def test_a_role_without_a_listener_is_not_started() -> None:
    assert [name for name, _ in shape(Start(listener=(Listener("imaps", 993),)))] == ["store", "access", "access-2", "back"]


def test_every_door_is_served_by_exactly_one_role_and_by_the_folded_one() -> None:
    for door in settings.DOORS:
        assert sorted(role for role in ROLES if door in DOORS[role]) == sorted({"mx+access", "mx" if door == "mx" else "access"})
