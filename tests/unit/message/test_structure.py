# SPDX-License-Identifier: Apache-2.0
"""The push parser: which parts it finds, where, and that pieces change nothing."""

from __future__ import annotations

import pytest

from moatmail.core.limits import message as limits
from moatmail.core.limits.message import BOUNDARY_MAX, DEPTH_MAX, HEADER_FIELDS_MAX, HEADER_MAX, LEAD_OCTETS_MAX, PART_HEADERS_MAX, PARTS_MAX
from moatmail.message.structure import Part, StructureParser
from tests.unit.message.reading import judge, message, parse, walk


def tree(part: Part, content: bytes) -> object:
    """Give type and body text of leaves, nested as the parts are."""
    name = f"{part.media.decode()}/{part.subtype.decode()}"
    if part.children:
        return (name, [tree(child, content) for child in part.children])
    return (name, content[part.body_start : part.body_end].decode("utf-8", "replace"))


MIXED = "Content-Type: multipart/mixed; boundary=b\n\n"

TREES = [
    pytest.param("Subject: x\n\nbody\n", ("text/plain", "body\r\n"), id="a plain message is one text"),
    pytest.param("", ("text/plain", ""), id="nothing is an empty text"),
    pytest.param("\nbody", ("text/plain", "body"), id="an empty line at once ends an empty header"),
    pytest.param("Subject: x", ("text/plain", ""), id="a header without an end has no body"),
    pytest.param("From a@b Sat Mar  8 10:11:12 2025\nContent-Type: text/html\n\nx", ("text/html", "x"), id="an mbox separator on top is skipped (mime-14)"),
    pytest.param("Content-Type:\n text/html\n\nx", ("text/html", "x"), id="a value on the second line counts (mime-16)"),
    pytest.param("Content-Type: text\n\nx", ("text/plain", "x"), id="an unreadable type is text/plain"),
    pytest.param("Content-Type: multipart/mixed\n\nx", ("text/plain", "x"), id="a multipart without boundary is text"),
    pytest.param(MIXED + "--b--\n", ("text/plain", "--b--\r\n"), id="a multipart without parts is text (imap-12)"),
    pytest.param(
        MIXED + "preamble\n--b\n\none\n--b\nContent-Type: a/b\n\ntwo\n--b--\nepilogue\n--b\n\nno part\n",
        ("multipart/mixed", [("text/plain", "one"), ("a/b", "two")]),
        id="preamble and epilogue are no parts, not even with a delimiter in it",
    ),
    pytest.param(MIXED + "--b \t\n\none\n--b--  \n", ("multipart/mixed", [("text/plain", "one")]), id="blanks may follow a delimiter"),
    pytest.param(
        MIXED + "--b\n\none\n--bb\n--b-\n --b\n-b\n--b--",
        ("multipart/mixed", [("text/plain", "one\r\n--bb\r\n--b-\r\n --b\r\n-b")]),
        id="the whole line decides",
    ),
    pytest.param(MIXED + "--b\n\nopen", ("multipart/mixed", [("text/plain", "open")]), id="a missing last delimiter loses nothing (mime-09)"),
    pytest.param(
        MIXED + "--b\n--b\n\none\n--b--", ("multipart/mixed", [("text/plain", ""), ("text/plain", "one")]), id="two delimiters in a row make an empty part"
    ),
    pytest.param(MIXED + "--b\nContent-Type: a/b\n--b--", ("multipart/mixed", [("a/b", "")]), id="a delimiter ends a header whose empty line is missing"),
    pytest.param(
        MIXED + "--b\nContent-Type: multipart/mixed; boundary=i\n--i\n\nx\n--i--\n--b--",
        ("multipart/mixed", [("multipart/mixed", [("text/plain", "x")])]),
        id="and so does the first delimiter of the multipart it declares",
    ),
    pytest.param(
        'Content-Type: multipart/mixed; boundary="o"\n\n--o\nContent-Type: multipart/alternative; boundary="o_i"\n\n'
        "--o_i\n\none\n--o_i\n\ntwo\n--o_i--\n--o\nContent-Type: a/b\n\nx\n--o--\n",
        ("multipart/mixed", [("multipart/alternative", [("text/plain", "one"), ("text/plain", "two")]), ("a/b", "x")]),
        id="an inner boundary may begin with the outer one (mime-17)",
    ),
    pytest.param(
        'Content-Type: multipart/mixed; boundary="o_i"\n\n--o_i\nContent-Type: multipart/alternative; boundary="o"\n\n'
        "--o\n\none\n--o--\n--o_i\nContent-Type: a/b\n\nx\n--o_i--\n",
        ("multipart/mixed", [("multipart/alternative", [("text/plain", "one")]), ("a/b", "x")]),
        id="and an outer one with the inner one",
    ),
    pytest.param(
        MIXED + "--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nin\n--b--\n--b\n\nout\n--b--\n",
        ("multipart/mixed", [("multipart/mixed", [("text/plain", "in")]), ("text/plain", "out")]),
        id="of equal boundaries the innermost open one comes first",
    ),
    pytest.param(
        MIXED + "--b\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\nin\n--b\n\nout\n--b--\n",
        ("multipart/mixed", [("multipart/mixed", [("text/plain", "in")]), ("text/plain", "out")]),
        id="an outer delimiter ends all parts within",
    ),
    pytest.param(
        'Content-Type: multipart/digest; boundary="b"\n\n--b\n\nSubject: one\n\nx\n--b--',
        ("multipart/digest", [("message/rfc822", [("text/plain", "x")])]),
        id="in a digest a part without type is a message",
    ),
    pytest.param("Content-Type: message/rfc822\n\nContent-Type: text/html\n\n<p>", ("message/rfc822", [("text/html", "<p>")]), id="a message may be a message"),
    pytest.param("Content-Type: message/rfc822\n\n", ("message/rfc822", [("text/plain", "")]), id="even an empty one"),
    pytest.param(
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nRnJvbTog\n",
        ("message/rfc822", "RnJvbTog\r\n"),
        id="an encoded message is not looked into (mime-11)",
    ),
    pytest.param(
        'Content-Type: multipart/mixed; boundary*1="d"; boundary*0="ab"\n\n--abd\n\nx\n--abd--',
        ("multipart/mixed", [("text/plain", "x")]),
        id="a boundary may come in sections",
    ),
    pytest.param(
        'Content-Type: multipart/mixed\n\tboundary="b"\n\n--b\n\nx\n--b--', ("multipart/mixed", [("text/plain", "x")]), id="a forgotten semicolon is forgiven"
    ),
    pytest.param(
        "Content-Type: multipart/mixed; boundary=(c) b (d)\n\n--b\n\nx\n--b--", ("multipart/mixed", [("text/plain", "x")]), id="comments do not count"
    ),
]


