# SPDX-License-Identifier: Apache-2.0
"""Which hosts take mail for a domain, in which order."""

from __future__ import annotations

import random

import pytest

from moatmail.core.ports.resolver import Answer
from moatmail.mailqueue.route import NoRouteError, order


def hosts(*records: tuple[int, str], exists: bool = True, own: str = "us.test", seed: int = 1) -> tuple[str, ...]:
    return order("far.test", Answer(records, exists), own, random.Random(seed))


def test_the_lowest_preference_comes_first_whatever_the_answers_order() -> None:
    assert hosts((30, "c.test"), (10, "a.test"), (20, "b.test")) == ("a.test", "b.test", "c.test")


def test_equals_are_shuffled() -> None:
    orders = {hosts((10, "a.test"), (10, "b.test"), (5, "first.test"), seed=seed) for seed in range(20)}
    assert orders == {("first.test", "a.test", "b.test"), ("first.test", "b.test", "a.test")}


def test_a_host_named_twice_is_tried_once() -> None:
    assert hosts((10, "A.test"), (20, "a.test")) == ("a.test",)


def test_without_mx_the_domain_is_its_own_host() -> None:
    assert hosts() == ("far.test",)


def test_only_better_hosts_than_ourselves_are_asked() -> None:
    assert hosts((10, "a.test"), (20, "us.test"), (30, "c.test")) == ("a.test",)


@pytest.mark.parametrize(
    ("records", "exists", "status"),
    [
        pytest.param(((0, ""),), True, "5.1.10", id="a lone null MX"),
        pytest.param((), False, "5.1.2", id="a domain that does not exist"),
        pytest.param(((10, "us.test"), (20, "b.test")), True, "5.4.6", id="a domain whose best host is ourselves"),
    ],
)
def test_no_route(records: tuple[tuple[int, str], ...], exists: bool, status: str) -> None:
    with pytest.raises(NoRouteError) as told:
        hosts(*records, exists=exists)
    assert told.value.status == status


def test_a_null_mx_beside_others_is_skipped() -> None:
    assert hosts((0, ""), (5, "a.test")) == ("a.test",)
