# SPDX-License-Identifier: Apache-2.0
"""The published ImapTest dialogues, played on a live server: the base protocol, and every extension that the server announces."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.imaptest_language import Script, parse
from tests.e2e.imaptest_runner import Account, Connection, Outcome, Runner
from tests.e2e.trial import Trial

FOLDER = Path(os.environ.get("MOATMAIL_TEST_DATA", Path(__file__).parents[2] / "../shared/data")).resolve() / "imaptest"
NAMES = sorted(
    str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file() and path.suffix != ".mbox" and path.name not in ("README.md", "COPYING.MIT")
)
# Its authors keep it apart as broken.
ASSUMING = {"broken/search-intdate": "assumes that the server keeps internal dates in the zone of Helsinki; ours are in UTC"}
# \Recent of one mailbox over several connections: exact within one process only, and several serve us here. What another process told cannot be
# determined, so it counts as recent (RFC 3501 §2.3.2; RFC 9051 has given \Recent up). This script is played where one process serves all.
RECENT_ACROSS_CONNECTIONS = {"append"}

pytestmark = pytest.mark.skipif(not NAMES, reason="the published ImapTest scripts are not here")


def script(name: str) -> Script:
    return parse(name, (FOLDER / name).read_bytes())


def runner_of(server: Trial) -> Runner:
    def connect() -> Connection:
        host, port = server.address("imaps")
        return Connection(server.tls().wrap_socket(socket.create_connection((host, port), timeout=30), server_hostname=host))

    return Runner(FOLDER, connect, [Account(*server.account(number)) for number in range(2)])


@pytest.fixture(scope="module")
def runner(server: Trial) -> Runner:
    return runner_of(server)


@pytest.fixture(scope="module")
def runner_of_one_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A server that is given one core: so it has one process for its users."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        one = Trial(tmp_path_factory.mktemp("one") / "moatmail-try").start()
    finally:
        os.sched_setaffinity(0, cores)
    try:
        yield runner_of(one)
    finally:
        one.stop()


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest) -> Iterator[dict[str, Outcome]]:
    """Collect the outcomes, and print what they come to."""
    outcomes: dict[str, Outcome] = {}
    yield outcomes
    whole = [outcome for outcome in outcomes.values() if not outcome.skipped]
    groups = sum(len(script(outcome.name).groups) for outcome in whole)
    commands, failed = sum(outcome.commands for outcome in whole), sum(bool(outcome.failures) for outcome in whole)
    told = f"ImapTest: {len(whole)} scripts, {groups} groups, {commands} commands, {failed} scripts failed; {len(outcomes) - len(whole)} not announced"
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{told}")  # noqa: T201 - the figures belong into the log of a run that went well


@pytest.mark.parametrize("name", NAMES)
def test_the_server_answers_the_dialogue_as_published(name: str, request: pytest.FixtureRequest, played: dict[str, Outcome]) -> None:
    if name in ASSUMING:
        pytest.skip(f"{name} {ASSUMING[name]}")
    runner: Runner = request.getfixturevalue("runner_of_one_process" if name in RECENT_ACROSS_CONNECTIONS else "runner")
    outcome = played[name] = runner.run(name)
    if outcome.skipped:
        pytest.skip(f"{name}: {outcome.skipped}")
    assert outcome.failures == []
    assert outcome.commands == sum(len(group.steps) for group in script(name).groups)


def test_every_script_of_the_base_protocol_and_of_an_announced_extension_was_played(server: Trial, played: dict[str, Outcome]) -> None:
    if len(played) + len(ASSUMING) < len(NAMES):
        pytest.skip("only a part of the scripts was asked for")
    host, port = server.address("imaps")
    with server.tls().wrap_socket(socket.create_connection((host, port), timeout=30), server_hostname=host) as sock:
        link = Connection(sock)
        user, password = server.account()
        link.demand(f'LOGIN "{user}" "{password}"')
        announced = set(" ".join(link.demand("CAPABILITY")).upper().split())
    due = {name for name in played if announced.issuperset(script(name).capabilities)}
    assert {name for name, outcome in played.items() if not outcome.skipped} == due
    assert announced >= {"ESEARCH", "CONDSTORE", "MOVE", "UIDPLUS", "LIST-EXTENDED", "IDLE"}
    assert sum(not script(name).capabilities for name in due) >= 32
