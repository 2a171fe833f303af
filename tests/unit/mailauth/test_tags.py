# SPDX-License-Identifier: Apache-2.0
"""Tag lists: what is one, what is none, and where values lie (RFC 6376 §3.2)."""

from __future__ import annotations

import pytest

from moatmail.core.limits.mailauth import TAGS_MAX
from moatmail.mailauth.tags import TagError, Tags, compact, items


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        pytest.param(b"a=1; b=2", {b"a": b"1", b"b": b"2"}, id="two tags"),
        pytest.param(b"a=1;", {b"a": b"1"}, id="one semicolon may end the list"),
        pytest.param(b" a \r\n\t= 1 \r\n ; b = x y ", {b"a": b"1", b"b": b"x y"}, id="folding stands around names and values"),
        pytest.param(b"a=", {b"a": b""}, id="a value may be empty"),
        pytest.param(b"a=b=c==", {b"a": b"b=c=="}, id="the first equals sign divides"),
        pytest.param(b"A=1; a=2", {b"A": b"1", b"a": b"2"}, id="names differ by case"),
        pytest.param("a=grün".encode(), {b"a": "grün".encode()}, id="UTF-8 stands in values"),
        pytest.param(b"", {}, id="an empty list has no tags"),
    ],
)
def test_lists_are_read(raw: bytes, values: dict[bytes, bytes]) -> None:
    tags = Tags(raw)
    assert tags.values == values
    for name, (start, end) in tags.places.items():
        assert raw[start:end].strip(b" \t\r\n") == values[name]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"a=1; a=2", id="a tag stands twice"),
        pytest.param(b"a=1;; b=2", id="an empty tag stands between two"),
        pytest.param(b"a=1;;", id="two semicolons end it"),
        pytest.param(b"a", id="no equals sign"),
        pytest.param(b"=1", id="no name"),
        pytest.param(b"1a=1", id="a name begins with a digit"),
        pytest.param(b"a b=1", id="a blank in a name"),
        pytest.param(b"a-b=1", id="a dash in a name"),
        pytest.param(b"a=x\0y", id="NUL in a value"),
        pytest.param(b"a=x\x7f", id="DEL in a value"),
        pytest.param(b";".join(b"t%d=1" % number for number in range(TAGS_MAX + 1)), id="too many tags"),
    ],
)
def test_what_is_no_list_is_refused_whole(raw: bytes) -> None:
    with pytest.raises(TagError):
        Tags(raw)


def test_a_value_is_deleted_with_the_white_space_around_it() -> None:
    assert Tags(b"a=1; b= x\r\n y ; c=3").without(b"b") == b"a=1; b=; c=3"


def test_a_missing_and_an_empty_tag_are_told_apart() -> None:
    tags = Tags(b"a=; b=1")
    with pytest.raises(TagError, match="empty"):
        tags.require(b"a")
    with pytest.raises(TagError, match="missing"):
        tags.require(b"c")
    assert (tags.require(b"b"), tags.get(b"c")) == (b"1", None)


def test_white_space_leaves_base64_and_lists() -> None:
    assert compact(b"ab \r\n\tc") == b"abc"
    assert items(b"From : To:\r\n Subject") == (b"From", b"To", b"Subject")
