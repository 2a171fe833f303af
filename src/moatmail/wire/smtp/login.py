# SPDX-License-Identifier: Apache-2.0
"""The AUTH command of one session: which mechanisms work now, and the exchange line by line.

Obeys RFC 4954 §3 and §4.
Must never know accounts, or how a reply travels.
"""

from __future__ import annotations

import os

from moatmail.core.errors import LocalProtocolError
from moatmail.core.status import Reply
from moatmail.wire import sasl
from moatmail.wire.smtp import replies
from moatmail.wire.smtp.profile import Profile


class Login:
    """Parses AUTH and its responses into steps of the mechanism, or the reply that refuses them; `mechanism` is the one begun last."""

    __slots__ = ("_exchange", "_profile", "end_points", "failures", "mechanism")

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._exchange: sasl.Exchange | None = None
        self.mechanism = b""
        self.end_points: tuple[bytes, ...] = ()
        self.failures = 0

    def mechanisms(self, *, tls: bool) -> tuple[bytes, ...]:
        """Give the mechanisms to announce: none before TLS, none on the door of strangers."""
        if not tls or not self._profile.needs_auth:
            return ()
        return sasl.announced(self._profile.mechanisms, self._context())

    def begin(self, arguments: bytes, *, tls: bool) -> sasl.Step | Reply:
        """Take the arguments of AUTH (RFC 4954 §4)."""
        name, _, initial = arguments.partition(b" ")
        mechanism = name.upper()
        if not name or b" " in initial:
            return replies.SYNTAX
        if mechanism not in self.mechanisms(tls=tls):
            return replies.AUTH_UNKNOWN
        # RFC 4954 §4: a single equals sign is the empty initial response.
        data = b"" if initial == b"=" else sasl.decode_base64(initial) if initial else None
        if initial and data is None:
            return replies.AUTH_SYNTAX
        self.mechanism = mechanism
        self._exchange = sasl.start(mechanism, self._context())
        return self._exchange.respond(data)

    def respond(self, line: bytes) -> sasl.Step | Reply:
        """Take a response line (RFC 4954 §4: base64, or a star to give up, which is no failed login)."""
        if line == b"*":
            return replies.AUTH_CANCELLED
        data = sasl.decode_base64(line)
        return replies.AUTH_SYNTAX if data is None else self._running().respond(data)

    def supply(self, verifier: sasl.ScramVerifier | None) -> sasl.Step:
        """Hand the verifier to the mechanism."""
        return self._running().supply(verifier)

    def end(self) -> None:
        """Forget the exchange."""
        self._exchange = None

    def _running(self) -> sasl.Exchange:
        if self._exchange is None:
            raise LocalProtocolError("no SASL exchange runs")
        return self._exchange

    def _context(self) -> sasl.Context:
        profile = self._profile
        return sasl.Context(
            self.end_points,
            # RFC 5802 §6: only what the client could have seen makes its `y` a sign of tampering.
            offers_plus=bool(self.end_points) and sasl.SCRAM_PLUS in profile.mechanisms,
            decoy_key=profile.decoy_key or os.urandom(32),
            decoy_iterations=profile.decoy_iterations,
        )
