# SPDX-License-Identifier: Apache-2.0
"""UTF8=ACCEPT over a door: internationalized messages as they are, names and searches in UTF-8; others still get the surrogate.

Obeys RFC 9755, RFC 6858, RFC 9051 §7.5.2 (IMAP4rev2 reads the same).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from moatmail.core.limits import mailbox as limits
from moatmail.core.settings.mail import IMAP, Mail
from moatmail.mailbox import search_reader
from moatmail.wire.imap.sequence import compact
from tests.unit.endpoints.imap.lab import HELLO, Client, Lab, imap_lab

BODY = b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n--b\r\nContent-Type: text/plain\r\n\r\nsecond\r\n--b--\r\n"
HEADER = (
    "From: José <josé@exämple.com>\r\nTo: alice@example.test\r\nSubject: Grüße\r\nMessage-ID: <1@sender.test>\r\nList-Id: Größe <list.example.com>\r\n"
    'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"; x-name="größe"\r\n\r\n'
).encode()
TRACE = b"Return-Path: <bob@sender.test>\r\nDelivered-To: alice@example.test\r\n"
WHOLE = TRACE + HEADER + BODY

ENABLES = [pytest.param("UTF8=ACCEPT", id="with UTF8=ACCEPT"), pytest.param("IMAP4rev2", id="with IMAP4rev2")]


async def reader_of_utf8(lab: Lab, enable: str = "UTF8=ACCEPT", *, select: str = "INBOX") -> Client:
    client = await lab.client()
    assert await client.ok(f"ENABLE {enable}") == [b"ENABLED " + enable.encode()]
    if select:
        await client.ok(f"SELECT {select}")
    return client


async def test_it_is_announced_and_enabled_in_any_case_of_letters(lab: Lab) -> None:
    client = await lab.client()
    (line,) = await client.ok("CAPABILITY")
    assert b"UTF8=ACCEPT" in line.split()
    assert b"UTF8=ONLY" not in line.split()
    assert await client.ok("ENABLE utf8=accept UTF8=ONLY") == [b"ENABLED UTF8=ACCEPT"]


@pytest.mark.parametrize("enable", ENABLES)
async def test_the_message_is_served_as_it_came_and_its_numbers_agree(lab: Lab, enable: str) -> None:
    await lab.deliver(HEADER + BODY, smtputf8=True)
    client = await reader_of_utf8(lab, enable)
    (told,) = await client.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[])")
    assert told == b"1 FETCH (RFC822.SIZE %d BODY[] {%d}\r\n%b)" % (len(WHOLE), len(WHOLE), WHOLE)
    # Without content, and beside what stands in the summary, the size is the same.
    for items in ("RFC822.SIZE", "RFC822.SIZE ENVELOPE", "PREVIEW RFC822.SIZE"):
        (told,) = await client.ok(f"FETCH 1 ({items})")
        assert b"RFC822.SIZE %d" % len(WHOLE) in told


@pytest.mark.parametrize("enable", ENABLES)
@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        pytest.param("BODY.PEEK[HEADER]", TRACE + HEADER, id="the header is the real one"),
        pytest.param("BODY.PEEK[HEADER.FIELDS (Subject)]", "Subject: Grüße\r\n\r\n".encode(), id="so are its fields"),
        pytest.param("BODY.PEEK[TEXT]", BODY, id="the text begins behind it"),
        pytest.param("BODY.PEEK[1]", "Grüße".encode(), id="the first part is found behind it"),
        pytest.param("BODY.PEEK[2]", b"second", id="and the second"),
        pytest.param("BODY.PEEK[2.MIME]", b"Content-Type: text/plain\r\n\r\n", id="and the header of a part"),
        pytest.param("BINARY.PEEK[2]", b"second", id="and a part without its encoding"),
        pytest.param("BODY.PEEK[]<60.20>", WHOLE[60:80], id="offsets count in the real header"),
    ],
)
async def test_sections(lab: Lab, enable: str, item: str, wanted: bytes) -> None:
    await lab.deliver(HEADER + BODY, smtputf8=True)
    client = await reader_of_utf8(lab, enable)
    (told,) = await client.ok(f"FETCH 1 ({item})")
    assert told.endswith(b" {%d}\r\n%b)" % (len(wanted), wanted)), told
    assert not lab.events.alerts()


@pytest.mark.parametrize("enable", ENABLES)
async def test_envelope_and_structure_are_told_in_utf8_and_quoted(lab: Lab, enable: str) -> None:
    await lab.deliver(HEADER + BODY, smtputf8=True)
    client = await reader_of_utf8(lab, enable)
    (told,) = await client.ok("FETCH 1 (ENVELOPE BODYSTRUCTURE)")
    assert '"Grüße" (("José" NIL "josé" "exämple.com"))'.encode() in told
    assert '"x-name" "größe"'.encode() in told
    assert b"{" not in told


async def test_one_mailbox_two_readers(lab: Lab) -> None:
    await lab.deliver(HELLO, HEADER + BODY, HELLO, smtputf8=True)
    one, other = await reader_of_utf8(lab), await lab.client(select="INBOX")
    assert (await one.ok("FETCH 1,3 (UID RFC822.SIZE ENVELOPE BODYSTRUCTURE)")) == (await other.ok("FETCH 1,3 (UID RFC822.SIZE ENVELOPE BODYSTRUCTURE)"))
    (real,), (shown,) = await one.ok("FETCH 2 BODY.PEEK[]"), await other.ok("FETCH 2 BODY.PEEK[]")
    assert HEADER in real
    assert shown.partition(b"\r\n\r\n")[0].isascii()
    assert b"internationalized-address.invalid" in shown
    assert shown.endswith(BODY + b")")
    for fetch in ("BODY.PEEK[1]", "BODY.PEEK[2]"):
        assert await one.ok(f"FETCH 2 {fetch}") == await other.ok(f"FETCH 2 {fetch}")


@pytest.mark.parametrize(
    ("key", "found"),
    [
        pytest.param('SUBJECT "Grüße"', True, id="by the subject"),
        pytest.param('FROM "josé@exämple.com"', True, id="by the address"),
        pytest.param('HEADER List-Id "Größe"', True, id="by a field that the surrogate has no place for"),
        pytest.param('TEXT "Größe"', True, id="by a word of it"),
        pytest.param('BODY "grüße"', True, id="by the body"),
        pytest.param('FROM "internationalized-address.invalid"', False, id="not by what stands for an address in the surrogate"),
    ],
)
async def test_searching_finds_the_same_for_both(lab: Lab, key: str, *, found: bool) -> None:
    await lab.deliver(HEADER + BODY, HELLO, smtputf8=True)
    one, other = await reader_of_utf8(lab), await lab.client(select="INBOX")
    wanted = [b"SEARCH 1"] if found else [b"SEARCH"]
    assert await one.ok(f"SEARCH {key}") == wanted
    assert await other.ok(f"SEARCH CHARSET UTF-8 {key}") == wanted


async def test_sorting_goes_by_the_real_address(lab: Lab) -> None:
    await lab.deliver(HEADER + BODY, HELLO, HELLO.replace(b"bob@", b"zoe@"), smtputf8=True)
    for client in (await reader_of_utf8(lab), await lab.client(select="INBOX")):
        assert await client.ok("SORT (FROM) UTF-8 ALL") == [b"SORT 2 1 3"]


async def size_of(client: Client, number: int) -> int:
    (line,) = await client.ok(f"FETCH {number} RFC822.SIZE")
    found = re.search(rb"RFC822.SIZE ([0-9]+)", line)
    assert found is not None
    return int(found[1])


async def test_searching_and_sorting_go_by_the_size_that_the_session_is_told(lab: Lab) -> None:
    """Fault: LARGER, SMALLER and SORT SIZE went by the surrogate's size, whatever the session saw."""
    await lab.deliver(HELLO, HEADER + BODY, smtputf8=True)
    readers = [await reader_of_utf8(lab), await reader_of_utf8(lab, "IMAP4rev2"), await lab.client(select="INBOX")]
    sizes = [await size_of(reader, 2) for reader in readers]
    assert sizes[0] == sizes[1] == len(WHOLE) != sizes[2]
    # Between the two sizes, so that each reader has the messages in another order.
    between = sum(sizes[1:]) // 2 - await size_of(readers[0], 1)
    await lab.deliver(HELLO + b"x" * between)
    for reader, size in zip(readers, sizes, strict=True):
        await reader.ok("NOOP")
        told = [await size_of(reader, number) for number in (1, 2, 3)]
        assert told[1] == size
        for bound in sorted({*told, *(one + 1 for one in told), *(one - 1 for one in told)}):
            for word, wanted in (("LARGER", [one > bound for one in told]), ("SMALLER", [one < bound for one in told])):
                numbers = [number for number, is_wanted in enumerate(wanted, 1) if is_wanted]
                # Alone, beside what is in the summary, and beside what is in the content.
                for more in ("", ' HEADER "To" "alice"', ' TEXT "alice"'):
                    answer = (await reader.ok(f"SEARCH RETURN (ALL) {word} {bound}{more}"))[-1]
                    found = re.search(rb"ALL ([0-9:,]+)", answer)
                    assert (found[1] if found else b"") == compact(numbers), (word, bound, more)
        ordered = " ".join(str(number) for number in sorted((1, 2, 3), key=lambda number: told[number - 1]))
        for program in ("SIZE", "SIZE SUBJECT"):
            assert await reader.ok(f"SORT ({program}) UTF-8 ALL") == [f"SORT {ordered}".encode()]


