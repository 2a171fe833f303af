# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import base64
import quopri
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moatmail.core.limits import mailbox as limits
from moatmail.mailbox.criteria import (
    And,
    Body,
    Criterion,
    Flag,
    HeaderText,
    Keyword,
    Larger,
    ModSeq,
    Not,
    Or,
    Received,
    Relation,
    Sent,
    Smaller,
    Text,
    Uids,
    fold,
)
from moatmail.mailbox.search import Need, Slices, search
from tests.unit.mailbox.shelf import Mail, Shelf, plain_search

SEEN, FLAGGED, RECENT = 8, 2, 32


@dataclass
class Ticks:
    """A clock by which each look costs `step` seconds."""

    step: float = 0.0
    time: float = 0.0

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        self.time += self.step
        return self.time


async def places(criterion: Criterion, *mail: Mail, need: Need = Need.ALL) -> list[int]:
    shelf = Shelf(mail)
    return await search(criterion, shelf.snapshot(), shelf, Slices(Ticks()), need)


def message(body: str = "", *, charset: str = "utf-8", encoding: str = "8bit", kind: str = "plain", **fields: str) -> bytes:
    """Give a message of one text part as octets."""
    octets = body.encode(charset)
    if encoding == "base64":
        octets = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    elif encoding == "quoted-printable":
        octets = quopri.encodestring(octets)
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()).encode()
    return head + f"Content-Type: text/{kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + octets


# ---- numbers ----

FOUR = (Mail(b"", SEEN, modseq=5), Mail(b"", SEEN | FLAGGED, (b"$Work",), modseq=9), Mail(b"", RECENT, modseq=7), Mail(b"", 0, (b"$work", b"x"), modseq=7))


@pytest.mark.parametrize(
    ("criterion", "wanted"),
    [
        pytest.param(And(), [0, 1, 2, 3], id="no condition finds every message"),
        pytest.param(Flag(SEEN), [0, 1], id="a flag"),
        pytest.param(Not(Flag(SEEN)), [2, 3], id="a flag that is not set"),
        pytest.param(Flag(RECENT), [2], id="the session's own recent"),
        pytest.param(And((Flag(SEEN), Not(Flag(FLAGGED)))), [0], id="both of two"),
        pytest.param(Or((Flag(FLAGGED), Flag(RECENT))), [1, 2], id="one of two"),
        pytest.param(Keyword(b"$WORK"), [1, 3], id="a keyword in any case"),
        pytest.param(Not(Keyword(b"$work")), [0, 2], id="without a keyword"),
        pytest.param(Keyword(b"stranger"), [], id="a keyword of a message that is not in the view"),
        pytest.param(Uids(((1, 3), (7, 8))), [0, 2], id="UIDs between the ends of ranges"),
        pytest.param(Uids(()), [], id="no UID"),
        pytest.param(Uids(((100, 200),)), [], id="UIDs beyond the mailbox"),
        pytest.param(ModSeq(7), [1, 2, 3], id="a mod-sequence counts itself"),
        pytest.param(Not(Or((Not(Flag(SEEN)), Flag(FLAGGED)))), [0], id="NOT over OR over NOT"),
    ],
)
async def test_numbers_alone_decide(criterion: Criterion, wanted: list[int]) -> None:
    shelf = Shelf(FOUR)
    assert await search(criterion, shelf.snapshot(), shelf, Slices(Ticks())) == wanted
    assert shelf.opened == []  # nothing was read


async def test_an_empty_mailbox_has_no_match() -> None:
    assert await places(And()) == []
    assert await places(Not(Text("x"))) == []


# ---- sizes and days ----

NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("criterion", "wanted"),
    [
        (Received(Relation.ON, date(2026, 3, 5)), [1]),
        (Received(Relation.BEFORE, date(2026, 3, 5)), [0]),
        (Received(Relation.SINCE, date(2026, 3, 5)), [1, 2]),
        (Received(Relation.SINCE, date(2027, 1, 1)), []),
    ],
)
async def test_days_of_the_internal_date_are_those_of_utc(criterion: Criterion, wanted: list[int]) -> None:
    east = timezone(timedelta(hours=5))
    mail = (
        Mail(b"", received=datetime(2026, 3, 5, 4, 59, tzinfo=east)),
        Mail(b"", received=datetime(2026, 3, 5, 5, tzinfo=east)),
        Mail(b"", received=NOON + timedelta(hours=12)),
    )
    assert await places(criterion, *mail) == wanted


