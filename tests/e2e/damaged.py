# SPDX-License-Identifier: Apache-2.0
"""A data folder with mail in it, taken to pieces: its databases opened with their keys, its pages decrypted by hand, its mail read as its owners would."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from moatmail.app.clock import SystemClock
from moatmail.core.address import Address
from moatmail.core.errors import MoatmailError
from moatmail.core.events import Event
from moatmail.core.limits.store import PAGE_SIZE
from moatmail.core.transaction import Identity
from moatmail.crypto.content_seal import ContentOpener
from moatmail.crypto.keyring import Keyring
from moatmail.crypto.mailbox_name import open_name
from moatmail.crypto.queue_seal import QueueKeys
from moatmail.crypto.vault import Vault, read_master_key
from moatmail.mailbox.opened import OpenAccounts, Opened
from moatmail.mailbox.reading import OpenMessage
from moatmail.mailqueue import spool
from moatmail.store.content import ContentFiles
from moatmail.store.keystore import FILE as KEYS_FILE
from moatmail.store.local import LocalStore
from moatmail.store.migrate import FILE as MAIL_FILE
from moatmail.store.operations import ClaimSpool
from moatmail.store.queries import (
    FetchLogin,
    GetContent,
    GetDecision,
    GetMessages,
    GetQueueKeys,
    GetSigningKeys,
    ListAccounts,
    ListDecisions,
    ListMailboxes,
    ListPlacements,
    ListSigningKeys,
)
from moatmail.store.soft import FILE as SOFT_FILE
from moatmail.store.sqlite import Database, Use, open_database
from moatmail.store.writer import Writer

DATABASES = {MAIL_FILE: "mail", KEYS_FILE: "keys", SOFT_FILE: "soft"}
RESERVED = 16 + 32  # of a page: nonce and MAC (HMAC-SHA256)
SALT = 16
FRAME_HEAD, LOG_HEAD = 24, 32


@dataclass
class Ear:
    """Keeps the events."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)


def vault_of(folder: Path) -> Vault:
    """Give the vault of a trial's folder."""
    return Vault(read_master_key(folder / "keys" / "master.key"))


def opened(folder: Path, name: str, *, use: Use = Use.READ) -> Database:
    """Open one of the databases as whoever has its key could."""
    return open_database(folder / "mail" / name, vault_of(folder).database_key(DATABASES[name]), use)


def change(folder: Path, name: str, *statements: tuple[str, tuple[Any, ...]]) -> int:
    """Change rows behind the program's back; give how many."""
    database = opened(folder, name, use=Use.WRITE)
    try:
        return sum(int(database.connection.execute(text, values).rowcount) for text, values in statements)
    finally:
        database.close()


def rows(folder: Path, name: str, text: str, *values: object) -> list[tuple[Any, ...]]:
    """Give rows."""
    database = opened(folder, name)
    try:
        return list(database.connection.execute(text, values).fetchall())
    finally:
        database.close()


def columns(database: Database) -> Iterator[tuple[str, str]]:
    """Give every table with each of its columns."""
    names = [name for (name,) in database.connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()]
    for table in names:
        for row in database.connection.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall():
            yield table, row[0]


def pages(path: Path, key: bytes) -> Iterator[bytes]:
    """Give the plain text of every page of a database file and, with `-wal` behind its name, of every frame of its log: free ones and old ones too."""
    octets = path.read_bytes()
    head, step = (LOG_HEAD, FRAME_HEAD + PAGE_SIZE) if path.name.endswith("-wal") else (0, PAGE_SIZE)
    for start in range(head, len(octets) - PAGE_SIZE + 1, step):
        page = octets[start + step - PAGE_SIZE : start + step]
        for skipped in (0, SALT):  # the first page begins with the salt, and which frame is one does not matter here
            sealed, nonce = page[skipped:-RESERVED], page[-RESERVED : -RESERVED + 16]
            decryptor = Cipher(algorithms.AES(key), modes.CBC(nonce)).decryptor()
            yield decryptor.update(sealed) + decryptor.finalize()
            if start != head and skipped == 0 and not path.name.endswith("-wal"):
                break


def flip(path: Path, bit: int) -> None:
    """Turn one bit of a file over."""
    with path.open("r+b") as file:
        file.seek(bit >> 3)
        (octet,) = file.read(1)
        file.seek(bit >> 3)
        file.write(bytes((octet ^ 1 << (bit & 7),)))


