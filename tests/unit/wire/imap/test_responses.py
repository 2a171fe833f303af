# SPDX-License-Identifier: Apache-2.0
"""Responses, to the octet.

Obeys RFC 3501 §7 and the extensions' response grammars.
Must never know a session.
"""

from __future__ import annotations

from array import array

import pytest

from moatmail.wire.imap import responses as r
from moatmail.wire.imap.events import Search
from moatmail.wire.imap.quota_grammar import quota, quota_root
from moatmail.wire.imap.search import Everything, SearchReturn
from moatmail.wire.imap.sequence import PartialRange, compact

LINES = {
    "CAPABILITY": (r.capability((b"IMAP4rev1", b"IDLE")), b"CAPABILITY IMAP4rev1 IDLE"),
    "ENABLED of nothing": (r.enabled(()), b"ENABLED"),
    "FLAGS": (r.flags((b"$Work",)), b"FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work)"),
    "PERMANENTFLAGS with new keywords": (
        r.permanent_flags((b"a",), may_create=True),
        b"PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft a \\*)",
    ),
    "EXISTS": (r.exists(3), b"3 EXISTS"),
    "RECENT": (r.recent(0), b"0 RECENT"),
    "EXPUNGE": (r.expunge(4), b"4 EXPUNGE"),
    "an OK with a code": (r.ok(r.uid_next(7), b"next"), b"OK [UIDNEXT 7] next"),
    "UIDVALIDITY": (r.uid_validity(9), b"UIDVALIDITY 9"),
    "UNSEEN": (r.unseen(2), b"UNSEEN 2"),
    "HIGHESTMODSEQ is never 0 (case imap-09)": (r.highest_modseq(0), b"HIGHESTMODSEQ 1"),
    "APPENDUID of several": (r.append_uid(7, [3, 4, 5]), b"APPENDUID 7 3:5"),
    "COPYUID keeps the order": (r.copy_uid(7, compact([9, 1]), compact([20, 21])), b"COPYUID 7 9,1 20:21"),
    "MODIFIED": (r.modified([7, 8, 9]), b"MODIFIED 7:9"),
    "VANISHED": (r.vanished([(1, 2)]), b"VANISHED 1:2"),
    "VANISHED earlier": (r.vanished([(5, 5), (7, 9)], earlier=True), b"VANISHED (EARLIER) 5,7:9"),
    "LIST": (r.mailbox((b"\\HasNoChildren",), "a/b"), b'LIST (\\HasNoChildren) "/" a/b'),
    "LIST encodes and quotes": (r.mailbox((), "ö b&c"), b'LIST () "/" "&APY- b&-c"'),
    "LIST of a name that looks like NIL": (r.mailbox((), "nil"), b'LIST () "/" "nil"'),
    "LSUB": (r.mailbox((b"\\Noselect",), "a", response=b"LSUB"), b'LSUB (\\Noselect) "/" a'),
    "LIST with CHILDINFO": (r.mailbox((), "a", selected_by=(b"SUBSCRIBED",)), b'LIST () "/" a ("CHILDINFO" ("SUBSCRIBED"))'),
    "the delimiter": (r.delimiter(), b'LIST (\\Noselect) "/" ""'),
    "NAMESPACE": (r.namespace(), b'NAMESPACE (("" "/")) NIL NIL'),
    "STATUS": (r.status("a b", ((b"MESSAGES", 1), (b"UNSEEN", 0))), b'STATUS "a b" (MESSAGES 1 UNSEEN 0)'),
    "STATUS of octets": (r.status("a", ((b"MAILBOXID", b"(Mf)"), (b"SIZE", 2))), b"STATUS a (MAILBOXID (Mf) SIZE 2)"),
    "MAILBOXID": (r.mailbox_id(b"Mf"), b"MAILBOXID (Mf)"),
    "QUOTA": (quota(b"", [(b"STORAGE", 10, 512)]), b'QUOTA "" (STORAGE 10 512)'),
    "QUOTA of a name with a quote": (quota(b'a"b', [(b"STORAGE", 0, 0), (b"X", 1, 2)]), b'QUOTA "a\\"b" (STORAGE 0 0 X 1 2)'),
    "QUOTAROOT": (quota_root("a b", [b""]), b'QUOTAROOT "a b" ""'),
    "QUOTAROOT of none": (quota_root("INBOX", []), b"QUOTAROOT INBOX"),
    "ID": (r.identity(((b"name", b"Moatmail"), (b"os", None))), b'ID ("name" "Moatmail" "os" NIL)'),
    "ID without pairs": (r.identity(()), b"ID NIL"),
    "numbers of SEARCH": (r.numbers([2, 84]), b" 2 84"),
    "no numbers": (r.numbers([]), b""),
    "FETCH": (
        r.fetch(3, (r.uid_item(9), r.flags_item(9, (b"a",)), r.modseq_item(5), r.size_item(44))),
        b"3 FETCH (UID 9 FLAGS (\\Answered \\Seen a) MODSEQ (5) RFC822.SIZE 44)",
    ),
    "UIDFETCH": (r.fetch(9, (r.flags_item(8),), by_uid=True), b"9 UIDFETCH (FLAGS (\\Seen))"),
    "INPROGRESS": (r.in_progress(b"A1", 175, 399), b'INPROGRESS ("A1" 175 399)'),
    "INPROGRESS without a goal": (r.in_progress(b"A1", 0, 0), b'INPROGRESS ("A1" 0 NIL)'),
    "INPROGRESS of a tag that would end the code": (r.in_progress(b"A]", 1, 2), b"INPROGRESS (NIL 1 2)"),
    "FLAGS of none": (r.flags_item(0), b"FLAGS ()"),
    "FLAGS of a keyword only": (r.flags_item(0, (b"a",)), b"FLAGS (a)"),
    "a rendered item": (r.rendered_item(b"ENVELOPE", b"(NIL)"), b"ENVELOPE (NIL)"),
    "a section": (r.section_item(b"BODY[1]", b"a\xe4\r\n"), b"BODY[1] {4}\r\na\xe4\r\n"),
    "a NUL in an ordinary literal": (r.section_item(b"BODY[1]", b"a\0\r\n"), b"BODY[1] {4}\r\na\x80\r\n"),
    "a NUL in a literal of eight bits": (r.section_item(b"BINARY[1]", b"a\0\r\n", eight_bit=True), b"BINARY[1] ~{4}\r\na\0\r\n"),
    "an empty section": (r.section_item(b"BODY[]<9>", b""), b'BODY[]<9> ""'),
    "no such part": (r.section_item(b"BODY[7]", None), b"BODY[7] NIL"),
    "the head of a section in pieces": (r.section_head(b"BODY[]", 12), b"BODY[] {12}\r\n"),
}
MIN, MAX, ALL, COUNT = SearchReturn.MIN, SearchReturn.MAX, SearchReturn.ALL, SearchReturn.COUNT
EXTENDED = {
    "all": ((ALL,), False, [1, 2, 3], None, b'ESEARCH (TAG "t") ALL 1:3'),
    "everything, by UID": ((MIN, MAX, ALL, COUNT), True, [1, 5], 9, b'ESEARCH (TAG "t") UID MIN 1 MAX 5 ALL 1,5 COUNT 2 MODSEQ 9'),
    "nothing found": ((MIN, MAX, ALL), False, [], 9, b'ESEARCH (TAG "t")'),
    "nothing found, counted": ((COUNT,), True, [], None, b'ESEARCH (TAG "t") UID COUNT 0'),
}


