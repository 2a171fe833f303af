# SPDX-License-Identifier: Apache-2.0
"""Any octets are a message: pieces change nothing, offsets tile it, answers keep their grammar; the standard library agrees on sound ones."""

from __future__ import annotations

import email
import email.policy
from email.message import Message

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moatmail.core.limits import message as limits
from moatmail.message import summary
from moatmail.message.header import Header
from moatmail.message.structure import StructureParser
from moatmail.message.submitted import complete
from moatmail.message.text import body_texts
from tests.fuzz import fuzz_header, fuzz_mime
from tests.unit.message.reading import judge, parse, walk

# Pieces of which damaged messages are made: lines that matter, and their fragments.
FRAGMENTS = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"--b", b"--b\r\n", b"--b--\r\n", b"--bb\r\n", b"--", b"\n--", b" ", b"\t", b"x", b"\0", b"\xff", b": ",
        b"Content-Type: multipart/mixed; boundary=b\r\n", b'Content-Type: multipart/digest; boundary="bb"\r\n', b"Content-Type: message/rfc822\r\n",
        b"Content-Type: text/html; charset=utf-8\r\n", b"Content-Transfer-Encoding: base64\r\n", b'Content-Disposition: attachment; filename*0="a\r\n b"\r\n',
        b"Subject: =?utf-8?Q?=C3=BC?=\r\n",
        b'From: a@b, g: "c" <d@e>;\r\n', b"To: (\r\n", b"Date: Wed, 5 Mar 2025 07:06:05 +0000\r\n", b"Message-ID: <a@b>\r\n",
        b"From a@b Sat\r\n", b"Bcc: x@y\r\n z\r\n", b"b" * 1_000, b"--b" + b" " * 995 + b"\r\n", b"--b" + b" " * 996 + b"\r\n",
    ]
)  # fmt: skip
CONTENTS = st.lists(FRAGMENTS, max_size=40).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(CONTENTS, st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_pieces_change_nothing(content: bytes, sizes: list[int]) -> None:
    whole, parser, place, turn = parse(content), StructureParser(), 0, 0
    while place < len(content):
        size = sizes[turn % len(sizes)]
        parser.feed(content[place : place + size])
        place, turn = place + size, turn + 1
    cut = parser.finish()
    assert (cut.root, cut.size, cut.header_size, cut.parts, cut.truncated, cut.lead) == (
        whole.root,
        whole.size,
        whole.header_size,
        whole.parts,
        whole.truncated,
        whole.lead,
    )
    assert cut.header.block == whole.header.block


@settings(max_examples=400, deadline=None)
@given(CONTENTS, st.integers(1, 3), st.sampled_from([0, 1, 7]))
def test_exact_patterns_find_what_the_plain_search_finds(content: bytes, turns: int, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "FALSE_DELIMITERS_MAX", turns)
        exact = parse(content, piece)
    assert exact.root == parse(content).root


@settings(max_examples=400, deadline=None)
@given(CONTENTS | st.binary(max_size=300))
def test_any_octets_have_a_summary_within_the_grammar(content: bytes) -> None:
    built = judge(content)
    texts = list(body_texts(built.root, lambda start, length: [content[start - 7 : start - 7 + length]]))
    assert all(isinstance(text, str) for text in texts)


@settings(max_examples=200, deadline=None)
@given(CONTENTS)
def test_completing_a_header_leaves_no_bcc_and_touches_nothing_else(content: bytes) -> None:
    header = parse(content).header
    done = Header(complete(header, now=0, local="x", domain="y"))
    assert done.count(b"bcc") == 0
    assert done.count(b"date") >= 1
    assert done.first(b"message-id")
    kept = [field for field in fields(header) if not field.lower().startswith((b"bcc", b"message-id"))]
    assert [field for field in fields(done) if field in kept] == kept


def fields(header: Header) -> list[bytes]:
    return [header.block[start:end] for start, _, end in header.spans]


# ---- sound messages: made by a tree, read back by us and by the standard library ----------------------------------------

LINES = st.lists(st.sampled_from([b"text", b"-- ", b"--x", b"", b" indented", "übung".encode(), b"From here"]), max_size=5).map(b"\r\n".join)


def leaf(body: bytes) -> bytes:
    return b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body


def multipart(children: list[bytes], number: int) -> bytes:
    boundary = b"=_%d_%d" % (number, sum(map(len, children)))
    inside = b"".join([b"--%b\r\n%b\r\n" % (boundary, child) for child in children])
    return b'Content-Type: multipart/mixed; boundary="%b"\r\n\r\n%b--%b--\r\n' % (boundary, inside, boundary)


def embedded(child: bytes) -> bytes:
    return b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n" + child


TREES = st.recursive(
    LINES.map(leaf), lambda inner: st.builds(multipart, st.lists(inner, min_size=1, max_size=3), st.integers(0, 10**6)) | inner.map(embedded), max_leaves=8
)


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_sound_messages_are_read_as_the_standard_library_reads_them(tree: bytes) -> None:
    content = b"Subject: top\r\nMIME-Version: 1.0\r\n" + tree
    judge(content)
    library: list[tuple[str, bytes]] = []
    stack: list[Message] = [email.message_from_bytes(content, policy=email.policy.compat32)]
    while stack:
        part = stack.pop()
        payload = part.get_payload()
        if isinstance(payload, list):
            stack.extend(child for child in reversed(payload) if isinstance(child, Message))
        octets = part.get_payload(decode=True)
        library.append((part.get_content_type(), octets if isinstance(octets, bytes) else b""))
    ours = [
        (f"{part.media.decode()}/{part.subtype.decode()}", b"" if part.children else content[part.body_start : part.body_end])
        for part, _ in walk(parse(content).root)
    ]
    assert ours == library


@settings(max_examples=100, deadline=None)
@given(TREES)
def test_sections_of_sound_messages_are_what_was_put_in(tree: bytes) -> None:
    content = b"Subject: top\r\n" + multipart([tree, leaf(b"last")], 7)
    built = summary.build(parse(content))
    place = summary.section(built, (1,), "MIME"), summary.section(built, (1,), "")
    assert place[0] is not None
    assert place[1] is not None
    assert content[place[0][0] : place[1][0] + place[1][1]] == tree
    last = summary.section(built, (2,), "")
    assert last is not None
    assert content[last[0] : last[0] + last[1]] == b"last"


@pytest.mark.parametrize("seed", range(3))
def test_the_fuzz_targets_hold_on_seeded_mutations(seed: int) -> None:
    fuzz_mime.TARGET.plain(150, seed)
    fuzz_header.TARGET.plain(300, seed)
