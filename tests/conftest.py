# SPDX-License-Identifier: Apache-2.0
"""What holds for every test: the tier follows from the folder, so that nobody can forget the mark."""

from __future__ import annotations

from pathlib import Path

import pytest

TIERS = {"e2e": pytest.mark.e2e, "long": pytest.mark.long}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests under tests/e2e and tests/long with their tier."""
    here = Path(__file__).parent
    for item in items:
        tier = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        if tier in TIERS:
            item.add_marker(TIERS[tier])
