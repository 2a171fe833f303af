# SPDX-License-Identifier: Apache-2.0
"""Every published torture message: nothing raised, well-formed answers, exact sections, quickly; and the opinions of three other parsers."""

from __future__ import annotations

import email
import email.policy
import json
import time
from collections.abc import Iterator
from email.message import Message
from functools import partial
from pathlib import Path

import fast_mail_parser
import pytest

from moatmail.message import summary
from moatmail.message.places import MESSAGE, MULTIPART, PartPlace
from moatmail.message.structure import Part
from moatmail.message.text import body_texts
from moatmail.message.transfer import decode_body
from tests.unit.message.reading import DATA, judge, parse, walk

MIME = DATA / "mime"
pytestmark = pytest.mark.skipif(not MIME.is_dir(), reason="the MIME samples (shared/data/mime) are not here")

SKIPPED_NAMES = frozenset(("README.md", "README", "COPYING", "LICENSE-MIT.txt", "SOURCE"))
MESSAGES = (
    sorted(path for path in MIME.rglob("*") if path.is_file() and path.suffix not in {".json", ".md"} and path.name not in SKIPPED_NAMES)
    if MIME.is_dir()
    else []
)
SECONDS_MAX = 2.0


def name(path: Path) -> str:
    return str(path.relative_to(MIME))


@pytest.mark.parametrize("path", MESSAGES, ids=name)
def test_message(path: Path) -> None:
    for content in forms(path):
        start = time.perf_counter()
        built = judge(content)
        text = list(body_texts(built.root, partial(octets_behind_prefix, content)))
        assert time.perf_counter() - start < SECONDS_MAX
        assert all(isinstance(piece, str) for piece in text)
        if len(content) < 20_000:
            whole = parse(content)
            for piece in (1, 13, 1_024):
                cut = parse(content, piece)
                assert (cut.root, cut.lead, cut.header.block) == (whole.root, whole.lead, whole.header.block)


def octets_behind_prefix(content: bytes, start: int, length: int) -> list[bytes]:
    return [content[start - 7 : start - 7 + length]]  # `judge` puts seven octets in front


