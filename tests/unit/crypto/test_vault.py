# SPDX-License-Identifier: Apache-2.0
"""The vault: wrapping, derived keys, accounts, names, and the master key's file."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from moatmail.core.errors import ConfigError, SealBrokenError
from moatmail.core.ports.sealer import Purpose, Sealer
from moatmail.core.ports.vault import Vault as VaultPort
from moatmail.crypto import cover, seal, vault
from moatmail.crypto.cover import MessageKeys
from moatmail.crypto.queue_seal import QueueKeys
from moatmail.crypto.vault import Vault

MASTER = bytes(range(32))
ROW = bytes(range(16))


def test_vault_and_seal_satisfy_their_ports() -> None:
    port: VaultPort = Vault(MASTER)
    sealer: Sealer = seal
    assert port.database_key()
    assert sealer.open_sealed(MASTER, Purpose.SETTING, 0, ROW, sealer.seal(MASTER, Purpose.SETTING, 0, ROW, b"x")) == b"x"


def test_an_account_is_sealed_to_by_its_public_half_and_opened_by_the_vault() -> None:
    made = Vault(MASTER).new_account(7)
    keys = MessageKeys(bytes(32), bytes(32))
    sealed = cover.cover_to_public(made.public, 7, ROW, keys)
    opened = Vault(MASTER).open_account(7, made.wrapped)
    assert opened.public == made.public
    assert opened.mailbox_key == made.keys.mailbox_key
    assert cover.open_cover(opened, 7, ROW, sealed) == keys


def test_an_account_does_not_open_as_another_or_under_another_master_key() -> None:
    made = Vault(MASTER).new_account(7)
    with pytest.raises(SealBrokenError):
        Vault(MASTER).open_account(8, made.wrapped)
    with pytest.raises(SealBrokenError):
        Vault(bytes(32)).open_account(7, made.wrapped)


def test_wrapped_keys_of_a_wrong_length_are_refused() -> None:
    wrapped = Vault(MASTER).wrap(Purpose.ACCOUNT_KEY, 7, b"", bytes(100))
    with pytest.raises(SealBrokenError):
        Vault(MASTER).open_account(7, wrapped)


def test_the_queues_private_half_opens_in_the_vault_alone() -> None:
    made = Vault(MASTER).new_queue_keys()
    private = Vault(MASTER).open_queue_keys(made.wrapped)
    assert QueueKeys(private).half.public == made.public
    with pytest.raises(SealBrokenError):
        Vault(bytes(32)).open_queue_keys(made.wrapped)


def test_what_ties_messages_is_keyed_by_master_key_and_account() -> None:
    links = (ROW, bytes(16))
    made = Vault(MASTER).thread_digests(7, links)
    # Kept in databases: it must never become another. Made by hand: one block of RFC 5869 §2.3, then BLAKE2b with the account as its salt.
    assert [digest.hex() for digest in made] == ["9a1d2a7071af1223d5f515a916a6dfd0", "3c3b7f730b2017118a7a6d92c2410a41"]
    assert Vault(MASTER).thread_digests(7, iter(links)) == made
    others = [*Vault(MASTER).thread_digests(8, links), *Vault(bytes(32)).thread_digests(7, links), *links]
    assert len({*made, *others}) == len(made) + len(others)


def test_database_and_hash_keys_are_stable_and_all_different() -> None:
    first, second = Vault(MASTER), Vault(MASTER)
    keys = [
        first.database_key(),
        first.database_key("keys"),
        first.database_key("soft"),
        first.hash_key("words"),
        first.hash_key("greylist"),
        first.hash_key("mail"),
    ]
    assert keys[0] == second.database_key("mail")
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {32}
    assert Vault(bytes(32)).database_key() not in keys


@pytest.mark.parametrize("name", [b"INBOX", b"Drafts", b"Sent", b"Junk", b"Trash", b"Archive", "Größe/日本".encode(), b""])
def test_a_mailbox_name_opens_in_its_row_alone(name: bytes) -> None:
    held, key = Vault(MASTER), bytes(range(32, 64))
    sealed, tag = held.seal_name(key, 7, ROW, name)
    assert held.open_name(key, 7, ROW, sealed) == name
    assert len(tag) == 16
    assert name not in sealed + tag or not name
    for wrong_key, account, row in [(MASTER, 7, ROW), (key, 8, ROW), (key, 7, bytes(16))]:
        with pytest.raises(SealBrokenError):
            held.open_name(wrong_key, account, row, sealed)


def test_tags_are_equal_for_equal_names_of_one_account_only() -> None:
    held, key = Vault(MASTER), bytes(range(32, 64))
    inbox = held.seal_name(key, 7, ROW, b"INBOX")
    again = held.seal_name(key, 7, bytes(16), b"INBOX")
    assert inbox.tag == again.tag
    assert inbox.sealed != again.sealed
    others = {held.seal_name(key, 7, ROW, b"Inbox").tag, held.seal_name(key, 8, ROW, b"INBOX").tag, held.seal_name(MASTER, 7, ROW, b"INBOX").tag}
    assert len(others | {inbox.tag}) == 4


def test_a_credential_opens_for_its_account_and_id_alone() -> None:
    held = Vault(MASTER)
    sealed = held.seal_credential(7, b"1", b"$argon2id$...")
    assert held.open_credential(7, b"1", sealed) == b"$argon2id$..."
    for account, credential in [(8, b"1"), (7, b"2")]:
        with pytest.raises(SealBrokenError):
            held.open_credential(account, credential, sealed)


def test_during_a_rotation_older_master_keys_still_open() -> None:
    made = Vault(MASTER).new_account(7)
    rotated = Vault(bytes(32), older=[MASTER])
    assert rotated.open_account(7, made.wrapped).public == made.public
    assert rotated.wrapped_under_older(Purpose.ACCOUNT_KEY, made.wrapped)
    assert not rotated.wrapped_under_older(Purpose.ACCOUNT_KEY, rotated.new_account(8).wrapped)


def test_a_vault_names_its_master_key_without_showing_it_and_cannot_be_copied() -> None:
    held = Vault(MASTER)
    assert held.fingerprint == Vault(MASTER).fingerprint != Vault(bytes(32)).fingerprint
    assert len(held.fingerprint) == 8
    assert repr(held) == f"Vault({held.fingerprint})"
    made = held.new_account(7)
    assert made.wrapped.hex()[:8] not in repr(made)
    assert "\\x" not in repr(made).split("wrapped")[0].replace(repr(made.public), "")
    with pytest.raises(TypeError):
        copy.copy(held)


@pytest.mark.parametrize("kind", ["account", "queue", "name", "credential"])
def test_a_flipped_bit_in_whatever_the_vault_sealed_is_detected(kind: str) -> None:
    held, key = Vault(MASTER), bytes(range(32, 64))
    sealed = {
        "account": held.new_account(7).wrapped,
        "queue": held.new_queue_keys().wrapped,
        "name": held.seal_name(key, 7, ROW, b"INBOX").sealed,
        "credential": held.seal_credential(7, b"1", b"secret"),
    }[kind]
    openings: dict[str, Callable[[bytes], object]] = {
        "account": lambda octets: held.open_account(7, octets),
        "queue": held.open_queue_keys,
        "name": lambda octets: held.open_name(key, 7, ROW, octets),
        "credential": lambda octets: held.open_credential(7, b"1", octets),
    }
    opening = openings[kind]
    opening(sealed)
    chance = random.Random(kind)
    for octet in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[octet] ^= 1 << chance.randrange(8)
        with pytest.raises(SealBrokenError):
            opening(bytes(damaged))


# ---- the master key's file ----


def test_a_new_master_key_is_written_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    old = os.umask(0)
    try:
        key = vault.create_master_key(path)
    finally:
        os.umask(old)
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert vault.read_master_key(path) == key == path.read_bytes()


def test_a_master_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = vault.create_master_key(path)
    with pytest.raises(ConfigError):
        vault.create_master_key(path)
    assert path.read_bytes() == key


def test_a_master_key_is_not_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / "master.key").symlink_to(target)
    with pytest.raises(ConfigError):
        vault.create_master_key(tmp_path / "master.key")
    assert not target.exists()


def test_a_master_key_that_could_not_be_synced_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigError, match="Input/output error"):
        vault.create_master_key(tmp_path / "master.key")
    assert list(tmp_path.iterdir()) == []


def test_file_and_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    vault.create_master_key(tmp_path / "master.key")
    assert synced == [str(tmp_path / "master.key"), str(tmp_path)]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o610])
def test_a_master_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    vault.create_master_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="open to others"):
        vault.read_master_key(path)


@pytest.mark.parametrize("size", [0, 31, 33, 4096])
def test_a_master_key_of_another_length_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(bytes(size))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="32 octets"):
        vault.read_master_key(path)


def test_a_missing_master_key_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("missing", "pipe", "."):
        with pytest.raises(ConfigError):
            vault.read_master_key(tmp_path / name)
