# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from moatmail.core.errors import NotFoundError, StorageFullError, StoreUnavailableError
from moatmail.core.limits import store as limits
from moatmail.store import content
from moatmail.store.content import ContentFiles

ID = bytes(range(16))


async def test_a_committed_content_is_read_back_from_any_offset(tmp_path: Path) -> None:
    files = ContentFiles(tmp_path)
    writer = files.create(ID)
    writer.write(b"\0" * 5)
    writer.write(memoryview(b"world"))
    writer.write_at(0, b"hello")
    assert not files.path(ID).exists()
    await writer.commit()
    assert (files.size(ID), files.read_at(ID, 0, 100), files.read_at(ID, 5, 3), files.read_at(ID, 99, 1)) == (10, b"helloworld", b"wor", b"")
    with files.open(ID) as reader:
        assert reader.read_at(5, 5) == b"world"
    assert stat.S_IMODE(files.path(ID).stat().st_mode) == 0o600
    assert stat.S_IMODE(files.path(ID).parent.stat().st_mode) == 0o700


async def test_file_and_folders_are_synced_before_commit_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ContentFiles(tmp_path)
    writer = files.create(ID)
    writer.write(b"x")
    done: list[str] = []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real_sync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    temporary = str(next((files.folder / "tmp").iterdir()))
    await writer.commit()
    assert done == [temporary, "rename", str(files.path(ID).parent), str(files.folder)]


@pytest.mark.parametrize(("number", "error"), [(5, StoreUnavailableError), (28, StorageFullError)], ids=["EIO", "ENOSPC"])
async def test_after_a_failed_sync_nothing_is_left_and_no_second_sync_is_tried(
    tmp_path: Path, number: int, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ContentFiles(tmp_path)
    writer = files.create(ID)
    writer.write(b"x")
    syncs = []

    def sync(descriptor: int) -> None:
        syncs.append(descriptor)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(error):
        await writer.commit()
    assert len(syncs) == 1
    assert not files.path(ID).exists()
    assert list((files.folder / "tmp").iterdir()) == []


async def test_an_abandoned_content_leaves_nothing_and_abandoning_after_commit_harms_nothing(tmp_path: Path) -> None:
    files = ContentFiles(tmp_path)
    writer = files.create(ID)
    writer.write(b"x")
    writer.abandon()
    assert list((files.folder / "tmp").iterdir()) == []
    with pytest.raises(NotFoundError):
        files.size(ID)
    writer = files.create(ID)
    await writer.commit()
    writer.abandon()
    assert files.size(ID) == 0


def test_a_planted_link_is_neither_written_through_nor_read(tmp_path: Path) -> None:
    files = ContentFiles(tmp_path)
    files.make_folder(files.folder / "tmp")
    (files.folder / "tmp" / f"{ID.hex()}.{os.getpid()}").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreUnavailableError):
        files.create(ID)
    assert not (tmp_path / "victim").exists()
    files.path(ID).parent.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    files.path(ID).symlink_to(tmp_path / "secret")
    with pytest.raises(StoreUnavailableError):
        files.read_at(ID, 0, 6)


@pytest.mark.parametrize("name", [b"", b"short", b"../../../../etc/x", bytes(17)], ids=["empty", "short", "a path", "too long"])
def test_only_ids_become_paths(tmp_path: Path, name: bytes) -> None:
    if len(name) == 16:
        pytest.fail("the table holds no id")
    with pytest.raises(NotFoundError):
        ContentFiles(tmp_path).create(name)


async def test_the_sweeper_takes_old_orphans_only_and_the_start_what_was_half_written(tmp_path: Path) -> None:
    files = ContentFiles(tmp_path)
    ids = [bytes([number]) * 16 for number in (1, 2, 3)]
    for each in ids:
        await files.create(each).commit()
    now = files.path(ids[0]).stat().st_mtime
    os.utime(files.path(ids[0]), (now - limits.ORPHAN_AGE, now - limits.ORPHAN_AGE))
    os.utime(files.path(ids[1]), (now - limits.ORPHAN_AGE, now - limits.ORPHAN_AGE))
    (files.folder / "03" / "stranger").write_bytes(b"")
    assert files.sweep(lambda each: each == ids[1], now) == 1
    assert [files.path(each).exists() for each in ids] == [False, True, True]
    files.create(ID).write(b"half")
    assert files.drop_temporary() == 1
    assert content.FOLDER == "content"
