# SPDX-License-Identifier: Apache-2.0
"""Every dialogue of tests/transcripts/pop3, whole, octet by octet and in odd pieces."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transcripts.pop3_player import Player

DIALOGUES = sorted(Path(__file__).with_name("pop3").glob("*.txt"))


@pytest.mark.parametrize("chunk", [0, 1, 7], ids=["whole", "octet by octet", "in pieces of seven"])
@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem.replace("-", " "))
def test_dialogue(path: Path, chunk: int) -> None:
    Player(path, chunk).play()


def test_there_are_dialogues() -> None:
    assert len(DIALOGUES) > 10