@pytest.mark.parametrize(("text", "wanted"), TREES)
def test_parts(text: str, wanted: object) -> None:
    content = message(text)
    judge(content)
    assert tree(parse(content).root, content) == wanted


@pytest.mark.parametrize(("text", "wanted"), TREES)
def test_parts_with_bare_line_ends(text: str, wanted: object) -> None:
    content = message(text).replace(b"\r\n", b"\n")
    judge(content)
    found = tree(parse(content).root, content)
    assert repr(found) == repr(wanted).replace("\\r\\n", "\\n")


@pytest.mark.parametrize("text", [pytest.param(param.values[0], id=param.id) for param in TREES])
@pytest.mark.parametrize("piece", [1, 2, 3, 5])
def test_pieces_change_nothing(text: str, piece: int) -> None:
    content = message(text)
    whole, cut = parse(content), parse(content, piece)
    assert cut.root == whole.root
    assert (cut.header.block, cut.lead, cut.truncated) == (whole.header.block, whole.lead, whole.truncated)


@pytest.mark.parametrize("turns", [1, 2, 3, 10**9])
@pytest.mark.parametrize("piece", [0, 1, 3, 16])
def test_exact_patterns_find_what_the_plain_search_finds(monkeypatch: pytest.MonkeyPatch, turns: int, piece: int) -> None:
    monkeypatch.setattr(limits, "FALSE_DELIMITERS_MAX", turns)
    near = "--bx\n--bb\n--b-\n"
    content = message(
        MIXED + f"{near}--b \t\n\none\n{near}--b\nContent-Type: multipart/mixed; boundary=bi\n\n--bix\n--biy\n--bi\n\ntwo\n--bix\n--bi--\n--bix\n{near}"
        f"--b\nX: y\n{near}Content-Type: multipart/mixed; boundary=j\n\n--j\n\nthree\n--j--\n{near}"
        f"--b\nContent-Type: multipart/mixed; boundary=k\n--k\n\nfour\n--k--\n{near}--b--\n{near}--b\n\nnone"
    )
    wanted = ("one\r\n" + near.replace("\n", "\r\n")).removesuffix("\r\n")
    assert tree(parse(content, piece).root, content) == (
        "multipart/mixed",
        [
            ("text/plain", wanted),
            ("multipart/mixed", [("text/plain", "two\r\n--bix")]),
            ("multipart/mixed", [("text/plain", "three")]),
            ("multipart/mixed", [("text/plain", "four")]),
        ],
    )


