# SPDX-License-Identifier: Apache-2.0
"""Compression before sealing: one zstd frame per object, bounded when unpacked.

Obeys RFC 8878 (Zstandard).
Must never know a key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import zstandard

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import crypto as limits

Octets = bytes | bytearray | memoryview
"""What can be sealed without a copy."""


def _compressor(level: int) -> Callable[[Octets], bytes]:
    return zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True, write_dict_id=False).compress


class _Engines(threading.local):
    """Engines of one thread: making one costs 8 µs, and none may serve two threads."""

    def __init__(self) -> None:
        self.pack = _compressor(limits.COMPRESSION_LEVEL)
        self.pack_thoroughly = _compressor(limits.COMPRESSION_LEVEL_THOROUGH)
        self.unpack = zstandard.ZstdDecompressor().decompress


_engines = _Engines()


def pack(plain: Octets, *, thoroughly: bool = False) -> bytes | None:
    """Compress, or give None where that saves nothing; `thoroughly` takes ten times as long."""
    if len(plain) < limits.COMPRESS_MIN:
        return None
    packed = _engines.pack_thoroughly(plain) if thoroughly else _engines.pack(plain)
    return packed if len(packed) < len(plain) else None


def unpack(packed: Octets, limit: int) -> bytes:
    """Give what was packed; raise SealBrokenError if it is no frame, or would be larger than `limit` octets."""
    try:
        # RFC 8878 §3.1.1.1.4: the frame tells its content size, judged here before a single octet is unpacked.
        if zstandard.get_frame_parameters(packed).content_size > limit:
            raise SealBrokenError("compressed object larger than its limit")
        return _engines.unpack(packed, allow_extra_data=False)
    except zstandard.ZstdError as fault:
        raise SealBrokenError(f"compressed object damaged: {fault}") from fault
