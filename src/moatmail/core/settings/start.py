# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 - our makers of fields return dataclasses.field
"""What `moatmail.toml` holds: only what is needed to start (folders, key source, node, roles, listeners, DNS, TLS files).

Obeys RFC 8314 §3 (implicit TLS on ports of its own), RFC 6409 §3.1 (submission).
Must never know what lives in the store: a setting that can be changed while the server runs is in `mail.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moatmail.core.settings.field import are_addresses, between, group, is_address, is_hostname, not_empty, one_of, required, setting

DOORS: Final = ("mx", "submission", "submissions", "imap", "imaps", "pop3", "pop3s")
"""What a listener may speak: mail from strangers; submission, IMAP and POP3, each with STARTTLS or, with an s, implicit TLS."""

IMPLICIT_TLS: Final = frozenset({"submissions", "imaps", "pop3s"})
"""Doors that begin with a TLS handshake (RFC 8314 §3.1 to §3.3)."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where things lie; relative paths count from the folder of `moatmail.toml`."""

    data: Path = setting(Path("mail"), "Mail, queue and settings, sealed. One server at a time.", check=not_empty)
    run: Path = setting(Path("run"), "Local sockets of the running server; mode 0700, emptied at start.", check=not_empty)


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the keys come from."""

    master: Path = setting(Path("keys/master.key"), "The master key, mode 0600, outside the data folder. Without it all mail is lost.", check=not_empty)


@dataclass(frozen=True, slots=True)
class Node:
    """What this machine is called."""

    name: str = setting("node1", "A name that no other node of this site has.", check=is_hostname)
    hostname: str = setting("localhost", "The name in greetings and Received fields (RFC 5321 §4.1.1.1).", check=is_hostname)


@dataclass(frozen=True, slots=True)
class Roles:
    """How many processes serve."""

    mx_workers: int = setting(1, "Processes for strangers on port 25.", check=between(1, 64))
    access_workers: int = setting(0, "Processes for our users: submission, IMAP and POP3; 0 = one per core.", check=between(0, 256))
    compact: bool = setting(default=False, about="One process for strangers and users: less memory, but then a hole in one door opens both (told at start).")


@dataclass(frozen=True, slots=True)
class DNS:
    """Where DNS answers come from."""

    source: str = setting(
        "system", "system = /etc/resolv.conf; servers = those below; trial = the built-in table of `moatmail try`.", check=one_of("system", "servers", "trial")
    )
    servers: tuple[str, ...] = setting((), "Resolvers to ask, by address, if source is servers.", check=are_addresses)
    trusted: bool = setting(default=False, about="They check DNSSEC and the way to them is safe (this machine): believe their AD bit (RFC 6840 §5.8).")


@dataclass(frozen=True, slots=True)
class TLS:
    """The certificate of all listeners."""

    certificate: Path = setting(Path("keys/server.pem"), "The certificate and the ones above it, PEM.", check=not_empty)
    key: Path = setting(Path("keys/server.key"), "Its private key, PEM, mode 0600.", check=not_empty)


@dataclass(frozen=True, slots=True)
class Log:
    """What is told while the server runs."""

    form: str = setting("text", "text = a sentence per event; json = an object per line; none = alerts only.", check=one_of("text", "json", "none"))


@dataclass(frozen=True, slots=True)
class Listener:
    """One port and what is spoken there."""

    door: str = required("mx, submission, submissions, imap, imaps, pop3 or pop3s.", check=one_of(*DOORS))
    port: int = required("The TCP port.", check=between(1, 65535))
    address: str = setting("::", "The address to listen on; :: is all, 127.0.0.1 this machine only.", check=is_address)

    @property
    def name(self) -> str:
        """Give the listener's name in messages: ``door address:port``."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.door} {host}:{self.port}"


USUAL_PORTS: Final = {"mx": 25, "submission": 587, "submissions": 465, "imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995}
"""The port of each door by IANA (RFC 8314 §7)."""

OPEN_DOORS: Final = ("mx", "submission", "submissions", "imap", "imaps")
"""Doors that are open where nobody names any: whoever still needs POP3 says so, for every door is one more to watch."""


@dataclass(frozen=True, slots=True)
class Start:
    """The whole of `moatmail.toml`."""

    folders: Folders = group(Folders, "Folders. Relative paths count from this file's folder.")
    keys: Keys = group(Keys, "The key source.")
    node: Node = group(Node, "This machine.")
    roles: Roles = group(Roles, "Processes.")
    dns: DNS = group(DNS, "Name service.")
    tls: TLS = group(TLS, "The certificate.")
    log: Log = group(Log, "Log.")
    listener: tuple[Listener, ...] = setting(
        tuple(Listener(door, USUAL_PORTS[door]) for door in OPEN_DOORS), "The ports. Naming one replaces all of these.", check=not_empty
    )
