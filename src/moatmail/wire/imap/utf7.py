# SPDX-License-Identifier: Apache-2.0
"""Modified UTF-7, in which mailbox names travel, both ways.

Obeys RFC 3501 §5.1.3.
Must never know which mailboxes exist.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final

_RUNS: Final = re.compile("[\x20-\x7e]+|[^\x20-\x7e]+")
_NOT_DIRECT: Final = re.compile(rb"[^\x20-\x7e]")


def encode(name: str) -> bytes:
    """Write `name`; a lone surrogate, which no name should hold, becomes U+FFFD."""
    if name.isascii() and name.isprintable():
        return name.encode("ascii").replace(b"&", b"&-")
    out = []
    for run in _RUNS.findall(name):
        if "\x20" <= run[0] <= "\x7e":
            out.append(run.encode("ascii").replace(b"&", b"&-"))
        else:
            out.append(b"&" + b64encode(_utf16(run)).rstrip(b"=").replace(b"/", b",") + b"-")
    return b"".join(out)


def decode(name: bytes) -> str | None:
    """Read a name; None if it is not valid: then nothing can be meant by it.

    RFC 3501 §5.1.3: there is one way to write a name, so a second spelling (printable ASCII inside base64, a needless shift)
    is refused; otherwise a client would not find again what it made.
    """
    if b"&" not in name:
        return None if _NOT_DIRECT.search(name) else name.decode("ascii")
    head, *shifted = name.split(b"&")
    if _NOT_DIRECT.search(name):
        return None
    out = [head.decode("ascii")]
    for piece in shifted:
        run, dash, rest = piece.partition(b"-")
        text = _decode_run(run) if dash else None
        if text is None:
            return None
        out += (text, rest.decode("ascii"))
    decoded = "".join(out)
    return decoded if encode(decoded) == name else None


def _decode_run(run: bytes) -> str | None:
    if not run:
        return "&"
    if b"/" in run:
        return None  # RFC 3501 §5.1.3: the comma stands in its place
    try:
        octets = b64decode(run.replace(b",", b"/") + b"=" * (-len(run) % 4), validate=True)
        return octets.decode("utf-16-be")
    except (Base64Error, ValueError):
        return None


def _utf16(run: str) -> bytes:
    try:
        return run.encode("utf-16-be")
    except UnicodeEncodeError:
        return run.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "replace").encode("utf-16-be")
