# SPDX-License-Identifier: Apache-2.0
"""A trial server for the tests of one module, and another for those that break it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.trial import Trial, trial


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A server that the tests of a module share."""
    with trial(tmp_path_factory.mktemp("trial") / "moatmail-try") as one:
        yield one


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Trial]:
    """A server of the test's own."""
    with trial(tmp_path / "moatmail-try") as one:
        yield one
