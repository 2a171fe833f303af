# SPDX-License-Identifier: Apache-2.0
"""What `moatmail try` prints: what runs, and five lines to copy that show what it can do.

Obeys RFC 8314 §3.3 (submission with implicit TLS), RFC 5092 (the IMAP URL).
Must never print a line that needs editing before it works in the shell it was started from.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WORDS: Final = "the eagle lands at dawn"
_PROGRAM: Final = "moatmail"


@dataclass(frozen=True, slots=True)
class Trial:
    """The facts of a running trial: its folder as the person wrote it, the doors as ``host:port``, the accounts as (address, password)."""

    folder: str
    doors: Mapping[str, str]
    accounts: Sequence[tuple[str, str]]

    @property
    def certificate(self) -> str:
        """Give the root's path as the person would write it."""
        return f"{self.folder.rstrip('/') or '/'}/ca.pem"


def picture(trial: Trial, program: str) -> str:
    """Give the text; `program` is how this shell calls us."""
    submission, imap = (trial.doors[door].rpartition(":") for door in ("submissions", "imaps"))
    (first, first_secret), (second, second_secret) = trial.accounts[:2]
    width = max(len(first), len(second))
    secrets = max(len(first_secret), len(second_secret))
    return f"""\
Moatmail is running: trial mode, this machine only. Stop: Ctrl-C. Same command again: same mail, same passwords.

  accounts   {first:{width}}   {first_secret:{secrets}}   mail server   {imap[0]}   IMAP {imap[2]} · submission {submission[2]}
             {second:{width}}   {second_secret:{secrets}}   certificate   {trial.certificate}

  1 send     {_send(trial)}
  2 read     {_read(trial)}
  3 sealed?  grep -r {shlex.quote(WORDS)} {shlex.quote(trial.folder)}   → finds nothing; that sentence is in the mail you just read
  4 durable? {program} demo crash   → in a throw-away folder: kills a server 5 times while sending, counts what was lost: 0
  5 why?     {program} demo verdicts   → judges a good, a forged and a damaged message, and says why each ended as it did
"""


def _send(trial: Trial) -> str:
    (author, secret), (recipient, _) = trial.accounts[:2]
    # curl sends what it reads, so the lines end in CRLF from the start (RFC 5321 §2.3.8).
    message = f"From: {author}\\r\\nTo: {recipient}\\r\\nSubject: for your eyes only\\r\\n\\r\\n{WORDS}\\r\\n"
    curl = [*_curl(trial, author, secret), "--mail-from", author, "--mail-rcpt", recipient, f"smtps://{trial.doors['submissions']}", "--upload-file", "-"]
    return f"printf '{message}' | {shlex.join(curl)}"


def _read(trial: Trial) -> str:
    reader, secret = trial.accounts[1]
    return shlex.join([*_curl(trial, reader, secret), f"imaps://{trial.doors['imaps']}/INBOX;MAILINDEX=1"])


def _curl(trial: Trial, user: str, secret: str) -> list[str]:
    return ["curl", "-sS", "--ssl-reqd", "--cacert", trial.certificate, "--user", f"{user}:{secret}"]


def program_name() -> str:
    """Give how this shell calls us: the bare name if it finds us so, else the path from here."""
    started = Path(sys.argv[0])
    found = shutil.which(_PROGRAM)
    if started.name != _PROGRAM or (found and Path(found).resolve() == started.resolve()):
        return _PROGRAM
    return shlex.quote(os.path.relpath(started.absolute()))