@pytest.mark.parametrize(("criterion", "wanted"), [(Larger(4), [2]), (Smaller(4), [0]), (And((Not(Larger(4)), Not(Smaller(4)))), [1])])
async def test_a_size_equal_to_the_asked_one_is_neither_larger_nor_smaller(criterion: Criterion, wanted: list[int]) -> None:
    assert await places(criterion, Mail(b"a\r\n"), Mail(b"ab\r\n"), Mail(b"abc\r\n")) == wanted


async def test_sizes_are_read_in_pages_only_where_numbers_leave_something_open() -> None:
    mail = [Mail(b"x" * size, SEEN if 2 <= size < 21 else 0) for size in range(23)]
    shelf = Shelf(mail)
    assert await search(And((Not(Flag(SEEN)), Larger(0))), shelf.snapshot(), shelf, Slices(Ticks())) == [1, 21, 22]
    assert shelf.opened == ["sizes"] * 2  # the page of the first four, and that of the last two: nothing between


async def test_a_message_gone_from_the_store_matches_nothing_that_must_read_it() -> None:
    mail = (Mail(b"Subject: a\r\n\r\n"), Mail(b"Subject: a\r\n\r\n", gone=True), Mail(b"Subject: a\r\n\r\n", gone=True))
    assert await places(Larger(0), *mail) == [0]
    assert await places(HeaderText(b"subject", "a"), *mail) == [0]
    assert await places(Not(HeaderText(b"subject", "b")), *mail) == [0]
    assert await places(And(), *mail) == [0, 1, 2]


# ---- the envelope ----

DATES = (
    "Sat, 24 Mar 2007 23:00:00 +0200",
    "Sun, 25 Mar 2007 00:00:00 +0200",  # 22:00 of the 24th in UTC
    "Sun, 25 Mar 2007 23:30:00 -0700",  # 06:30 of the 26th in UTC
    "no date",
)


@pytest.mark.parametrize(
    ("relation", "wanted"),
    [(Relation.BEFORE, [0]), (Relation.ON, [1, 2]), (Relation.SINCE, [1, 2])],
)
async def test_the_day_of_the_date_field_is_the_written_one(relation: Relation, wanted: list[int]) -> None:
    mail = [Mail(message(Date=one)) for one in DATES]
    assert await places(Sent(relation, date(2007, 3, 25)), *mail) == wanted


async def test_a_message_without_date_is_not_of_any_day() -> None:
    assert await places(Not(Sent(Relation.SINCE, date(1990, 1, 1))), Mail(message(Date=DATES[0])), Mail(message())) == [1]


@pytest.mark.parametrize(
    ("sender", "text", "found"),
    [
        pytest.param("ann@example.org", "ANN@EXAMPLE.ORG", True, id="whatever the case"),
        pytest.param("Ann Lee <ann@example.org>", "n Lee <an", True, id="as it is written"),
        pytest.param("=?utf-8?q?Andr=C3=A9?= <a@example.org>", "ANDRÉ", True, id="an encoded name"),
        pytest.param("=?utf-8?q?Andr=C3=A9?= <a@example.org>", "andre\u0301", True, id="a name of the same letters otherwise composed"),
        pytest.param("=?utf-8?q?Andr=C3=A9?= <a@example.org>", "andre", False, id="an accent counts"),
        pytest.param("<ann (a comment)@ (another) example.org>", "ann@example.org", True, id="comments within the address"),
        pytest.param('"Lee, \\"Ann\\"" <ann@example.org>', 'lee, "ann"', True, id="a quoted name unquoted"),
        pytest.param('"ann" @ example.org', "ann@example.org", True, id="a quoted local part with blanks about"),
        pytest.param("ann@example.org", "bob", False, id="another name"),
        pytest.param("=?utf-8?b?5aSp5rCU?= <a@example.org>", "天气", True, id="Chinese"),
        pytest.param("=?iso-8859-8-i?b?+ezl7Q==?= <a@example.org>", "שלום", True, id="Hebrew in an old charset"),
        pytest.param("Straße <a@example.org>", "STRASSE", True, id="sharp s is double s"),
        pytest.param("ﬁne <a@example.org>", "fine", True, id="a ligature is its letters"),
        pytest.param("soft\u00adly <a@example.org>", "softly", True, id="soft hyphens do not count"),
    ],
)
async def test_from_is_found_as_a_reader_would_say_it(sender: str, text: str, found: bool) -> None:
    assert await places(HeaderText(b"from", text), Mail(message(From=sender))) == ([0] if found else [])


async def test_the_members_of_groups_and_their_names_are_found() -> None:
    mail = Mail(message(To="staff: ann@example.org, bob@example.org;,\r\n others: eve@example.org;"))
    for text in ("staff", "bob@example.org", "others", "eve"):
        assert await places(HeaderText(b"to", text), mail) == [0]
    assert await places(HeaderText(b"to", "mallory"), mail) == []


