# SPDX-License-Identifier: Apache-2.0
"""Modified UTF-7 both ways, and names that are none.

Obeys RFC 3501 §5.1.3.
Must never know which mailboxes exist.
"""

from __future__ import annotations

import pytest

from moatmail.wire.imap import utf7
from moatmail.wire.imap.mailbox_name import read_name

PAIRS = {
    "plain": (b"Work", "Work"),
    "an ampersand": (b"TEA&-MILK", "TEA&MILK"),
    "accents": (b"L&APg-bende", "Løbende"),
    "the example of the RFC": (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
    "outside the basic plane": (b"&2D3eAA-", "😀"),
    "two runs": (b"p&AOQA5A-q&APY-", "pääqö"),
    "empty": (b"", ""),
}
INVALID = {
    "a bare ampersand": b"TEA & MILK",
    "no end": b"&AOQ",
    "an octet over 127": b"\xc3\xa4",
    "a control character in clear": b"a\tb",
    "base64 of half a character": b"&AO-",
    "a slash inside": b"&U/BTFw-",
    "padding": b"&AOQ=-",
    "printable ASCII hidden in base64": b"&AEE-",
    "a needless shift": b"&AOQ-&AOQ-",
    "a lone surrogate": b"&2D0-",
    "bits left over": b"&AOR-",
}


@pytest.mark.parametrize(("octets", "name"), PAIRS.values(), ids=PAIRS.keys())
def test_both_ways(octets: bytes, name: str) -> None:
    """A name is decoded once on the way in and encoded once on the way out (case imap-07)."""
    assert utf7.decode(octets) == name
    assert utf7.encode(name) == octets


@pytest.mark.parametrize("octets", INVALID.values(), ids=INVALID.keys())
def test_invalid_is_told(octets: bytes) -> None:
    """What has no meaning, or a second spelling, is None and never raises."""
    assert utf7.decode(octets) is None
    assert read_name(octets) is None


def test_a_lone_surrogate_is_replaced_on_the_way_out() -> None:
    """Encoding never raises."""
    assert utf7.decode(utf7.encode("a\ud83d")) == "a\ufffd"
