# SPDX-License-Identifier: Apache-2.0
"""What peers say cannot change what a log shows."""

from __future__ import annotations

import pytest

from moatmail.core.events import Event, safe


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain words: 12 → 13, jörg@例え.test", "plain words: 12 → 13, jörg@例え.test", id="what can be printed stays"),
        pytest.param("a\nb\r\0", "a\\x0ab\\x0d\\x00", id="no line ends"),
        pytest.param("\x1b[2J\x7f", "\\x1b[2J\\x7f", id="no escapes"),
        pytest.param("\x9b2J\x85", "\\x9b2J\\x85", id="no C1 controls, which terminals obey"),
        pytest.param("a\u2028b\u2029", "a\\u{2028}b\\u{2029}", id="no line separators"),
        pytest.param("alice\u202etxt.exe", "alice\\u{202e}txt.exe", id="no marks of direction"),
        pytest.param("\ud800", "\\u{d800}", id="no halves of pairs"),
        pytest.param("x" * 300, "x" * 200, id="no more than fits a line"),
    ],
)
def test_safe(text: str, shown: str) -> None:
    assert safe(text) == shown
    event = Event.of("name", text, fact=text)
    assert (event.text, event.facts) == (shown, {"fact": shown})
