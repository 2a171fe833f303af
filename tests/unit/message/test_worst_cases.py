# SPDX-License-Identifier: Apache-2.0
"""Inputs made to be slow cost time in proportion to their size, and little memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import pytest

from moatmail.message import summary
from moatmail.message.addresses import parse_addresses
from moatmail.message.dates import parse_date
from moatmail.message.encoded_word import decode_words
from moatmail.message.header import Header
from moatmail.message.parameters import parameter_text, parse_parameters, strip_comments
from moatmail.message.references import base_subject, message_ids
from moatmail.message.text import html_text
from moatmail.message.transfer import decode_body
from tests.unit.message.reading import parse

SIZE = 200_000
SECONDS_MAX = 2.0
MEMORY_MAX = 64 * 1024 * 1024


def filled(piece: bytes) -> bytes:
    return piece * (SIZE // len(piece))


def nested(count: int) -> bytes:
    return b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(count))


MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
CONTENTS = {
    "10,000 nested boundaries": nested(10_000),
    "100,000 parts": MIXED + b"--b\r\n" * 100_000,
    "100,000 lines that nearly are delimiters": MIXED + b"--b\r\n" + b"\r\n--bx" * 100_000,
    "delimiters within a header": MIXED + b"--b\r\n" + filled(b"--b x\r\n"),
    "10,000 embedded messages": b"Content-Type: message/rfc822\r\n\r\n" * 10_000,
    "embedded messages as parts": MIXED + b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n" * 10_000,
    "100,000 parameters": b"Content-Type: multipart/mixed" + b"".join(b"; a%d=b" % number for number in range(100_000)) + b"\r\n\r\n",
    "100,000 sections of one parameter": b"Content-Type: a/b" + b"".join(b"; n*%d=b" % number for number in range(100_000)) + b"\r\n\r\n",
    "a header of blanks": b"Content-Type:" + filled(b" ") + b"\r\n\r\n",
    "a header of commas": b"To:" + filled(b",") + b"\r\n\r\n",
    "a header of brackets": b"To:" + filled(b"(<") + b"\r\n\r\n",
    "a header that never ends": filled(b"X: y\r\n"),
    "a header of line ends and dashes": filled(b"\n--x: y"),
    "an encoded subject": b"Subject:" + filled(b" =?utf-8?Q?=C3?=") + b"\r\n\r\n",
    "one line": MIXED + b"--b" + filled(b" "),
    "address lists of tokens": b"".join(name + b":" + b'(),"' * 10_000 + b"\r\n" for name in (b"From", b"Sender", b"Reply-To", b"To", b"Cc", b"Bcc")) + b"\r\n",
    "many fields of one name": filled(b"Subject: x\r\n") + b"\r\n",
}


@pytest.mark.parametrize("label", CONTENTS)
def test_contents(label: str) -> None:
    content = CONTENTS[label]
    start = time.perf_counter()
    summary.build(parse(content))
    summary.build(parse(content, 4_096))
    assert time.perf_counter() - start < SECONDS_MAX


@pytest.mark.parametrize("label", CONTENTS)
def test_memory(label: str) -> None:
    content = CONTENTS[label]
    tracemalloc.start()
    try:
        summary.encode(summary.build(parse(content, 16_384)))
        assert tracemalloc.get_traced_memory()[1] < MEMORY_MAX // 4
    finally:
        tracemalloc.stop()


def parameters_of(value: bytes) -> object:
    return parameter_text(parse_parameters(strip_comments(value)), b"a")


def html_of(value: bytes) -> object:
    return html_text(value.decode("latin-1"))


def subject_of(value: bytes) -> object:
    return base_subject(value.decode("latin-1"))


READERS: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
    "header": (Header, [b" ", b"a", b"\n", b"\r", b":", b"a:\n", b"a \n", b"\n ", b"a\n:"]),
    "addresses": (parse_addresses, [b"(", b")", b"<", b">", b'"', b"\\", b",", b":", b";", b"@", b"[", b"a ", b"a.", b"<@a:", b'"\\', b"(\\", b"[<"]),
    "parameters": (parameters_of, [b";", b" ", b"=", b'"', b"\\", b"; ", b";a=", b" a", b"a=", b';a="', b"(", b"*", b";a*=", b' ;"']),
    "encoded words": (decode_words, [b"=?", b"=?a?Q?", b"=?utf-8?Q?a?= ", b"=?utf-8?B?", b"?", b"=?a", b"=?a*b"]),
    "dates": (parse_date, [b" ", b"(", b"1", b"a", b"1 ", b"Jan "]),
    "message ids": (message_ids, [b"<", b">", b"<a", b"<a>"]),
    "subjects": (subject_of, [b"re: ", b"[", b"]", b"[a]", b"re[a]:", b"(fwd)", b"[fwd:", b" "]),
    "html": (html_of, [b"<", b">", b"<a", b"<style>", b"</style>", b"<style></style>", b"&", b"&a;", b"&#", b"<script ", b"</style"]),
    "base64": (lambda value: decode_body(value, b"base64"), [b"=", b"A", b"A=", b"AA==", b"\n", b"-"]),
    "quoted-printable": (lambda value: decode_body(value, b"quoted-printable"), [b"=", b" ", b"=\n", b" \n", b"=\r", b"\t=", b"= "]),
}
PAIRS = [(reader, piece) for reader, (_, pieces) in READERS.items() for piece in pieces]


@pytest.mark.parametrize(("reader", "piece"), PAIRS)
def test_readers(reader: str, piece: bytes) -> None:
    """Four times the octets may cost eight times the time, not sixteen; what is fast anyway is not measured."""
    read = READERS[reader][0]

    def cost(size: int) -> float:
        value = b"a/b" + piece * (size // len(piece))
        start = time.perf_counter()
        read(value)
        return time.perf_counter() - start

    large = cost(SIZE)
    assert large < SECONDS_MAX
    if large > 0.05:
        assert min(large, cost(SIZE), cost(SIZE)) < 8 * max(cost(SIZE // 4), cost(SIZE // 4), 0.005)