@pytest.mark.parametrize(("smtputf8", "facts"), [(False, True), (True, False)], ids=["all sizes are those of rows", "one is not"])
async def test_sizes_kept_in_segments_are_asked_only_where_they_are_those_told(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, *, smtputf8: bool, facts: bool
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(limits, "FACTS_WORTH", 0)
    monkeypatch.setattr(limits, "INDEX_WORTH", 0)

    def leaves(_criterion: object, *, facts: bool) -> tuple[()]:
        asked.append(facts)
        return ()

    monkeypatch.setattr(search_reader, "leaves", leaves)
    await lab.deliver(HELLO, HEADER + BODY, smtputf8=smtputf8)
    for client in (await reader_of_utf8(lab), await lab.client(select="INBOX")):
        await client.ok("SEARCH LARGER 100")
    # Whoever reads the surrogate is told the sizes of rows.
    assert asked == [facts, True]


async def test_an_appended_message_has_its_real_size_too_and_a_copy(lab: Lab) -> None:
    client, other = await reader_of_utf8(lab), await lab.client(select="INBOX")
    await client.append("INBOX", HEADER + BODY)
    await client.ok("COPY 1 Archive")
    await other.ok("NOOP")
    for box in ("INBOX", "Archive"):
        for reader in (client, other):
            await reader.ok(f"SELECT {box}")
            size = await size_of(reader, 1)
            assert (await reader.ok(f"SEARCH RETURN (COUNT) LARGER {size - 1} SMALLER {size + 1}"))[-1].endswith(b" COUNT 1")


@pytest.mark.parametrize(
    ("command", "tagged"),
    [
        pytest.param('SEARCH CHARSET UTF-8 SUBJECT "a"', b"BAD", id="SEARCH names no charset"),
        pytest.param("SORT (SUBJECT) US-ASCII ALL", b"BAD", id="SORT names UTF-8 only"),
        pytest.param("THREAD REFERENCES ISO-8859-1 ALL", b"BAD", id="THREAD too"),
        pytest.param("SORT (SUBJECT) UTF-8 ALL", b"OK", id="SORT in UTF-8"),
        pytest.param(b'SEARCH SUBJECT "\xfc"', b"BAD", id="what is not UTF-8 in quotes is no string"),
        pytest.param(b'STATUS "\xc3(" (MESSAGES)', b"BAD", id="nor a name"),
        pytest.param(b'STATUS "\xed\xa0\x80" (MESSAGES)', b"BAD", id="half of a surrogate pair is not UTF-8"),
        pytest.param(b'SEARCH SUBJECT "\xf0\x9f\x98\x80"', b"OK", id="four octets are"),
    ],
)
async def test_charsets(lab: Lab, command: str | bytes, tagged: bytes) -> None:
    client = await reader_of_utf8(lab)
    await client.command(command)
    assert client.tagged.startswith(tagged), client.tagged


async def test_imap4rev2_alone_may_name_a_charset(lab: Lab) -> None:
    # RFC 9051 §6.4.4.
    client = await reader_of_utf8(lab, "IMAP4rev2")
    await client.ok('SEARCH CHARSET UTF-8 SUBJECT "a"')


async def test_who_appends_in_utf8_gives_others_a_surrogate(lab: Lab) -> None:
    client, other = await reader_of_utf8(lab), await lab.client(select="INBOX")
    tagged = await client.append("INBOX", HEADER + BODY, "(\\Seen) ")
    assert tagged.startswith(b"OK [APPENDUID "), tagged
    (told,) = await client.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[])")
    assert told == b"1 FETCH (RFC822.SIZE %d BODY[] {%d}\r\n%b)" % (len(HEADER + BODY), len(HEADER + BODY), HEADER + BODY)
    await other.ok("NOOP")
    whole = b"".join(await other.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[])"))
    size = re.search(rb"RFC822.SIZE ([0-9]+) BODY\[\] \{([0-9]+)\}\r\n", whole)
    assert size is not None
    assert size[1] == size[2]
    assert whole.partition(b"\r\n\r\n")[0].isascii()


