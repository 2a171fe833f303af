# SPDX-License-Identifier: Apache-2.0
"""A message of APPEND on its way in.

Obeys RFC 3501 §6.3.11.
Must never know the session.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from moatmail.mailbox.incoming import Incoming
from moatmail.mailbox.newlines import Newlines


@dataclass(slots=True)
class Appending:
    """What is known of it: where it goes, its flags, its date, its octets so far, since when (monotonic seconds)."""

    mailbox: int
    flags: int
    keywords: tuple[str, ...]
    received_at: float
    incoming: Incoming
    since: float
    lines: Newlines = field(default_factory=Newlines)