def copy(folder: Path, to: Path) -> Path:
    """Give a copy of a folder in the place of an older copy."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.sock", "reserve"))
    return to


# ---------------------------------------------------------------- reading all of it, as its owners and the queue would

REFUSED = b"(refused)"
T = TypeVar("T")


def everything(folder: Path) -> dict[str, bytes]:
    """Read whatever there is: keys, names, messages, summaries, credentials, the queue; what is refused says so. Raises ConfigError for a start refused."""
    return asyncio.run(_Look(folder).all())


class _Look:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "mail"
        self.vault = vault_of(folder)
        self.found: dict[str, bytes] = {}

    async def all(self) -> dict[str, bytes]:
        ear = Ear()
        self.store = LocalStore(Writer(self.folder, self.vault, SystemClock(), ear))
        self.files = ContentFiles(self.folder)
        accounts = OpenAccounts(self.store, self.files, Keyring(), SystemClock(), ear)
        try:
            for row in await self._try("accounts", self.store.read(ListAccounts())) or ():
                address = Address(row.localpart, row.domain)
                facts = await self._try(f"{address} login", self.store.read(FetchLogin(row.localpart, row.domain)))
                if facts is not None and facts.credentials:
                    self.found[f"{address} login"] = repr(facts.credentials).encode()
                opened = await self._try(f"{address} keys", accounts.open(Identity(row.id, address), "test", 10))
                if opened is not None:
                    self.found[f"{address} keys"] = opened.keys.private + opened.keys.mailbox_key
                    await self._account(str(address), opened)
            await self._queue()
            await self._kept()
            await accounts.stop()
        finally:
            await self.store.close()
        return self.found

    async def _try(self, name: str, asked: Awaitable[T]) -> T | None:
        try:
            return await asked
        except (MoatmailError, ValueError):
            self.found[name] = REFUSED
            return None

    async def _account(self, owner: str, opened: Opened) -> None:
        answer = await self._try(f"{owner} mailboxes", self.store.read(ListMailboxes(opened.id)))
        for box in answer.mailboxes if answer is not None else ():
            name = f"{owner} mailbox {box.id}"
            self.found[f"{name} name"] = self._name(opened, box.object_id, box.sealed_name)
            for one in await self._try(f"{name} placements", self.store.read(ListPlacements(opened.id, box.id))) or ():
                self.found[f"{name} uid {one.uid}"] = await self._message(opened, box.id, one.uid) or REFUSED

    @staticmethod
    def _name(opened: Opened, object_id: bytes, sealed: bytes) -> bytes:
        try:
            return open_name(opened.keys.sealing, opened.id, object_id, sealed)
        except MoatmailError:
            return REFUSED

    async def _message(self, opened: Opened, box: int, uid: int) -> bytes | None:
        try:
            found = await self.store.read(GetMessages(opened.id, box, (uid,), prefix=True, summary=True))
            if not found:
                return None
            one = await OpenMessage(opened, found[0]).open(opened)
            return b"".join(one.read(0, one.size)) + repr(one.summary).encode()
        except MoatmailError:
            return None

    async def _kept(self) -> None:
        for domain in {row.domain for row in await self._try("signing keys", self.store.read(ListSigningKeys())) or ()}:
            keys = await self._try(f"signing keys of {domain}", self.store.read(GetSigningKeys(domain)))
            for key in keys.keys if keys is not None else ():
                self.found[f"signing key {key.selector} of {domain}"] = key.private
        for row in await self._try("decisions", self.store.read(ListDecisions(500))) or ():
            one = await self._try(f"decision {row.id.hex()}", self.store.read(GetDecision(row.id)))
            if one is not None:
                self.found[f"decision {row.id.hex()}"] = one.evidence

    async def _queue(self) -> None:
        keys = await self._try("queue keys", self.store.read(GetQueueKeys(private=True)))
        for one in await self._try("queue", self.store.write(ClaimSpool(2e9, 3e9, "test", 500))) or ():
            name = f"queued {one.id.hex()}"
            try:
                assert keys is not None
                entry = spool.open_entry(QueueKeys(keys.private), one)
                content = await self.store.read(GetContent(one.content))
                assert content is not None
                source = self.files.open(one.content) if content.blob is None else content.blob
                opener = ContentOpener(source, one.content, entry.content_key)
                self.found[name] = repr(entry.envelope).encode() + opener.read(0, opener.size)
            except (MoatmailError, AssertionError):
                self.found[name] = REFUSED