async def test_large_messages_too(lab: Lab) -> None:
    # Beyond 256 KiB the body is sealed while it comes; the header is still looked at.
    client, other = await reader_of_utf8(lab), await lab.client(select="INBOX")
    message = "Subject: Grüße\r\nFrom: josé@exämple.com\r\n\r\n".encode() + b"0123456789abcdef\r\n" * 20_000
    await client.append("INBOX", message)
    (told,) = await client.ok("FETCH 1 BODY.PEEK[]")
    assert told.endswith(message + b")")
    await other.ok("NOOP")
    (told,) = await other.ok("FETCH 1 BODY.PEEK[HEADER]")
    assert told.isascii()


RAW = b"From: bob@sender.test\r\n\r\nold\r\n"


async def test_old_mail_in_another_charset_is_kept_and_given_back_as_it_is(lab: Lab) -> None:
    await keeps(lab, "UTF8=ACCEPT", "Subject: Grüße\r\n".encode("latin-1") + RAW)


async def keeps(lab: Lab, enable: str, message: bytes) -> None:
    client, other = await reader_of_utf8(lab, enable), await lab.client(select="INBOX")
    assert (await client.append("INBOX", message)).startswith(b"OK")
    await other.ok("NOOP")
    for reader in (client, other):
        (told,) = await reader.ok("FETCH 1 BODY.PEEK[]")
        assert told.endswith(message + b")")