def test_the_facts_of_a_part() -> None:
    content = message(
        'Content-Type: Image/PNG; Name="a \\"b\\".png"; size=3\nContent-Transfer-Encoding: BASE64 (so)\nContent-ID: <i@d>\nContent-Description: a\n picture\n'
        "Content-Disposition: ATTACHMENT; filename=x.png\nContent-Language: de, en-GB\nContent-Location: http://x/\nContent-MD5: Q2hlY2s=\n\nAAAA\n"
    )
    part = parse(content).root
    assert (part.media, part.subtype, part.encoding) == (b"image", b"png", b"base64")
    assert part.parameters == ((b"name", b'a "b".png'), (b"size", b"3"))
    assert (part.content_id, part.description, part.location, part.md5) == (b"<i@d>", b"a picture", b"http://x/", b"Q2hlY2s=")
    assert (part.disposition, part.disposition_parameters, part.language) == (b"attachment", ((b"filename", b"x.png"),), (b"de", b"en-GB"))
    assert (part.size, part.lines) == (6, 1)


def test_the_first_of_repeated_fields_counts() -> None:
    assert parse(b"Content-Type: text/html\r\nContent-Type: image/png\r\n\r\n").root.subtype == b"html"


def test_the_header_is_there_as_soon_as_it_ended() -> None:
    parser = StructureParser()
    states = []
    for piece in (b"Subject: x\r\n", b"\r\n"):
        parser.feed(piece)
        states.append(parser.header_complete)
    assert states == [False, True]
    assert (parser.header, parser.header_size) == (b"Subject: x\r\n\r\n", 14)
    parser.feed(b"body")
    assert parser.finish().root.size == 4


def test_a_header_over_the_limit_is_cut_and_told() -> None:
    content = b"X: " + b"y" * HEADER_MAX + b"\r\nContent-Type: text/html\r\n\r\nbody"
    for piece in (0, 1_000, HEADER_MAX - 1, HEADER_MAX):
        found = parse(content, piece)
        assert found.truncated
        assert len(found.header.block) == HEADER_MAX
        assert (found.root.body_start, found.root.subtype) == (len(content) - 4, b"plain")


