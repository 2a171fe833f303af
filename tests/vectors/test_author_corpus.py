# SPDX-License-Identifier: Apache-2.0
"""Real mail: the From fields of thousands of honest letters name one author; what is refused for its From is spam and phishing."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

import pytest

from moatmail.mailauth.dmarc.author import FromProblem, find_author
from moatmail.message.header import Header
from tests.unit.message.reading import DATA

HEADS = 64 * 1024


def headers(archive: str) -> Iterator[Header]:
    path = DATA / archive
    if not path.exists():
        pytest.skip(f"the corpus {archive} is not here")
    with tarfile.open(path) as members:
        for member in members:
            file = members.extractfile(member) if member.isfile() else None
            if file is not None:
                head = file.read(HEADS).replace(b"\r\n", b"\n")
                # The mbox separator is no part of a message (RFC 4155).
                head = head.partition(b"\n")[2] if head.startswith(b"From ") else head
                yield Header(head.partition(b"\n\n")[0] + b"\n")


def problems(archive: str) -> tuple[int, list[FromProblem]]:
    found = [find_author(header).problem for header in headers(archive)]
    return len(found), [one for one in found if one is not None]


def test_no_honest_letter_is_refused_for_its_from() -> None:
    letters, refused = problems("spamassassin/ham.tar.xz")
    assert letters > 3000
    assert refused == []


def test_a_twelfth_of_phishing_is_refused_for_its_from() -> None:
    letters, refused = problems("phishing-pot/phish.tar.xz")
    assert letters > 1000
    assert len(refused) > letters // 12
