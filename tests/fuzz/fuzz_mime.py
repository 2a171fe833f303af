# SPDX-License-Identifier: Apache-2.0
"""Invariant: any octets, in any pieces, are a message whose parts tile it within all limits and whose FETCH items keep the grammar, without an exception.

Obeys RFC 2046 and RFC 3501 §9; started as tests/fuzz/harness.py says.
Must never know how the parser works.
"""

from __future__ import annotations

from random import Random

from moatmail.message.text import body_texts
from tests.fuzz.harness import Target, changed, joined
from tests.unit.message.reading import judge, parse

SEEDS = (
    b"From: a <a@b>\r\nSubject: =?utf-8?Q?=C3=BC?= x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n",
    b"--b\r\nContent-Type: text/plain; charset=iso-8859-8-i\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=FC=\r\nb \r\n",
    b'--b\r\nContent-Type: multipart/digest; boundary="bb"\r\n\r\n--bb\r\n\r\nTo: g: x@y;\r\n\r\nx\r\n--bb--\r\n',
    b"--b\r\nContent-Type: message/rfc822; name*0*=utf-8''%C3; name*1*=%BC\r\nContent-Disposition: attachment\r\n\r\nDate: 5 Mar 25 1:2 EST\r\n\r\n",
    b"--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+Zm9v=PC9iPiZhbXA7\r\n--b--\r\n",
    b'From a@b Sat\nContent-Type:\n multipart/alternative\n\tboundary="b"\n--b\n--b \n\n',
)
TOKENS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"--",
    b"--b",
    b"--b--",
    b"\r\n\r\n",
    b";",
    b'"',
    b"(",
    b"=?",
    b"?=",
    b"*",
    b"\0",
    b"\xff",
    b" ",
    b"=",
    b"Content-Type: message/rfc822\n\n",
)


def check(data: bytes) -> None:
    """Parse `data` (its first octet chooses the size of pieces) whole and in pieces, and check the invariant."""
    step, content = (data[0] if data else 0) or 1, data[1:]
    whole = parse(content)
    built = judge(content, whole)
    for text in body_texts(built.root, lambda start, length: [content[start - 7 : start - 7 + length]]):
        text.encode("utf-8", "surrogatepass")
    cut = parse(content, step)
    assert (cut.root, cut.lead, cut.truncated, cut.header.block) == (whole.root, whole.lead, whole.truncated, whole.header.block)


def mutate(random: Random) -> bytes:
    """Make an input from the seeds: joined, cut, overwritten."""
    return changed(random, bytearray(random.randbytes(1)) + joined(random, SEEDS, 6), TOKENS, 1)


TARGET = Target(check, mutate)

if __name__ == "__main__":
    TARGET.main()
