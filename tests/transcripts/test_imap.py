# SPDX-License-Identifier: Apache-2.0
"""Every dialogue of tests/transcripts/imap, whole, octet by octet and in odd pieces.

Obeys nothing of its own: the dialogues cite the RFCs.
Must never know a socket.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transcripts.imap.player import Player

DIALOGUES = sorted(Path(__file__).with_name("imap").glob("*.txt"))


@pytest.mark.parametrize("chunk", [0, 1, 7], ids=["whole", "octet by octet", "in pieces of seven"])
@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem.replace("-", " "))
def test_dialogue(path: Path, chunk: int) -> None:
    """The engine answers as written, however the octets arrive."""
    Player(path, chunk).play()


def test_there_are_dialogues() -> None:
    """An empty folder would prove nothing."""
    assert len(DIALOGUES) > 10
