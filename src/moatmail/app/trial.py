# SPDX-License-Identifier: Apache-2.0
"""`moatmail try`: the whole server on loopback, with a domain, two accounts, an authority and a DNS table of its own.

Obeys no RFC.
Must never serve anybody but this machine, nor keep the passwords anywhere but in try.json (0600).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from moatmail.app import picture as pictures
from moatmail.app.clock import SystemClock
from moatmail.app.serve import Guest, make_folder, serve
from moatmail.app.trial_names import ACCOUNTS, DOMAIN, SENDER, SENDER_HELO
from moatmail.certs.authority import Authority, ensure
from moatmail.core.errors import ConfigError
from moatmail.core.settings.document import render
from moatmail.core.settings.load import load_start
from moatmail.core.settings.start import DNS, TLS, USUAL_PORTS, Folders, Keys, Listener, Log, Node, Start
from moatmail.crypto.password import generate_password
from moatmail.monitor.log import NONE, TEXT
from moatmail.store.instance import InstanceLock

FOLDER: Final = "./moatmail-try"
BASE_PORT: Final = 2000
LOOPBACK: Final = "127.0.0.1"
CONFIG: Final = "moatmail.toml"
FACTS: Final = "try.json"
HOSTNAME: Final = "localhost"

_HEAD: Final = (
    "# Written by `moatmail try` at every start; `moatmail serve --config` with this file starts the same server.",
    "# All keys with their help: docs/example-moatmail.toml.",
    "",
)
_MARKS: Final = frozenset({CONFIG, FACTS, "keys", "mail", "run", "ca.pem"})
_FACT_NAMES: Final = {"mx": "smtp"}
"""What try.json calls a door, where it differs: the name of the service."""


def run(folder: str, base_port: int, *, quiet: bool = False) -> int:
    """Run a trial in `folder` until Ctrl-C; gives the exit status. Raises ConfigError with one line when it cannot start."""
    place = Path(folder)
    _claim(place)
    lock = InstanceLock(place / "mail")  # before anything is written: the folder may belong to a server that runs
    start = _write_config(place, base_port, quiet=quiet)
    ensure(Authority.at(place), SystemClock().now())
    known = _passwords(place)
    secrets = {address: known.get(address) or generate_password() for address in _addresses()}
    trial = pictures.Trial(folder, _doors(start), tuple(secrets.items()))

    def prepare() -> None:
        asyncio.run(_make_accounts(start, secrets, known))

    def on_ready() -> None:
        _write_facts(place, trial)
        _say(pictures.picture(trial, pictures.program_name()))

    try:
        return serve(start, guest=Guest(lock, prepare, on_ready, hangup_ends=os.isatty(0)))
    finally:
        _rest(place)


def start_of(base_port: int) -> Start:
    """Give what a trial starts with: loopback, the usual ports plus `base_port`. Raises ConfigError for ports that do not exist."""
    highest = max(USUAL_PORTS.values())
    if not 0 <= base_port <= 65_535 - highest:
        raise ConfigError(f"--base-port {base_port}: must be from 0 to {65_535 - highest}, for the usual ports are added to it")
    return Start(
        folders=Folders(Path("mail"), Path("run")),
        keys=Keys(Path("keys/master.key")),
        node=Node("trial", HOSTNAME),
        dns=DNS("trial"),
        tls=TLS(Path("keys/server.pem"), Path("keys/server.key")),
        listener=tuple(Listener(door, base_port + usual, LOOPBACK) for door, usual in USUAL_PORTS.items()),
    )


def _addresses() -> tuple[str, ...]:
    return tuple(f"{name}@{DOMAIN}" for name in ACCOUNTS)


def _doors(start: Start) -> dict[str, str]:
    return {listener.door: f"{listener.address}:{listener.port}" for listener in start.listener}


# ---------------------------------------------------------------- the folder


def _claim(place: Path) -> None:
    """Make the trial's folder, or take one that a trial made; somebody's other things are left alone."""
    with contextlib.suppress(OSError):
        inside = {one.name for one in place.iterdir()}
        if inside and CONFIG not in inside and not inside <= _MARKS:
            raise ConfigError(f"{place}: holds other things than a trial; give an empty or a new folder with --dir")
    make_folder(place)
    make_folder(place / "keys")


def _write_config(place: Path, base_port: int, *, quiet: bool) -> Start:
    """Write moatmail.toml and read it back, so that `serve` with this file starts the very same."""
    text = render(start_of(base_port), [*_HEAD], helped=False)
    _replace(place / CONFIG, text)
    start = load_start(place / CONFIG)
    # Silence is of this run, not of the file.
    return Start(start.folders, start.keys, start.node, start.roles, start.dns, start.tls, Log(NONE if quiet else TEXT), start.listener)


def _passwords(place: Path) -> Mapping[str, str]:
    """Give the passwords of the last run, and put its facts aside: try.json is there only while its listeners are.

    They rest in the folder of keys until every listener accepts.
    """
    try:
        accounts = json.loads(_rest(place).read_bytes())["accounts"]
        return {str(one["address"]): str(one["password"]) for one in accounts}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _rest(place: Path) -> Path:
    """Put try.json aside, if it is there; give where it rests."""
    resting = place / "keys" / FACTS
    with contextlib.suppress(FileNotFoundError):
        (place / FACTS).replace(resting)
    return resting


def _write_facts(place: Path, trial: pictures.Trial) -> None:
    """Write try.json: where each service is, the root, the accounts, and a stranger whose mail is in order."""
    facts = {
        **{_FACT_NAMES.get(door, door): where for door, where in trial.doors.items()},
        "ca": str((place / "ca.pem").absolute()),
        "name": HOSTNAME,
        "sender": SENDER,
        "helo": SENDER_HELO,
        "accounts": [{"address": address, "password": secret} for address, secret in trial.accounts],
    }
    _replace(place / FACTS, json.dumps(facts, indent=1) + "\n")
    (place / "keys" / FACTS).unlink(missing_ok=True)


def _replace(path: Path, text: str) -> None:
    """Put a file of mode 0600 in place whole."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        beside.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); give another folder with --dir") from None


async def _make_accounts(start: Start, secrets: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Add the domain and the accounts that are missing; an account whose password is lost gets the new one."""
    from moatmail.admin import accounts, domains  # noqa: PLC0415 - in the child that makes the store ready, and only there
    from moatmail.app.access import open_alone  # noqa: PLC0415

    async with open_alone(start, "try") as desk:
        if DOMAIN not in {row.name for row in await domains.listing(desk)}:
            await domains.add(desk, DOMAIN)
        present = {f"{row.localpart}@{row.domain}" for row in await accounts.listing(desk, DOMAIN)}
        for address, secret in secrets.items():
            if address not in present:
                await accounts.add(desk, address, secret)
            elif known.get(address) != secret:
                await accounts.set_password(desk, address, secret)


def _say(text: str) -> None:
    """Print the picture in one piece; a terminal that lacks a sign of ours gets a question mark."""
    with contextlib.suppress(OSError):  # whoever should read it went away; the server goes on
        os.write(1, text.encode(sys.stdout.encoding or "utf-8", "replace"))
