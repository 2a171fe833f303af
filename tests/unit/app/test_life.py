# SPDX-License-Identifier: Apache-2.0
"""The life of a role: ready when made, reloaded by SIGHUP, drained by SIGTERM, loud about what nobody caught. Each test is a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import pytest

PROGRAM = textwrap.dedent("""
    import asyncio, os, signal, sys
    from moatmail.app import life
    from moatmail.app.roles import Worker
    from moatmail.core.errors import ConfigError

    class Handed:
        worker = Worker("mx")
        def ready(self):
            print("ready", flush=True)
            {when_ready}

    class Told:
        def emit(self, event):
            print(event.name, event.text, flush=True)

    class Being:
        async def reload(self):
            {on_reload}
        async def end(self, seconds):
            print("end", flush=True)

    async def make():
        {on_make}
        return Being()

    print("status", life.live(Handed(), Told(), make), flush=True)
""")


def run(
    when_ready: str = "os.kill(os.getpid(), signal.SIGTERM)", on_reload: str = "print('reload', flush=True)", on_make: str = "pass"
) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(when_ready=when_ready, on_reload=on_reload, on_make=on_make)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)


_LATER = "asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)"


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        pytest.param({}, ["ready", "end", "status 0"], id="SIGTERM drains"),
        pytest.param(
            {"when_ready": f"os.kill(os.getpid(), signal.SIGHUP); {_LATER}"},
            ["ready", "reload", "end", "status 0"],
            id="SIGHUP reloads",
        ),
        pytest.param(
            {"when_ready": f"os.kill(os.getpid(), signal.SIGHUP); {_LATER}", "on_reload": "raise ConfigError('a: bad', 'b: bad')"},
            ["ready", "reload.failed not reloaded: a: bad", "reload.failed not reloaded: b: bad", "end", "status 0"],
            id="a bad reload is told and changes nothing",
        ),
        pytest.param(
            {"on_make": "os.kill(os.getpid(), signal.SIGTERM); await asyncio.sleep(60)"},
            ["status 0"],
            id="SIGTERM while it is being made ends it at once",
        ),
    ],
)
def test_the_signals_of_a_role(parts: dict[str, Any], lines: list[str]) -> None:
    told = run(**parts)
    assert told.stdout.splitlines() == lines, told.stderr


def test_a_mistake_in_the_settings_comes_out_for_the_supervisor() -> None:
    assert "ConfigError: a: bad" in run(on_make="raise ConfigError('a: bad')").stderr


def test_an_error_nobody_caught_is_told_without_its_words() -> None:
    told = run(when_ready=f"asyncio.get_running_loop().call_soon(lambda: int('a secret')); {_LATER}")
    assert told.stdout.splitlines()[1].startswith("role.fault ValueError at <string>:")
    assert "a secret" not in told.stdout