def test_flags_of_many_are_written_as_those_of_one_are() -> None:
    uids, bits, keywords = [4, 7, 9, 12], [0, 9, 0, 63], {7: (b"a", b"b"), 9: (b"c",), 11: (b"others",)}
    assert r.flags_items(uids, bits, keywords) == [r.flags_item(one, keywords.get(uid, ())) for uid, one in zip(uids, bits, strict=True)]
    assert r.flags_items(uids, bits, {}) == [r.flags_item(one) for one in bits]


@pytest.mark.parametrize(("got", "wanted"), LINES.values(), ids=LINES.keys())
def test_line(got: bytes, wanted: bytes) -> None:
    """Each response is written as its grammar says."""
    assert got == wanted


@pytest.mark.parametrize(("returns", "uid", "numbers", "modseq", "wanted"), EXTENDED.values(), ids=EXTENDED.keys())
def test_extended_search(returns: tuple[SearchReturn, ...], uid: bool, numbers: list[int], modseq: int | None, wanted: bytes) -> None:
    """ESEARCH tells what was asked for, and nothing of an empty result but its count (RFC 4731 §3.1)."""
    assert r.extended_search(Search(b"t", uid, Everything(), frozenset(returns)), numbers, modseq) == wanted


PARTS = {
    "a part": (PartialRange(2, 9), [3, 5, 6], b'ESEARCH (TAG "t") PARTIAL (2:9 5:6)'),
    "a part, told as it was asked for": (PartialRange(9, 2), [3, 5, 6], b'ESEARCH (TAG "t") PARTIAL (9:2 5:6)'),
    "a part from the end": (PartialRange(-1, -2), [3, 5, 6], b'ESEARCH (TAG "t") PARTIAL (-1:-2 5:6)'),
    "a part beyond what was found": (PartialRange(9, 10), [3], b'ESEARCH (TAG "t") PARTIAL (9:10 NIL)'),
}


