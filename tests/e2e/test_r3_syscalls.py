# SPDX-License-Identifier: Apache-2.0
"""R3: the n-th call of the system fails: never a 250 after a failed sync, healthy again within five seconds, nothing torn, no descriptor leaked."""

from __future__ import annotations

import os
import re
import shutil
import smtplib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.traffic import Sender, descriptors, kept_marks, needs_root, report, roles, strace
from tests.e2e.trial import Trial, trial

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
pytestmark = [needs_root, needs_strace]

NUMBERS = int(os.environ.get("MOATMAIL_R3_NUMBERS", "8"))
HEALTHY_SECONDS = 5.0
MESSAGES = 12
LARGE = 2600  # lines of 100 octets: more than a row takes, so the content is a file that mx writes and syncs
SYNCS = "fsync,fdatasync"

FIRST = [str(number) for number in range(1, NUMBERS + 1)]
FROM_THERE_ON = ["1+", "3+"]
# Its sockets are written by the same call: a peer that gets no answer proves nothing, so many single ones and none that last.
AMONG_ANSWERS = [str(number) for number in range(6, 6 + 3 * NUMBERS)]

# In which role which calls fail with what, and the how manieth.
FAULTS = [
    pytest.param("store", SYNCS, "EIO", FIRST + FROM_THERE_ON, id="a sync of the store"),
    pytest.param("store", "pwrite64", "ENOSPC", FIRST + FROM_THERE_ON, id="a write of the store on a full disk"),
    pytest.param("store", "pwrite64", "EIO", FIRST + FROM_THERE_ON, id="a write of the store"),
    pytest.param("store", "openat", "EMFILE", FIRST + FROM_THERE_ON, id="an open of the store"),
    pytest.param("mx", SYNCS, "EIO", FIRST + FROM_THERE_ON, id="a sync of a large content"),
    pytest.param("mx", "write", "ENOSPC", AMONG_ANSWERS, id="a write of a large content"),
    pytest.param("mx", "openat", "EMFILE", FIRST + FROM_THERE_ON, id="an open of a large content"),
    pytest.param("mx", "rename,renameat,renameat2", "EIO", FIRST + FROM_THERE_ON, id="a rename of a large content"),
    pytest.param("mx", "mkdir,mkdirat", "ENOSPC", FIRST + FROM_THERE_ON, id="a folder for a large content"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with trial(tmp_path_factory.mktemp("r3") / "moatmail-try") as one:
        yield one


def injected(log: Path) -> list[str]:
    """Give the calls that were made to fail, those on files of the mail alone (sockets and pipes are no disk)."""
    return [line for line in log.read_text().splitlines() if "(INJECTED)" in line and "/mail" in line]


def send(sender: Sender, name: str, role: str) -> None:
    """Send a dozen one after the other, small and large by turns, whatever becomes of each."""
    number = 0
    for _ in range(4 * MESSAGES):
        try:
            with sender.connect() as client:
                while number < MESSAGES:
                    number += 1
                    sender.send_one(client, f"{name}-n{number}-z{LARGE if role == 'mx' and number % 3 else 10}")
                return
        except (OSError, smtplib.SMTPException):
            time.sleep(0.02)
    pytest.fail("the server does not answer any more")


def recovery(sender: Sender, name: str) -> float:
    """Give the seconds until mail is taken again, small and large."""
    begun = time.monotonic()
    for lines in (5, LARGE):
        while True:
            try:
                with sender.connect() as client:
                    if sender.send_one(client, f"{name}-t{time.monotonic_ns()}-z{lines}"):
                        break
            except (OSError, smtplib.SMTPException):
                pass
            assert time.monotonic() - begun < HEALTHY_SECONDS, "not healthy again"
            time.sleep(0.02)
    return time.monotonic() - begun


def grown(before: Counter[str], after: Counter[str]) -> Counter[str]:
    """Give what is open more often than before: one more of the database is the connection that moves the log, made when first needed."""
    return +Counter(
        {name: count - before[name] - ("mail.sqlite" in name) for name, count in after.items() if not name.startswith(("socket:", "/dev/"))},
    )


@pytest.mark.parametrize(("role", "calls", "error", "times"), FAULTS)
def test_r3_after_a_failed_call_nobody_is_told_250_for_what_is_not_kept(
    shared: Trial, role: str, calls: str, error: str, times: list[str], tmp_path: Path
) -> None:
    recipient = shared.account(1)[0]
    sender = Sender(shared, "r3", (recipient,), lambda _count: 1)
    recovery(sender, f"{role}-{error}-before")
    failed, unanswered, slowest = 0, 0, 0.0
    before = {pid: descriptors(pid) for pid in roles(shared)[role]}
    for when in times:
        pids = roles(shared)[role]
        log = tmp_path / "strace.log"
        refused = len(sender.refused)
        name = f"{role}-{calls.partition(',')[0]}-{error}-w{when}"
        arguments = ["-e", f"trace={calls},{SYNCS}", "-e", f"inject={calls}:error={error}:when={when}"]
        if (role, calls) == ("store", "openat"):
            # The store opens nothing while all goes well: a sync fails first, and the database is to be opened anew.
            arguments += ["-e", f"inject={SYNCS}:error=EIO:when=2"]
        with strace(pids, arguments, log):
            send(sender, name, role)
        slowest = max(slowest, recovery(sender, name))
        lines = injected(log)
        failed += len(lines)
        bad = [line for line in lines if re.search(r"f(data)?sync\(\d+<[^>]*(mail\.sqlite-wal|/content/)", line)]
        # A sync that failed was nobody's 250: sent one by one, each such sync costs a message its acknowledgement.
        lost_replies = len(sender.refused) - refused
        if "+" not in when:
            unanswered += len(bad) > lost_replies
    time.sleep(0.2)
    leaks = Counter[str]()
    for pid, opened in before.items():
        if Path(f"/proc/{pid}").exists():
            leaks += grown(opened, descriptors(pid))
    codes = Counter((code, text.split()[0].decode()) for _mark, code, text in sender.refused)
    kept = kept_marks(shared, 1)
    report(
        "R3",
        role=role,
        calls=calls,
        error=error,
        injected=failed,
        refused={f"{code} {text}": count for (code, text), count in codes.items()},
        slowest=round(slowest, 2),
    )
    assert failed, "nothing was made to fail"
    assert kept.pop("", 0) == 0, "a torn message"
    assert set(sender.acknowledged) - set(kept) == set()
    assert [mark for mark, count in kept.items() if count > 1] == []
    assert unanswered == 0, "a sync failed and every message was acknowledged all the same"
    assert {code for code, _text in codes} <= {451, 452}
    assert leaks == Counter()
