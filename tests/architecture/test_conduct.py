# SPDX-License-Identifier: Apache-2.0
"""What no line of ours may do: shells, foreign objects, a clock or dice of its own, and a verdict outside its one place.

Obeys no RFC.
Must never know why a caller would like to.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.source import Module, claim_none, imports, ours, plant, references

NO_SHELL: Final = "no shell anywhere. Remedy: an argv list without shell"
NO_OBJECTS: Final = "foreign bytes never become objects or code. Remedy: msgspec with a typed struct, or a parser of our own"
BY_CLOCK: Final = "wall clock outside port Clock. Remedy: take moatmail.core.ports.clock.Clock as an argument (its implementation is a file named clock.py)"
BY_RANDOM: Final = (
    "randomness outside port Random. Remedy: os.urandom for keys, nonces and ids; port Random for chance (its implementation is a file named random.py)"
)

FORBIDDEN: Final[dict[str, str]] = {
    **dict.fromkeys(("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"), NO_SHELL),
    **dict.fromkeys(("builtins.eval", "builtins.exec", "yaml.load", "yaml.unsafe_load", "pickle", "marshal", "shelve", "dill"), NO_OBJECTS),
    **dict.fromkeys(("time.time", "time.time_ns", "time.clock_gettime", "time.strftime", "time.ctime", "time.localtime"), BY_CLOCK),
    **dict.fromkeys(("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"), BY_CLOCK),
    **dict.fromkeys(("email.utils.formatdate", "email.utils.localtime"), BY_CLOCK),
    **dict.fromkeys(("random", "uuid.uuid1", "uuid.uuid4", "email.utils.make_msgid", "numpy.random"), BY_RANDOM),
}
# Pure with an argument, the wall clock without.
CLOCK_WHEN_BARE: Final = frozenset({"time.gmtime", "time.asctime"})
# The implementations of the two ports, by the name of their file.
IMPLEMENTS: Final = {BY_CLOCK: "clock", BY_RANDOM: "random"}
# What only one module builds: the class, its one builder, and what everybody else does instead.
BUILDERS: Final = {
    "moatmail.core.verdict.Verdict": ("moatmail.policy.verdict", "return findings; the verdict is composed in one place"),
    "moatmail.store.operations.NewMessage": ("moatmail.mailbox.messages", "ask mailbox.messages, the one caller of the adding operations"),
    "moatmail.store.operations.Delivery": ("moatmail.mailbox.messages", "ask mailbox.messages, the one caller of the adding operations"),
    "moatmail.store.operations.NewSpool": ("moatmail.mailqueue.spool", "ask mailqueue.spool, the one way into the queue"),
}


def conduct_offences(modules: Sequence[Module]) -> Iterator[str]:
    for module in modules:
        told: set[tuple[str, str]] = set()
        for node, name in (*references(module), *imports(module)):
            found = _forbidden(name)
            if found and not _implements(module, FORBIDDEN[found]) and (module.at(node), found) not in told:
                told.add((module.at(node), found))
                yield f"{module.at(node)}: {found}: {FORBIDDEN[found]}"
        yield from _calls(module)


def _forbidden(name: str) -> str | None:
    """The forbidden name that `name` is, or lies inside (``random.random`` lies inside ``random``)."""
    parts = name.split(".")
    return next((".".join(parts[:n]) for n in range(1, len(parts) + 1) if ".".join(parts[:n]) in FORBIDDEN), None)


def _implements(module: Module, rule: str) -> bool:
    return module.name.rpartition(".")[2] == IMPLEMENTS.get(rule) and not module.name.startswith("moatmail.core.")


def _calls(module: Module) -> Iterator[str]:
    resolved = {id(node): name for node, name in references(module)}
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
                yield f"{module.at(node)}: shell=: {NO_SHELL}"
        name = resolved.get(id(node.func))
        if name in CLOCK_WHEN_BARE and not node.args and not _implements(module, BY_CLOCK):
            yield f"{module.at(node)}: {name}(): {BY_CLOCK}"


def builder_offences(modules: Sequence[Module]) -> Iterator[str]:
    for module in modules:
        resolved = {id(node): name for node, name in references(module)}
        for node in ast.walk(module.tree):
            name = resolved.get(id(node.func), "") if isinstance(node, ast.Call) else ""
            name = name.replace("builtins.", f"{module.name}.")  # the module that defines the class calls it by its bare name
            home, remedy = BUILDERS.get(name, (module.name, ""))
            if module.name != home:
                yield f"{module.at(node)}: builds a {name.rpartition('.')[2]}, which only {home} may. Remedy: {remedy}"


def test_conduct() -> None:
    claim_none(conduct_offences(ours()))


def test_one_place_builds() -> None:
    claim_none(builder_offences(ours()))


def test_what_one_place_builds_is_built_there() -> None:
    called = {(module.name, name) for module in ours() for _, name in references(module)}
    stale = [f"{name}: {home} does not mention it" for name, (home, _) in BUILDERS.items() if (home, name) not in called]
    assert not stale, f"BUILDERS in this file is out of date: {stale}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("import os\nos.system('x')\n", "os.system", id="a shell by os"),
        pytest.param("import subprocess\nsubprocess.run('x', shell=True)\n", "shell=", id="a shell by subprocess"),
        pytest.param("import subprocess\nsubprocess.run('x', shell=flag)\n", "shell=", id="a shell by a variable"),
        pytest.param("import pickle\n", "pickle", id="pickle, if only imported"),
        pytest.param("from marshal import loads\n", "marshal", id="marshal"),
        pytest.param("eval('1')\n", "eval", id="eval"),
        pytest.param("run = exec\n", "exec", id="exec under another name"),
        pytest.param("import yaml\nyaml.load(b'')\n", "yaml.load", id="yaml.load"),
        pytest.param("import time\nnow = time.time\n", "Clock", id="the wall clock, not even called"),
        pytest.param("from time import time as tick\ntick()\n", "Clock", id="the wall clock under another name"),
        pytest.param("import datetime as d\nd.datetime.now(d.UTC)\n", "Clock", id="datetime.now by the module"),
        pytest.param("from datetime import UTC, datetime\ndatetime.now(UTC)\n", "Clock", id="datetime.now"),
        pytest.param("import time\ntime.gmtime()\n", "Clock", id="gmtime of now"),
        pytest.param("import random\n", "Random", id="dice"),
        pytest.param("import uuid\nuuid.uuid4()\n", "Random", id="uuid4"),
    ],
)
def test_conduct_rule_bites(tmp_path: Path, text: str, said: str) -> None:
    offences = list(conduct_offences(plant(tmp_path, {"policy/x.py": text})))
    assert offences
    assert all(said in offence for offence in offences)


@pytest.mark.parametrize(
    ("where", "text"),
    [
        pytest.param("policy/x.py", "import time\ntime.gmtime(0)\ntime.monotonic()\n", id="pure time"),
        pytest.param("policy/x.py", "from datetime import UTC, datetime\ndatetime.fromtimestamp(0, UTC)\n", id="a date from a number"),
        pytest.param(
            "policy/x.py",
            "from moatmail.core.ports.random import Random\n\n\ndef f(random: Random) -> float:\n    return random.uniform(0, 1)\n",
            id="port Random",
        ),
        pytest.param("app/clock.py", "import time\nnow = time.time()\n", id="the implementation of Clock"),
        pytest.param("app/random.py", "import random\ndice = random.SystemRandom()\n", id="the implementation of Random"),
        pytest.param("app/x.py", "import subprocess\nsubprocess.run(['x'], shell=False)\n", id="an argv list"),
    ],
)
def test_conduct_rule_lets_pass(tmp_path: Path, where: str, text: str) -> None:
    assert not list(conduct_offences(plant(tmp_path, {where: text})))


@pytest.mark.parametrize(
    ("where", "text"),
    [
        pytest.param("intake/receive.py", "from moatmail.core.verdict import Verdict\nVerdict(1)\n", id="by its name"),
        pytest.param("endpoints/smtp.py", "from moatmail.core import verdict\nverdict.Verdict(1)\n", id="by its module"),
        pytest.param("policy/pipeline.py", "from moatmail.core.verdict import Verdict as V\nV(1)\n", id="under another name"),
        pytest.param("delivery/bounce.py", "from moatmail.store.operations import NewSpool\nNewSpool(1)\n", id="a way round the queue"),
        pytest.param("intake/x.py", "from moatmail.store import operations\noperations.Delivery(1)\n", id="a way round the mailbox"),
        pytest.param("core/verdict.py", "class Verdict: ...\n\n\ndef make() -> Verdict:\n    return Verdict()\n", id="where it is defined"),
    ],
)
def test_builder_rule_bites(tmp_path: Path, where: str, text: str) -> None:
    assert len(list(builder_offences(plant(tmp_path, {where: text})))) == 1


def test_builder_rule_lets_pass(tmp_path: Path) -> None:
    text = "from moatmail.core.verdict import RecipientVerdict, Verdict\nVerdict(1)\n"
    assert not list(
        builder_offences(
            plant(tmp_path, {"policy/verdict.py": text, "intake/x.py": "from moatmail.core.verdict import RecipientVerdict\nRecipientVerdict(1)\n"})
        )
    )
