# SPDX-License-Identifier: Apache-2.0
"""MAIL and RCPT as a client writes them, for what the server offers.

Obeys RFC 5321 §4.1.1.2 and §4.1.1.3, RFC 1870 §5, RFC 6152 §3, RFC 6531 §3.4, RFC 3461 §4.
Must never know the state of a session.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from moatmail.core.envelope import Envelope, Notify, Recipient
from moatmail.core.status import Reply
from moatmail.wire.smtp.grammar import encode_xtext
from moatmail.wire.smtp.reply_reader import Extensions

_NEEDS_UTF8: Final = Reply.of(553, "5.6.7", "the next server takes no internationalized mail")
_TOO_BIG: Final = Reply.of(552, "5.3.4", "message exceeds what the next server takes")
_EIGHT_BIT: Final = Reply.of(554, "5.6.3", "the next server takes no 8-bit content")
_NAMES: Final = {Notify.SUCCESS: b"SUCCESS", Notify.FAILURE: b"FAILURE", Notify.DELAY: b"DELAY"}


def needs_utf8(envelope: Envelope) -> bool:
    """Tell whether the message can only travel with SMTPUTF8: it came so, or an address asks for it (RFC 6531 §3.2)."""
    addresses = [envelope.reverse_path, *(recipient.address for recipient in envelope.recipients)]
    return envelope.smtputf8 or any(address is not None and address.needs_utf8 for address in addresses)


def unfit(envelope: Envelope, extensions: Extensions, *, size: int, eight_bit: bool) -> Reply | None:
    """Give our own refusal when the server cannot take the message as it is, so that not an octet travels in vain.

    `eight_bit`: RFC 6152 §3 forbids 8-bit content where 8BITMIME is not offered; we never re-encode, because that breaks signatures.
    """
    if needs_utf8(envelope) and "SMTPUTF8" not in extensions:
        return _NEEDS_UTF8
    if extensions.max_size is not None and size > extensions.max_size:
        return _TOO_BIG
    return _EIGHT_BIT if eight_bit and "8BITMIME" not in extensions else None


def mail_command(envelope: Envelope, extensions: Extensions, *, size: int, eight_bit: bool) -> bytes:
    """Give MAIL without its line end; only parameters that the server offers."""
    path = envelope.reverse_path.wire if envelope.reverse_path is not None else b""
    return b" ".join((b"MAIL FROM:<%b>" % path, *_mail_parameters(envelope, extensions, size=size, eight_bit=eight_bit)))


def _mail_parameters(envelope: Envelope, extensions: Extensions, *, size: int, eight_bit: bool) -> Iterator[bytes]:
    if "SIZE" in extensions:
        yield b"SIZE=%d" % size
    if eight_bit and "8BITMIME" in extensions:
        yield b"BODY=8BITMIME"
    if needs_utf8(envelope):
        yield b"SMTPUTF8"
    if "DSN" in extensions:
        if envelope.ret is not None:
            yield b"RET=" + envelope.ret.value.encode("ascii")
        if envelope.envid:
            yield b"ENVID=" + encode_xtext(envelope.envid)


def rcpt_command(recipient: Recipient, extensions: Extensions) -> bytes:
    """Give RCPT without its line end."""
    command = b"RCPT TO:<%b>" % recipient.address.wire
    if "DSN" not in extensions:
        return command
    if recipient.notify is not None:
        names = [name for flag, name in _NAMES.items() if flag in recipient.notify]
        command += b" NOTIFY=" + (b",".join(names) or b"NEVER")
    if recipient.original:
        kind, _, text = recipient.original.partition(b";")
        command += b" ORCPT=%b;%b" % (kind, text if not text.isascii() else encode_xtext(text))
    return command