async def test_summaries_decide_without_opening_a_content() -> None:
    shelf = Shelf([Mail(message(Subject="hello world", Date=DATES[0])), Mail(message())])
    criterion = And((HeaderText(b"subject", "O W"), Sent(Relation.ON, date(2007, 3, 24)), HeaderText(b"subject", "")))
    assert await search(criterion, shelf.snapshot(), shelf, Slices(Ticks())) == [0]
    assert shelf.opened == ["summary 3", "summary 5"]


# ---- headers and texts ----


@pytest.mark.parametrize(
    ("criterion", "found"),
    [
        pytest.param(HeaderText(b"x-note", "second ONE"), True, id="any of several fields of a name"),
        pytest.param(HeaderText(b"x-note", "folded over lines"), True, id="a folded value"),
        pytest.param(HeaderText(b"x-note", ""), True, id="the field is there"),
        pytest.param(HeaderText(b"x-empty", ""), True, id="the field is there without a value"),
        pytest.param(HeaderText(b"cc", ""), True, id="an address field is there without a value"),
        pytest.param(HeaderText(b"bcc", ""), False, id="an address field is not there"),
        pytest.param(HeaderText(b"x-none", ""), False, id="the field is not there"),
        pytest.param(HeaderText(b"x-note", "value"), False, id="the text of another field"),
        pytest.param(Text("second one"), True, id="TEXT looks into every field"),
        pytest.param(Text("x-note: a"), True, id="TEXT looks at the names of fields"),
        pytest.param(Body("second one"), False, id="BODY looks into no field"),
        pytest.param(Text("apple tree"), True, id="TEXT looks into the body"),
        pytest.param(Body("APPLE Tree"), True, id="BODY looks into the body whatever the case"),
        pytest.param(Body(""), True, id="an empty text is in every body"),
        pytest.param(Text("pear"), False, id="a text that is nowhere"),
    ],
)
async def test_headers_and_texts(criterion: Criterion, found: bool) -> None:
    octets = b"X-Note: a note\r\n folded over\r\n lines\r\nX-Note: =?utf-8?q?second?= one\r\nX-Other: value\r\nX-Empty:\r\nCc: \r\n\r\nAn apple tree.\r\n"
    assert await places(criterion, Mail(octets)) == ([0] if found else [])


@pytest.mark.parametrize("encoding", ["8bit", "base64", "quoted-printable"])
@pytest.mark.parametrize(
    ("charset", "text", "needle"),
    [
        ("utf-8", "Über den Wolken — ganz oben", "ÜBER DEN"),
        ("iso-8859-1", "Ein süßer Apfel", "SÜSSER"),
        ("windows-1251", "Привет, мир", "ПРИВЕТ"),
        ("iso-2022-jp", "こんにちは世界", "世界"),
        ("gb18030", "天气预报很好", "气预"),
        ("koi8-r", "съешь ещё", "ЕЩЁ"),
        ("utf-8", "ﾊﾝｶｸ half width", "ハンカク"),
    ],
)
async def test_a_text_is_found_in_whatever_charset_and_encoding_it_came(charset: str, text: str, needle: str, encoding: str) -> None:
    mail = Mail(message(f"before {text} after\r\n", charset=charset, encoding=encoding))
    assert await places(Body(needle), mail) == [0]
    assert await places(Text(needle), mail) == [0]
    assert await places(Body(needle + "?"), mail) == []


async def test_what_html_shows_is_found_and_its_tags_are_not() -> None:
    mail = Mail(message("<style>p {color: mauve}</style><p class='lavender'>Fish &amp; <b>chips</b></p>", kind="html"))
    assert await places(Body("fish & "), mail) == [0]
    assert await places(Body("lavender"), mail) == []
    assert await places(Body("mauve"), mail) == []


async def test_attachments_and_embedded_messages_are_searched_by_their_kind() -> None:
    inner = "Subject: =?utf-8?q?K=C3=B6ln?=\r\n\r\ninner words\r\n"
    picture = base64.encodebytes(b"hidden words").decode()
    octets = (
        "Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
        f"{inner}\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n{picture}\r\n--b--\r\n"
    )
    mail = Mail(octets.encode())
    assert await places(Body("köln"), mail) == [0]
    assert await places(Body("inner words"), mail) == [0]
    assert await places(Body("hidden words"), mail) == []


