# SPDX-License-Identifier: Apache-2.0
"""The durable queue: entries sealed to the queue's public half, made here and nowhere else.

Obeys RFC 5321 §4.5.4 (queueing), RFC 3461 §5.2 (what travels with a recipient).
Must never know how a message is delivered.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from moatmail.core.address import Address, parse_mailbox
from moatmail.core.envelope import Body, Envelope, Notify, Recipient, Return
from moatmail.core.errors import SealBrokenError
from moatmail.core.status import Reply
from moatmail.crypto import queue_seal
from moatmail.crypto.content_seal import seal_content
from moatmail.crypto.seal import Purpose, SealKey, new_id
from moatmail.store.interface import Store
from moatmail.store.operations import Accept, ClaimedSpool, NewContent, NewSpool, SentReport

SUBMITTED = "submitted"
RELAYED = "relayed"
GENERATED = "generated"


class _Recipient(msgspec.Struct, frozen=True, array_like=True):
    address: bytes
    original: bytes
    notify: int | None


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    """The sealed form of an envelope, with what a bounce has to say about its arrival."""

    reverse_path: bytes | None
    recipients: tuple[_Recipient, ...]
    body: str | None
    smtputf8: bool
    ret: str | None
    envid: bytes


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Envelope)


def encode_envelope(envelope: Envelope) -> bytes:
    """Give an envelope as octets to be sealed."""
    return _ENCODER.encode(
        _Envelope(
            envelope.reverse_path.wire if envelope.reverse_path else None,
            tuple(_Recipient(one.address.wire, one.original, None if one.notify is None else one.notify.value) for one in envelope.recipients),
            envelope.body.value if envelope.body else None,
            envelope.smtputf8,
            envelope.ret.value if envelope.ret else None,
            envelope.envid,
        )
    )


def decode_envelope(octets: bytes) -> Envelope:
    """Read what `encode_envelope` wrote; raises SealBrokenError for anything else."""
    try:
        kept = _DECODER.decode(octets)
        return Envelope(
            _address(kept.reverse_path) if kept.reverse_path is not None else None,
            tuple(Recipient(_address(one.address), one.original, None if one.notify is None else Notify(one.notify)) for one in kept.recipients),
            body=Body(kept.body) if kept.body else None,
            smtputf8=kept.smtputf8,
            ret=Return(kept.ret) if kept.ret else None,
            envid=kept.envid,
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise SealBrokenError("queue entry: no envelope of a version we know") from error


def _address(octets: bytes) -> Address:
    return parse_mailbox(octets, utf8=True)


def entry(queue_public: bytes, content: NewContent, content_key: bytes, envelope: Envelope, now: float, kind: str) -> NewSpool:
    """Make the row of one queue entry: all recipients are due at once, one HPKE for the entry."""
    spool_id = new_id(int(now * 1000))
    sealed = queue_seal.seal_entry(queue_public, spool_id, content_key, encode_envelope(envelope))
    return NewSpool(spool_id, content.id, sealed.cover, sealed.envelope, now, tuple(now for _ in envelope.recipients), kind)


@dataclass(frozen=True, slots=True)
class Opened:
    """A claimed entry in clear: its envelope, the key of its content, and the signature fields that an earlier attempt made (empty: none)."""

    envelope: Envelope
    content_key: bytes
    entry_key: bytes
    prefix: bytes = b""


def open_entry(keys: queue_seal.QueueKeys, claimed: ClaimedSpool) -> Opened:
    """Open a claimed entry; raises SealBrokenError."""
    opened = queue_seal.open_queue_cover(keys, claimed.id, claimed.sealed_key)
    key = SealKey(opened.message_key)
    envelope = key.open(Purpose.ENVELOPE, 0, claimed.id, claimed.sealed_envelope)
    prefix = key.open(Purpose.PREFIX, 0, claimed.id, claimed.sealed_prefix) if claimed.sealed_prefix else b""
    return Opened(decode_envelope(envelope), opened.content_key, opened.message_key, prefix)


def seal_prefix(entry_key: bytes, spool_id: bytes, prefix: bytes) -> bytes:
    """Seal the signature fields of an entry under its key, to be kept with it: every attempt sends the same octets."""
    return SealKey(entry_key).seal(Purpose.PREFIX, 0, spool_id, prefix)


def seal_reply(entry_key: bytes, spool_id: bytes, reply: Reply) -> bytes:
    """Seal the last reply about a recipient under the entry's key: remote servers quote addresses and subjects in it."""
    return SealKey(entry_key).seal(Purpose.EVIDENCE, 0, spool_id, str(reply).encode())


def generated(queue_public: bytes, message: bytes, envelope: Envelope, now: float) -> tuple[NewContent, NewSpool]:
    """Make content and entry of a message of our own (bounce, report), to be written with the operation that causes it."""
    content_id = new_id(int(now * 1000))
    end = message.index(b"\r\n\r\n") + 4
    key, blob = seal_content(content_id, message[:end], (message[end:],))
    content = NewContent(content_id, len(message), blob)
    return content, entry(queue_public, content, key, envelope, now, GENERATED)


async def put(store: Store, queue_public: bytes, message: bytes, envelope: Envelope, now: float, *, sent: SentReport | None = None) -> bytes:
    """Put a message of our own into the queue, durably; gives the entry's id. Raises StoreUnavailableError.

    `sent` says which report the message is: one that was put before is not put again, however often that is asked for.
    """
    content, spool = generated(queue_public, message, envelope, now)
    await store.write(Accept((content,), (), (spool,), sent=sent))
    return spool.id
