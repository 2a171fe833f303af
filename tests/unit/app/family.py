# SPDX-License-Identifier: Apache-2.0
"""A supervisor with roles of a few lines, started as a process of its own by the tests; speaks JSON lines on stdout."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

from moatmail.app.roles import ACCESS, BACK, MX, STORE, Worker
from moatmail.app.supervisor import EXIT_CANNOT, Handed, Hooks, Supervisor
from moatmail.core.errors import ConfigError
from moatmail.core.events import Event

_GET_DUMPABLE = 3
MODE = sys.argv[1] if len(sys.argv) > 1 else "steady"


def say(**facts: object) -> None:
    os.write(1, (json.dumps(facts) + "\n").encode())


def open_descriptors() -> list[int]:
    found = [int(one.name) for one in Path("/proc/self/fd").iterdir()]
    return sorted(fd for fd in found if Path(f"/proc/self/fd/{fd}").exists())


class Say:
    def emit(self, event: Event) -> None:
        say(event=event.name, text=event.text, alert=event.alert)


def entry(handed: Handed) -> int:
    worker = handed.worker
    if MODE == "cannot" and worker.role == STORE:
        raise ConfigError("the key does not fit; name another")
    if MODE == "crashing" and worker.role == MX:
        return 3
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    say(
        role=worker.role,
        pid=os.getpid(),
        fds=open_descriptors(),
        sockets=dict(handed.sockets),
        seen=handed.roster.role_of(os.getpid()),
        supervisor=handed.supervisor,
        dumpable=ctypes.CDLL(None).prctl(_GET_DUMPABLE, 0, 0, 0, 0),
        core=resource.getrlimit(resource.RLIMIT_CORE),
        umask=os.umask(0o077),
    )
    handed.ready()
    while True:
        number = signal.sigwait({signal.SIGTERM, signal.SIGHUP})
        if number == signal.SIGHUP:
            say(reload=worker.role)
        elif MODE != "deaf" or worker.role != MX:
            say(ended=worker.role)
            if MODE == "slow" and worker.role == MX:
                time.sleep(0.2)
            return 0


def main() -> int:
    folder_lock = os.open(Path(__file__), os.O_RDONLY)
    descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
    workers = [
        (Worker(STORE), {}),
        (Worker(MX, 0, (0,)), {0: descriptors[0]}),
        (Worker(ACCESS, 0, (1,)), {1: descriptors[1]}),
        (Worker(ACCESS, 1, (1,)), {1: descriptors[2]}),
        (Worker(BACK), {}),
    ]
    hooks = Hooks(on_ready=lambda: say(ready=True), keep={STORE: (folder_lock,)}, hangup_ends=MODE == "terminal")
    status = Supervisor(workers, entry, Say(), hooks).run()
    assert status in {0, EXIT_CANNOT}
    return status


if __name__ == "__main__":
    sys.exit(main())
