# SPDX-License-Identifier: Apache-2.0
"""A change of the directory by command line counts for the very next RCPT of a session that is under way, in another process."""

from __future__ import annotations

import smtplib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.trial import Trial, trial

pytestmark = pytest.mark.timeout(180)


def moatmail(server: Trial, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "moatmail.app.cli", *arguments, "--dir", str(server.folder)], check=True, capture_output=True, timeout=60)


def test_what_was_changed_is_met_by_the_next_recipient(tmp_path: Path) -> None:
    with trial(tmp_path / "try") as server:
        target, _ = server.account()
        alias = "desk@" + target.partition("@")[2]
        with smtplib.SMTP(*server.address("smtp"), local_hostname="client.friend.test", timeout=30) as client:

            def rcpt(address: str) -> int:
                client.rset()
                client.mail("carol@friend.test")
                return client.rcpt(address)[0]

            client.ehlo()
            for _ in range(5):
                assert rcpt(alias) == 550
                moatmail(server, "alias", "add", alias, target)
                assert [rcpt(alias), rcpt(alias)] == [250, 250]
                moatmail(server, "alias", "remove", alias)
            assert rcpt(alias) == 550
