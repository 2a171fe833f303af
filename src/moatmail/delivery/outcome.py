# SPDX-License-Identifier: Apache-2.0
"""What became of one recipient in one attempt.

Obeys RFC 3464 §2.3 (what a report says of a recipient), RFC 5321 §4.2.1 (2yz, 4yz, 5yz).
Must never know the queue or the socket.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from moatmail.core.status import Reply


class Fate(Enum):
    """The four ends of an attempt; `DELIVERED` is ours, `RELAYED` is with the next server."""

    DELIVERED = "delivered"
    RELAYED = "relayed"
    DEFERRED = "queued"
    FAILED = "bounced"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One recipient's outcome: the deciding reply (the remote's own, or ours about the attempt), and the host that gave it, if any."""

    fate: Fate
    reply: Reply
    host: str = ""

    @classmethod
    def of_reply(cls, reply: Reply, host: str) -> Outcome:
        """Give what a remote server's reply to a recipient or to its content means."""
        if reply.positive:
            return cls(Fate.RELAYED, reply, host)
        return cls(Fate.FAILED if reply.permanent else Fate.DEFERRED, reply, host)


def status_of(reply: Reply) -> str:
    """Give the enhanced status of a reply, made from its code's class when the remote gave none (RFC 3464 §2.3.4)."""
    return reply.status or f"{reply.code // 100}.0.0"
