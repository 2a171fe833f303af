# SPDX-License-Identifier: Apache-2.0
"""How many messages go to one destination at once."""

from __future__ import annotations

import asyncio

from moatmail.delivery.lanes import Lanes


async def test_a_lane_is_as_wide_as_the_setting_and_forgotten_when_empty() -> None:
    lanes = Lanes(lambda: 2)
    inside, most, door = 0, 0, asyncio.Event()

    async def send(destination: str) -> None:
        nonlocal inside, most
        async with lanes.enter(destination):
            inside += 1
            most = max(most, inside)
            await door.wait()
            inside -= 1

    tasks = [asyncio.create_task(send("far.test")) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (inside, len(lanes)) == (2, 1)
    other = asyncio.create_task(send("near.test"))
    await asyncio.sleep(0)
    assert len(lanes) == 2
    tasks[4].cancel()
    door.set()
    await asyncio.gather(*tasks, other, return_exceptions=True)
    assert (inside, most, len(lanes)) == (0, 3, 0)
