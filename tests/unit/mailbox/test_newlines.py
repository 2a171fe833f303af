# SPDX-License-Identifier: Apache-2.0
"""However octets arrive, every line end becomes CRLF, and whole ones stay."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from moatmail.mailbox.newlines import Newlines


@given(st.lists(st.text(alphabet="\r\na.", max_size=6).map(str.encode)))
def test_pieces_change_nothing(pieces: list[bytes]) -> None:
    lines = Newlines()
    made = b"".join([lines.take(piece) for piece in pieces]) + lines.finish()
    assert made == re.sub(rb"\r\n|\r|\n", b"\r\n", b"".join(pieces))
    assert not made.replace(b"\r\n", b"").translate(None, b"a.")
