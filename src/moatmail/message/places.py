# SPDX-License-Identifier: Apache-2.0
"""The places of a message's parts: what BODY[...] names, as offsets.

Obeys RFC 3501 §6.4.5 (section specifications).
Must never know what the parts say.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

LEAF, MULTIPART, MESSAGE = 0, 1, 2


class PartPlace(msgspec.Struct, frozen=True, array_like=True):
    """Where a part lies: header [header_start, body_start), body [body_start, body_end), octets from the start of what clients see.

    `kind` is LEAF, MULTIPART or MESSAGE (then `children` is the one message within). `media` is ``"text/plain"``, lower case, `encoding` the
    transfer encoding, lower case, `charset` and `filename` as declared, decoded; all empty where not given.
    """

    header_start: int
    body_start: int
    body_end: int
    kind: int = LEAF
    media: str = ""
    encoding: str = ""
    charset: str = ""
    filename: str = ""
    children: tuple[PartPlace, ...] = ()


def find(root: PartPlace, path: Sequence[int]) -> PartPlace | None:
    """Give the part that `path` (non-empty, numbers from 1) names in the message `root`, or None (RFC 3501 §6.4.5)."""
    choices = _parts_of_message(root)
    place = None
    for number in path:
        if not 0 < number <= len(choices):
            return None
        place = choices[number - 1]
        choices = _parts_of_message(place.children[0]) if place.kind == MESSAGE else place.children
    return place


def moved(place: PartPlace, octets: int) -> PartPlace:
    """Give a place and all below it `octets` further on; depth is bounded by the parser's DEPTH_MAX."""
    return msgspec.structs.replace(
        place,
        header_start=place.header_start + octets,
        body_start=place.body_start + octets,
        body_end=place.body_end + octets,
        children=tuple([moved(child, octets) for child in place.children]),
    )


def section(root: PartPlace, path: Sequence[int], what: str) -> tuple[int, int] | None:
    """Give (start, length) of ``BODY[path.what]`` in octets, None if there is no such section (RFC 3501 §6.4.5).

    `what` is "", "HEADER", "TEXT" or "MIME". The empty path is the message itself, for which MIME is not defined.
    """
    if not path:
        return (root.header_start, root.body_end - root.header_start) if what == "" else _of_message(root, what)
    place = find(root, path)
    if place is None:
        return None
    if what == "":
        return place.body_start, place.body_end - place.body_start
    if what == "MIME":
        return place.header_start, place.body_start - place.header_start
    # RFC 3501 §6.4.5: HEADER and TEXT of a part are those of the message within it.
    return _of_message(place.children[0], what) if place.kind == MESSAGE else None


def _of_message(place: PartPlace, what: str) -> tuple[int, int] | None:
    if what == "HEADER":
        return place.header_start, place.body_start - place.header_start
    if what == "TEXT":
        return place.body_start, place.body_end - place.body_start
    return None


def _parts_of_message(place: PartPlace) -> tuple[PartPlace, ...]:
    # RFC 3501 §6.4.5: a message that is no multipart has one part, number 1: its body.
    return place.children if place.kind == MULTIPART else (place,)
