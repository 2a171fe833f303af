# SPDX-License-Identifier: Apache-2.0
"""The certificate of this process's doors: read from its files, followed when they change, renewed in memory twice a day.

Obeys RFC 9325 §3.4 (keys of session tickets are changed).
Must never keep a bad certificate from being told, nor let one take the place of a good one.
"""

from __future__ import annotations

import asyncio
from typing import Final

from moatmail.core.errors import ConfigError
from moatmail.core.events import Event
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.settings.start import TLS
from moatmail.net.tls import Certificate, CertificateSet

LOOK_SECONDS: Final = 20.0
"""Whoever renews the files need not tell us: within this time every new connection gets the new certificate."""

TICKET_SECONDS: Final = 12 * 3600.0

_Stamp = tuple[tuple[int, int, int], ...]


class CertificateFiles:
    """Chain and key as they lie on the disk, and the set that serves them."""

    def __init__(self, files: TLS, clock: Clock, events: EventSink) -> None:
        """Read them; raises ConfigError."""
        self._files = files
        self._clock = clock
        self._events = events
        self._stamp = self._look()
        self._since = clock.monotonic()
        self.served = CertificateSet([self._read()])

    def reload(self) -> None:
        """Serve what the files hold now; raises ConfigError and then goes on with what was served."""
        self._stamp = self._look()
        self.served.replace([self._read()])
        self._since = self._clock.monotonic()

    def follow(self) -> bool:
        """Reload if the files changed, or for new ticket keys; tells whether it did. A bad certificate is told once."""
        changed = self._look() != self._stamp
        if not changed and self._clock.monotonic() - self._since < TICKET_SECONDS:
            return False
        try:
            self.reload()
        except ConfigError as error:
            self._since = self._clock.monotonic()
            self._events.emit(Event.of("certificate.bad", f"the certificate served so far stays: {error}", alert=True))
            return False
        if changed:
            self._events.emit(Event.of("certificate.changed", "the certificate's files changed; new connections get the new one"))
        return True

    async def follow_always(self) -> None:
        """Follow, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.follow()

    def _read(self) -> Certificate:
        try:
            return Certificate(self._files.certificate.read_bytes(), self._files.key.read_bytes())
        except OSError as error:
            raise ConfigError(f"{error.filename}: the certificate cannot be read ({error.strerror}); check tls.certificate and tls.key") from None

    def _look(self) -> _Stamp:
        """Give what changes when a file is written, replaced or gets other rights; a missing one has none."""
        stamp = []
        for path in (self._files.certificate, self._files.key):
            try:
                found = path.stat()
            except OSError:
                continue
            stamp.append((found.st_ino, found.st_ctime_ns, found.st_size))
        return tuple(stamp)
