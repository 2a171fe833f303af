# SPDX-License-Identifier: Apache-2.0
"""What a client says it knows of a mailbox, and how numbers and UIDs are laid side by side.

Obeys RFC 7162 §3.2.5, §3.2.6, §7.
Must never know a mailbox.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from moatmail.wire.imap import events as e
from moatmail.wire.imap.commands import open_command, parse_arguments
from moatmail.wire.imap.fetch import Attribute
from moatmail.wire.imap.grammar import BadSyntaxError
from moatmail.wire.imap.profile import Profile, State
from moatmail.wire.imap.qresync import Known, Match
from moatmail.wire.imap.sequence import STAR, SequenceSet

PROFILE = Profile(b"mx.example.test", tls_active=True, qresync=True)
T = b"t"


def read(text: bytes, profile: Profile = PROFILE) -> e.Command:
    return parse_arguments(open_command([b"t " + text], State.SELECTED, profile), profile)


KNOWN = {
    "UIDVALIDITY and mod-sequence": (b"(qresync (67 9))", Known(67, 9)),
    "known UIDs, in any order": (b"(QRESYNC (67 9 41,43:211,42,541:214))", Known(67, 9, ((41, 211), (214, 541)))),
    "numbers with their UIDs": (b"(QRESYNC (67 9 1:5 (1,3 2,4)))", Known(67, 9, ((1, 5),), (Match(1, 2, 1), Match(3, 4, 1)))),
    "numbers with their UIDs alone": (b"(QRESYNC (67 9 (1 5)))", Known(67, 9, None, (Match(1, 5, 1),))),
    "ranges that do not end together": (
        b"(QRESYNC (67 9 (1:5,9,10:12 11:13,20:22,30,40:41)))",
        Known(67, 9, None, (Match(1, 11, 3), Match(4, 20, 2), Match(9, 22, 1), Match(10, 30, 1), Match(11, 40, 2))),
    ),
    "the widest ranges are never expanded": (b"(QRESYNC (67 9 (1:4294967295 1:4294967295)))", Known(67, 9, None, (Match(1, 1, 4294967295),))),
}


@pytest.mark.parametrize(("text", "known"), KNOWN.values(), ids=KNOWN.keys())
def test_what_is_known_is_read(text: bytes, known: Known) -> None:
    assert read(b"SELECT a " + text) == e.Select(T, "a", known=known)
    assert read(b"EXAMINE a " + text) == e.Examine(T, "a", known=known)


def test_parameters_stand_in_any_order() -> None:
    wanted = e.Select(T, "a", condstore=True, known=Known(1, 2))
    assert read(b"SELECT a (CONDSTORE QRESYNC (1 2))") == wanted
    assert read(b"SELECT a (QRESYNC (1 2) CONDSTORE)") == wanted


BAD = {
    "no mod-sequence": (b"(QRESYNC (1))", b"a mod-sequence"),
    "mod-sequence 0": (b"(QRESYNC (1 0))", b"must not be 0"),
    "UIDVALIDITY over 32 bits": (b"(QRESYNC (4294967296 1))", b"too large"),
    "a star among known UIDs": (b"(QRESYNC (1 2 1:*))", b"no known UIDs"),
    "a saved result among known UIDs": (b"(QRESYNC (1 2 $))", b"no known UIDs"),
    "a star among message numbers": (b"(QRESYNC (1 2 (* 5)))", b"no known UIDs"),
    "more numbers than UIDs": (b"(QRESYNC (1 2 (1:3 5:6)))", b"as many UIDs"),
    "fewer numbers than UIDs": (b"(QRESYNC (1 2 (1 5:6)))", b"as many UIDs"),
    "numbers that fall": (b"(QRESYNC (1 2 (3,1 5,6)))", b"ascend"),
    "a range that falls": (b"(QRESYNC (1 2 (1:2 6:5)))", b"ascend"),
    "numbers without UIDs": (b"(QRESYNC (1 2 (1)))", b"the UIDs"),
    "an open list": (b"(QRESYNC (1 2 1:5)", b"a parameter"),
    "given twice": (b"(QRESYNC (1 2) QRESYNC (1 2))", b"given twice"),
    "no parameter": (b"()", b"a parameter"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_known_is_bad(text: bytes, words: bytes) -> None:
    with pytest.raises(BadSyntaxError, match=words.decode()):
        read(b"SELECT a " + text)


def test_who_gave_up_numbers_may_not_match_them() -> None:
    """RFC 9586 §3."""
    profile = replace(PROFILE, uid_only=True)
    assert read(b"SELECT a (QRESYNC (1 2 3:4))", profile) == e.Select(T, "a", known=Known(1, 2, ((3, 4),)))
    with pytest.raises(BadSyntaxError) as refusal:
        read(b"SELECT a (QRESYNC (1 2 3:4 (1 3)))", profile)
    assert refusal.value.code == b"UIDREQUIRED"


def test_fetch_of_what_vanished() -> None:
    """RFC 7162 §3.2.6: with UID, with CHANGEDSINCE, after ENABLE only."""
    wanted = e.Fetch(T, True, SequenceSet(((1, STAR),)), (Attribute.UID, Attribute.FLAGS), 7, vanished=True)
    assert read(b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE 7 VANISHED)") == wanted
    assert read(b"UID FETCH 1:* (FLAGS) (vanished changedsince 7)") == wanted
    for text in (b"UID FETCH 1 (FLAGS) (VANISHED)", b"FETCH 1 (FLAGS) (CHANGEDSINCE 7 VANISHED)", b"UID FETCH 1 FLAGS (VANISHED VANISHED CHANGEDSINCE 7)"):
        with pytest.raises(BadSyntaxError):
            read(text)
    with pytest.raises(BadSyntaxError):
        read(b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE 7 VANISHED)", replace(PROFILE, qresync=False))
