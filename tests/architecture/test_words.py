# SPDX-License-Identifier: Apache-2.0
"""Heads and names: every file says what it is, and no room is a drawer for the rest.

Obeys no RFC.
Must never know what a file holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.source import REPOSITORY, Module, claim_none, ours, plant

SPDX: Final = "# SPDX-License-Identifier: Apache-2.0"
PARTS: Final = {"Obeys": "its RFCs, or `Obeys no RFC.`", "Must never": "what it must never know or do"}
DRAWERS: Final = frozenset({"util", "utils", "common", "commons", "helper", "helpers", "base", "misc", "shared", "lib"})


def head_offences(modules: Sequence[Module]) -> Iterator[str]:
    for module in modules:
        if module.text.splitlines()[:1] != [SPDX]:
            yield f"{module.where}:1: no SPDX head. Remedy: let the first line be `{SPDX}`"
        if module.is_package and not module.tree.body:
            continue  # an empty package says nothing
        if not module.docstring:
            yield f"{module.where}:2: no docstring. Remedy: three short parts: what it holds; which RFCs it obeys; what it must never know"
            continue
        lines = module.docstring.splitlines()
        for part, remedy in PARTS.items():
            if not any(line.startswith(f"{part} ") for line in lines[1:]):
                yield f"{module.where}:2: the docstring has no line that begins with `{part}`. Remedy: say {remedy}"


def spdx_offences_of_tests(paths: Sequence[Path]) -> Iterator[str]:
    for path in paths:
        text = path.read_text(encoding="utf-8")
        if text.strip() and SPDX not in text.splitlines()[:2]:
            yield f"{path}:1: no SPDX head. Remedy: let the first line be `{SPDX}`"


def drawer_offences(modules: Sequence[Module]) -> Iterator[str]:
    for module in modules:
        for part in module.name.split("."):
            if part.lstrip("_") in DRAWERS:
                yield f"{module.where}: `{part}` says nothing. Remedy: name it after its subject, in the room that owns the subject"


def test_every_source_has_its_head() -> None:
    claim_none(head_offences(ours()))


def test_every_test_and_tool_has_its_spdx_line() -> None:
    paths = [*(REPOSITORY / "tests").rglob("*.py"), *(path for path in (REPOSITORY / "tools").iterdir() if path.is_file())]
    claim_none(spdx_offences_of_tests(paths))


def test_no_drawers() -> None:
    claim_none(drawer_offences(ours()))


GOOD: Final = f'{SPDX}\n"""What.\n\nObeys no RFC.\nMust never know.\n"""\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(GOOD.removeprefix(SPDX + "\n"), "no SPDX head", id="the licence line is missing"),
        pytest.param(f"{SPDX}\na = 1\n", "no docstring", id="no docstring"),
        pytest.param(GOOD.replace("Obeys", "Follows"), "begins with `Obeys`", id="no RFCs"),
        pytest.param(GOOD.replace("Must never", "May"), "begins with `Must never`", id="no border"),
    ],
)
def test_head_rule_bites(tmp_path: Path, text: str, said: str) -> None:
    (offence,) = head_offences(plant(tmp_path, {"net/x.py": text}))
    assert said in offence


def test_head_rule_lets_pass(tmp_path: Path) -> None:
    assert not list(head_offences(plant(tmp_path, {"net/x.py": GOOD, "net/__init__.py": SPDX + "\n"})))


@pytest.mark.parametrize("where", ["utils/x.py", "net/helpers.py", "store/_base.py", "common/__init__.py"])
def test_drawer_rule_bites(tmp_path: Path, where: str) -> None:
    (offence,) = drawer_offences(plant(tmp_path, {where: ""}))
    assert where in offence


def test_drawer_rule_lets_pass(tmp_path: Path) -> None:
    assert not list(drawer_offences(plant(tmp_path, {"net/database.py": "", "net/basement.py": ""})))


def test_spdx_rule_for_tests_bites(tmp_path: Path) -> None:
    bare = tmp_path / "test_x.py"
    bare.write_text("import os\n")
    assert len(list(spdx_offences_of_tests([bare]))) == 1