@pytest.mark.parametrize(("count", "wanted", "truncated"), [(HEADER_FIELDS_MAX - 2, b"kept", False), (HEADER_FIELDS_MAX, None, True)])
def test_the_fields_of_an_embedded_header_are_bounded(count: int, wanted: bytes | None, *, truncated: bool) -> None:
    structure = parse(b"Content-Type: message/rfc822\r\n\r\n" + b"a:\r\n" * count + b"Subject: kept\r\n\r\nbody\r\n")
    inner = structure.root.children[0]
    assert (inner.envelope or {}).get(b"subject") == wanted
    assert structure.truncated is truncated
    assert inner.body_end - inner.body_start == len(b"body\r\n")


def test_state_is_bounded_by_a_line_and_a_header() -> None:
    parser = StructureParser()
    parser.feed(message(MIXED + "--b\n\n"))
    for _ in range(100):
        parser.feed(b"\r\n--b" + b" " * 20_000)
        parser.feed(b"x" * 65_536)
        assert len(parser._buffer) < 1_100
    assert parser.finish().root.children[0].size > 6_000_000


@pytest.mark.parametrize(("depth", "truncated"), [(DEPTH_MAX - 1, False), (DEPTH_MAX, True), (3 * DEPTH_MAX, True)])
def test_nesting_ends_at_the_limit(depth: int, *, truncated: bool) -> None:
    multiparts = "".join(f"Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n" for level in range(depth)) + "\ntext\n"
    for text in (multiparts, "Content-Type: message/rfc822\n\n" * depth + "\ntext"):
        content = message(text)
        judge(content)
        found = parse(content)
        assert found.truncated is truncated
        assert max(level for _, level in walk(found.root)) == min(depth + 1, DEPTH_MAX)


@pytest.mark.parametrize(("count", "truncated"), [(PARTS_MAX - 1, False), (PARTS_MAX, True), (PARTS_MAX + 500, True)])
def test_parts_end_at_the_limit(count: int, *, truncated: bool) -> None:
    content = message(MIXED + "--b\n\nx\n" * count + "--b--\n")
    found = parse(content)
    judge(content, found)
    assert (found.parts, found.truncated) == (min(count + 1, PARTS_MAX), truncated)
    assert found.root.children[-1].body_end >= len(content) - 9


def test_the_facts_of_all_parts_together_are_bounded() -> None:
    part = "--b\nContent-Type: image/png" + "".join(f"; n{number}={'x' * 1_000}" for number in range(60)) + "\nContent-Description: " + "y" * 60_000 + "\n\nx\n"
    content = message(MIXED + part * 100 + "--b--\n")
    found = parse(content)
    assert found.truncated
    assert len(judge(content, found).bodystructure) < 2 * PART_HEADERS_MAX
    assert (found.root.children[-1].media, found.root.children[-1].parameters, found.root.children[-1].description) == (b"image", (), None)
    assert found.root.children[0].description is not None


def test_a_boundary_over_the_limit_is_none() -> None:
    for size, kind in ((BOUNDARY_MAX, b"multipart"), (BOUNDARY_MAX + 1, b"text")):
        boundary = "b" * size
        assert parse(message(f"Content-Type: multipart/mixed; boundary={boundary}\n\n--{boundary}\n\nx")).root.media == kind


def test_the_lead_is_the_first_text_that_is_no_attachment() -> None:
    content = message(
        MIXED + "--b\nContent-Type: image/png\n\nno\n--b\nContent-Disposition: attachment\n\nno\n--b\nContent-Type: text/html\n\nyes\n--b\n\nno\n--b--\n"
    )
    found = parse(content)
    assert found.lead == b"yes"
    assert found.lead_part is not None
    assert found.lead_part.subtype == b"html"
    assert len(parse(b"\r\n" + b"x" * 100_000, 999).lead) == LEAD_OCTETS_MAX


def test_embedded_messages_keep_their_envelope_fields() -> None:
    inner = parse(message("Content-Type: message/rfc822\n\nSubject:\n inner\nTo: a@b\nTo: c@d\nX: y\n\n")).root.children[0]
    assert inner.envelope == {b"subject": b"inner", b"to": b"a@b, c@d"}
