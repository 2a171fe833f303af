# SPDX-License-Identifier: Apache-2.0
"""A real Postfix of a test's own: its configuration, queue and mail in a folder of its own, its ports on loopback, ended by process id.

Must never touch the Postfix of the machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PROGRAM = Path("/usr/lib/postfix/sbin/master")
NOBODY = 65_534
needs_postfix = pytest.mark.skipif(os.geteuid() != 0 or not PROGRAM.exists(), reason="needs root and Postfix")

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mail_owner = postfix
myhostname = mail.friend.test
mydestination =
inet_interfaces = all
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
in_flow_delay = 0s
alias_maps =
local_recipient_maps =
disable_dns_lookups = yes
virtual_mailbox_domains = {domains}
virtual_mailbox_maps = texthash:{folder}/mailboxes
virtual_mailbox_base = {folder}/mail
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_tls_cert_file = {folder}/host.pem
smtpd_tls_key_file = {folder}/host.key
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtpd_recipient_restrictions = check_recipient_access texthash:{folder}/access, permit_mynetworks, reject
smtpd_data_restrictions =
smtputf8_enable = yes
transport_maps = texthash:{folder}/transport
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = localhost
smtp_tls_CAfile = {folder}/ca.pem
smtp_destination_concurrency_limit = 10
minimal_backoff_time = 1s
queue_run_delay = 1s
message_size_limit = 0
mailbox_size_limit = 0
virtual_mailbox_limit = 0
"""

_MASTER = """\
{sending} inet n - n - - smtpd
127.0.0.2:{receiving} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def free_port(ip: str) -> int:
    """Give a port that can be bound now, below those that the kernel gives to connections and above those of our servers (`trial.free_base`)."""
    for port in range(32_000 + os.getpid() % 700, 32_768):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind((ip, port))
            return port
    raise RuntimeError("no free port")


@dataclass
class Postfix:
    """Takes mail for `domains` at 127.0.0.2 (port `receiving`) into Maildirs, and sends on what it gets at 127.0.0.1 (port `sending`)."""

    domains: tuple[str, ...]
    mailboxes: tuple[str, ...]
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="moatmail-postfix-")))
    sending: int = field(default_factory=lambda: free_port("127.0.0.1"))
    receiving: int = field(default_factory=lambda: free_port("127.0.0.2"))
    process: subprocess.Popen[bytes] | None = None

    def configure(self, *, certificate: tuple[Path, Path], ca: Path, transport: str) -> None:
        """Write the configuration; `transport` says where the mail of which domain goes (transport(5))."""
        self.folder.chmod(0o711)
        for name in ("queue", "data", "mail"):
            (self.folder / name).mkdir(exist_ok=True)
        shutil.chown(self.folder / "data", "postfix")
        os.chown(self.folder / "mail", NOBODY, NOBODY)
        shutil.copy(certificate[0], self.folder / "host.pem")
        shutil.copy(certificate[1], self.folder / "host.key")
        shutil.copy(ca, self.folder / "ca.pem")
        (self.folder / "ca.pem").chmod(0o644)
        (self.folder / "main.cf").write_text(_MAIN.format(folder=self.folder, domains=" ".join(self.domains)))
        (self.folder / "master.cf").write_text(_MASTER.format(sending=f"127.0.0.1:{self.sending}", receiving=self.receiving))
        (self.folder / "mailboxes").write_text("".join(f"{one} {one}/\n" for one in self.mailboxes))
        (self.folder / "transport").write_text(transport)
        self.refuse({})

    def refuse(self, answers: dict[str, str]) -> None:
        """Answer RCPT for an address as told ("450 4.2.0 not now"); holds from the next start or for new smtpd processes after `reload`."""
        (self.folder / "access").write_text("".join(f"{address} {answer}\n" for address, answer in answers.items()))

    def start(self) -> None:
        """Start, and wait until it accepts."""
        subprocess.run(["postfix", "-c", str(self.folder), "check"], check=True, capture_output=True, timeout=60)
        command = [str(PROGRAM), "-c", str(self.folder), "-s"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log()
            try:
                socket.create_connection(("127.0.0.2", self.receiving), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(self.log())

    def stop(self) -> None:
        """End all of its processes: they are a process group of their own."""
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self.process = None

    def remove(self) -> None:
        """Stop, and remove the folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """Give what it told."""
        return (self.folder / "log").read_text(errors="replace")

    def delivered(self, address: str) -> list[bytes]:
        """Give the messages of a Maildir."""
        return [path.read_bytes() for path in sorted((self.folder / "mail" / address / "new").glob("*"))]

    def until_delivered(self, address: str, count: int, *, seconds: float = 30.0) -> list[bytes]:
        """Wait for `count` messages, and a moment for one too many."""
        end = time.monotonic() + seconds
        while len(self.delivered(address)) < count and time.monotonic() < end:
            time.sleep(0.05)
        found = self.delivered(address)
        assert len(found) == count, f"{len(found)} of {count}\n{self.log()[-3000:]}"
        return found
