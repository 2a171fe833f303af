# SPDX-License-Identifier: Apache-2.0
"""Contents too large for a row: files named by id, durable before the row that names them.

Obeys RFC 5321 §6.1 (file and folder are synced before anybody says 250).
Must never know what is inside: the octets come sealed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from moatmail.core.errors import NotFoundError, StorageFullError, StoreUnavailableError, TemporaryError
from moatmail.core.limits import store as limits

FOLDER: Final = "content"
_TEMPORARY: Final = "tmp"
_ID_SIZE: Final = 16
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL: Final = frozenset({28, 122})  # ENOSPC, EDQUOT


def _failed(error: OSError) -> TemporaryError:
    if error.errno in _FULL:
        return StorageFullError(str(error))
    return StoreUnavailableError(str(error))


class ContentWriter:
    """A content on its way: written as it comes, then committed under its id or abandoned; either is final."""

    def __init__(self, files: ContentFiles, content_id: bytes) -> None:
        """Open the temporary file; raises StorageFullError, StoreUnavailableError."""
        self._files = files
        self.id = content_id
        self.octets = 0
        self._path = files.folder / _TEMPORARY / f"{content_id.hex()}.{os.getpid()}"
        try:
            self._descriptor = os.open(self._path, _CREATE, 0o600)
        except OSError as error:
            raise _failed(error) from error

    def write(self, data: bytes | memoryview) -> None:
        """Add octets at the end (to the page cache: it does not wait for the disk); raises StorageFullError, StoreUnavailableError."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise _failed(error) from error
        self.octets += len(data)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Put octets at an offset: the header block is sealed last, as chunk 0; raises as `write`."""
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                offset, view = offset + written, view[written:]
        except OSError as error:
            raise _failed(error) from error

    async def commit(self) -> None:
        """Make the content durable under its id, in a thread so that the loop goes on; raises StorageFullError, StoreUnavailableError."""
        await asyncio.to_thread(self.commit_now)

    def commit_now(self) -> None:
        """Sync the file, give it its name, sync the folder that holds the name; after a failed sync the file goes, never a second try."""
        target = self._files.path(self.id)
        try:
            try:
                os.fsync(self._descriptor)
            finally:
                os.close(self._descriptor)
                self._descriptor = -1
            made = self._files.make_folder(target.parent)
            self._path.rename(target)
            _sync_folder(target.parent)
            if made:
                _sync_folder(self._files.folder)
        except OSError as error:
            self.abandon()
            with contextlib.suppress(OSError):
                target.unlink()
            raise _failed(error) from error

    def abandon(self) -> None:
        """Remove what was written; harmless after `commit`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        with contextlib.suppress(OSError):
            self._path.unlink()


class ContentFiles:
    """The folder of large contents: 256 folders by the first octet of the random part, so that none grows huge."""

    def __init__(self, data: Path) -> None:
        """Take the data folder; makes nothing before the first content."""
        self.folder = data / FOLDER

    def path(self, content_id: bytes) -> Path:
        """Give a content's path: made from 16 octets, never from a name of the outside."""
        if len(content_id) != _ID_SIZE:
            raise NotFoundError("a content id has 16 octets")
        name = content_id.hex()
        return self.folder / name[-2:] / name

    def create(self, content_id: bytes) -> ContentWriter:
        """Begin a content; raises StorageFullError, StoreUnavailableError."""
        self.path(content_id)
        self.make_folder(self.folder / _TEMPORARY)
        return ContentWriter(self, content_id)

    def read_at(self, content_id: bytes, offset: int, octets: int) -> bytes:
        """Give `octets` from `offset`, fewer at the end; raises NotFoundError where there is no such content."""
        with self._open(content_id) as descriptor:
            return os.pread(descriptor.value, octets, offset)

    def size(self, content_id: bytes) -> int:
        """Give the sealed size; raises NotFoundError."""
        with self._open(content_id) as descriptor:
            return os.fstat(descriptor.value).st_size

    def open(self, content_id: bytes) -> ContentReader:
        """Open a content for several reads; raises NotFoundError."""
        return self._open(content_id)

    def free_octets(self) -> int:
        """Give how much room the disk has for more."""
        try:
            status = os.statvfs(self.folder)
        except FileNotFoundError:
            status = os.statvfs(self.folder.parent)
        return status.f_bavail * status.f_frsize

    def remove(self, content_id: bytes) -> None:
        """Remove a content, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.path(content_id).unlink()

    def make_folder(self, folder: Path) -> bool:
        """Make a folder (0700) where it is missing, and tell whether it was."""
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            return False
        except FileNotFoundError:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(self.folder.parent)
            return self.make_folder(folder)
        return True

    def drop_temporary(self) -> int:
        """Remove what earlier processes left half written: at start, before anybody writes; give how many."""
        count = 0
        for entry in _entries(self.folder / _TEMPORARY):
            with contextlib.suppress(OSError):
                entry.unlink()
                count += 1
        return count

    def sweep(self, is_known: Callable[[bytes], bool], now: float) -> int:
        """Remove contents without a row that are older than a day (their sender died before it could name them); give how many."""
        count = 0
        for folder in _entries(self.folder):
            if folder.name == _TEMPORARY or not folder.is_dir():
                continue
            for entry in _entries(folder):
                count += self._sweep_one(entry, is_known, now)
        return count

    @staticmethod
    def _sweep_one(entry: Path, is_known: Callable[[bytes], bool], now: float) -> bool:
        try:
            content_id = bytes.fromhex(entry.name)
            if now - entry.stat().st_mtime < limits.ORPHAN_AGE or is_known(content_id):
                return False
            entry.unlink()
        except (ValueError, OSError):
            return False
        return True

    def _open(self, content_id: bytes) -> ContentReader:
        try:
            return ContentReader(os.open(self.path(content_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
        except FileNotFoundError:
            raise NotFoundError(f"no content file {content_id.hex()}") from None
        except OSError as error:
            raise _failed(error) from error


class ContentReader:
    """An open content file; use it in a `with`."""

    def __init__(self, descriptor: int) -> None:
        """Take an open descriptor."""
        self.value = descriptor

    @property
    def size(self) -> int:
        """The octets of the whole file."""
        return os.fstat(self.value).st_size

    def read_at(self, offset: int, octets: int) -> bytes:
        """Give `octets` from `offset`, fewer at the end."""
        return os.pread(self.value, octets, offset)

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        if self.value >= 0:
            os.close(self.value)
            self.value = -1

    def __del__(self) -> None:
        # A reader that was dropped halfway (a peer that left) must not keep its descriptor.
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
