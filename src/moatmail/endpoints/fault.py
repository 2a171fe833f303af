# SPDX-License-Identifier: Apache-2.0
"""A fault of ours in a session, as it is told to the administrator.

Obeys no RFC; docs/security.md (what a person wrote is not in logs).
Must never say what the error says: it may quote mail.
"""

from __future__ import annotations

from moatmail.core.errors import SealBrokenError
from moatmail.core.events import Event


def event_of(error: Exception, protocol: str, **facts: object) -> Event:
    """Give the alert about `error` in a session of `protocol`: the kind of error and the line of our source, or which sealed object does not open."""
    if isinstance(error, SealBrokenError):
        return Event.of("seal.broken", "something kept does not open and was not served", alert=True, object=str(error), **facts)
    return Event.of(f"{protocol}.failed", f"a command failed by an unexpected error ({type(error).__name__})", alert=True, place=_place(error), **facts)


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace is not None else ""
