# SPDX-License-Identifier: Apache-2.0
"""One file, one subject: files, functions and classes stay small unless the head says why not.

Obeys no RFC.
Must never know what a file holds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.source import Module, claim_none, ours, plant

FILE_LINES: Final = 600
FUNCTION_LINES: Final = 60
CLASS_LINES: Final = 300
PARAMETERS: Final = 6
EXCEPTION: Final = "Larger than usual because"
REMEDY: Final = f"Remedy: split it by subject; where that would hide the thought, say why in its docstring: '{EXCEPTION} ...'"

type_of_function = (ast.FunctionDef, ast.AsyncFunctionDef)


def size_offences(modules: Sequence[Module]) -> Iterator[str]:
    for module in modules:
        if EXCEPTION in module.docstring:
            continue  # the head argues for the whole file
        lines = module.text.count("\n")
        if lines > FILE_LINES:
            yield f"{module.where}: {lines} lines, allowed are {FILE_LINES}. {REMEDY}"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                yield from _too_long(module, node, CLASS_LINES)
            elif isinstance(node, type_of_function):
                yield from _too_long(module, node, FUNCTION_LINES)
                yield from _too_wide(module, node)


def _too_long(module: Module, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, most: int) -> Iterator[str]:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if lines > most and EXCEPTION not in (ast.get_docstring(node) or ""):
        yield f"{module.at(node)}: {node.name} has {lines} lines, allowed are {most}. {REMEDY}"


def _too_wide(module: Module, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    count = len(names) - (names[:1] in (["self"], ["cls"]))
    if count > PARAMETERS and EXCEPTION not in (ast.get_docstring(node) or ""):
        yield f"{module.at(node)}: {node.name} takes {count} parameters, allowed are {PARAMETERS}. Remedy: a frozen dataclass for what travels together"


def test_sizes() -> None:
    claim_none(size_offences(ours()))


def body(lines: int) -> str:
    return "".join(f"    a = {n}\n" for n in range(lines))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a = 1\n" * 601, "601 lines", id="a file too long"),
        pytest.param("def f() -> None:\n" + body(60), "f has 61 lines", id="a function too long"),
        pytest.param("async def f() -> None:\n" + body(60), "f has 61 lines", id="a coroutine too long"),
        pytest.param("class C:\n" + body(300), "C has 301 lines", id="a class too long"),
        pytest.param("class C:\n    def f(self, a, b, c, d, e, *, g, h): ...\n", "f takes 7 parameters", id="a method too wide"),
    ],
)
def test_size_rule_bites(tmp_path: Path, text: str, said: str) -> None:
    (offence,) = size_offences(plant(tmp_path, {"net/x.py": text}))
    assert said in offence


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a = 1\n" * 600, id="a file of 600 lines"),
        pytest.param("def f() -> None:\n" + body(59), id="a function of 60 lines"),
        pytest.param("class C:\n    def f(self, a, b, c, d, e, g): ...\n", id="six parameters beside self"),
        pytest.param('def f() -> None:\n    """Larger than usual because a table of states reads in one piece."""\n' + body(60), id="a function that argues"),
        pytest.param('"""A table.\n\nLarger than usual because one table.\n"""\n' + "a = 1\n" * 601, id="a file that argues"),
    ],
)
def test_size_rule_lets_pass(tmp_path: Path, text: str) -> None:
    assert not list(size_offences(plant(tmp_path, {"net/x.py": text})))