def forms(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    yield content
    yield content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@pytest.mark.parametrize("path", MESSAGES, ids=name)
def test_sections_tile_the_message(path: Path) -> None:
    """Header and TEXT make the message; a part's MIME header and body stand next to each other; all sections lie within."""
    content = path.read_bytes()
    built = summary.build(parse(content))
    head, text = summary.section(built, (), "HEADER"), summary.section(built, (), "TEXT")
    assert head is not None
    assert text is not None
    assert content[: head[1]] + content[text[0] :] == content
    assert head[1] == text[0]
    for path_ in paths(built.root, ()):
        mime, body = summary.section(built, path_, "MIME"), summary.section(built, path_, "")
        assert mime is not None
        assert body is not None
        assert mime[0] + mime[1] == body[0]
        assert body[0] + body[1] <= len(content)


def paths(place: PartPlace, above: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    children = place.children if place.kind == MULTIPART else (place,)
    for number, child in enumerate(children, 1):
        yield (*above, number)
        if child.kind == MULTIPART:
            yield from paths(child, (*above, number))
        elif child.kind == MESSAGE:
            yield from paths(child.children[0], (*above, number))


# ---- stalwart-mail-parser: the wanted parses ------------------------------------------------------------------------

STALWART = MIME / "stalwart-mail-parser"
Shape = tuple[str, int, int, int, tuple["Shape", ...]]
WANTED = sorted(path for path in STALWART.glob("*/*.json") if path.parent.name != "fields") if STALWART.is_dir() else []
# Where we differ, and why. Keys are names without ".crlf".
ARGUED = {
    "malformed/000": "parts whose header ends at a delimiter are parts, here without a body; there they are dropped",
    "malformed/004": "a boundary `a` does not match the line `--ab`: the whole line decides (mime-17)",
    "malformed/007": "the multipart `ab` begins right behind its header; there the prefix `a` matches",
    "malformed/008": "a delimiter of the outer multipart ends the inner one; there the inner prefix `a` takes it",
    "malformed/009": "an outer delimiter ends the inner multipart that was not closed",
    "malformed/011": "as malformed/009",
    "malformed/012": "as malformed/009, with messages as parts",
    "malformed/013": "a delimiter as the last line of the content begins an empty part",
    "malformed/014": "as malformed/013",
    "malformed/016": "as malformed/009, with boundaries that are beginnings of one another",
    "malformed/019": "the last line end belongs to the open part",
    "malformed/020": "of two Content-Type fields the first counts; there the last does",
    "malformed/021": "as malformed/020",
    "malformed/022": "a message/rfc822 that holds no header is still the message it says it is",
    "rfc/008": "an encoded message/rfc822 is a leaf for IMAP: its octets are not the message (mime-11)",
    "legacy/049": "the last line end belongs to the body",
}


def ours(part: Part) -> Shape:
    kind = "message" if part.is_message else "multipart" if part.is_multipart else "leaf"
    return (kind, part.header_start, part.body_start, part.body_end, tuple(ours(child) for child in part.children))


def theirs(parts: list[dict[str, object]], number: int = 0) -> Shape:
    part = parts[number]
    body = part["body"]
    kind, children = "leaf", tuple[Shape, ...]()
    if isinstance(body, dict) and "Multipart" in body:
        kind, children = "multipart", tuple(theirs(parts, child) for child in body["Multipart"])
    elif isinstance(body, dict) and "Message" in body and body["Message"].get("parts"):
        kind, children = "message", (theirs(body["Message"]["parts"]),)
    start, middle, end = (part[f"offset_{place}"] for place in ("header", "body", "end"))
    assert isinstance(start, int)
    assert isinstance(middle, int)
    assert isinstance(end, int)
    return (kind, start, middle, end, children)


@pytest.mark.parametrize("path", WANTED, ids=name)
def test_the_wanted_parse(path: Path) -> None:
    case = name(path).removeprefix("stalwart-mail-parser/").removesuffix(".json").removesuffix(".crlf")
    content = (STALWART / f"{case}.eml").read_bytes().replace(b"\r\n", b"\n")
    if path.name.endswith(".crlf.json"):
        content = content.replace(b"\n", b"\r\n")
    same = ours(parse(content).root) == theirs(json.loads(path.read_text("utf-8"))["parts"])
    assert same or case in ARGUED


# ---- the standard library: every leaf it reads, we read with the same octets -----------------------------------------

# Where the library differs, and why. It also takes message/delivery-status apart, for which its answer is not asked.
ARGUED_BY_LIBRARY = {
    "cpython/msg_15.txt": "a multipart without boundary is text; it keeps an empty multipart",
    "cpython/msg_19.txt": "no header at all: the lines to the first empty one are the header; it ends a header at the first line that is no field",
    "cpython/msg_37.txt": "nothing between delimiters is an empty part; it takes the next part for the body",
    "cpython/msg_38.txt": "a part whose empty line is missing has no body; as cpython/msg_19",
    "cpython/msg_39.txt": "as cpython/msg_15",
    "cpython/msg_42.txt": "a closing delimiter alone: the multipart is text",
    "cpython/msg_47.txt": "as cpython/msg_38",
    "mikel-mail/MIT-LICENSE": "as cpython/msg_19",
    "mikel-mail/plain_emails/raw_email_incorrect_header.eml": "as cpython/msg_19",
    "mikel-mail/rfc2822/example13.eml": "a folded line that is not indented; as cpython/msg_19",
    "nodemailer-mailparser/LICENSE": "as cpython/msg_19",
    "nodemailer-mailparser/nested.eml": "blanks at line ends of quoted-printable are dropped (RFC 2045 §6.7)",
    "notmuch/COPYING-NOTE": "as cpython/msg_19",
    "stalwart-mail-parser/legacy/017.eml": "uuencode, which MIME does not know, is given as it stands",
    "stalwart-mail-parser/legacy/026.eml": "as legacy/017",
    "stalwart-mail-parser/legacy/048.eml": "as legacy/017",
    "stalwart-mail-parser/malformed/000.eml": "as cpython/msg_38",
    "stalwart-mail-parser/malformed/003.eml": "the innermost of equal boundaries",
    "stalwart-mail-parser/malformed/005.eml": "as malformed/003",
    "stalwart-mail-parser/malformed/013.eml": "an outer delimiter ends what is open within",
    "stalwart-mail-parser/malformed/017.eml": "a forgotten semicolon before the boundary is forgiven",
    "stalwart-mail-parser/malformed/019.eml": "as cpython/msg_19",
    "stalwart-mail-parser/malformed/022.eml": "as cpython/msg_38",
    "stalwart-mail-parser/rfc/008.eml": "an encoded message/rfc822 is decoded as its encoding says",
    "stalwart-mail-parser/thirdparty/002.eml": "base64 goes on after its padding (mime-05)",
    "stalwart-mail-parser/thirdparty/003.eml": "blanks after the name of an encoding do not belong to it",
    "stalwart-mail-parser/thirdparty/012.eml": "a boundary that is folded in its quotes",
}
UNASKED = (b"message/delivery-status", b"message/external-body")


def leaves_of_library(content: bytes) -> list[tuple[str, bytes]]:
    """Give type and decoded octets of each leaf by the standard library."""
    found: list[tuple[str, bytes]] = []
    stack: list[Message] = [email.message_from_bytes(content, policy=email.policy.compat32)]
    while stack:
        part = stack.pop()
        payload = part.get_payload()
        if isinstance(payload, list):
            stack.extend(child for child in reversed(payload) if isinstance(child, Message))
        else:
            octets = part.get_payload(decode=True)
            # What we call text because it holds no part, the library calls a multipart with a body.
            kind = "text/plain" if part.get_content_maintype() == "multipart" else part.get_content_type()
            found.append((kind, octets if isinstance(octets, bytes) else b""))
    return found


def leaves_of_ours(content: bytes) -> list[tuple[str, bytes]]:
    return [
        (f"{part.media.decode()}/{part.subtype.decode()}", decode_body(content[part.body_start : part.body_end], part.encoding))
        for part, _ in walk(parse(content).root)
        if not part.children
    ]


def plain(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").rstrip(b"\n")


@pytest.mark.parametrize("path", MESSAGES, ids=name)
def test_the_standard_library_reads_the_same_leaves(path: Path) -> None:
    content = path.read_bytes()
    if any(kind in content.lower() for kind in UNASKED):
        pytest.skip("the library's answer is not asked for this type")
    mine, library = leaves_of_ours(content), leaves_of_library(content)
    same = [(kind, plain(octets)) for kind, octets in mine] == [(kind, plain(octets)) for kind, octets in library]
    assert same == (name(path) not in ARGUED_BY_LIBRARY), (mine, library)


def test_a_fast_parser_reads_the_same_subjects() -> None:
    same, others = 0, []
    for path in MESSAGES:
        content = path.read_bytes()
        try:
            subject = fast_mail_parser.parse_email(content).subject
        except fast_mail_parser.ParseError:
            continue
        if subject.split() == summary.build(parse(content)).subject.split():
            same += 1
        else:
            others.append(name(path))
    assert same >= 10 * len(others), others
