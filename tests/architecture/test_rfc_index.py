# SPDX-License-Identifier: Apache-2.0
"""The RFC index says what is true: nothing is cited that it does not list, and no "yes" stands without code and test.

Obeys no RFC.
Must never know what an RFC demands.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.architecture.source import REPOSITORY, Module, claim_none, ours, plant

INDEX: Final = "docs/rfc-index.toml"
STATUSES: Final = ("yes", "partial", "planned", "no")
KEYS: Final = frozenset({"number", "title", "status", "note", "code", "tests"})
# "RFC 5321", "RFC 5321 §4.5.2", and each number of "RFC 5321, 6409 and 5322"; RFC822 without a blank is a data item of IMAP.
CITATION: Final = re.compile(r"\b(?:RFCs?[ -](?=\d{3})|RFC(?=\d{4}))(\d{3,5}(?:(?:, | and |, and |/)\d{3,5}\b(?!\.))*)")

Entry = Mapping[str, Any]


def index(path: Path = REPOSITORY / INDEX) -> list[Entry]:
    with path.open("rb") as file:
        entries: list[Entry] = tomllib.load(file)["rfc"]
    return entries


def citations(modules: Sequence[Module]) -> dict[int, list[str]]:
    """Where each RFC is cited (``file:line``)."""
    found: dict[int, list[str]] = defaultdict(list)
    for module in modules:
        for number, line in enumerate(module.text.splitlines(), 1):
            for match in CITATION.finditer(line):
                for rfc in re.findall(r"\d+", match[1]):
                    found[int(rfc)].append(f"{module.where}:{number}")
    return found


def index_offences(entries: Sequence[Entry], modules: Sequence[Module], root: Path) -> Iterator[str]:
    cited = citations(modules)
    numbers = [int(entry["number"]) for entry in entries]
    for rfc in sorted(cited.keys() - set(numbers)):
        yield f"{cited[rfc][0]}: RFC {rfc} is cited, but not in {INDEX}. Remedy: add it there with its title and status"
    if numbers != sorted(set(numbers)):
        yield f"{INDEX}: numbers are not sorted, or stand twice. Remedy: sort them"
    for entry in entries:
        for fault in _faults(entry, cited.get(int(entry["number"]), []), root):
            yield f"{INDEX}: RFC {entry['number']}: {fault}"


def _faults(entry: Entry, cited: Sequence[str], root: Path) -> Iterator[str]:
    status = entry.get("status")
    if status not in STATUSES or not entry.get("title") or not set(entry) <= KEYS:
        yield f"malformed. Remedy: number, title, status (one of {', '.join(STATUSES)}), and at will note, code, tests"
    if status in {"partial", "no"} and not entry.get("note"):
        yield f"`{status}` without a note. Remedy: say what is missing, or why not"
    if status in {"yes", "partial"} and not cited:
        yield f"`{status}`, but nothing in src cites it. Remedy: cite it at the line that obeys it, or set it to planned"
    if status == "yes" and not entry.get("tests"):
        yield "`yes` without a test. Remedy: name under tests what proves it, or set it to partial or planned"
    for key in ("code", "tests"):
        for path in entry.get(key, []):
            if not (root / path).exists():
                yield f"{key} names {path}, which does not exist. Remedy: name the file as it is called now"
    files = {place.partition(":")[0] for place in cited}
    for path in entry.get("code", []):
        if (root / path).exists() and not any(file == path or file.startswith(path.rstrip("/") + "/") for file in files):
            yield f"{path} does not cite it. Remedy: cite it at the line that obeys it, or take the path out of code"


def test_the_index_says_what_is_true() -> None:
    claim_none(index_offences(index(), ours(), REPOSITORY))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        pytest.param("# RFC 5321 §4.5.2: a dot", [5321], id="one with a section"),
        pytest.param("Obeys RFC 3501 §4.3 and §9, RFC 9051 §4.3.", [3501, 9051], id="two, each with its word"),
        pytest.param("(RFC 5321, 6409)", [5321, 6409], id="two under one word"),
        pytest.param("RFC 5321 and 6409, within 300 seconds", [5321, 6409], id="what follows is no RFC"),
        pytest.param("RFC5322", [5322], id="without a blank"),
        pytest.param("RFC822.SIZE, RFC 822", [822], id="a data item of IMAP is no citation"),
    ],
)
def test_a_citation_is_recognised(tmp_path: Path, text: str, numbers: list[int]) -> None:
    assert sorted(citations(plant(tmp_path, {"net/x.py": f"# {text}\n"}))) == numbers


FULL: Final = {"number": 5321, "title": "t", "status": "yes", "code": ["src/moatmail/net/x.py"], "tests": ["src"]}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        pytest.param(FULL | {"number": 5322}, "RFC 5321 is cited, but not in", id="a citation without entry"),
        pytest.param(FULL | {"status": "done"}, "malformed", id="an unknown status"),
        pytest.param(FULL | {"proof": "x"}, "malformed", id="an unknown key"),
        pytest.param(FULL | {"status": "partial"}, "`partial` without a note", id="partial without a note"),
        pytest.param(FULL | {"tests": []}, "`yes` without a test", id="yes without a test"),
        pytest.param(FULL | {"tests": ["tests/gone.py"]}, "tests/gone.py, which does not exist", id="a test that is gone"),
        pytest.param(FULL | {"code": ["src/moatmail/net/__init__.py"]}, "does not cite it", id="code that does not cite"),
    ],
)
def test_index_rule_bites(tmp_path: Path, entry: dict[str, Any], said: str) -> None:
    modules = plant(tmp_path, {"net/x.py": "# RFC 5321: a rule\n", "net/__init__.py": ""})
    assert any(said in offence for offence in index_offences([entry], modules, tmp_path))


def test_a_yes_without_code_is_told(tmp_path: Path) -> None:
    (offence,) = index_offences([FULL | {"code": []}], plant(tmp_path, {"net/x.py": ""}), tmp_path)
    assert "nothing in src cites it" in offence


def test_index_rule_lets_pass(tmp_path: Path) -> None:
    assert not list(index_offences([FULL], plant(tmp_path, {"net/x.py": "# RFC 5321: a rule\n"}), tmp_path))
