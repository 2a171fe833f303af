# SPDX-License-Identifier: Apache-2.0
"""Settings that the store itself obeys are read under the name that an administrator sets."""

from __future__ import annotations

from pathlib import Path

from moatmail.admin import settings
from moatmail.core.settings.load import mail_entries
from moatmail.store.apply.recoverable import RECOVERABLE_DAYS
from tests.house.indoors import indoors


def test_the_store_reads_a_setting_that_exists() -> None:
    """Fault: the store asked for `recoverable_days` while it is called `store.recoverable_days`, so that the default held for ever."""
    assert RECOVERABLE_DAYS in mail_entries()


async def test_a_setting_is_set_shown_and_put_back(tmp_path: Path) -> None:
    async with indoors(tmp_path) as house:
        before = await settings.show(house.desk, RECOVERABLE_DAYS)
        await settings.put(house.desk, RECOVERABLE_DAYS, "0")
        assert (await settings.show(house.desk, RECOVERABLE_DAYS)).value == 0
        assert (await settings.snapshot(house.desk)).store.recoverable_days == 0
        await settings.put(house.desk, RECOVERABLE_DAYS, None)
        assert await settings.show(house.desk, RECOVERABLE_DAYS) == before


async def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    async with indoors(tmp_path) as house:
        await settings.put(house.desk, "delivery.smart_host_password", "hush")
        shown = [one for one in await settings.listing(house.desk) if "hush" in str(one.value)]
        assert shown == []
