# SPDX-License-Identifier: Apache-2.0
"""The log: a line per event on a descriptor, as a sentence or as JSON; alerts also where errors go.

Obeys no RFC; times are UTC as in RFC 3339 §5.6.
Must never block, raise, or write what an event does not hold (events are safe for one line already).
"""

from __future__ import annotations

import os
import select
from datetime import UTC, datetime
from typing import Final

import msgspec

from moatmail.core.events import Event
from moatmail.core.ports.clock import Clock

TEXT: Final = "text"
JSON: Final = "json"
NONE: Final = "none"

_encode: Final = msgspec.json.Encoder().encode


class Log:
    """An EventSink over descriptors that other processes share: each line leaves in one write, so lines never mix."""

    def __init__(self, clock: Clock, form: str = TEXT, *, source: str = "", out: int = 1, alerts: int = 2) -> None:
        """Write to `out`, or with the form "none" only alerts, to `alerts`; `source` names the process in JSON."""
        self._clock = clock
        self._form = form
        self._source = source
        self._out = out
        self._alerts = alerts
        self._lost = 0
        self._room = select.poll()
        self._room.register(out, select.POLLOUT)

    def emit(self, event: Event) -> None:
        """Write one event; when the reader of the log does not keep up, count it instead and tell later."""
        try:
            if self._form == NONE:
                if event.alert:
                    os.write(self._alerts, self._line(event))
                return
            # A pipe that polls writable takes one line of at most PIPE_BUF without blocking.
            if not self._room.poll(0):
                self._lost += 1
                return
            if self._lost:
                lost, self._lost = self._lost, 0
                os.write(self._out, self._line(Event.of("log.lost", f"{lost} lines of this log were lost: nobody read them in time", lost=lost)))
            os.write(self._out, self._line(event))
        except OSError:  # the reader went away, the disk is full: mail goes on
            self._lost += 1

    def _line(self, event: Event) -> bytes:
        time = datetime.fromtimestamp(self._clock.now(), UTC)
        if self._form == JSON:
            about = {"time": time.isoformat(timespec="milliseconds"), "source": self._source, "event": event.name, "text": event.text, "alert": event.alert}
            whole = _encode(about | {"facts": dict(event.facts)})
            return (whole if len(whole) < select.PIPE_BUF else _encode(about)) + b"\n"
        mark = "ALERT " if event.alert else ""
        return f"{time:%H:%M:%S} {mark}{event.text}\n".encode(errors="backslashreplace")
