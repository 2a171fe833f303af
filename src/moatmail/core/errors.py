# SPDX-License-Identifier: Apache-2.0
"""The errors of Moatmail: a small tree, each with an enhanced status and a text fit for strangers.

Obeys RFC 3463 (enhanced status codes).
Must never know a protocol's syntax: a door turns an error into its own reply.
"""

from __future__ import annotations


class MoatmailError(Exception):
    """The root: `status` is an enhanced status (RFC 3463), `public` a text that gives nothing away."""

    status = "5.0.0"
    public = "request refused"

    def __init__(self, detail: str = "", *, status: str | None = None, public: str | None = None) -> None:
        """Keep `detail` for our log; `status` and `public` override what the class says."""
        super().__init__(detail or public or self.public)
        if status is not None:
            self.status = status
        if public is not None:
            self.public = public


class TemporaryError(MoatmailError):
    """We cannot do it now; the same request may work later (4yz, `NO [UNAVAILABLE]`)."""

    status = "4.3.0"
    public = "service temporarily unavailable, please try again"


class StoreUnavailableError(TemporaryError):
    """The store did not answer, or could not make the change durable."""


class StorageFullError(TemporaryError):
    """The disk is full; nothing was stored (452 4.3.1, `NO [LIMIT]`)."""

    status = "4.3.1"
    public = "insufficient system storage, please try again later"


class PermanentError(MoatmailError):
    """The request will not work as it is (5yz, `NO`)."""


class NotFoundError(PermanentError):
    """What the request names does not exist (any more)."""

    status = "5.1.1"
    public = "no such object"


class AlreadyExistsError(PermanentError):
    """What the request would create exists already."""

    public = "already exists"


class OverQuotaError(PermanentError):
    """The account's quota does not admit it (552 5.2.2, `NO [OVERQUOTA]`, RFC 9208)."""

    status = "5.2.2"
    public = "mailbox full"


class LimitReachedError(PermanentError):
    """It would be more than we keep of its kind (`NO [LIMIT]`, RFC 5530 §3)."""

    public = "too many"


class NotPermittedError(PermanentError):
    """The asker may not do this (role × operation, frozen account, foreign object)."""

    status = "5.7.1"
    public = "not permitted"


class ConflictError(PermanentError):
    """The state changed under the request, or the request contradicts the state."""

    public = "conflict with the current state"


class RemoteProtocolError(MoatmailError):
    """The other side broke the protocol."""

    status = "5.5.2"
    public = "protocol error"


class LocalProtocolError(MoatmailError):
    """We asked an engine for something its state forbids: a fault of ours."""

    status = "4.3.0"
    public = "internal error, please try again"


class ConfigError(MoatmailError):
    """The configuration or the command line is wrong: what, where, and what to do, in one line each."""

    def __init__(self, *mistakes: str) -> None:
        """Keep every mistake, each one line with its path."""
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


class SealBrokenError(MoatmailError):
    """A sealed object does not open: damaged, swapped, truncated or sealed under another key. Never served."""

    status = "4.3.0"
    public = "message damaged, the administrator was told"
