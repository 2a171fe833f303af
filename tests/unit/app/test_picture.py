# SPDX-License-Identifier: Apache-2.0
"""What `moatmail try` prints: the picture of the issue, and lines that a shell takes as they stand."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from moatmail.app.picture import Trial, picture, program_name

TRIAL = Trial(
    "./moatmail-try", {"submissions": "127.0.0.1:2465", "imaps": "127.0.0.1:2993"}, (("alice@example.test", "abc-def"), ("bob@example.test", "ghi-jkl"))
)


def line(text: str, begin: str) -> str:
    found = next(one for one in text.splitlines() if one.startswith(begin))
    return found.removeprefix(begin).strip()


def test_the_picture_is_the_one_that_was_promised() -> None:
    lines = picture(TRIAL, "moatmail").splitlines()
    assert lines[:5] == [
        "Moatmail is running: trial mode, this machine only. Stop: Ctrl-C. Same command again: same mail, same passwords.",
        "",
        "  accounts   alice@example.test   abc-def   mail server   127.0.0.1   IMAP 2993 · submission 2465",
        "             bob@example.test     ghi-jkl   certificate   ./moatmail-try/ca.pem",
        "",
    ]
    assert [one.split()[:2] for one in lines[5:]] == [["1", "send"], ["2", "read"], ["3", "sealed?"], ["4", "durable?"], ["5", "why?"]]


def test_the_send_line_pipes_a_whole_message_with_its_line_ends_into_curl() -> None:
    sent = line(picture(TRIAL, "moatmail"), "  1 send")
    printing, _, curl = sent.partition(" | ")
    message = subprocess.run(["sh", "-c", printing], capture_output=True, check=True).stdout
    assert message == b"From: alice@example.test\r\nTo: bob@example.test\r\nSubject: for your eyes only\r\n\r\nthe eagle lands at dawn\r\n"
    words = shlex.split(curl)
    assert words[0] == "curl"
    assert words[words.index("--user") + 1] == "alice@example.test:abc-def"
    assert words[words.index("--mail-rcpt") + 1] == "bob@example.test"
    assert words[-3:] == ["smtps://127.0.0.1:2465", "--upload-file", "-"]


def test_the_read_line_asks_for_the_newest_message_of_the_recipient() -> None:
    words = shlex.split(line(picture(TRIAL, "moatmail"), "  2 read"))
    assert words[-1] == "imaps://127.0.0.1:2993/INBOX;MAILINDEX=1"
    assert words[words.index("--user") + 1] == "bob@example.test:ghi-jkl"


@pytest.mark.parametrize("folder", ["/srv/a b", "./it's", "$(x)"])
def test_a_folder_with_signs_of_the_shell_is_quoted_in_every_line(folder: str) -> None:
    text = picture(Trial(folder, TRIAL.doors, TRIAL.accounts), "moatmail")
    for begin in ("  1 send", "  2 read"):
        words = shlex.split(line(text, begin))
        assert words[words.index("--cacert") + 1] == f"{folder}/ca.pem"
    assert shlex.split(line(text, "  3 sealed?").partition("   →")[0]) == ["grep", "-r", "the eagle lands at dawn", folder]


def test_the_program_is_called_as_this_shell_can_call_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "moatmail"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(program), "try"])
    monkeypatch.setenv("PATH", "/usr/bin")
    assert program_name() == "bin/moatmail"
    monkeypatch.setenv("PATH", str(program.parent))
    assert program_name() == "moatmail"