@pytest.mark.parametrize("charset", ["utf-8", "latin-1"])
async def test_who_did_not_enable_it_appends_no_raw_octets_in_a_header(lab: Lab, furnished: Path, tmp_path: Path, charset: str) -> None:
    """Fault: RFC 9755 §4 wants NO, and it was kept."""
    message = "Subject: Grüße\r\n".encode(charset) + RAW
    client = await lab.client(select="INBOX")
    assert (await client.append("INBOX", message)).startswith(b"NO [CANNOT] octets beyond ASCII")
    await client.command(b"APPEND INBOX {%d+}\r\n%b {%d+}\r\n%b" % (len(HELLO), HELLO, len(message), message))
    assert client.tagged.startswith(b"NO [CANNOT]")
    # A body may hold what it likes, and so may the header of a part.
    assert (await client.append("INBOX", HELLO + BODY)).startswith(b"OK")
    parts = b"Subject: x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; name=\xfc\r\n\r\n--x--\r\n"
    assert (await client.append("INBOX", parts)).startswith(b"OK")
    # REPLACE (RFC 8508 §4) takes what APPEND takes.
    await client.command(b"REPLACE 1 INBOX {%d+}\r\n%b" % (len(message), message))
    assert client.tagged.startswith(b"NO [CANNOT]")
    assert await client.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 2)"]
    # Whoever brings old mail along may have it kept.
    async with imap_lab(furnished, tmp_path / "old", settings=Mail(imap=IMAP(raw_headers="keep"))) as old:
        await keeps(old, "CONDSTORE", message)


