# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.transcripts.smtp_player import DATA, Player, read, read_case

HERE = Path(__file__).parent / "smtp"
CASES = DATA.parent / "cases" / "smtp"
SMUGGLING = DATA / "smtp-smuggling" / "sequences.json"

each_cut = pytest.mark.parametrize("octets", [False, True], ids=["whole", "octet-by-octet"])


@each_cut
@pytest.mark.parametrize("path", sorted(HERE.glob("*.txt")), ids=lambda path: path.stem)
def test_transcript(path: Path, octets: bool) -> None:
    player = Player(octets=octets)
    for kind, text in read(path):
        player.step(kind, text)
    player.finish()


@each_cut
@pytest.mark.parametrize("folder", sorted(CASES.glob("*/dialogue.txt")), ids=lambda path: path.parent.name)
def test_case_of_users_trouble(folder: Path, octets: bool) -> None:
    player = Player(octets=octets)
    for kind, text in read_case(folder.parent):
        player.step(kind, text)
    player.finish()


def sequences() -> list[str]:
    if not SMUGGLING.exists():
        return []
    data = json.loads(SMUGGLING.read_text("utf-8"))
    return [*data["inbound_must_not_end_data"], *data["also_try_here"]]


@pytest.mark.skipif(not SMUGGLING.exists(), reason="shared data smtp-smuggling is absent")
def test_all_thirteen_sequences_are_here() -> None:
    assert len(sequences()) == 13


@each_cut
@pytest.mark.parametrize("door", ["mx", "submissions"])
@pytest.mark.parametrize("sequence", sequences(), ids=repr)
def test_smuggling_sequence_starts_no_second_message(sequence: str, door: str, octets: bool) -> None:
    player = Player(octets=octets)
    player.step("@", f"door {door}")
    player.step("S:", "^220")
    player.step("C:", "EHLO x.example")
    player.step("S:", "^250-")
    if door != "mx":
        player.step("C:", "AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABjb3JyZWN0IGhvcnNl")
        player.step("S:", "^235")
    for line, reply in [("MAIL FROM:<a@example.org>", "^250"), ("RCPT TO:<alice@example.test>", "^250"), ("DATA", "^354")]:
        player.step("C:", line)
        player.step("S:", reply)
    inner = "MAIL FROM:<evil@example.org>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx"
    player.unsent.append(f"Subject: outer\r\n\r\nbody{sequence}{inner}\r\n.\r\n".encode())
    lines_end_well = "\r" not in sequence.replace("\r\n", "") and "\n" not in sequence.replace("\r\n", "") and "\0" not in sequence
    player.step("S:", "^250 2.0.0 accepted" if lines_end_well else "^550 5.5.2")
    # One reply, one transaction: the session is where it was before MAIL.
    player.step("C:", "NOOP")
    player.step("S:", "^250")
    application = player.finish()
    assert len(application.messages) == lines_end_well
    assert all(b"smuggled" in message and b"outer" in message for message in application.messages)


@each_cut
def test_session_is_closed_after_three_smugglers(octets: bool) -> None:
    player = Player(octets=octets)
    player.step("S:", "^220")
    player.step("C:", "EHLO x.example")
    player.step("S:", "^250-")
    for turn in range(3):
        player.step("C~", "MAIL FROM:<>\\r\\nRCPT TO:<alice@example.test>\\r\\nDATA\\r\\n")
        for reply in ("^250", "^250", "^354"):
            player.step("S:", reply)
        player.step("C~", "a\\nb\\r\\n.\\r\\n")
        player.step("S:", "^550 5.5.2")
        if turn == 2:
            player.step("S:", "^421 4.7.0")
            player.step("X:", "")
    assert player.finish().messages == []
