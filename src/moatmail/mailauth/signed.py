# SPDX-License-Identifier: Apache-2.0
"""A message as its signatures need it: the header first, then the body's octets once, in pieces, for DKIM and ARC together.

Obeys RFC 6376 §6.1 (any number of signatures), RFC 8617 §5.2 (the newest ARC-Message-Signature).
Must never know keys, the DNS, or the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from moatmail.core.limits.mailauth import DKIM_SIGNATURES_MAX
from moatmail.mailauth.arc_chain import Chain, read_chain
from moatmail.mailauth.canonical import BodyForm, BodyHashes, SignedHeader
from moatmail.mailauth.dkim_signature import Signature, read_signature
from moatmail.message.header import Header

_FIELD: Final = b"dkim-signature"


class SignedMessage:
    """What is signed in one message: `signatures` from the top, `ignored` beyond the bound, the ARC `chain`, and the hashes of the body.

    Made from the header block, then fed the body, as it arrives or later; 8 KiB of memory per form, whatever the size.
    """

    def __init__(self, header: Header) -> None:
        self.header = SignedHeader(header)
        places = self.header.by_name.get(_FIELD, [])
        self.signatures: tuple[Signature, ...] = tuple(read_signature(self.header, at) for at in places[:DKIM_SIGNATURES_MAX])
        self.ignored = len(places) - len(self.signatures)
        self.chain: Chain = read_chain(self.header)
        self.body = BodyHashes(self._wanted())

    def _wanted(self) -> list[BodyForm]:
        wanted = [one.body for one in self.signatures if one.body is not None]
        if self.chain.sets and (newest := self.chain.sets[-1].message_signature.body) is not None:
            wanted.append(newest)
        return wanted

    @property
    def needs_body(self) -> bool:
        """Tell whether any hash of the body is wanted; if not, nothing need be fed."""
        return bool(self._wanted())

    def feed(self, octets: bytes) -> None:
        """Take the next octets of the body."""
        self.body.feed(octets)


def read_message(header: bytes, body: Iterable[bytes]) -> SignedMessage:
    """Give a whole message: its header block, its body in pieces."""
    message = SignedMessage(Header(header))
    if message.needs_body:
        for piece in body:
            message.feed(piece)
    return message