GLOBAL = (
    b"From: a@b.example\r\nSubject: forwarded\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/plain\r\n\r\nsee below\r\n--x\r\nContent-Type: message/global\r\n\r\n" + HEADER + BODY + b"\r\n--x--\r\n"
)


@pytest.mark.parametrize("enable", ENABLES)
async def test_a_message_in_utf8_within_another_is_told_like_a_message(lab: Lab, enable: str) -> None:
    # RFC 9051 §7.5.2, RFC 9755 §6: media-message is RFC822 or GLOBAL.
    await lab.deliver(GLOBAL)
    client = await reader_of_utf8(lab, enable)
    for item in ("BODYSTRUCTURE", "BODY"):
        (told,) = await client.ok(f"FETCH 1 {item}")
        assert b'("message" "global" NIL NIL NIL "7bit" ' in told
        assert '(NIL "Grüße" (("José" NIL "josé" "exämple.com"))'.encode() in told
    (told,) = await client.ok("FETCH 1 BODY.PEEK[2.2]")
    assert told.endswith(b"second)")
    (told,) = await client.ok("FETCH 1 BODY.PEEK[2.HEADER.FIELDS (SUBJECT)]")
    assert told.endswith("Subject: Grüße\r\n\r\n)".encode())


async def test_for_others_it_is_a_part_like_any(lab: Lab) -> None:
    # RFC 3501 §9: media-message is RFC822 alone.
    await lab.deliver(GLOBAL)
    client = await lab.client(select="INBOX")
    (told,) = await client.ok("FETCH 1 BODYSTRUCTURE")
    assert re.search(rb'\("message" "global" NIL NIL NIL "7bit" [0-9]+ NIL NIL NIL NIL\)', told)


NAMES = {"R&D": b"R&-D", "Entwürfe": b"Entw&APw-rfe", "台北/日本語": b"&U,BTFw-/&ZeVnLIqe-", "&ZeVnLIqe-": b"&-ZeVnLIqe-", "😀": b"&2D3eAA-"}


@pytest.mark.parametrize("form", ["bare where it can be", "quoted", "as a literal"])
@pytest.mark.parametrize("name", NAMES)
async def test_names_in_utf8_and_in_utf7_are_the_same_mailboxes(lab: Lab, name: str, form: str) -> None:
    octets, old = name.encode(), NAMES[name]
    quoted = form == "quoted" or (form == "bare where it can be" and not name.isascii())
    written = b'"%b"' % octets if quoted else b"{%d+}\r\n%b" % (len(octets), octets) if form == "as a literal" else octets
    client, other = await reader_of_utf8(lab, select=""), await lab.client()
    await client.ok(b"CREATE " + written)
    told = octets if name.isascii() else b'"%b"' % octets
    assert b'LIST (\\HasNoChildren) "/" ' + told in await client.ok('LIST "" *')
    assert b'LIST (\\HasNoChildren) "/" ' + old in await other.ok('LIST "" *')
    assert b'LIST (\\HasNoChildren) "/" ' + told in await client.ok(b'LIST "" ' + written)
    await client.command(b"APPEND " + written + b" {%d+}\r\n" % len(HELLO) + HELLO)
    assert client.tagged.startswith(b"OK [APPENDUID")
    assert await other.ok(b"STATUS " + old + b" (MESSAGES)") == [b"STATUS " + old + b" (MESSAGES 1)"]
    await other.ok(b"SUBSCRIBE " + old)
    assert await client.ok(b'LSUB "" ' + written) == [b'LSUB () "/" ' + told]
    await client.ok(b"SELECT " + written)
    await client.ok(b"RENAME " + written + b' "' + octets + b'2"')
    assert (await other.no(b"STATUS " + old + b" (MESSAGES)")).startswith(b"NO [NONEXISTENT]")


