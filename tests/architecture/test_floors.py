# SPDX-License-Identifier: Apache-2.0
"""Seven floors, every arrow falls: what the import contract in pyproject.toml cannot say itself, and proof that the contract bites.

Obeys no RFC.
Must never know what a room does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.source import REPOSITORY, Module, claim_none, imports, ours, plant

# The column "never imports" of the plan of the house, where it says more than the floors do.
NEVER: dict[str, tuple[str, ...]] = {
    "mailbox": ("wire",),
    "policy": ("net", "store", "mailqueue"),
    "intake": ("wire", "net"),
    "delivery": ("net",),
    "admin": ("net",),
    "endtoend": ("store",),
    "antispam": ("store",),
    "mailauth": ("store",),
    "net": ("message", "guard", "monitor", "store", "crypto"),
    "endpoints": ("policy.stages", "store.sqlite", "store.postgres"),
}


def contract() -> dict[str, Any]:
    """The import contract as pyproject.toml has it."""
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        tool: dict[str, Any] = tomllib.load(file)["tool"]["importlinter"]
    return tool


def rooms_of_contract(layers: Sequence[str]) -> dict[str, bool]:
    """Each room of the layers, and whether it stands in parentheses (not built yet)."""
    return {room.strip("() "): room.strip().startswith("(") for layer in layers for room in re.split(r"[|:]", layer)}


def bracket_offences(layers: Sequence[str], modules: Sequence[Module]) -> Iterator[str]:
    planned, built = rooms_of_contract(layers), {m.room for m in modules if m.room}
    for room in sorted(built):
        if room not in planned:
            yield f"src/moatmail/{room}: a room that is in no layer. Remedy: move its content into a room of the plan, or add it to `layers` in pyproject.toml"
        elif planned[room]:
            yield f"src/moatmail/{room}: built, but optional in the contract. Remedy: write {room} for ({room}) in `layers` in pyproject.toml"
    for room in sorted(room for room, optional in planned.items() if not optional and room not in built):
        yield f"src/moatmail/{room}: in the contract, but missing. Remedy: write ({room}) for {room} in `layers` in pyproject.toml until it is built"


def package_offences(modules: Sequence[Module]) -> Iterator[str]:
    packages = {m.name for m in modules if m.is_package}
    for module in modules:
        parent = module.name.rpartition(".")[0]
        if parent and parent not in packages:
            yield f"{module.where}: its folder is no package, so the contract does not see it. Remedy: add __init__.py with the SPDX head"


def arrow_offences(modules: Sequence[Module]) -> Iterator[str]:
    for module in modules:
        for forbidden in NEVER.get(module.room, ()):
            for node, name in imports(module):
                if f"{name}.".startswith(f"moatmail.{forbidden}."):
                    yield f"{module.at(node)}: {module.room} imports {forbidden}. Remedy: take it through a port, or move the code to the room that owns it"
        if module.room not in {"app", ""}:
            for node, name in imports(module):
                if f"{name}.".startswith("moatmail.app."):
                    yield f"{module.at(node)}: nothing imports app. Remedy: let app/compose hand in what is needed"


def test_rooms_and_contract_agree() -> None:
    claim_none(bracket_offences(contract()["contracts"][0]["layers"], ours()))


def test_every_folder_is_a_package() -> None:
    claim_none(package_offences(ours()))


def test_no_room_imports_what_the_plan_forbids_it() -> None:
    claim_none(arrow_offences(ours()))


def test_imports_only_fall() -> None:
    done = contracts_in(REPOSITORY)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nRemedy: take what is needed as an argument, through a port of core/ports, or move the code down"


# ---- the rules themselves bite ----


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        pytest.param(["(net)", "core"], "write net for (net)", id="a built room in parentheses is told"),
        pytest.param(["core"], "a room that is in no layer", id="a room of no floor is told"),
        pytest.param(["net", "(wire) | store", "core"], "store: in the contract, but missing", id="a missing room without parentheses is told"),
    ],
)
def test_bracket_rule_bites(tmp_path: Path, layers: list[str], said: str) -> None:
    modules = plant(tmp_path, {"core/__init__.py": "", "net/__init__.py": ""})
    (offence,) = bracket_offences(layers, modules)
    assert said in offence
    assert not list(bracket_offences(["net | (store)", "core"], modules))


def test_a_folder_without_init_is_told(tmp_path: Path) -> None:
    modules = plant(tmp_path, {"__init__.py": "", "net/tls.py": ""})
    (offence,) = package_offences(modules)
    assert offence.startswith("src/moatmail/net/tls.py:")


@pytest.mark.parametrize(
    ("where", "line", "remedy"),
    [
        pytest.param("policy/x.py", "from moatmail.store import queries", "policy imports store", id="policy reads no store"),
        pytest.param("intake/x.py", "import moatmail.wire.smtp", "intake imports wire", id="intake knows no protocol"),
        pytest.param("endpoints/x.py", "from moatmail.policy.stages import loop", "imports policy.stages", id="a door calls no stage"),
        pytest.param("endpoints/x.py", "from moatmail.policy import stages", "imports policy.stages", id="a door calls no stage, imported as a name"),
        pytest.param("store/x.py", "import moatmail.app.compose", "nothing imports app", id="nobody imports app"),
    ],
)
def test_arrow_rule_bites(tmp_path: Path, where: str, line: str, remedy: str) -> None:
    (offence,) = arrow_offences(plant(tmp_path, {where: line + "\n"}))
    assert remedy in offence
    assert offence.startswith(f"src/moatmail/{where}:1:")


FORBIDDEN_LINES = {
    "floors": [("core", "thing", "import moatmail.net"), ("store", "thing", "import moatmail.crypto"), ("net", "thing", "import moatmail.app")],
    "sockets": [("store", "thing", "import socket"), ("wire", "thing", "import ssl"), ("endpoints", "thing", "from socket import socket")],
    "drivers": [("store", "thing", "import sqlcipher3"), ("directory", "thing", "import sqlite3")],
    "dns": [("net", "thing", "import dns.message"), ("policy", "thing", "import dns")],
    "cryptography": [("net", "thing", "from cryptography.hazmat.primitives import hashes"), ("store", "thing", "import argon2")],
    "sql": [("mailbox", "thing", "import sqlalchemy")],
    "sans-io": [("wire", "thing", "import asyncio"), ("core", "thing", "import asyncio"), ("message", "thing", "import uvloop")],
}
ALLOWED_LINES = [
    ("net", "listener", "import socket, ssl, asyncio"),
    ("store", "channel", "import socket"),
    ("store", "sqlite", "import sqlcipher3"),
    ("net", "resolver", "import dns.message"),
    ("net", "tls", "import cryptography"),
    ("crypto", "seal", "import cryptography"),
    ("app", "compose", "import moatmail.net"),
]


def lint(root: Path, lines: Sequence[tuple[str, str, str]]) -> subprocess.CompletedProcess[str]:
    """Run the real contract over a small tree that holds every room of the plan and `lines`."""
    files = {f"{room}/__init__.py": "" for room in rooms_of_contract(contract()["contracts"][0]["layers"])}
    files["__init__.py"] = ""
    for room, module, line in lines:
        files[f"{room}/{module}.py"] = files.get(f"{room}/{module}.py", "") + line + "\n"
    plant(root, files)
    (root / "pyproject.toml").write_bytes((REPOSITORY / "pyproject.toml").read_bytes())
    return contracts_in(root)


def contracts_in(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the import contracts over the sources under `root`."""
    program = Path(sys.executable).with_name("lint-imports")
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    return subprocess.run([str(program), "--no-cache", "--no-logo"], cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=50)


def test_the_contract_allows_what_the_plan_allows(tmp_path: Path) -> None:
    done = lint(tmp_path, ALLOWED_LINES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contract_bites_in_every_clause(tmp_path: Path) -> None:
    lines = [line for several in FORBIDDEN_LINES.values() for line in several]
    done = lint(tmp_path, [(room, f"{module}{number}", line) for number, (room, module, line) in enumerate(lines)])
    assert done.returncode != 0
    missed = [f"{room}: {line}" for number, (room, _, line) in enumerate(lines) if f"moatmail.{room}.thing{number} " not in done.stdout]
    assert not missed, done.stdout
    kept = [c["id"] for c in contract()["contracts"] if c["id"] not in FORBIDDEN_LINES]
    assert not kept, f"contracts without a self-test: {kept}"
