# SPDX-License-Identifier: Apache-2.0
"""docs/how-to-add-a-stage.md, followed to the letter: its blocks are put into a copy of the source, and the new stage is run there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to-add-a-stage.md"
# A path in bold on a line of its own, then one or more blocks for that file.
_PATH = re.compile(r"^\*\*([\w/.-]+)\*\*$")
_FENCE = re.compile(r"^```(\w*)$")

PLAY = """
import asyncio, json, sys
from moatmail.app.judging import Bench, Given, judge
from moatmail.core.address import Address
from moatmail.core.settings.mail import Mail
from moatmail.net.resolver_cache import CachingResolver
from moatmail.net.resolver_table import TableResolver
from moatmail.policy import order, pipeline
from moatmail.policy.explain import change_in_words, explain
from moatmail.policy.stages import date

class Clock:
    def now(self): return 1_800_000_000.0
    def monotonic(self): return asyncio.get_running_loop().time()

def play(day):
    message = b"From: carol@friend.test\\r\\nDate: %s\\r\\n\\r\\nhello\\r\\n" % day
    given = Given(recipients=(Address("ann", "example.test"),))
    bench = Bench(Mail(), "mx.example.test", CachingResolver(TableResolver({}), Clock()), Clock())
    told = explain(asyncio.run(judge(message, given, bench)).decided)
    why = told.recipients[0]
    found = {one.finding.name: one.meaning for one in told.findings if one.finding.stage == "date"}
    return {"found": found, "mailboxes": why.outcome.mailboxes, "turning": change_in_words(why.turning) if why.turning else None}

async def broken(transaction, tools):
    raise RuntimeError("of the stage")

ahead, today = play(b"Sun, 14 Feb 2027 08:00:00 +0000"), play(b"Fri, 15 Jan 2027 08:00:00 +0000")
broken.__module__ = date.__name__
order.RECEIVE[order.Phase.DATA] = ((broken,), *order.RECEIVE[order.Phase.DATA])
print(json.dumps([ahead, today, play(b"Fri, 15 Jan 2027 08:00:00 +0000")]))
"""


@dataclass(frozen=True)
class Block:
    """A block of the page: the file it is for, its language, its lines."""

    path: str
    language: str
    lines: tuple[str, ...]


def blocks(text: str) -> Iterator[Block]:
    path, language = "", None
    held: list[str] = []
    for line in text.splitlines():
        if language is not None:
            if line == "```":
                yield Block(path, language, tuple(held))
                language = None
            else:
                held.append(line)
        elif fence := _FENCE.match(line):
            language, held = fence[1], []
        elif found := _PATH.match(line):
            path = found[1]
        elif line.startswith("#"):
            path = ""


def follow(block: Block, root: Path) -> None:
    """Do what a block says: write the file, or change the lines that it shows, which must stand there once."""
    file = root / block.path
    if block.language != "diff":
        assert not file.exists(), f"{block.path} is there already"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(block.lines) + "\n")
        return
    before = "".join(line[1:] + "\n" for line in block.lines if line[:1] != "+")
    after = "".join(line[1:] + "\n" for line in block.lines if line[:1] != "-")
    text = file.read_text()
    assert text.count(before) == 1, f"the page shows lines of {block.path} that are not there, or not once:\n{before}"
    file.write_text(text.replace(before, after))


BLOCKS = tuple(blocks(PAGE.read_text()))


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source in which the page was followed."""
    root = tmp_path_factory.mktemp("followed")
    shutil.copytree(ROOT / "src" / "moatmail", root / "src" / "moatmail", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests" / "policy" / "stories", root / "tests" / "policy" / "stories")
    for block in BLOCKS:
        follow(block, root)
    return root


@pytest.fixture(scope="module")
def played(followed: Path) -> list[dict[str, Any]]:
    """What the new stage found, about a message of next month, of today, and of today where the stage is broken."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PLAY], env={"PYTHONPATH": str(followed / "src")}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_every_block_says_which_file_it_is_for() -> None:
    assert all(block.path for block in BLOCKS)
    assert {block.language for block in BLOCKS} == {"diff", "python", "toml"}


def test_the_new_stage_is_run_judged_and_explained(played: list[dict[str, Any]]) -> None:
    assert played[0] == {
        "found": {"date.ahead": "the message claims to be written in the future, 30 days from now"},
        "mailboxes": ["Junk"],
        "turning": "without date.ahead (7 points): accepted into INBOX",
    }


def test_the_new_stage_finds_nothing_in_an_ordinary_message(played: list[dict[str, Any]]) -> None:
    assert played[1] == {"found": {}, "mailboxes": ["INBOX"], "turning": None}


def test_the_new_stage_may_break(played: list[dict[str, Any]]) -> None:
    assert played[2]["found"] == {"date.unavailable": "it could not be seen when the message was written (RuntimeError: of the stage)"}
    assert played[2]["mailboxes"] == ["INBOX"]


def test_the_story_ends_as_it_says(followed: Path) -> None:
    """The page's story is played by the very test that plays all others."""
    from tests.policy.test_stories import test_story_ends_as_it_says as play  # noqa: PLC0415 - imported for its call, not collected again

    play(followed / "tests" / "policy" / "stories" / "date-ahead.toml")


def test_what_the_page_shows_is_in_the_form_of_the_house(followed: Path) -> None:
    paths = sorted({str(followed / block.path) for block in BLOCKS if block.path.endswith(".py")})
    for check in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--no-cache", "--config", str(ROOT / "pyproject.toml"), *paths], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_places_to_touch_are_the_ones_that_were_touched() -> None:
    table = PAGE.read_text().partition("## Places to touch")[2]
    places = re.findall(r"^\| `?([\w/-]+\.\w+)`? \|", table, re.MULTILINE)
    touched = list(dict.fromkeys(block.path for block in BLOCKS))
    assert places[: len(touched)] == touched
    for place in places[len(touched) :]:
        assert (ROOT / place).exists(), place


def test_every_file_that_the_page_names_is_there() -> None:
    text = PAGE.read_text()
    made = {block.path for block in BLOCKS if block.language != "diff"}
    named = set(re.findall(r"`((?:src|tests|docs)/[\w/.-]+\.\w+)`", text)) - made
    named |= {f"src/moatmail/{one}" for one in re.findall(r"`((?:policy|core|mailauth)/[\w/]+\.py)`", text)}
    assert [one for one in sorted(named) if not (ROOT / one).exists()] == []