@pytest.mark.parametrize(("part", "numbers", "wanted"), PARTS.values(), ids=PARTS.keys())
def test_partial_search(part: PartialRange, numbers: list[int], wanted: bytes) -> None:
    """A part says which it is, and NIL where there is nothing of it (RFC 9394 §3.1)."""
    assert r.extended_search(Search(b"t", False, Everything(), frozenset((SearchReturn.PARTIAL,)), partial=part), numbers) == wanted


def rows(count: int) -> tuple[array[int], array[int], array[int]]:
    """Make the arrays of a mailbox: gaps between UIDs, every combination of bits."""
    return array("I", range(5, 5 + 3 * count, 3)), array("H", (n % 64 for n in range(count))), array("Q", range(900, 900 + count))


@pytest.mark.parametrize("with_uid", [False, True], ids=["without UID", "with UID"])
@pytest.mark.parametrize("with_modseq", [False, True], ids=["without MODSEQ", "with MODSEQ"])
@pytest.mark.parametrize("tagged", [1, 2, 200], ids=["every message has keywords", "every second has", "one has"])
def test_rows_equal_single_responses(with_uid: bool, with_modseq: bool, tagged: int) -> None:
    """Bulk rendering gives the very octets of message by message."""
    uids, bits, modseqs = rows(200)
    keywords = dict.fromkeys(uids[::tagged], (b"$Work", b"b")) | {4: (b"elsewhere",), 10**9: (b"elsewhere",)}
    got = r.flag_rows(11, uids, bits, keywords, with_uid=with_uid, modseqs=modseqs if with_modseq else None)
    wanted = []
    for place, uid in enumerate(uids):
        items = [r.flags_item(bits[place], keywords.get(uid, ()))]
        items = [r.uid_item(uid), *items] if with_uid else items
        items += [r.modseq_item(modseqs[place])] if with_modseq else []
        wanted.append(b"* " + r.fetch(11 + place, items) + b"\r\n")
    assert got == b"".join(wanted)


def test_rows_by_uid_equal_single_responses() -> None:
    """The same where the client gave up message numbers (RFC 9586 §3.3)."""
    uids, bits, modseqs = rows(100)
    wanted = [r.fetch(uid, (r.flags_item(bits[place]), r.modseq_item(modseqs[place])), by_uid=True) for place, uid in enumerate(uids)]
    assert r.flag_rows(None, uids, bits, {}, modseqs=modseqs) == b"".join(b"* %b\r\n" % line for line in wanted)


def test_no_rows() -> None:
    """An empty slice gives nothing."""
    assert r.flag_rows(1, array("I"), array("H"), {}) == b""