async def test_several_texts_are_sought_in_all_parts_whichever_part_answered_before() -> None:
    mail = Mail(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nfirst part\r\n--b\r\n\r\nsecond part\r\n--b--\r\n")
    for texts in (("second", "first"), ("nowhere", "first"), ("first", "second"), ("first", "nowhere")):
        assert await places(And(tuple(Body(text) for text in texts)), mail) == ([] if "nowhere" in texts else [0])
        assert await places(Or(tuple(Body(text) for text in texts)), mail) == [0]


async def test_a_header_that_matches_spares_the_body() -> None:
    class NoBody(Mail):
        def read(self, start: int, length: int) -> None:  # type: ignore[override]
            raise AssertionError("the body was read")

    assert await places(Text("needle"), NoBody(message("haystack", Subject="the needle"))) == [0]


# ---- what cannot be opened ----


async def test_a_message_that_does_not_open_never_matches_and_is_told() -> None:
    good, no_summary, no_content = message("body", Subject="s"), "summary", "content"
    shelf = Shelf([Mail(good), Mail(good, broken=no_summary), Mail(good, broken=no_content), Mail(good)])
    assert await search(Body("body"), shelf.snapshot(), shelf, Slices(Ticks())) == [0, 3]
    assert shelf.told == [5, 7]
    assert await search(Not(Body("nothing")), shelf.snapshot(), shelf, Slices(Ticks())) == [0, 3]
    assert await search(HeaderText(b"subject", "S"), shelf.snapshot(), shelf, Slices(Ticks())) == [0, 2, 3]
    assert await search(Or((Flag(SEEN), Larger(1))), shelf.snapshot(), shelf, Slices(Ticks())) == [0, 1, 2, 3]


# ---- only the first or the last ----


@pytest.mark.parametrize(("need", "wanted", "looked_at"), [(Need.FIRST, [1], [3, 5]), (Need.LAST, [8], [21, 19]), (Need.ALL, [1, 4, 8], None)])
async def test_for_the_first_or_last_match_no_more_is_opened_than_needed(need: Need, wanted: list[int], looked_at: list[int] | None) -> None:
    shelf = Shelf([Mail(message(Subject="yes" if place in (1, 4, 8) else "no")) for place in range(10)])
    assert await search(HeaderText(b"subject", "yes"), shelf.snapshot(), shelf, Slices(Ticks()), need) == wanted
    if looked_at is not None:
        assert shelf.opened == [f"summary {uid}" for uid in looked_at]


async def test_a_certain_match_leaves_open_only_what_could_be_better() -> None:
    shelf = Shelf([Mail(message(Subject="yes"), FLAGGED if place == 2 else 0) for place in range(5)])
    criterion = Or((Flag(FLAGGED), HeaderText(b"subject", "no")))
    assert await search(criterion, shelf.snapshot(), shelf, Slices(Ticks()), Need.LAST) == [2]
    assert shelf.opened == ["summary 11", "summary 9"]


async def test_an_open_message_before_a_certain_match_may_still_be_the_first() -> None:
    shelf = Shelf([Mail(message(Subject="no" if place == 1 else "yes"), FLAGGED if place in (2, 3) else 0) for place in range(5)])
    criterion = Or((Flag(FLAGGED), HeaderText(b"subject", "no")))
    assert await search(criterion, shelf.snapshot(), shelf, Slices(Ticks()), Need.FIRST) == [1]
    assert shelf.opened == ["summary 3", "summary 5"]


# ---- the loop ----


async def test_a_long_search_lets_others_have_the_loop() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    shelf = Shelf([Mail(message("body")) for _ in range(40)], page=50)
    task = asyncio.create_task(other())
    try:
        assert len(await search(Body("body"), shelf.snapshot(), shelf, Slices(Ticks(limits.SEARCH_SLICE / 2)))) == 40
    finally:
        task.cancel()
    # A look at the clock costs half a slice: every second look ends one, and there are two looks for a message.
    assert 35 <= turns <= 45


async def test_a_search_that_nobody_waits_for_ends_with_its_slice() -> None:
    def nobody() -> None:
        raise ConnectionResetError

    shelf = Shelf([Mail(message("body")) for _ in range(40)])
    with pytest.raises(ConnectionResetError):
        await search(Body("body"), shelf.snapshot(), shelf, Slices(Ticks(limits.SEARCH_SLICE / 8), nobody))
    assert len(shelf.opened) < 20


async def test_a_large_text_is_looked_through_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []

    async def note(function: object, *arguments: object) -> object:
        used.append(1)
        return function(*arguments)  # type: ignore[operator]

    monkeypatch.setattr(asyncio, "to_thread", note)
    large = Mail(message("word " * (limits.SEARCH_ON_LOOP // 5) + "\r\nneedle"))
    assert await places(Body("needle"), Mail(message("needle")), large) == [0, 1]
    assert used == [1]


# ---- folding ----


@pytest.mark.parametrize("filler", ["ä", "あ\n", "ﬁ x", "e\u0301 "])
def test_a_long_text_folds_as_its_pieces_do(filler: str) -> None:
    text = filler * 50_000
    assert fold(text) == fold(filler) * 50_000


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


# ---- the whole against the plain way ----

WORDS = [
    "apple",
    "Äpfel",
    "äpfel",
    "straße",
    "STRASSE",
    "天气预报",
    "气",
    "Привет",
    "שלום",
    "สวัสดี",
    "e\u0301",
    "é",
    "ﬁn",
    "ab\u00adcd",
    "İ",
    "x y",
    "",
    "<a@b.example>",
    "\x00",
    "=?utf-8?q?=C3=A4?=",
]
words = st.sampled_from(WORDS)
junk = st.binary(max_size=12).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b""))
field_names = st.sampled_from([b"From", b"To", b"Cc", b"Bcc", b"Subject", b"X-Note", b"Date", b"subject", b"Message-ID"])
field_value = st.one_of(
    words.map(str.encode),
    words.map(lambda word: b"=?utf-8?b?" + base64.b64encode(word.encode()) + b"?="),
    words.map(lambda word: f'"{word}" (c) <ann@example.org>, g: bob@example.net;'.encode()),
    st.sampled_from([one.encode() for one in DATES]),
    junk,
)
header_fields = st.lists(st.tuples(field_names, field_value).map(lambda pair: pair[0] + b": " + pair[1] + b"\r\n"), max_size=5).map(b"".join)


def _body(text: str, charset: str, encoding: str, kind: str) -> bytes:
    return message(text.encode(charset, "replace").decode(charset), charset=charset, encoding=encoding, kind=kind)


bodies = st.one_of(
    st.builds(
        _body,
        st.lists(words, max_size=4).map("\r\n".join),
        st.sampled_from(["utf-8", "iso-8859-1", "windows-1251", "gb18030", "iso-2022-jp"]),
        st.sampled_from(["8bit", "base64", "quoted-printable"]),
        st.sampled_from(["plain", "html"]),
    ),
    junk.map(lambda octets: b"\r\n" + octets),
    st.tuples(words, junk).map(
        lambda pair: (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
            + pair[0].encode()
            + b"\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: "
            + pair[1]
            + b"\r\n\r\nx\r\n--b--\r\n"
        )
    ),
)
mail_items = st.builds(
    Mail,
    st.tuples(header_fields, bodies).map(b"".join),
    st.sampled_from([0, SEEN, FLAGGED, SEEN | RECENT]),
    st.sampled_from([(), (b"$a",), (b"$A", b"b")]),
    st.sampled_from([NOON, NOON - timedelta(days=1), NOON + timedelta(hours=12)]),
    st.integers(1, 5),
    st.sampled_from(["", "", "", "summary", "content"]),
    st.sampled_from([False, False, False, True]),
)
relations = st.sampled_from(list(Relation))
leaves = st.one_of(
    st.sampled_from([SEEN, FLAGGED, RECENT]).map(Flag),
    st.sampled_from([b"$a", b"B"]).map(Keyword),
    st.tuples(st.integers(1, 9), st.integers(0, 4)).map(lambda pair: Uids(((pair[0], sum(pair)),))),
    st.integers(1, 5).map(ModSeq),
    st.integers(50, 200).map(Larger),
    st.integers(50, 200).map(Smaller),
    st.builds(Received, relations, st.just(NOON.date())),
    st.builds(Sent, relations, st.just(date(2007, 3, 25))),
    st.builds(HeaderText, st.sampled_from([b"from", b"to", b"cc", b"bcc", b"subject", b"x-note", b"message-id"]), words),
    words.map(Body),
    words.map(Text),
)
criteria: st.SearchStrategy[Criterion] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: And(tuple(parts))),
        st.tuples(inner, inner).map(Or),
        inner.map(Not),
    ),
    max_leaves=6,
)


@given(st.lists(mail_items, max_size=6), criteria)
async def test_step_by_step_finds_what_opening_everything_finds(mail: list[Mail], criterion: Criterion) -> None:
    shelf = Shelf(mail)
    wanted = plain_search(criterion, shelf)
    assert await search(criterion, shelf.snapshot(), shelf, Slices(Ticks())) == wanted
    assert await search(criterion, shelf.snapshot(), shelf, Slices(Ticks()), Need.FIRST) == wanted[:1]
    assert await search(criterion, shelf.snapshot(), shelf, Slices(Ticks()), Need.LAST) == wanted[-1:]