@pytest.mark.parametrize("sign", ["\N{LINE SEPARATOR}", "\N{PARAGRAPH SEPARATOR}", "\x85", "\x7f"], ids=["a line", "a paragraph", "C1", "DEL"])
async def test_no_name_holds_controls_or_separators(lab: Lab, sign: str) -> None:
    client = await reader_of_utf8(lab, select="")
    assert (await client.no(f'CREATE "a{sign}b"')).startswith(b"NO [CANNOT]")


SENT = "From: alice@example.test\r\nSubject: Grüße\r\n\r\nhallo\r\n".encode()
WRAPPED = {
    "as Thunderbird sends it": 'APPEND INBOX (\\Seen $Forwarded) "25-Nov-2026 15:00:00 +0100" UTF8 (~{%d+}\r\n%b)',
    "without flags, in small letters": "append INBOX utf8 (~{%d+}\r\n%b)",
    "in the place of another": "REPLACE 1 INBOX (\\Seen) UTF8 (~{%d+}\r\n%b)",
}


@pytest.mark.parametrize("enable", ENABLES)
@pytest.mark.parametrize("command", WRAPPED.values(), ids=WRAPPED.keys())
async def test_a_message_is_taken_in_the_parentheses_that_rfc_6855_has_clients_write(lab: Lab, enable: str, command: str) -> None:
    await lab.deliver(HELLO)
    client = await reader_of_utf8(lab, enable)
    await client.ok(command.encode() % (len(SENT), SENT))
    (told,) = await client.ok("FETCH * (BODY.PEEK[])")
    assert told.endswith(b" FETCH (BODY[] {%d}\r\n%b)" % (len(SENT), SENT))


async def test_it_waits_for_nothing_where_the_client_does_not_and_for_the_client_where_it_does(lab: Lab) -> None:
    client = await reader_of_utf8(lab)
    client.send(b"s APPEND INBOX UTF8 (~{%d}\r\n" % len(SENT))
    assert await client.line() == b"+ OK"
    client.send(SENT + b")\r\n")
    await client.rest(b"s")
    assert client.tagged.startswith(b"OK [APPENDUID ")


async def test_a_large_one_is_no_binary_one_and_several_may_come_in_either_form(lab: Lab) -> None:
    client = await reader_of_utf8(lab)
    large = SENT + b"x" * 70 + b"\r\n" * (2 * 1024 * 1024 + 1)
    await client.ok(b"APPEND INBOX UTF8 (~{%d+}\r\n%b)" % (len(large), large))
    await client.ok(b"APPEND INBOX UTF8 (~{%d+}\r\n%b) (\\Flagged) UTF8 (~{%d+}\r\n%b) {%d+}\r\n%b" % ((len(SENT), SENT) * 3))
    assert client.tagged.startswith(b"OK [APPENDUID ")
    assert (await client.ok("STATUS INBOX (MESSAGES)"))[-1] == b"STATUS INBOX (MESSAGES 4)"


BROKEN = {
    "by who did not enable it": ("NOOP", b"APPEND INBOX UTF8 (~{%d+}\r\n%b)"),
    "with another literal": ("ENABLE UTF8=ACCEPT", b"APPEND INBOX UTF8 ({%d+}\r\n%b)"),
    "without its end": ("ENABLE UTF8=ACCEPT", b"APPEND INBOX UTF8 (~{%d+}\r\n%b"),
    "with more behind it": ("ENABLE UTF8=ACCEPT", b"APPEND INBOX UTF8 (~{%d+}\r\n%b) x"),
}


@pytest.mark.parametrize(("before", "command"), BROKEN.values(), ids=BROKEN.keys())
async def test_broken_parentheses_keep_nothing_and_run_nothing(lab: Lab, before: str, command: bytes) -> None:
    client = await lab.client()
    await client.ok(before)
    content = b"x LOGOUT\r\n" * 3
    assert (await client.no(command % (len(content), content))).startswith(b"BAD ")
    assert (await client.ok("STATUS INBOX (MESSAGES)"))[-1] == b"STATUS INBOX (MESSAGES 0)"
