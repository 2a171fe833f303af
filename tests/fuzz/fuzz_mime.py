# SPDX-License-Identifier: Apache-2.0
"""Invariant: any octets, in any pieces, are a message whose parts tile it within all limits and whose FETCH items keep the grammar, without an exception.

Obeys RFC 2046 and RFC 3501 §9; run by `make fuzz` (atheris), or plainly: `python tests/fuzz/fuzz_mime.py --plain ROUNDS [SEED]`.
Must never know how the parser works.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

if __name__ == "__main__":  # the parser and the tests are found beside this file, also without an installed package
    root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(root / "src"), str(root)]

from moatmail.message.text import body_texts
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
    data = bytearray(random.randbytes(1))
    for _ in range(random.randint(1, 6)):
        data += random.choice(SEEDS)
    for _ in range(random.randint(0, 8)):
        place = random.randrange(1, len(data)) if len(data) > 1 else 1
        token = random.choice(TOKENS)
        match random.randrange(3):
            case 0:
                data[place : place + len(token)] = token
            case 1:
                del data[place : place + random.randint(1, 9)]
            case _:
                data[place:place] = token
    return bytes(data)


def plain(rounds: int, seed: int) -> None:
    """Run the invariant over seeded mutations, without a fuzzer."""
    random = Random(seed)
    for _ in range(rounds):
        data = mutate(random)
        try:
            check(data)
        except Exception:
            sys.stderr.write(f"input: {data!r}\n")
            raise


def main() -> None:
    """Choose between atheris and the plain loop."""
    if sys.argv[1:2] == ["--plain"]:
        plain(int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
        return
    import atheris  # noqa: PLC0415 - the plain loop runs where there is no atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
