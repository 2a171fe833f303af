# SPDX-License-Identifier: Apache-2.0
"""What ties messages into threads: Message-IDs and base subjects.

Obeys RFC 5322 §3.6.4 (Message-ID, In-Reply-To, References), RFC 5256 §2.1 (base subject).
Must never know which threads exist.
"""

from __future__ import annotations

import re

from moatmail.core.limits.message import MESSAGE_ID_OCTETS_MAX, MESSAGE_IDS_MAX, SUBJECT_CHARACTERS_MAX

_ID = re.compile(rb"<[^<>\s]++>")
_BLANKS = re.compile(r"\s+")
_BLOB = re.compile(r"\[[^\[\]]*+\] *+")
_REPLY_MARK = re.compile(r"(?:re|fwd?) *+(?:\[[^\[\]]*+\] *+)?:", re.IGNORECASE)
_FORWARD_TRAILER = "(fwd)"
_FORWARD_HEADER = "[fwd:"


def message_ids(value: bytes) -> tuple[bytes, ...]:
    """Give the Message-IDs of an unfolded field value with their angle brackets, in order, the last MESSAGE_IDS_MAX (RFC 5322 §3.6.4)."""
    return tuple(one for one in _ID.findall(value)[-MESSAGE_IDS_MAX:] if len(one) <= MESSAGE_ID_OCTETS_MAX)


def message_id(value: bytes) -> bytes:
    """Give the first Message-ID of an unfolded value; without brackets its octets less blanks, so that damaged ones thread too."""
    match = _ID.search(value)
    if match is not None:
        return match[0][:MESSAGE_ID_OCTETS_MAX]
    return b"".join(value.split())[:MESSAGE_ID_OCTETS_MAX]


def base_subject(subject: str) -> tuple[str, bool]:
    """Give the base subject of a decoded subject and whether a mark of reply or forwarding was taken off it (RFC 5256 §2.1)."""
    text = _BLANKS.sub(" ", subject[:SUBJECT_CHARACTERS_MAX]).strip()
    marked = False
    while True:
        text, trailed = _without_trailers(text)
        text, led = _without_leaders(text)
        marked |= trailed or led
        # RFC 5256 §2.1 step 6: "[fwd: ... ]" around the rest.
        if not (text.endswith("]") and text[: len(_FORWARD_HEADER)].lower() == _FORWARD_HEADER):
            return text, marked
        text = text[len(_FORWARD_HEADER) : -1].strip()
        marked = True


def _without_trailers(text: str) -> tuple[str, bool]:
    marked = False
    while text[-len(_FORWARD_TRAILER) :].lower() == _FORWARD_TRAILER:
        text = text[: -len(_FORWARD_TRAILER)].rstrip()
        marked = True
    return text, marked


def _without_leaders(text: str) -> tuple[str, bool]:
    """Take off "re:", "fw:", "[list] re:" and "[list]" as often as they lead (RFC 5256 §2.1 steps 3 to 5)."""
    start, marked = 0, False
    while True:
        after_blobs = start
        while (blob := _BLOB.match(text, after_blobs)) is not None:
            after_blobs = blob.end()
        mark = _REPLY_MARK.match(text, after_blobs)
        if mark is not None:
            start, marked = _skip_blanks(text, mark.end()), True
            continue
        blob = _BLOB.match(text, start)
        # Step 4: a blob goes only if something remains.
        if blob is None or blob.end() == len(text):
            return text[start:], marked
        start = blob.end()


def _skip_blanks(text: str, place: int) -> int:
    while place < len(text) and text[place] == " ":
        place += 1
    return place
