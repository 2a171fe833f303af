# SPDX-License-Identifier: Apache-2.0
"""Fields of a header are bounded, however the octets come: what looks at each of them must stay a slice of work."""

from __future__ import annotations

from pathlib import Path

import pytest

from moatmail.core.limits.message import HEADER_FIELDS_MAX
from moatmail.mailbox.incoming import HeaderTooLargeError, Incoming
from moatmail.store.content import ContentFiles

MOST = b"a:\r\n" * HEADER_FIELDS_MAX
ADMITTED = {
    "as many fields as may be": MOST + b"\r\nbody\r\n",
    "as many, and lines of a body": MOST + b"\r\n" + b"line\r\n" * 9_000,
    "lines of a body alone": b"\r\n" + b"line\r\n" * 9_000,
    "folded lines": b"a: b\r\n" + b" c\r\n\td\r\n" * 9_000 + b"\r\nbody\r\n",
}


@pytest.mark.parametrize("size", [7, 4096, 10**6])
@pytest.mark.parametrize("content", ADMITTED.values(), ids=ADMITTED.keys())
def test_what_is_admitted(tmp_path: Path, content: bytes, size: int) -> None:
    incoming = Incoming(bytes(16), ContentFiles(tmp_path))
    for start in range(0, len(content), size):
        incoming.feed(content[start : start + size])
    incoming.finish()
    assert incoming.size == len(content)


@pytest.mark.parametrize("cut", range(1, 14))
def test_lines_of_a_body_are_none_wherever_the_end_of_the_header_is_cut(tmp_path: Path, cut: int) -> None:
    content = b"a: b\r\n c\r\n\r\n" + b"x\r\n" * 9_000
    incoming = Incoming(bytes(16), ContentFiles(tmp_path))
    incoming.feed(content[:cut])
    incoming.feed(content[cut:])
    incoming.finish()
    assert incoming.size == len(content)


@pytest.mark.parametrize("size", [7, 4096, 10**6])
def test_one_field_more_is_refused_before_anybody_looks_for_it(tmp_path: Path, size: int) -> None:
    content = MOST + b"a:\r\n" * 2000 + b"\r\nbody\r\n"
    incoming = Incoming(bytes(16), ContentFiles(tmp_path))

    def feed() -> None:
        for start in range(0, len(content), size):
            incoming.feed(content[start : start + size])

    with pytest.raises(HeaderTooLargeError):
        feed()
    assert not incoming._parser.header_complete
