# SPDX-License-Identifier: Apache-2.0
"""Thread keys: Message-IDs and base subjects."""

from __future__ import annotations

import pytest

from moatmail.core.limits.message import MESSAGE_ID_OCTETS_MAX, MESSAGE_IDS_MAX
from moatmail.message.references import base_subject, message_id, message_ids


@pytest.mark.parametrize(
    ("subject", "base", "reply"),
    [
        ("hello", "hello", False),
        ("Re: hello", "hello", True),
        ("RE : re[2]: Fwd: hello (fwd) ", "hello", True),
        ("[list] Re: hello", "hello", True),
        ("Re: [list] hello", "hello", True),
        ("[list] hello", "hello", False),
        ("[list]", "[list]", False),
        ("Re: [list]", "[list]", True),
        ("[fwd: hello]", "hello", True),
        ("[Fwd: Re: a  b\t c]", "a b c", True),
        ("regarding", "regarding", False),
        ("Re:", "", True),
        ("", "", False),
        ("(fwd)", "", True),
    ],
)
def test_base_subject(subject: str, base: str, *, reply: bool) -> None:
    assert base_subject(subject) == (base, reply)


def test_message_ids() -> None:
    assert message_ids(b"<a@b>\t<c@d> noise <e> <f g>") == (b"<a@b>", b"<c@d>", b"<e>")
    many = b"".join(b"<%d@x>" % number for number in range(MESSAGE_IDS_MAX + 5))
    assert message_ids(many)[-1] == b"<%d@x>" % (MESSAGE_IDS_MAX + 4)
    assert len(message_ids(many)) == MESSAGE_IDS_MAX
    assert message_ids(b"<" + b"x" * MESSAGE_ID_OCTETS_MAX + b">") == ()


def test_message_id_of_damaged_fields() -> None:
    assert [message_id(value) for value in (b"<a@b>", b"a @b", b"x <a@b> <c@d>", b"")] == [b"<a@b>", b"a@b", b"<a@b>", b""]
