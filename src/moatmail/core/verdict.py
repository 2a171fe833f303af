# SPDX-License-Identifier: Apache-2.0
"""What the stages found about a message and what was decided, as plain facts.

Obeys RFC 5321 §4.2.5 (one reply after the data) and RFC 8601 §2.7 (result words, used in evidence).
Must never know how a finding is made or how a verdict is composed: only `policy/verdict` builds a `Verdict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from moatmail.core.address import Address
from moatmail.core.status import Reply


class Disposition(Enum):
    """What happens to the message for one recipient."""

    ACCEPT = "accept"
    TEMPFAIL = "tempfail"
    REJECT = "reject"
    QUARANTINE = "quarantine"
    HOLD = "hold"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact a stage found: `name` a dotted word, `weight` in points, `evidence` short texts that show why.

    `recipient` limits it to one recipient; `temporary` says that the stage could not run (a check that cannot run is not a result).
    `facts` is the stage's typed result for later stages and for the trace fields (`mailauth.spf.check.SPFResult` ...); it is not kept.
    """

    name: str
    weight: float = 0.0
    evidence: Mapping[str, str] = field(default_factory=dict)
    recipient: Address | None = None
    temporary: bool = False
    facts: object = field(default=None, compare=False, repr=False)

    @property
    def stage(self) -> str:
        """Give the name of the stage that found it: the first word of `name`."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class RecipientVerdict:
    """What happens for one recipient: the disposition, the finding that decided, and where a local copy goes."""

    disposition: Disposition
    reason: str = ""
    mailboxes: tuple[str, ...] = ("INBOX",)
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision over one transaction: the one reply and what happens per recipient (RFC 5321 §4.2.5)."""

    reply: Reply
    per_recipient: Mapping[Address, RecipientVerdict]
    score: float = 0.0
    reasons: tuple[str, ...] = ()
    headers: tuple[bytes, ...] = ()

    @property
    def accepted(self) -> bool:
        """Tell whether the message is taken over (the reply is 2yz)."""
        return self.reply.code // 100 == 2
