# SPDX-License-Identifier: Apache-2.0
"""A lab for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.endpoints.imap.lab import Lab, furnish, imap_lab


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two accounts and no mail, to be copied."""
    folder = tmp_path_factory.mktemp("furnished")
    asyncio.run(furnish(folder))
    return folder


@pytest.fixture
async def lab(furnished: Path, tmp_path: Path) -> AsyncIterator[Lab]:
    """A door with two accounts and no mail."""
    async with imap_lab(furnished, tmp_path / "data") as one:
        yield one
