# SPDX-License-Identifier: Apache-2.0
"""The vault: the master key, and everything wrapped by it or derived from it; composed into role `store` only.

Obeys RFC 5869 (HKDF), RFC 7693 (BLAKE2, keyed).
Must never know rows, operations or who asks: the table role × operation is the store's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

from moatmail.core.errors import ConfigError, SealBrokenError
from moatmail.core.limits import crypto as limits
from moatmail.core.ports.sealer import Purpose
from moatmail.core.ports.vault import NewAccount, NewQueueKeys, SealedEvidenceKey, SealedName
from moatmail.crypto import evidence_seal, mailbox_name
from moatmail.crypto.cover import AccountKeys, new_account_keys
from moatmail.crypto.hybrid import PRIVATE_SIZE, PrivateHalf
from moatmail.crypto.queue_seal import QueueKeys
from moatmail.crypto.seal import SealKey, new_key

_QUEUE: Final = b"queue"
_NO_OWNER: Final = 0
_ACCOUNT_ID: Final = b""
_DIGEST: Final = 16
_SALT: Final = 16


class Vault:
    """Wraps, unwraps and derives under the master key; satisfies port Vault.

    The mailbox names, credentials and keys it opens raise SealBrokenError when they are damaged, swapped or wrapped under another master key.
    """

    __slots__ = ("_master", "_older", "_thread_key")

    def __init__(self, master: bytes, older: Sequence[bytes] = ()) -> None:
        """Take the master key (32 octets) and, during a rotation, older ones that still open; raise ValueError for another length."""
        self._master = SealKey(master)
        self._older = tuple(SealKey(key) for key in older)
        self._thread_key = self.hash_key("thread")

    def __repr__(self) -> str:
        return f"Vault({self.fingerprint})"

    def __reduce_ex__(self, protocol: object) -> str:
        raise TypeError("a vault cannot be copied")

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that tell master keys apart and give nothing away; kept beside the data, they name a wrong key before damage is done."""
        return self._master.cipher(Purpose.SETTING)[1].hex()

    # ---- wrapping ----

    def wrap(self, purpose: Purpose, owner: int, object_id: bytes, plain: bytes) -> bytes:
        """Seal `plain` under the master key, bound to purpose, owner and object id."""
        return self._master.seal(purpose, owner, object_id, plain)

    def unwrap(self, purpose: Purpose, owner: int, object_id: bytes, sealed: bytes) -> bytes:
        """Give what was wrapped, under this master key or an older one."""
        for older in self._older:
            if older.holds(purpose, sealed):
                return older.open(purpose, owner, object_id, sealed)
        return self._master.open(purpose, owner, object_id, sealed)

    def wrapped_under_older(self, purpose: Purpose, sealed: bytes) -> bool:
        """Tell whether a rotation still has to wrap this object anew."""
        return not self._master.holds(purpose, sealed)

    # ---- derived keys ----

    def database_key(self, name: str = "mail") -> bytes:
        """Derive the raw SQLCipher key (32 octets) of the database of that name.

        Derived, not wrapped: a wrapped key would be one more file without which a backup and the recovery code open nothing. A rotation copies the database.
        """
        return self._master.subkey(Purpose.DATABASE_KEY, name.encode())

    def hash_key(self, name: str) -> bytes:
        """Derive the key (32 octets) for keyed hashes of that kind."""
        return self._master.subkey(Purpose.HASH_KEY, name.encode())

    def thread_digests(self, account: int, links: Iterable[bytes]) -> list[bytes]:
        """Give the keyed digests (16 octets each) of what ties messages of an account together; a rotation of the master key makes them anew."""
        key, salt = self._thread_key, account.to_bytes(_SALT, "big")
        return [blake2b(link, digest_size=_DIGEST, key=key, salt=salt).digest() for link in links]

    # ---- accounts ----

    def new_account(self, account: int) -> NewAccount:
        """Make an account's keys: public half, the wrapped rest, and the keys in clear for its first mailbox names."""
        keys = new_account_keys()
        wrapped = self.wrap(Purpose.ACCOUNT_KEY, account, _ACCOUNT_ID, keys.private + keys.mailbox_key)
        return NewAccount(keys.public, wrapped, keys)

    def open_account(self, account: int, wrapped: bytes) -> AccountKeys:
        """Open an account's keys (0.1 ms: the public half is computed from the private one, so a swapped public half in the directory shows)."""
        plain = self.unwrap(Purpose.ACCOUNT_KEY, account, _ACCOUNT_ID, wrapped)
        if len(plain) != PRIVATE_SIZE + limits.KEY_SIZE:
            raise SealBrokenError(f"the keys of account {account} have a wrong length")
        private = plain[:PRIVATE_SIZE]
        return AccountKeys(PrivateHalf(private).public, private, plain[PRIVATE_SIZE:])

    # ---- mailbox names ----

    def seal_name(self, mailbox_key: bytes, account: int, mailbox_object_id: bytes, name: bytes) -> SealedName:
        """Seal a mailbox name under the account's mailbox key, for the mailbox row with these 16 random octets."""
        return mailbox_name.seal_name(SealKey(mailbox_key), account, mailbox_object_id, name)

    def open_name(self, mailbox_key: bytes, account: int, mailbox_object_id: bytes, sealed: bytes) -> bytes:
        """Give a mailbox name."""
        return mailbox_name.open_name(SealKey(mailbox_key), account, mailbox_object_id, sealed)

    # ---- credentials ----

    def seal_credential(self, account: int, credential_id: bytes, secret: bytes) -> bytes:
        """Seal what verifies a credential (hash, SCRAM verifier)."""
        return self.wrap(Purpose.CREDENTIAL, account, credential_id, secret)

    def open_credential(self, account: int, credential_id: bytes, sealed: bytes) -> bytes:
        """Give what verifies a credential."""
        return self.unwrap(Purpose.CREDENTIAL, account, credential_id, sealed)

    # ---- queue ----

    def new_queue_keys(self) -> NewQueueKeys:
        """Make the queue's key pair."""
        half = PrivateHalf.generate()
        return NewQueueKeys(half.public, self.wrap(Purpose.QUEUE_KEY, _NO_OWNER, _QUEUE, half.raw))

    def open_evidence(self, wrapped_queue: bytes, cover: SealedEvidenceKey, object_id: bytes, sealed: bytes) -> bytes:
        """Give the evidence of a decision; raise SealBrokenError for anything but exactly that object."""
        return evidence_seal.open_evidence(QueueKeys(self.open_queue_keys(wrapped_queue)), cover.id, cover.cover, object_id, sealed)

    def open_queue_keys(self, wrapped: bytes) -> bytes:
        """Give the queue's private half (96 octets)."""
        return self.unwrap(Purpose.QUEUE_KEY, _NO_OWNER, _QUEUE, wrapped)


