# SPDX-License-Identifier: Apache-2.0
"""The grammar of every command, as tables: what is read, and what is refused with which words.

Obeys RFC 3501 §9 and the extensions' grammars.
Must never know a session.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from moatmail.core.limits import imap as limits
from moatmail.wire.imap import events as e
from moatmail.wire.imap import search as s
from moatmail.wire.imap.commands import open_command, parse_arguments
from moatmail.wire.imap.fetch import Attribute, BinarySection, BodySection, Section
from moatmail.wire.imap.flags import ANSWERED, DELETED, FLAGGED, RECENT, SEEN, FlagList, StoreMode
from moatmail.wire.imap.grammar import BadSyntaxError, CommandRefusedError
from moatmail.wire.imap.profile import Profile, State
from moatmail.wire.imap.sequence import STAR, PartialRange, SequenceSet

PROFILE = Profile(b"mx.example.test", tls_active=True)
ONE = SequenceSet(((1, 1),))
T = b"t"
ALL = s.Everything()


def read(*parts: bytes, state: State = State.SELECTED) -> e.Command:
    """Read one command, given without its tag."""
    opening = open_command([b"t " + parts[0], *parts[1:]], state, PROFILE)
    return parse_arguments(opening, PROFILE)


SIMPLE = {
    "NOOP in small letters": (b"noop", e.Noop(T)),
    "CHECK": (b"CHECK", e.Check(T)),
    "ID with NIL": (b"ID nil", e.Id(T, None)),
    "ID with an empty list": (b"ID ()", e.Id(T, ())),
    "ID with a NIL value": (b'ID ("name" "x" "os" NIL)', e.Id(T, ((b"name", b"x"), (b"os", None)))),
    "ENABLE of two, one twice": (b"ENABLE condstore X-a CONDSTORE", e.Enable(T, (b"CONDSTORE", b"X-A"))),
    "SELECT of an atom": (b"SELECT Work", e.Select(T, "Work")),
    "SELECT writes INBOX in capitals": (b"SELECT inBox", e.Select(T, "INBOX")),
    "SELECT decodes once": (b'SELECT "L&APg-bende/TEA&-MILK"', e.Select(T, "Løbende/TEA&MILK")),
    "SELECT with CONDSTORE": (b"SELECT a (condstore)", e.Select(T, "a", condstore=True)),
    "EXAMINE": (b'EXAMINE "a b"', e.Examine(T, "a b")),
    "SELECT of a quoted name with escapes": (b'SELECT "a\\"b\\\\c"', e.Select(T, 'a"b\\c')),
    "SELECT of a name with a bracket": (b"SELECT [x]", e.Select(T, "[x]")),
    "CREATE loses a trailing delimiter": (b"CREATE a/b/", e.Create(T, "a/b")),
    "CREATE with a special use": (b"CREATE a (USE (\\Drafts \\Sent))", e.Create(T, "a", (b"\\Drafts", b"\\Sent"))),
    "DELETE": (b"DELETE a", e.Delete(T, "a")),
    "RENAME": (b"RENAME a b", e.Rename(T, "a", "b")),
    "SUBSCRIBE": (b"SUBSCRIBE a", e.Subscribe(T, "a")),
    "UNSUBSCRIBE": (b"UNSUBSCRIBE a", e.Unsubscribe(T, "a")),
    "NAMESPACE": (b"NAMESPACE", e.Namespace(T)),
    "STATUS with a repetition": (b"STATUS a (messages UNSEEN Messages)", e.Status(T, "a", (b"MESSAGES", b"UNSEEN"))),
    "UID EXPUNGE": (b"UID EXPUNGE 3:*", e.UidExpunge(T, SequenceSet(((3, STAR),)))),
    "COPY": (b"COPY 1 b", e.Copy(T, uid=False, sequence=ONE, mailbox="b")),
    "UID MOVE": (b"uid move 1 b", e.Move(T, uid=True, sequence=ONE, mailbox="b")),
    "STATUS of what quotas and identifiers know": (b"STATUS a (mailboxid DELETED-STORAGE)", e.Status(T, "a", (b"MAILBOXID", b"DELETED-STORAGE"))),
    "GETQUOTA of the nameless root": (b'GETQUOTA ""', e.GetQuota(T, b"")),
    "GETQUOTAROOT": (b"GETQUOTAROOT inbox", e.GetQuotaRoot(T, "INBOX")),
    "SETQUOTA": (b'SETQUOTA "#a" (storage 512 X-y 0)', e.SetQuota(T, b"#a", ((b"STORAGE", 512), (b"X-Y", 0)))),
    "SETQUOTA of nothing": (b"SETQUOTA a ()", e.SetQuota(T, b"a", ())),
    "LSUB": (b'LSUB "" *', e.Lsub(T, "", "*")),
    "LSUB with an impossible pattern": (b'LSUB "" "&x"', e.Lsub(T, "", None)),
}

LIST = {
    "plain": (b'LIST "" *', e.List(T, "", ("*",))),
    "an atom with a tilde and wildcards": (b'LIST "" ~foo]%', e.List(T, "", ("~foo]%",))),
    "an impossible pattern": (b'LIST "" "a&b*"', e.List(T, "", ())),
    "a pattern too long for any name": (b'LIST "" ' + b"x" * (limits.LIST_PATTERN + 1), e.List(T, "", ())),
    "several patterns": (b'LIST "" (a* "b %")', e.List(T, "", ("a*", "b %"), extended=True)),
    "selection implies what is told": (
        b'LIST (SUBSCRIBED RECURSIVEMATCH SPECIAL-USE REMOTE) "" %',
        e.List(T, "", ("%",), e.ListSelection(True, True, True, True), e.ListReturn(subscribed=True, special_use=True), extended=True),
    ),
    "return options with STATUS": (
        b'LIST "a/" % RETURN (CHILDREN STATUS (UNSEEN MESSAGES) SPECIAL-USE)',
        e.List(T, "a/", ("%",), returns=e.ListReturn(False, True, True, (b"UNSEEN", b"MESSAGES")), extended=True),
    ),
    "empty options": (b'LIST () "" "" RETURN ()', e.List(T, "", ("",), extended=True)),
}


def section(label: bytes, **facts: object) -> BodySection:
    """Build a section as the grammar does."""
    return BodySection(label, **facts)  # type: ignore[arg-type]


FETCH = {
    "one attribute": (b"FETCH 1 flags", (Attribute.FLAGS,)),
    "the macro FULL": (
        b"FETCH 1 full",
        (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.RFC822_SIZE, Attribute.ENVELOPE, Attribute.BODY),
    ),
    "a list with a repetition": (b"FETCH 1 (UID FLAGS UID MODSEQ)", (Attribute.UID, Attribute.FLAGS, Attribute.MODSEQ)),
    "BODY without a section is the structure": (b"FETCH 1 (BODY)", (Attribute.BODY,)),
    "the whole message": (b"FETCH 1 BODY[]", (section(b"BODY[]"),)),
    "a peek at a part": (b"FETCH 1 BODY.PEEK[1.2]", (section(b"BODY[1.2]", part=(1, 2), peek=True),)),
    "a partial names only its origin": (b"FETCH 1 body.peek[text]<8.2>", (section(b"BODY[TEXT]<8>", section=Section.TEXT, origin=8, length=2, peek=True),)),
    "a decoded part": (b"FETCH 1 BINARY[1.2]<3.4>", (BinarySection(b"BINARY[1.2]<3>", (1, 2), 3, 4),)),
    "a peek at a decoded part": (b"FETCH 1 binary.peek[]", (BinarySection(b"BINARY[]", peek=True),)),
    "the size of a decoded part": (b"FETCH 1 (BINARY.SIZE[7])", (BinarySection(b"BINARY.SIZE[7]", (7,), peek=True, size_only=True),)),
    "a preview": (b"FETCH 1 preview", (Attribute.PREVIEW,)),
    "a preview in no hurry, among others": (b"FETCH 1 (PREVIEW (lazy) UID)", (Attribute.PREVIEW, Attribute.UID)),
    "identifiers and the save date": (b"FETCH 1 (emailid THREADID SaveDate)", (Attribute.EMAILID, Attribute.THREADID, Attribute.SAVEDATE)),
    "MIME of a part": (b"FETCH 1 BODY[3.MIME]", (section(b"BODY[3.MIME]", part=(3,), section=Section.MIME),)),
    "HEADER of a part": (b"FETCH 1 BODY[3.HEADER]", (section(b"BODY[3.HEADER]", part=(3,), section=Section.HEADER),)),
    "header fields, echoed as sent": (
        b'FETCH 1 BODY.PEEK[HEADER.FIELDS (From "To" "a]b")]',
        (section(b'BODY[HEADER.FIELDS (From To "a]b")]', section=Section.HEADER_FIELDS, fields=(b"From", b"To", b"a]b"), peek=True),),
    ),
    "all header fields but some, of a part": (
        b"FETCH 1 BODY[2.HEADER.FIELDS.NOT (Date)]<0.9>",
        (section(b"BODY[2.HEADER.FIELDS.NOT (Date)]<0>", part=(2,), section=Section.HEADER_FIELDS_NOT, fields=(b"Date",), origin=0, length=9),),
    ),
    "the old names": (
        b"FETCH 1 (RFC822 RFC822.HEADER RFC822.TEXT RFC822.SIZE)",
        (
            section(b"RFC822"),
            section(b"RFC822.HEADER", section=Section.HEADER, peek=True),
            section(b"RFC822.TEXT", section=Section.TEXT),
            Attribute.RFC822_SIZE,
        ),
    ),
}

SEARCH = {
    "all": (b"ALL", ALL),
    "two keys are both wanted": (b"SEEN ALL", s.And((s.HasFlag(SEEN), ALL))),
    "a set": (b"1,3:*", s.Numbers(SequenceSet(((1, 1), (3, STAR))))),
    "UID": (b"UID 1", s.Uids(ONE)),
    "NEW": (b"new", s.And((s.HasFlag(RECENT), s.Not(s.HasFlag(SEEN))))),
    "OLD": (b"OLD", s.Not(s.HasFlag(RECENT))),
    "OR of NOT and a group": (
        b"OR NOT DELETED (ANSWERED FLAGGED)",
        s.Or(s.Not(s.HasFlag(DELETED)), s.And((s.HasFlag(ANSWERED), s.HasFlag(FLAGGED)))),
    ),
    "a chain of OR": (b"OR OR ALL SEEN ALL", s.Or(s.Or(ALL, s.HasFlag(SEEN)), ALL)),
    "a group of one": (b"(ALL)", ALL),
    "a group behind OR": (b"OR ALL (OR ALL ALL) ALL", s.And((s.Or(ALL, s.Or(ALL, ALL)), ALL))),
    "NOT NOT": (b"NOT NOT ALL", s.Not(s.Not(ALL))),
    "HEADER": (b'HEADER X-Spam ""', s.HeaderText(b"x-spam", "")),
    "SUBJECT of the atom NIL": (b"SUBJECT NIL", s.HeaderText(b"subject", "NIL")),
    "BODY in UTF-8, quoted": ('BODY "Äpfel"'.encode(), s.BodyText("Äpfel")),
    "TEXT": (b"TEXT x", s.AnyText("x")),
    "a charset": ('CHARSET utf-8 SUBJECT "气"'.encode(), s.HeaderText(b"subject", "气")),
    "KEYWORD": (b"KEYWORD $Work", s.HasKeyword(b"$Work")),
    "UNKEYWORD": (b"UNKEYWORD $Work", s.Not(s.HasKeyword(b"$Work"))),
    "LARGER": (b"LARGER 5000000000", s.Larger(5_000_000_000)),
    "SMALLER": (b"SMALLER 0", s.Smaller(0)),
    "ON a quoted date": (b'ON "1-Feb-1994"', s.Received(s.Relation.ON, date(1994, 2, 1))),
    "SENTSINCE": (b"SENTSINCE 01-feb-1994", s.Sent(s.Relation.SINCE, date(1994, 2, 1))),
    "OLDER": (b"OLDER 259200", s.Older(259200)),
    "what was saved": (b"$", s.Numbers(SequenceSet((), saved=True))),
    "what was saved, as UIDs": (b"UID 1,$", s.Uids(SequenceSet(((1, 1),), saved=True))),
    "NOT YOUNGER": (b"not younger 1", s.Not(s.Younger(1))),
    "EMAILID, as it is written": (b"EMAILID Mff_-9", s.EmailId(b"Mff_-9")),
    "THREADID": (b'NOT THREADID "T1"', s.Not(s.ThreadId(b"T1"))),
    "MODSEQ": (b"MODSEQ 620162338", s.ModSeq(620162338)),
    "MODSEQ of a flag": (b'MODSEQ "/flags/\\\\seen" all 7', s.ModSeq(7)),
}

BY_NUMBER = (b"FETCH 1 FLAGS", b"STORE 1 FLAGS ()", b"SEARCH ALL", b"SORT (DATE) UTF-8 ALL", b"THREAD REFERENCES UTF-8 ALL", b"COPY 1 a", b"MOVE 1 a")


@pytest.mark.parametrize("text", [*BY_NUMBER, b"UID SEARCH 1", b"UID SEARCH NOT (SEEN *)", b"UID SORT (DATE) UTF-8 1:2", b"UID SEARCH OR UID 1 $,2"])
def test_message_numbers_are_refused_where_they_were_given_up(text: bytes) -> None:
    """RFC 9586 §3.1: also among search keys; what stands for a result is no number."""
    profile = replace(PROFILE, uid_only=True)
    with pytest.raises(BadSyntaxError) as refusal:
        parse_arguments(open_command([b"t " + text], State.SELECTED, profile), profile)
    assert refusal.value.code == b"UIDREQUIRED"


def test_what_names_no_numbers_goes_on_where_they_were_given_up() -> None:
    """RFC 9586 §3: the UID forms, and UID FETCH without a UID nobody asked for."""
    profile = replace(PROFILE, uid_only=True)
    for text in (b"UID SEARCH UID 1:5 $", b"UID STORE 1 FLAGS ()", b"UID COPY 1 a", b"EXPUNGE"):
        parse_arguments(open_command([b"t " + text], State.SELECTED, profile), profile)
    fetch = parse_arguments(open_command([b"t UID FETCH 1 FLAGS"], State.SELECTED, profile), profile)
    assert fetch == e.Fetch(T, True, ONE, (Attribute.FLAGS,))


STORE = {
    "replace": (b"STORE 1 FLAGS (\\Seen)", e.Store(T, False, ONE, StoreMode.REPLACE, FlagList(SEEN))),
    "add, without parentheses": (b"STORE 1 +FLAGS \\seen $a \\DELETED", e.Store(T, False, ONE, StoreMode.ADD, FlagList(SEEN | DELETED, (b"$a",)))),
    "remove, silently, by UID": (b"UID STORE 1 -FLAGS.SILENT (b)", e.Store(T, True, ONE, StoreMode.REMOVE, FlagList(0, (b"b",)), silent=True)),
    "nothing": (b"STORE 1 FLAGS ()", e.Store(T, False, ONE, StoreMode.REPLACE, FlagList())),
    "a keyword in two spellings is one": (b"STORE 1 FLAGS (a A)", e.Store(T, False, ONE, StoreMode.REPLACE, FlagList(0, (b"a",)))),
    "\\Recent is ignored": (b"STORE 1 FLAGS (\\Recent \\Seen)", e.Store(T, False, ONE, StoreMode.REPLACE, FlagList(SEEN))),
    "the keyword NIL": (b"STORE 1 +flags NIL", e.Store(T, False, ONE, StoreMode.ADD, FlagList(0, (b"NIL",)))),
    "unless changed": (
        b"STORE 1 (UNCHANGEDSINCE 12) +FLAGS (\\Seen)",
        e.Store(T, False, ONE, StoreMode.ADD, FlagList(SEEN), unchanged_since=12),
    ),
}


@pytest.mark.parametrize(("text", "wanted"), SIMPLE.values(), ids=SIMPLE.keys())
def test_command_is_read(text: bytes, wanted: e.Command) -> None:
    """A command becomes its event."""
    assert read(text) == wanted


@pytest.mark.parametrize(("text", "wanted"), LIST.values(), ids=LIST.keys())
def test_list_is_read(text: bytes, wanted: e.List) -> None:
    """LIST in its plain and extended forms."""
    assert read(text) == wanted


@pytest.mark.parametrize(("text", "items"), FETCH.values(), ids=FETCH.keys())
def test_fetch_items_are_read(text: bytes, items: tuple[object, ...]) -> None:
    """The items of FETCH, in order, each once."""
    command = read(text)
    assert isinstance(command, e.Fetch)
    assert command.items == items


def test_fetch_takes_modifiers_in_any_order() -> None:
    """RFC 4466 §2.4: both may stand together."""
    for text, part in ((b"(PARTIAL -1:-30 CHANGEDSINCE 98305)", PartialRange(-1, -30)), (b"(changedsince 98305 partial -30:-1)", PartialRange(-30, -1))):
        wanted = e.Fetch(T, True, SequenceSet(((1, STAR),)), (Attribute.UID, Attribute.FLAGS), 98305, part)
        assert read(b"UID FETCH 1:* (UID FLAGS) " + text) == wanted


def test_uid_fetch_always_has_the_uid() -> None:
    """UID FETCH has the UID item although nobody asked (RFC 3501 §6.4.8)."""
    assert read(b"UID FETCH 1 (FLAGS) (CHANGEDSINCE 7)") == e.Fetch(T, True, ONE, (Attribute.UID, Attribute.FLAGS), 7)
    assert read(b"UID FETCH 1 (FLAGS UID)") == e.Fetch(T, True, ONE, (Attribute.FLAGS, Attribute.UID))


@pytest.mark.parametrize(("text", "key"), SEARCH.values(), ids=SEARCH.keys())
def test_search_keys_are_read(text: bytes, key: s.SearchKey) -> None:
    """Every search key becomes its part of the tree."""
    assert read(b"SEARCH " + text) == e.Search(T, False, key, None, modseq=b"MODSEQ" in text)


def test_search_takes_literals_and_result_options() -> None:
    """RETURN comes first, CHARSET second, texts may be literals."""
    command = read(b"UID SEARCH RETURN (MIN count) CHARSET UTF-8 SUBJECT {6}", "气预".encode(), b" SEEN")
    wanted = s.And((s.HeaderText(b"subject", "气预"), s.HasFlag(SEEN)))
    assert command == e.Search(T, True, wanted, frozenset((s.SearchReturn.MIN, s.SearchReturn.COUNT)))
    part = read(b"SEARCH RETURN (PARTIAL -9:-1 SAVE) ALL")
    assert part == e.Search(T, False, ALL, frozenset((s.SearchReturn.PARTIAL, s.SearchReturn.SAVE)), partial=PartialRange(-9, -1))
    assert read(b"SEARCH RETURN () ALL") == e.Search(T, False, ALL, frozenset((s.SearchReturn.ALL,)))


SORT = {
    "one criterion": (b"SORT (SUBJECT) UTF-8 ALL", e.Sort(T, False, ALL, (e.SortOrder(e.SortKey.SUBJECT),))),
    "several, one twice": (
        b"uid sort (reverse date DISPLAYTO date) us-ascii seen",
        e.Sort(T, True, s.HasFlag(SEEN), (e.SortOrder(e.SortKey.DATE, reverse=True), e.SortOrder(e.SortKey.DISPLAY_TO))),
    ),
    "result options": (
        b'SORT RETURN (COUNT PARTIAL 1:9) (CC) "UTF-8" MODSEQ 4',
        e.Sort(
            T,
            False,
            s.ModSeq(4),
            (e.SortOrder(e.SortKey.CC),),
            frozenset((s.SearchReturn.COUNT, s.SearchReturn.PARTIAL)),
            modseq=True,
            partial=PartialRange(1, 9),
        ),
    ),
    "THREAD": (b"UID THREAD references UTF-8 ALL", e.Thread(T, True, ALL, e.ThreadAlgorithm.REFERENCES)),
}


@pytest.mark.parametrize(("text", "wanted"), SORT.values(), ids=SORT.keys())
def test_sort_and_thread_are_read(text: bytes, wanted: e.Command) -> None:
    """RFC 5256 §5: the charset has no word before it."""
    assert read(text) == wanted


@pytest.mark.parametrize(("text", "wanted"), STORE.values(), ids=STORE.keys())
def test_store_is_read(text: bytes, wanted: e.Store) -> None:
    """STORE in all its forms."""
    assert read(text) == wanted


BAD = {
    "a space too many": (b"SELECT  a", b"a mailbox name"),
    "a space at the end": (b"NOOP ", b"unexpected text"),
    "an argument missing": (b"RENAME a", b"a new name"),
    "a NUL in a quoted string": (b'SELECT "a\0b"', b"cannot"),
    "an 8-bit atom": ("SELECT ä".encode(), b"unexpected text|a mailbox name"),
    "an unknown parameter of SELECT": (b"SELECT a (COLOUR)", b"unknown parameter"),
    "QRESYNC that was not enabled": (b"SELECT a (QRESYNC (1 2))", b"enabled first"),
    "an identifier too long": (b"SEARCH EMAILID " + b"x" * 256, b"no object identifier"),
    "an identifier with a dot": (b"SEARCH THREADID a.b", b"no object identifier"),
    "an empty identifier": (b'SEARCH EMAILID ""', b"no object identifier"),
    "SETQUOTA without a limit": (b"SETQUOTA a (STORAGE)", b"its limit"),
    "SETQUOTA without a list": (b"SETQUOTA a STORAGE 5", b"before resource limits"),
    "SETQUOTA of one resource twice": (b"SETQUOTA a (STORAGE 5 storage 6)", b"named twice"),
    "SETQUOTA over 63 bits": (b"SETQUOTA a (STORAGE 9223372036854775808)", b"too large"),
    "SETQUOTA of too many": (b"SETQUOTA a (%b)" % b" ".join(b"R%d 1" % n for n in range(20)), b"too many resources"),
    "an unknown STATUS item": (b"STATUS a (COLOUR)", b"unknown STATUS item"),
    "no STATUS item": (b"STATUS a ()", b"a STATUS item"),
    "RECURSIVEMATCH alone": (b'LIST (recursivematch) "" ""', b"RECURSIVEMATCH needs"),
    "RECURSIVEMATCH with REMOTE only": (b'LIST (recursivematch remote) "" ""', b"RECURSIVEMATCH needs"),
    "an unknown selection option": (b'LIST (imaptest) "" ""', b"unknown selection option"),
    "an unknown return option": (b'LIST "" "" RETURN (imaptest)', b"unknown return option"),
    "no RETURN": (b'LIST "" "" KEEP (CHILDREN)', b"expected RETURN"),
    "too many patterns": (b'LIST "" (%b)' % b" ".join([b"a"] * 33), b"too many patterns"),
    "an unknown FETCH item": (b"FETCH 1 COLOUR", b"unknown FETCH item"),
    "a macro in a list": (b"FETCH 1 (FAST)", b"unknown FETCH item"),
    "an empty FETCH list": (b"FETCH 1 ()", b"a FETCH item"),
    "MIME without a part": (b"FETCH 1 BODY[MIME]", b"MIME needs a part"),
    "part 0": (b"FETCH 1 BODY[0]", b"must not be 0"),
    "a dot at the end of the part": (b"FETCH 1 BODY[1.]", b"after '.'"),
    "a section without its end": (b"FETCH 1 BODY[TEXT", b"expected ']'"),
    "a part too deep": (b"FETCH 1 BODY[%b]" % b".".join([b"1"] * 65), b"too deep"),
    "a partial of nothing": (b"FETCH 1 BODY[]<0.0>", b"must not be 0"),
    "a partial without length": (b"FETCH 1 BODY[]<0>", b"after the origin"),
    "no field names": (b"FETCH 1 BODY[HEADER.FIELDS ()]", b"a header field name"),
    "a colon in a field name": (b"FETCH 1 BODY[HEADER.FIELDS (a:)]", b"no header field name"),
    "PEEK of the structure": (b"FETCH 1 BODY.PEEK", b"unknown FETCH item"),
    "number 0": (b"FETCH 0 FLAGS", b"no sequence set"),
    "a leading zero": (b"FETCH 01 FLAGS", b"no sequence set"),
    "a number over 32 bits": (b"FETCH 4294967296 FLAGS", b"no sequence set"),
    "an open range": (b"FETCH 1: FLAGS", b"no sequence set"),
    "an unknown FETCH modifier": (b"FETCH 1 FLAGS (VANISHED)", b"unknown FETCH modifier"),
    "a mod-sequence over 63 bits": (b"FETCH 1 FLAGS (CHANGEDSINCE 9223372036854775808)", b"too large"),
    "an unknown STORE item": (b"STORE 1 COLOURS a", b"unknown STORE item"),
    "an unknown system flag": (b"STORE 1 FLAGS (\\Foo)", b"no such system flag"),
    "no flag": (b"STORE 1 FLAGS ", b"a flag"),
    "an unknown search key": (b"SEARCH COLOUR", b"unknown search key"),
    "no search key": (b"SEARCH ", b"a search key"),
    "OR with one key": (b"SEARCH OR ALL", b"end too early"),
    "NOT without a key": (b"SEARCH NOT", b"a search key"),
    "a parenthesis left open": (b"SEARCH (ALL", b"end too early"),
    "a parenthesis too many": (b"SEARCH ALL)", b"unexpected '\\)'"),
    "a parenthesis that closes OR": (b"SEARCH (OR ALL) ALL", b"unexpected '\\)'"),
    "an empty group": (b"SEARCH ()", b"a search key"),
    "no such day": (b"SEARCH ON 30-Feb-2024", b"no date"),
    "an unknown result option": (b"SEARCH RETURN (UPDATE) ALL", b"unknown result option"),
    "a bad entry type": (b'SEARCH MODSEQ "/flags/\\\\seen" some 7', b"unknown entry type"),
    "ID with an odd list": (b'ID ("a")', b"a value"),
    "ID with a long field": (b'ID ("%b" NIL)' % (b"f" * 31), b"too long"),
    "ID with an atom": (b"ID x", b"NIL or a list"),
    "CREATE with an unknown parameter": (b"CREATE a (COLOUR (x))", b"unknown parameter"),
    "an extra character in a part": (b"FETCH 1 BODY[1x]", b"']' or '.'"),
    "too many FETCH items": (b"FETCH 1 (%b)" % b" ".join(b"BODY[%d]" % n for n in range(1, 200)), b"too many FETCH items"),
    "too many field names": (b"FETCH 1 BODY[HEADER.FIELDS (%b)]" % b" ".join([b"a"] * 200), b"too many header field names"),
    "too many capabilities": (b"ENABLE " + b" ".join([b"A"] * 40), b"too many capabilities"),
    "too many attributes": (b"CREATE a (USE (%b))" % b" ".join(b"\\u%d" % n for n in range(100)), b"too many attributes"),
    "an unknown STORE modifier": (b"STORE 1 (IFSEEN 3) FLAGS a", b"unknown STORE modifier"),
    "an entry name that is none": (b'SEARCH MODSEQ "/colour" all 7', b"no entry name"),
    "PARTIAL beside ALL": (b"SEARCH RETURN (PARTIAL 1:2 ALL) ALL", b"exclude each other"),
    "PARTIAL given twice": (b"SEARCH RETURN (PARTIAL 1:2 PARTIAL 3:4) ALL", b"may be given once"),
    "PARTIAL without a range": (b"SEARCH RETURN (PARTIAL) ALL", b"a range"),
    "PARTIAL of one place": (b"SEARCH RETURN (PARTIAL 1) ALL", b"between places"),
    "PARTIAL to the star": (b"SEARCH RETURN (PARTIAL 1:*) ALL", b"a place"),
    "PARTIAL of two signs": (b"SEARCH RETURN (PARTIAL -1:5) ALL", b"between places"),
    "PARTIAL from nothing": (b"SEARCH RETURN (PARTIAL 0:5) ALL", b"a place must not be 0"),
    "a decoded header": (b"FETCH 1 BINARY[1.HEADER]", b"after the part"),
    "a part of a size": (b"FETCH 1 BINARY.SIZE[1]<0.5>", b"unexpected text"),
    "BINARY without a section": (b"FETCH 1 BINARY", b"unknown FETCH item"),
    "a preview in another way": (b"FETCH 1 PREVIEW (SOON)", b"unknown FETCH modifier"),
    "no sort criterion": (b"SORT () UTF-8 ALL", b"a sort criterion"),
    "an unknown sort criterion": (b"SORT (COLOUR) UTF-8 ALL", b"unknown sort criterion"),
    "SORT without a charset": (b"SORT (DATE) UTF-8", b"a space and a search key"),
    "an unknown algorithm": (b"THREAD REFS UTF-8 ALL", b"unknown threading algorithm"),
    "a FETCH modifier twice": (b"UID FETCH 1 FLAGS (PARTIAL 1:2 PARTIAL 1:2)", b"given twice"),
    "an interval of nothing": (b"SEARCH OLDER 0", b"the interval must not be 0"),
    "an interval over 32 bits": (b"SEARCH YOUNGER 4294967296", b"the interval is too large"),
    "APPEND with its message as a string": (b'APPEND a "Subject: x"', b"no date-time"),
    "a literal marker inside a line": (b"SELECT {3}x", b"a mailbox name"),
    "APPEND without a message": (b"APPEND a (\\Seen)", b"a message"),
    "APPEND with a flag list only": (b"APPEND a (\\Seen) x", b"as a literal"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD.keys())
def test_bad_arguments_are_told(text: bytes, words: bytes) -> None:
    """What is not in the grammar is BAD with a helpful text."""
    with pytest.raises(BadSyntaxError, match=words.decode()):
        read(text)


BEFORE_LOGIN = {
    "a user name too long": (b"LOGIN " + b"u" * 1025 + b" p", b"too long"),
    "two initial responses": (b"AUTHENTICATE PLAIN AA AA", b"one initial response"),
    "no initial response behind the space": (b"AUTHENTICATE PLAIN ", b"one initial response"),
    "no password": (b"LOGIN ann", b"a password"),
}


@pytest.mark.parametrize(("text", "words"), BEFORE_LOGIN.values(), ids=BEFORE_LOGIN.keys())
def test_bad_credentials_are_told(text: bytes, words: bytes) -> None:
    """The same before login."""
    with pytest.raises(BadSyntaxError, match=words.decode()):
        read(text, state=State.NOT_AUTHENTICATED)


REFUSED = {
    "an invalid mailbox name": (b"STATUS &x (UNSEEN)", b"CANNOT"),
    "an empty mailbox name": (b'STATUS "" (UNSEEN)', b"CANNOT"),
    "a control character in a mailbox name": (b"CREATE &AAk-", b"CANNOT"),
    "nothing before the delimiter": (b"CREATE /", b"CANNOT"),
    "a mailbox name too long": (b"CREATE " + b"x" * (limits.MAILBOX_NAME + 1), b"CANNOT"),
    "an unknown charset": (b"SEARCH CHARSET KOI8-R ALL", b"BADCHARSET (US-ASCII UTF-8)"),
    "an unknown charset of SORT": (b"SORT (DATE) KOI8-R ALL", b"BADCHARSET (US-ASCII UTF-8)"),
    "a name too long to subscribe to": (b"SUBSCRIBE " + b"x" * (limits.MAILBOX_NAME + 1), b"CANNOT"),
    "a keyword too long": (b"STORE 1 FLAGS " + b"k" * (limits.KEYWORD + 1), b"LIMIT"),
    "too many keywords": (b"STORE 1 FLAGS (%b)" % b" ".join(b"k%d" % i for i in range(limits.KEYWORDS + 1)), b"LIMIT"),
    "too many search keys": (b"SEARCH " + b" ".join([b"ALL"] * (limits.SEARCH_KEYS + 1)), b"LIMIT"),
    "parentheses too deep": (b"SEARCH " + b"(" * (limits.NESTING + 1) + b"ALL" + b")" * (limits.NESTING + 1), b"LIMIT"),
    "NOT too deep": (b"SEARCH " + b"NOT " * (limits.SEARCH_DEPTH + 1) + b"ALL", b"LIMIT"),
}


@pytest.mark.parametrize(("text", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_impossible_wishes_are_refused(text: bytes, code: bytes) -> None:
    """What is well formed but cannot be is NO with a code."""
    with pytest.raises(CommandRefusedError) as refusal:
        read(text)
    assert refusal.value.code == code


def test_nesting_and_keys_up_to_the_limit_are_read() -> None:
    """The limits themselves are allowed."""
    deep = b"SEARCH " + b"(" * limits.NESTING + b"ALL" + b")" * limits.NESTING
    assert read(deep) == e.Search(T, False, ALL)
    assert isinstance(read(b"SEARCH " + b"NOT " * limits.SEARCH_DEPTH + b"ALL"), e.Search)


def test_a_set_is_never_expanded() -> None:
    """The widest set costs one pair; too many members are refused."""
    command = read(b"FETCH 1:4294967295 FLAGS")
    assert isinstance(command, e.Fetch)
    assert command.sequence.ranges == ((1, 0xFFFFFFFF),)
    with pytest.raises(BadSyntaxError):
        read(b"FETCH " + b",".join([b"1"] * (limits.SEQUENCE_RANGES + 1)) + b" FLAGS")
