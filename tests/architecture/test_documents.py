# SPDX-License-Identifier: Apache-2.0
"""Documents say what is true: dependencies argued, notices complete, links alive, the example configuration printed from the types.

Obeys no RFC.
Must never know what a document explains.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.source import REPOSITORY, claim_none

EXAMPLE: Final = "docs/example-moatmail.toml"
PRINTER: Final = "moatmail.core.settings.document"
LINK: Final = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)|`((?:docs|tools|\.ci)/[A-Za-z0-9_./-]+|tests/[A-Za-z0-9_/-]+\.\w+|[A-Z-]+\.md)`")


def required() -> set[str]:
    """Run-time dependencies of pyproject.toml, by name."""
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    several = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
    return {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for lines in several for line in lines}


def locked() -> set[str]:
    return set(re.findall(r"^([A-Za-z0-9._-]+)==", (REPOSITORY / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE))


def rows(text: str) -> list[list[str]]:
    """Cells of every table row but heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| package ")]
    return [[cell.strip().strip("*`") for cell in line.strip("|").split("|")] for line in lines]


def dependency_offences(wanted: set[str], text: str) -> Iterator[str]:
    listed = {row[0]: row for row in rows(text)}
    for name in sorted(wanted - listed.keys()):
        yield f"docs/dependencies.md: no row for {name}. Remedy: | {name} | need | why this one | licence |"
    for name in sorted(listed.keys() - wanted):
        yield f"docs/dependencies.md: {name} is argued, but not a dependency. Remedy: take its row out, or add it to pyproject.toml"
    for name, row in listed.items():
        if len(row) < 4 or not all(row[:4]):
            yield f"docs/dependencies.md: the row of {name} is not full. Remedy: | {name} | need | why this one | licence |"


def lock_offences(wanted: set[str], lock: str, where: str) -> Iterator[str]:
    blocks = {m[1]: m[0] for m in re.finditer(r"^([A-Za-z0-9._-]+)==.*(?:\n[ ]+.*)*", lock, re.MULTILINE)}
    for name in sorted(wanted - blocks.keys()):
        yield f"{where}: {name} is missing. Remedy: make lock"
    for name, block in blocks.items():
        if "--hash=sha256:" not in block:
            yield f"{where}: {name} has no hash. Remedy: make lock"
    if re.search(r"://|^-", lock, re.MULTILINE):
        yield f"{where}: names a registry or carries an option. Remedy: make lock, which writes neither"


def notice_offences(packages: set[str], text: str) -> Iterator[str]:
    listed = {row[0] for row in rows(text)}
    for name in sorted(packages - listed):
        yield f"THIRD-PARTY-NOTICES.md: {name} is missing. Remedy: make notices"
    for name in sorted(listed - packages):
        yield f"THIRD-PARTY-NOTICES.md: {name} is not in requirements.lock any more. Remedy: make notices"
    for name in sorted(listed & packages):
        section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        if len(section) < 20:
            yield f"THIRD-PARTY-NOTICES.md: no licence text of {name}. Remedy: make notices"


def link_offences(root: Path, documents: list[Path]) -> Iterator[str]:
    for document in documents:
        for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
            for match in LINK.finditer(line):
                target = match[1] or match[2]
                if "://" in target or target.startswith("mailto:"):
                    continue
                if not any((base / target).exists() for base in ((document.parent, root) if match[2] else (document.parent,))):
                    where = document.relative_to(root)
                    yield f"{where}:{number}: {target} does not exist. Remedy: write it, or name what there is"


