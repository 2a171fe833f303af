# SPDX-License-Identifier: Apache-2.0
"""Hints among the processes of a node: what changed, told after the commit; never a fact, for it may be lost and is asked again.

Obeys RFC 3501 §5.2 and RFC 2177 §3 (other sessions' changes are told), through whoever listens.
Must never know who listens for what: everybody hears of every mailbox by number, and numbers say nothing.

A datagram is a row of hints: kind (1 octet), number (8), value (8), little-endian. A receiver that is slow gets nothing until it has room
again, and then the word to look at everything anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from moatmail.core.limits import store as limits
from moatmail.store.apply.work import Hints
from moatmail.store.channel import role_of_peer, socket_in

SOCKET: Final = "bus.sock"
_HINT: Final = struct.Struct("<BQQ")
_SEND_BUFFER: Final = 256 * 1024
_RECEIVE: Final = limits.BUS_HINTS * _HINT.size

MAILBOX: Final = 1
"""`number` is the mailbox, `value` its HIGHESTMODSEQ (0: it is gone)."""
QUEUE: Final = 2
"""Something may be due in the queue."""
SETTINGS: Final = 3
"""`value` is the settings' new version."""
RESYNC: Final = 4
"""Hints were lost, or the connection is new: look at everything anew."""
ACCOUNT: Final = 5
"""Account `number` was removed or frozen, or has another password: its sessions end."""
MAILBOXES: Final = 6
"""Mailboxes of account `number` were made, renamed or deleted, or subscribed or no more."""


class Hint(NamedTuple):
    """One hint."""

    kind: int
    number: int = 0
    value: int = 0


class BusServer:
    """The store's end: tells every connected process, and never waits for one."""

    def __init__(self, role_of: Callable[[int], str]) -> None:
        """Take what tells a pid's role; a process without one hears nothing."""
        self._role_of = role_of
        self._loop = asyncio.get_running_loop()
        self._listening: socket.socket | None = None
        self._receivers: dict[int, _Receiver] = {}
        self._gathered: dict[tuple[int, int], int] = {}
        self._scheduled = False

    def start(self, listening: socket.socket) -> None:
        """Begin to accept on a socket made by `bind_in(run_folder, SOCKET, SOCK_SEQPACKET)`."""
        self._listening = listening
        self._loop.add_reader(listening.fileno(), self._accept)

    def tell(self, hints: Hints) -> None:
        """Tell what a commit changed; hints of one turn of the loop are sent together, one per mailbox."""
        for mailbox, modseq in hints.mailboxes.items():
            self._gathered[MAILBOX, mailbox] = modseq
        if hints.queue:
            self._gathered[QUEUE, 0] = 0
        for account in hints.accounts:
            self._gathered[ACCOUNT, account] = 0
        for account in hints.listings:
            self._gathered[MAILBOXES, account] = 0
        if hints.settings:
            self._gathered[SETTINGS, 0] = hints.settings
        if self._gathered and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._send)

    def close(self) -> None:
        """Close the bus."""
        if self._listening is not None:
            self._loop.remove_reader(self._listening.fileno())
            self._listening.close()
        for receiver in tuple(self._receivers.values()):
            self._drop(receiver)

    def _accept(self) -> None:
        assert self._listening is not None  # noqa: S101  set by `start`, which registered this method
        try:
            connection, _address = self._listening.accept()
        except OSError:
            return
        if len(self._receivers) >= limits.BUS_PEERS or not role_of_peer(connection, self._role_of):
            connection.close()
            return
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        receiver = _Receiver(connection)
        self._receivers[connection.fileno()] = receiver
        # Receivers never speak: readable means gone.
        self._loop.add_reader(connection.fileno(), self._drop, receiver)
        self._give(receiver, [_HINT.pack(RESYNC, 0, 0)])

    def _send(self) -> None:
        self._scheduled = False
        gathered, self._gathered = self._gathered, {}
        rows = [_HINT.pack(kind, number, value) for (kind, number), value in gathered.items()]
        datagrams = [b"".join(rows[at : at + limits.BUS_HINTS]) for at in range(0, len(rows), limits.BUS_HINTS)]
        for receiver in tuple(self._receivers.values()):
            if not receiver.overflowed:
                self._give(receiver, datagrams)

    def _give(self, receiver: _Receiver, datagrams: list[bytes]) -> None:
        try:
            for datagram in datagrams:
                receiver.connection.send(datagram)
        except BlockingIOError:
            receiver.overflowed = True
            self._loop.add_writer(receiver.connection.fileno(), self._resync, receiver)
        except OSError:
            self._drop(receiver)

    def _resync(self, receiver: _Receiver) -> None:
        """Tell a receiver that has room again that it missed something."""
        try:
            receiver.connection.send(_HINT.pack(RESYNC, 0, 0))
        except BlockingIOError:
            return
        except OSError:
            self._drop(receiver)
            return
        receiver.overflowed = False
        self._loop.remove_writer(receiver.connection.fileno())

    def _drop(self, receiver: _Receiver) -> None:
        descriptor = receiver.connection.fileno()
        if descriptor < 0:
            return
        self._loop.remove_reader(descriptor)
        self._loop.remove_writer(descriptor)
        self._receivers.pop(descriptor, None)
        receiver.connection.close()


class _Receiver:
    """One connected process, as the store sees it."""

    __slots__ = ("connection", "overflowed")

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.overflowed = False


class BusClient:
    """Another role's end: calls back on the loop for each hint; connects again by itself, and then says RESYNC."""

    def __init__(self, run_folder: Path, heard: Callable[[Hint], None]) -> None:
        """Take the folder of the bus's socket and who hears."""
        self._folder = run_folder
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._connection: socket.socket | None = None
        self._again: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Connect now, or as soon as the store is there."""
        self._again = None
        try:
            self._connection = socket_in(self._folder, SOCKET, socket.SOCK_SEQPACKET, lambda made, path: made.connect(path))
        except OSError:
            self._later()
            return
        self._loop.add_reader(self._connection.fileno(), self._receive)

    def close(self) -> None:
        """Hear no more."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
        self._disconnect()

    def _receive(self) -> None:
        assert self._connection is not None  # noqa: S101  set by `start`, which registered this method
        try:
            datagram = self._connection.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            datagram = b""
        if not datagram:
            self._disconnect()
            self._later()
            return
        for hint in _HINT.iter_unpack(datagram[: len(datagram) // _HINT.size * _HINT.size]):
            self._heard(Hint(*hint))

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._loop.remove_reader(self._connection.fileno())
            self._connection.close()
            self._connection = None

    def _later(self) -> None:
        if not self._closed:
            self._again = self._loop.call_later(limits.REPEAT_EVERY, self.start)
