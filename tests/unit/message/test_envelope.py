# SPDX-License-Identifier: Apache-2.0
"""The first address read back from an ENVELOPE, as the ENVELOPE was rendered.

Obeys RFC 3501 §7.4.2.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moatmail.message import envelope
from moatmail.message.envelope import BCC, CC, FROM, REPLY_TO, TO, FirstAddress, first_address
from moatmail.message.fetch_items import render_envelope

FIELDS = {
    b"date": b"Tue, 24 Nov 2026 10:00:00 +0000",
    b"subject": b'a "quoted" (text) \\ with ) signs',
    b"from": b'"Ann \\"A\\" (x)" <ann@a.test>, other@a.test',
    b"to": b"team: bob@b.test, carl@c.test;, dora@d.test",
    b"cc": "Jörg <joerg@e.test>".encode(),
}
CASES = {
    "a name with quotes and parentheses": (FROM, FirstAddress(b'Ann "A" (x)', b"ann", b"a.test")),
    "what is said by From where Reply-To is missing": (REPLY_TO, FirstAddress(b'Ann "A" (x)', b"ann", b"a.test")),
    "a group": (TO, FirstAddress(b"", b"team", None)),
    "a name as a literal": (CC, FirstAddress("Jörg".encode(), b"joerg", b"e.test")),
    "none": (BCC, None),
}


@pytest.mark.parametrize(("field", "wanted"), CASES.values(), ids=CASES.keys())
def test_first_address(field: int, wanted: FirstAddress | None) -> None:
    """Whatever stands before it: quotes, literals, lists."""
    assert first_address(render_envelope(FIELDS), field) == wanted


@given(
    st.dictionaries(st.sampled_from((b"date", b"subject", b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc")), st.binary(max_size=40)), st.integers(2, 7)
)
def test_one_look_finds_what_token_by_token_is_found(fields: dict[bytes, bytes], field: int) -> None:
    """The quick way through envelopes without literals is no other way."""
    rendered = render_envelope(fields)
    assert first_address(rendered, field) == envelope._first_address(rendered, field)


@pytest.mark.parametrize("damaged", [b"", b"(", b'("a', b"(NIL NIL ((", b'(NIL NIL ((NIL NIL "x"', b"({9}\r\nabc", b"nonsense" * 50])
def test_what_is_no_envelope_has_no_address(damaged: bytes) -> None:
    """Damage is no error here: there is no address."""
    assert first_address(damaged, FROM) is None
