# SPDX-License-Identifier: Apache-2.0
"""What travels over the channel: length, number, kind, and a body of msgpack.

Obeys no RFC.
Must never know sockets or who asks.

Octets 0-3 length of what follows, 4-11 number of the request, 12 kind, then the body; numbers little-endian. Requests are pipelined,
answers come in any order and carry the request's number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple, Union

import msgspec

from moatmail.core import errors
from moatmail.core.limits import store as limits
from moatmail.store import column_items, index_items, operations, queries, repair_items, thread_items

ASK: Final = 0
ANSWER: Final = 1
FAILURE: Final = 2

_HEAD: Final = struct.Struct("<IQB")
_LENGTH: Final = 4
_ENCODER: Final = msgspec.msgpack.Encoder()

ASKED: Final[tuple[type, ...]] = tuple(
    kind
    for module in (operations, queries, column_items, index_items, thread_items, repair_items)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, (operations.Operation, queries.Query)) and kind not in {operations.Operation, queries.Query}
)
"""Every operation and query there is."""

_REQUEST: Final = msgspec.msgpack.Decoder(Union[ASKED])  # noqa: UP007  a union of a computed tuple has no other spelling

_ERRORS: Final[dict[str, type[errors.MoatmailError]]] = {
    kind.__name__: kind
    for kind in (
        errors.MoatmailError,
        errors.TemporaryError,
        errors.StoreUnavailableError,
        errors.StorageFullError,
        errors.PermanentError,
        errors.NotFoundError,
        errors.AlreadyExistsError,
        errors.OverQuotaError,
        errors.LimitReachedError,
        errors.NotPermittedError,
        errors.ConflictError,
        errors.RemoteProtocolError,
        errors.LocalProtocolError,
        errors.SealBrokenError,
    )
}


class Frame(NamedTuple):
    """One frame: the request's number, its kind, its body."""

    number: int
    kind: int
    body: memoryview


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error on its way: its class by name, and what it carries."""

    name: str
    status: str
    public: str
    detail: str


class FrameError(Exception):
    """The other side sent what is no frame: the channel is closed."""


def pack(number: int, kind: int, body: object) -> bytearray:
    """Build a frame; raises PermanentError where it is larger than a frame may be."""
    buffer = bytearray(_HEAD.size)
    _ENCODER.encode_into(body, buffer, _HEAD.size)
    if len(buffer) > limits.FRAME:
        raise errors.PermanentError(f"a frame of {len(buffer)} octets", status="5.3.4", public="message too large for this system")
    _HEAD.pack_into(buffer, 0, len(buffer) - _LENGTH, number, kind)
    return buffer


class Unpacker:
    """Cuts a stream into frames; whole frames of one piece are not copied."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._rest = bytearray()

    def feed(self, data: bytes | bytearray) -> Iterator[Frame]:
        """Give the frames that are whole now; their bodies are valid until the next `feed`. Raises FrameError."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted():
                return
            data = self._rest
        view = memoryview(data)
        position = 0
        while position + _HEAD.size <= len(view):
            length, number, kind = _HEAD.unpack_from(view, position)
            if not _HEAD.size - _LENGTH <= length <= limits.FRAME:
                raise FrameError(f"a frame of {length} octets")
            end = position + _LENGTH + length
            if end > len(view):
                break
            yield Frame(number, kind, view[position + _HEAD.size : end])
            position = end
        self._rest = bytearray(view[position:])

    def _wanted(self) -> int:
        if len(self._rest) < _LENGTH:
            return _HEAD.size
        length = int.from_bytes(self._rest[:_LENGTH], "little")
        # A length beyond the limit is judged by `feed` at once.
        return _LENGTH + length if length <= limits.FRAME else 0


def read_request(body: memoryview) -> operations.Operation[Any] | queries.Query[Any]:
    """Decode a request; raises FrameError."""
    try:
        request: operations.Operation[Any] | queries.Query[Any] = _REQUEST.decode(body)
    except msgspec.MsgspecError as error:
        raise FrameError(str(error)) from None
    return request


@cache
def answer_decoder(kind: type) -> msgspec.msgpack.Decoder[Any]:
    """Give the decoder of what an operation or query answers."""
    return msgspec.msgpack.Decoder(kind.result)  # type: ignore[attr-defined]


def describe(error: errors.MoatmailError) -> Failure:
    """Make an error travel; one without a place in the table travels as its nearest ancestor."""
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS)
    return Failure(name, error.status, error.public, str(error))


_FAILURE: Final = msgspec.msgpack.Decoder(Failure)


def read_failure(body: memoryview) -> errors.MoatmailError:
    """Make a travelled error an error again."""
    try:
        failure = _FAILURE.decode(body)
    except msgspec.MsgspecError as error:
        return errors.StoreUnavailableError(str(error))
    kind = _ERRORS.get(failure.name, errors.MoatmailError)
    return kind(failure.detail, status=failure.status, public=failure.public)