def create_master_key(path: Path) -> bytes:
    """Write a fresh master key to a new file (mode 0600), durable when this returns; raise ConfigError if the file exists or cannot be written."""
    key = new_key()
    try:
        # O_EXCL and O_NOFOLLOW: an existing key is never overwritten, and no link leads the key elsewhere.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path}: there is a master key already; it is never overwritten") from None
    except OSError as fault:
        raise ConfigError(f"{path}: the master key cannot be written: {fault.strerror}") from fault
    try:
        os.fchmod(descriptor, 0o600)  # whatever the umask took away
        os.write(descriptor, key)
        os.fsync(descriptor)
        _sync_folder(path.parent)
        if os.fstat(descriptor).st_size == len(key):
            return key
    except OSError as fault:
        path.unlink()  # a key that may not be on the disk must not seal anything
        raise ConfigError(f"{path}: the master key cannot be written: {fault.strerror}") from fault
    finally:
        os.close(descriptor)
    path.unlink()
    raise ConfigError(f"{path}: the master key could not be written whole")


def read_master_key(path: Path) -> bytes:
    """Read a master key; raise ConfigError if the file is missing, open to others, not ours, or not 32 octets."""
    try:
        # O_NONBLOCK: a named pipe in its place must not make the start wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as fault:
        raise ConfigError(f"{path}: the master key cannot be read: {fault.strerror}") from fault
    try:
        # The opened file is judged, not the name: nothing can be swapped in between.
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path}: the master key is not a plain file")
        if found.st_mode & 0o077:
            raise ConfigError(f"{path}: the master key is open to others (mode {stat.S_IMODE(found.st_mode):04o}); run: chmod 600 {path}")
        if found.st_uid not in {os.geteuid(), 0}:
            raise ConfigError(f"{path}: the master key belongs to user {found.st_uid}; run this command as that user")
        key = os.read(descriptor, limits.KEY_SIZE + 1)
    finally:
        os.close(descriptor)
    if len(key) != limits.KEY_SIZE:
        raise ConfigError(f"{path}: a master key has {limits.KEY_SIZE} octets, this file has {found.st_size}")
    return key


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