def test_each_dependency_is_argued() -> None:
    claim_none(dependency_offences(required(), (REPOSITORY / "docs/dependencies.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_hold_each_dependency_with_hashes(lock: str) -> None:
    claim_none(lock_offences(required(), (REPOSITORY / lock).read_text(encoding="utf-8"), lock))


def test_notices_cover_what_is_shipped() -> None:
    claim_none(notice_offences(locked(), (REPOSITORY / "THIRD-PARTY-NOTICES.md").read_text(encoding="utf-8")))


def test_notices_say_the_licences_of_the_installed_packages() -> None:
    spec = importlib.util.spec_from_file_location("notices", REPOSITORY / "tools" / "notices.py")
    assert spec
    assert spec.loader
    notices = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(notices)
    said = {row[0]: row[1] for row in rows((REPOSITORY / "THIRD-PARTY-NOTICES.md").read_text(encoding="utf-8"))}
    wrong = {name: licence for name in notices.locked() if said[name] != (licence := notices.licence(name))}
    assert not wrong, f"THIRD-PARTY-NOTICES.md differs from the installed packages: {wrong}. Remedy: make notices"


def test_no_document_links_to_nothing() -> None:
    documents = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    claim_none(link_offences(REPOSITORY, [path for path in documents if path.name != "THIRD-PARTY-NOTICES.md"]))


@pytest.mark.skipif(
    not (REPOSITORY / "src/moatmail/core/settings/document.py").exists() and not (REPOSITORY / EXAMPLE).exists(),
    reason="the settings print no example yet (moatmail.core.settings.document)",
)
def test_the_example_configuration_is_printed_from_the_types() -> None:
    printed = importlib.import_module(PRINTER).example()
    path = REPOSITORY / EXAMPLE
    assert path.exists(), f"{EXAMPLE} is missing. Remedy: make docs"
    assert path.read_text(encoding="utf-8") == printed, f"{EXAMPLE} is not what the types say. Remedy: make docs"
    tomllib.loads(printed)


# ---- the rules themselves bite ----

ROWS: Final = "| package | need | why | licence |\n|---|---|---|---|\n| **a** | x | y | MIT |\n"


@pytest.mark.parametrize(
    ("wanted", "text", "said"),
    [
        pytest.param({"a", "b"}, ROWS, "no row for b", id="a dependency without its argument"),
        pytest.param(set(), ROWS, "a is argued, but not a dependency", id="an argument without its dependency"),
        pytest.param({"a"}, ROWS.replace("| y ", "| "), "the row of a is not full", id="an empty argument"),
    ],
)
def test_dependency_rule_bites(wanted: set[str], text: str, said: str) -> None:
    assert not list(dependency_offences({"a"}, ROWS))
    (offence,) = dependency_offences(wanted, text)
    assert said in offence


LOCK: Final = "a==1 \\\n    --hash=sha256:00\n    # via x\n"


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        pytest.param(LOCK.replace("a==", "b=="), "a is missing", id="a dependency that is not locked"),
        pytest.param(LOCK + "b==1\n    # via a\n", "b has no hash", id="a lock without a hash"),
        pytest.param("--index-url x\n" + LOCK, "names a registry", id="an option in the lock"),
        pytest.param(LOCK + "# https://example.org\n", "names a registry", id="a host in the lock"),
    ],
)
def test_lock_rule_bites(lock: str, said: str) -> None:
    assert not list(lock_offences({"a"}, LOCK, "lock"))
    (offence,) = lock_offences({"a"}, lock, "lock")
    assert said in offence


NOTICES: Final = "| package | licence | note |\n|---|---|---|\n| a | MIT |  |\n\n## a\n\nLICENSE:\n\n```text\nPermission is granted\n```\n"


@pytest.mark.parametrize(
    ("packages", "text", "said"),
    [
        pytest.param({"a", "b"}, NOTICES, "b is missing", id="a package without notice"),
        pytest.param(set(), NOTICES, "a is not in requirements.lock", id="a notice without its package"),
        pytest.param({"a"}, NOTICES.partition("## a")[0], "no licence text of a", id="a notice without its text"),
    ],
)
def test_notice_rule_bites(packages: set[str], text: str, said: str) -> None:
    assert not list(notice_offences({"a"}, NOTICES))
    (offence,) = notice_offences(packages, text)
    assert said in offence


def test_link_rule_bites(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "there.md").write_text("[up](../README.md) [web](https://example.org/) `docs/there.md`\n")
    (tmp_path / "README.md").write_text("[a](docs/there.md#part) [b](docs/gone.md) `docs/lost.md`\n")
    offences = list(link_offences(tmp_path, sorted(tmp_path.rglob("*.md"))))
    assert [offence.partition(" does not")[0] for offence in offences] == ["README.md:1: docs/gone.md", "README.md:1: docs/lost.md"]
