# SPDX-License-Identifier: Apache-2.0
"""Two sessions under random changes: what each was told, played on a list, is what the server means by its numbers.

The model is a client that knows nothing but RFC 3501 §7: EXISTS adds messages at the end, EXPUNGE takes one away, FETCH tells flags.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.endpoints.imap.lab import HELLO, Client, Lab, furnish, imap_lab

_FETCH = re.compile(rb"([0-9]+) FETCH \((?:UID ([0-9]+) ?)?(?:FLAGS \(([^)]*)\))?(?: MODSEQ \([0-9]+\))?\)")

STEP = st.tuples(
    st.integers(0, 1),  # which session
    st.sampled_from(("store", "silent", "expunge", "noop", "fetch", "uid fetch", "search", "deliver", "append", "move", "copy")),
    st.integers(0, 30),
    st.integers(0, 30),
    st.sampled_from((b"\\Seen", b"\\Deleted", b"\\Flagged", b"$Word")),
)


@dataclass
class Message:
    """What a client knows of one: nothing, before it is told."""

    uid: int = 0
    flags: set[bytes] | None = None


class Model:
    """What one client believes of its mailbox."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.messages: list[Message] = []

    def hear(self, told: list[bytes]) -> None:
        for line in told:
            number, _, word = line.partition(b" ")
            if word == b"EXISTS":
                assert int(number) >= len(self.messages), "EXISTS never takes messages away (RFC 3501 §7.3.1)"
                self.messages.extend([Message() for _ in range(int(number) - len(self.messages))])
            elif word == b"EXPUNGE":
                assert 1 <= int(number) <= len(self.messages)
                del self.messages[int(number) - 1]
            elif (match := _FETCH.fullmatch(line)) is not None:
                message = self.messages[int(match[1]) - 1]
                if match[2] is not None:
                    assert message.uid in (0, int(match[2])), "a number never changes its message without EXPUNGE (RFC 3501 §2.3.1.2)"
                    message.uid = int(match[2])
                if match[3] is not None:
                    message.flags = set(match[3].split()) - {b"\\Recent"}

    def span(self, first: int, last: int) -> bytes:
        count = len(self.messages)
        return b"%d:%d" % (first % count + 1, last % count + 1)


async def _step(lab: Lab, models: list[Model], step: tuple[int, str, int, int, bytes]) -> None:
    who, what, first, last, flag = step
    model = models[who]
    if what == "deliver":
        await lab.deliver(HELLO)
        return
    if what == "append":
        model.hear(await model.client.command(b"APPEND INBOX {%d+}\r\n" % len(HELLO) + HELLO))
        return
    if what in ("noop", "expunge"):
        model.hear(await model.client.ok(what))
        return
    if not model.messages:
        return
    span = model.span(first, last)
    command = {
        "store": b"STORE %b +FLAGS (%b)" % (span, flag),
        "silent": b"STORE %b -FLAGS.SILENT (%b)" % (span, flag),
        "fetch": b"FETCH %b (UID FLAGS)" % span,
        "uid fetch": b"UID FETCH 1:* (FLAGS)",
        "search": b"SEARCH ALL",
        "move": b"MOVE %b Trash" % span,
        "copy": b"COPY %b INBOX" % span,
    }[what]
    model.hear(await model.client.command(command))
    if what == "silent" and model.client.tagged.startswith(b"OK"):
        _take_silently(model, span, flag)


def _take_silently(model: Model, span: bytes, flag: bytes) -> None:
    """A client that asked for silence knows itself what became of the flags (RFC 3501 §6.4.6)."""
    low, high = sorted(map(int, span.split(b":")))
    for message in model.messages[low - 1 : high]:
        if message.flags is not None:
            message.flags.discard(flag)


async def _agree(models: list[Model]) -> None:
    """In the end both were told everything: numbers, UIDs and flags are those of the server."""
    for model in models:
        model.hear(await model.client.ok("NOOP"))
        believed = [None if message.flags is None else set(message.flags) for message in model.messages]
        told = await model.client.ok("FETCH 1:* (UID FLAGS)")
        model.hear(told)
        assert len(told) == len(believed)
        assert all(known is None or known == message.flags for known, message in zip(believed, model.messages, strict=True))
    uids = [[message.uid for message in model.messages] for model in models]
    assert uids[0] == uids[1] == sorted(set(uids[0]))


async def _play(furnished: Path, folder: Path, steps: list[tuple[int, str, int, int, bytes]]) -> None:
    async with imap_lab(furnished, folder) as lab:
        await lab.deliver(*[HELLO] * 4)
        models = [Model(await lab.client()) for _ in range(2)]
        for model in models:
            model.hear(await model.client.ok("SELECT INBOX"))
            model.hear(await model.client.ok("FETCH 1:* (UID FLAGS)"))
        for step in steps:
            await _step(lab, models, step)
        await _agree(models)
        assert not lab.events.alerts()
        for model in models:
            await model.client.close()


@pytest.fixture(scope="module")
def furnished_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("furnished")
    asyncio.run(furnish(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.timeout(300)  # for finding the smallest failure
@settings(max_examples=25)
@given(steps=st.lists(STEP, min_size=5, max_size=40))
def test_numbers_stay_those_of_a_plain_list(furnished_folder: Path, steps: list[tuple[int, str, int, int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_play(furnished_folder, Path(folder), steps))
