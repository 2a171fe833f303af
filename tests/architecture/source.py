# SPDX-License-Identifier: Apache-2.0
"""Our sources as the architecture tests read them: modules with their syntax trees, and the claims made over them.

Obeys no RFC.
Must never know a rule: each rule is a test file of its own, a pure function from modules to offences.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Module:
    """One file: `where` relative to the repository, `name` dotted (``moatmail.net.tls``), text and tree."""

    where: str
    name: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The folder under `moatmail`; empty for the package itself."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else ""

    @property
    def is_package(self) -> bool:
        return self.where.endswith("__init__.py")

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree, clean=True) or ""

    def at(self, node: ast.AST) -> str:
        """Where a node stands, as editors read it."""
        return f"{self.where}:{getattr(node, 'lineno', 1)}"


def read(root: Path) -> list[Module]:
    """Read every module under `root`/src."""
    found = []
    for path in sorted((root / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        parts = path.relative_to(root / "src").with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(path.relative_to(root).as_posix(), name, text, ast.parse(text, str(path))))
    return found


@cache
def ours() -> tuple[Module, ...]:
    """Our own modules, read once."""
    return tuple(read(REPOSITORY))


def plant(root: Path, files: Mapping[str, str]) -> list[Module]:
    """Write a small tree (paths under src/moatmail) for a rule's self-test and read it."""
    for where, text in files.items():
        path = root / "src" / "moatmail" / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return read(root)


def claim_none(offences: Iterable[str]) -> None:
    """Fail with every offence on a line of its own: each names the offender and the remedy."""
    lines = list(offences)
    assert not lines, "\n" + "\n".join(lines)


def imports(module: Module) -> Iterator[tuple[ast.stmt, str]]:
    """Yield every dotted name a module imports, also inside functions and TYPE_CHECKING blocks."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node, f"{node.module}.{alias.name}"


def references(module: Module) -> Iterator[tuple[ast.expr, str]]:
    """Yield every name and attribute chain with its import resolved.

    ``dt.now`` after ``from datetime import datetime as dt`` is ``datetime.datetime.now``; what no import explains begins with ``builtins.``.
    """
    known: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            known.update({a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0] for a in node.names})
        elif isinstance(node, ast.ImportFrom) and node.module:
            known.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name):
            yield node, known.get(node.id, f"builtins.{node.id}")
        elif isinstance(node, ast.Attribute):
            chain = _chain(node)
            if chain:
                yield node, ".".join([known.get(chain[0], f"builtins.{chain[0]}"), *chain[1:]])


def _chain(node: ast.expr) -> list[str]:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []
