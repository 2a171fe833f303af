# SPDX-License-Identifier: Apache-2.0
"""The envelope of a message: reverse-path, recipients, and what MAIL and RCPT said about them.

Obeys RFC 5321 §2.3.1, RFC 1870 (SIZE), RFC 6152 (BODY), RFC 6531 (SMTPUTF8), RFC 3461 (DSN), RFC 4954 §5 (AUTH).
Must never know the content of a message or how the envelope came.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, Flag, auto

from moatmail.core.address import Address


class Body(Enum):
    """What MAIL declared of the content's octets (RFC 6152 §3)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT_MIME = "8BITMIME"


class Return(Enum):
    """How much of the message a failure notice returns (RFC 3461 §4.3)."""

    FULL = "FULL"
    HEADERS = "HDRS"


class Notify(Flag):
    """When the originator wants a notice about one recipient (RFC 3461 §4.1); NEVER stands alone."""

    NEVER = 0
    SUCCESS = auto()
    FAILURE = auto()
    DELAY = auto()


@dataclass(frozen=True, slots=True)
class Recipient:
    """One forward-path: `original` is ORCPT as ``type;address`` decoded, empty if not given; `notify` None if not given (RFC 3461 §4.1, §4.2)."""

    address: Address
    original: bytes = b""
    notify: Notify | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """The envelope: `reverse_path` None is the null one; `declared_size` octets; `envid` decoded; `auth` None unless AUTH= named a mailbox."""

    reverse_path: Address | None
    recipients: tuple[Recipient, ...] = ()
    declared_size: int | None = None
    body: Body | None = None
    smtputf8: bool = False
    ret: Return | None = None
    envid: bytes = b""
    auth: Address | None = None

    def with_recipient(self, recipient: Recipient) -> Envelope:
        """Give the envelope with one more recipient at the end."""
        return replace(self, recipients=(*self.recipients, recipient))
