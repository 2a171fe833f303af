# SPDX-License-Identifier: Apache-2.0
"""What holds for every test: the tier follows from the folder, so that nobody can forget the mark, and chance is fixed but in the long tier."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

TIERS = {"e2e": pytest.mark.e2e, "long": pytest.mark.long}
E2E_SECONDS = 300
"""What a test of the second tier may take, if it says nothing else: as `make e2e` has it, also for a bare pytest."""

# The same examples on every run, and no clock: a machine under load is no fault of the code. `make long` searches anew each time.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("search", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("MOATMAIL_HYPOTHESIS", "fixed"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests under tests/e2e and tests/long with their tier."""
    here = Path(__file__).parent
    for item in items:
        tier = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        if tier in TIERS:
            item.add_marker(TIERS[tier])
        if tier == "e2e" and item.get_closest_marker("timeout") is None and item.config.getoption("timeout") is None:
            item.add_marker(pytest.mark.timeout(E2E_SECONDS))


def pytest_collection_finish() -> None:
    """What the collected tests are made of is never looked through again: a full collection amid a test that measures would count as the test's own time."""
    gc.collect()
    gc.freeze()
