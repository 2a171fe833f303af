# SPDX-License-Identifier: Apache-2.0
"""What tests of messages share: parse whole or in pieces, walk, judge every invariant, find the test data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from moatmail.core.limits.message import DEPTH_MAX, PARTS_MAX, PREVIEW_CHARACTERS_MAX
from moatmail.message import summary
from moatmail.message.places import PartPlace
from moatmail.message.structure import Part, Structure, StructureParser
from moatmail.message.summary import Summary
from tests.unit.message.imap_grammar import read_body, read_envelope

DATA = Path(os.environ.get("MOATMAIL_TEST_DATA", Path(__file__).resolve().parents[3].parent / "shared" / "data"))
CASES = DATA.parent / "cases"


def parse(content: bytes, piece: int = 0) -> Structure:
    """Parse a content whole, or in pieces of `piece` octets."""
    parser = StructureParser()
    if piece:
        view = memoryview(content)
        for start in range(0, len(content), piece):
            parser.feed(view[start : start + piece])
    else:
        parser.feed(content)
    return parser.finish()


def message(text: str) -> bytes:
    """Give a content written with bare line ends as CRLF octets."""
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8", "surrogateescape")


def walk(part: Part, depth: int = 1) -> Iterator[tuple[Part, int]]:
    """Give a part and all below it with their depths."""
    yield part, depth
    for child in part.children:
        yield from walk(child, depth + 1)


def octets_of(content: bytes, place: tuple[int, int] | None) -> bytes | None:
    """Give the octets of (start, length)."""
    return None if place is None else content[place[0] : place[0] + place[1]]


def judge(content: bytes, structure: Structure | None = None) -> Summary:
    """Assert all that holds for any content whatever, and give its summary."""
    found = parse(content) if structure is None else structure
    assert found.size == len(content)
    root = found.root
    assert (root.header_start, root.body_end) == (0, len(content))
    assert found.header_size == root.body_start
    parts = list(walk(root))
    assert len(parts) == found.parts <= PARTS_MAX
    assert max(depth for _, depth in parts) <= DEPTH_MAX
    for part, _ in parts:
        assert part.header_start <= part.body_start <= part.body_end <= len(content)
        assert part.lines == content.count(b"\n", part.body_start, part.body_end)
        assert bool(part.children) == (part.is_multipart or part.is_message)
        # Children lie within their parent's body, in order, and do not overlap.
        place = part.body_start
        for child in part.children:
            assert place <= child.header_start
            place = child.body_end
        assert place <= part.body_end or not part.children
        if part.is_message:
            (child,) = part.children
            assert (child.header_start, child.body_end) == (part.body_start, part.body_end)
    built = summary.build(found, shift=7)
    read_envelope(built.envelope)
    short, long = read_body(built.body, extended=False), read_body(built.bodystructure, extended=True)
    assert_same_tree(short, long)
    assert_places(long, built.root)
    assert len(built.preview) <= PREVIEW_CHARACTERS_MAX
    assert summary.decode(summary.encode(built)) == built
    assert summary.section(built, (), "") == (0, len(content) + 7)
    return built


def assert_same_tree(short: object, long: object) -> None:
    """Assert that BODY is BODYSTRUCTURE without its extension data."""
    assert isinstance(short, dict)
    assert isinstance(long, dict)
    inner = short.get("parts", []), long.get("parts", [])
    assert {key: value for key, value in short.items() if key != "parts"} == {key: value for key, value in long.items() if key in short and key != "parts"}
    for one, other in zip(*inner, strict=True):
        assert_same_tree(one, other)


def assert_places(told: object, place: PartPlace) -> None:
    """Assert that BODYSTRUCTURE tells the sizes that the places give."""
    assert isinstance(told, dict)
    if "octets" in told:
        assert told["octets"] == place.body_end - place.body_start
    if told["type"] == b"multipart" or (told["type"] == b"message" and place.children and "parts" in told):
        for one, other in zip(told["parts"], place.children, strict=True):
            assert_places(one, other)
