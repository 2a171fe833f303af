# SPDX-License-Identifier: Apache-2.0
"""Bombs and tricks in reports: refused or read harmlessly, within a second and a bounded memory, both measured."""

from __future__ import annotations

import base64
import codecs
import gzip
import io
import time
import tracemalloc
import zipfile
from collections.abc import Callable

import pytest

from moatmail.core.limits.mailauth import REPORT_RESULTS_MAX, REPORT_ROWS_OCTETS, REPORT_TEXT_MAX
from moatmail.mailauth.reports.aggregate import parse_aggregate
from moatmail.mailauth.reports.received import Arrived, ReceivedReport, read_reports
from moatmail.mailauth.reports.tls import parse_tls
from moatmail.mailauth.reports.unpack import Form, Room, unpacked
from moatmail.mailauth.reports.unreadable import UnreadableReportError

ARRIVED = Arrived(0)
HEAD = "<report_metadata><org_name>o</org_name><email>e@o.test</email><report_id>r</report_id><date_range><begin>1</begin><end>2</end></date_range>"
POLICY = "<policy_published><domain>a.test</domain><p>none</p></policy_published>"
RECORD = "<record><row><source_ip>192.0.2.1</source_ip><count>3</count></row><identifiers><header_from>a.test</header_from></identifiers></record>"


def report(inside: str = RECORD, *, head: str = HEAD, prolog: str = "", open_tag: str = "<feedback>") -> str:
    return f"{prolog}{open_tag}{head}</report_metadata>{POLICY}{inside}</feedback>"


def mail(octets: bytes, kind: str = "application/gzip") -> bytes:
    body = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    return b"From: a@o.test\r\nContent-Type: %b\r\nContent-Transfer-Encoding: base64\r\n\r\n%b" % (kind.encode(), body)


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, octets in files.items():
            archive.writestr(name, octets)
    return made.getvalue()


def many_members(count: int) -> bytes:
    return gzip.compress(b"<feedback>") * count


def many_entries(count: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}", b"")
    return made.getvalue()


def nested(layers: int, octets: bytes) -> bytes:
    for _ in range(layers):
        octets = gzip.compress(octets)
    return octets


def full_report() -> str:
    """Give as many records as one mail can bring, each one different, and a fault behind them."""
    return report(inside="".join(RECORD.replace(">3<", f">{number}<").replace("192.0.2.1", f"192.0.2.{number % 250}") for number in range(23_000)) + "<&")


NESTED = "".join(f"<!ENTITY {chr(98 + n)} '{('&' + chr(97 + n) + ';') * 10}'>" for n in range(9))
LAUGHS = f"<!DOCTYPE feedback [<!ENTITY a 'lol'>{NESTED}]>"
OUTSIDE = '<!DOCTYPE feedback [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
PARAMETER = '<!DOCTYPE feedback [<!ENTITY % x SYSTEM "http://192.0.2.1/x.dtd"> %x;]>'

BOMBS: dict[str, Callable[[], bytes]] = {
    "64 MiB in one gzip": lambda: gzip.compress(b"<feedback>" + b"\0" * (1 << 26), 9),
    "gzip just over the ratio": lambda: gzip.compress(b"<feedback>" + b" " * (1 << 20), 9),
    "gzip within gzip within gzip": lambda: nested(3, report().encode()),
    "a bomb within gzip": lambda: nested(2, b"<feedback>" + b" " * (1 << 26)),
    "a bomb in zip": lambda: zipped({"a.xml": b"<feedback>" + b"\0" * (1 << 26)}),
    "sixteen files that together are too large": lambda: zipped({f"{n}.xml": b"<feedback>" + b" " * 250_000 + b"x" for n in range(64)}),
    "a zip of 60,000 entries": lambda: many_entries(60_000),
    "a hundred thousand gzip members": lambda: many_members(100_000),
    "billion laughs": lambda: report(prolog=LAUGHS, inside="&j;").encode(),
    "a file from outside": lambda: report(prolog=OUTSIDE, inside=RECORD.replace("a.test", "&x;")).encode(),
    "a parameter entity": lambda: report(prolog=PARAMETER).encode(),
    "billion laughs in UTF-16": lambda: codecs.BOM_UTF16_LE + report(prolog=LAUGHS).encode("utf-16-le"),
    "an entity in UTF-16 without a mark": lambda: ('<?xml version="1.0" encoding="UTF-16LE"?>' + report(prolog=OUTSIDE)).encode("utf-16-le"),
    "an entity in UTF-7": lambda: b'<?xml version="1.0" encoding="UTF-7"?>' + report(prolog=OUTSIDE).replace("<!", "+ADwAIQ-").encode(),
    "elements without end": lambda: report(inside="<record>" * 100_000).encode(),
    "a million elements": lambda: report(inside="<x/>" * 1_100_000).encode(),
    "elements within elements": lambda: b"<feedback>" + b"<a>" * 1_000_000,
    "nothing but angle brackets": lambda: b"<feedback>" + b"<" * 4_000_000,
    "comments without end": lambda: b"<feedback>" + b"<!--" * 1_000_000,
    "a full report broken at its end": lambda: full_report().encode(),
    "ampersands": lambda: b"<feedback>" + b"&" * 4_000_000,
    "stray markup without end": lambda: b"<feedback>" + b"<a@b>" * 800_000,
    "known tags and one ampersand": lambda: b"<feedback>" + b"<p>" * 1_300_000 + b"&",
    "one start tag of four megabytes": lambda: b"<feedback " + b"a" * 4_000_000,
    "attributes without number": lambda: b"<feedback " + b" ".join(b"a%d='1'" % n for n in range(300_000)) + b"><x",
    "deep JSON": lambda: b'{"policies":' + b"[" * 1_000_000,
    "wide JSON": lambda: b'{"policies":[' + b"{}," * 500_000 + b"{}]}",
    "a number of a million digits": lambda: b'{"policies":[{"summary":{"total-failure-session-count":' + b"9" * 1_000_000 + b"}}]}",
    "a feedback report of commas": lambda: b"Feedback-Type: abuse\r\nAuth-Failure: " + b"," * 3_000_000,
    "an encrypted archive": lambda: zipped({"a.xml": report().encode()}).replace(b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0"),
    "a zip cut in its directory": lambda: zipped({"a.xml": report().encode()})[:-30],
    "a zip whose entry lies elsewhere": lambda: zipped({"a.xml": report().encode()}).replace(b"PK\x03\x04", b"PK\x03\x05", 1),
    "a gzip with a broken stream": lambda: gzip.compress(report().encode())[:30] + b"\xff" * 40,
    "octets": lambda: bytes(range(256)) * 1000,
    "nothing": lambda: b"",
}
SECONDS = 3.0  # generous, as the machine may be busy; alone the worst takes one
OCTETS = 100 * 1024 * 1024


def read(content: bytes) -> tuple[ReceivedReport, ...]:
    try:
        return read_reports(content, ARRIVED)
    except UnreadableReportError:
        return ()


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_mail_is_answered_in_time_and_memory(name: str) -> None:
    content = mail(BOMBS[name]())
    start = time.process_time()
    rows = read(content)
    seconds = time.process_time() - start
    # Tracing makes every allocation several times as dear, so the memory is measured apart.
    tracemalloc.start()
    read(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{name}: {seconds:.2f} s, {peak / 1e6:.0f} MB")  # noqa: T201 - the measurement
    assert seconds < SECONDS
    assert peak < OCTETS
    for row in rows:
        assert len(row.rows) <= REPORT_ROWS_OCTETS
        assert "root:" not in row.rows


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("64 MiB in one gzip", "unpacks to more"),
        ("gzip just over the ratio", "unpacks to more"),
        ("gzip within gzip within gzip", "packed more than 2 times"),
        ("a bomb within gzip", "unpacks to more"),
        ("a bomb in zip", "unpacks to more"),
        ("billion laughs", "document type"),
        ("a file from outside", "document type"),
        ("a parameter entity", "document type"),
        ("billion laughs in UTF-16", "document type"),
        ("an entity in UTF-16 without a mark", "no part"),
        ("a million elements", "more than 500000 elements"),
        ("elements within elements", "nested deeper"),
        ("attributes without number", "a tag of more than"),
        ("one start tag of four megabytes", "a tag of more than"),
        ("ampersands", "more than 10000 places"),
        ("deep JSON", "no JSON"),
        ("an encrypted archive", "encrypted"),
        ("a gzip with a broken stream", "compression is broken"),
        ("octets", "no part"),
    ],
)
def test_a_bomb_is_refused(name: str, why: str) -> None:
    with pytest.raises(UnreadableReportError, match=why):
        read_reports(mail(BOMBS[name]()), ARRIVED)


@pytest.mark.parametrize("prolog", [LAUGHS, OUTSIDE, PARAMETER, "<!DOCTYPE feedback>", "<!DOCTYPE html PUBLIC '-//x' 'http://192.0.2.1/'>"])
@pytest.mark.parametrize("broken", ["", "<x"])
def test_a_document_type_is_refused_whether_or_not_the_rest_is_sound(prolog: str, broken: str) -> None:
    with pytest.raises(UnreadableReportError, match="document type"):
        parse_aggregate(report(inside=RECORD + broken, prolog=prolog).encode())


def test_an_entity_that_nobody_declared_stays_text() -> None:
    found = parse_aggregate(report(inside=RECORD.replace("<header_from>a.test", "<header_from>&x;&amp;")).encode())
    assert found.records[0].header_from == "&x;&"
    assert found.notes == ("stray markup was read as text",)


def test_markup_hidden_in_utf_7_stays_text() -> None:
    found = parse_aggregate(b'<?xml version="1.0" encoding="UTF-7"?>' + report(head=HEAD.replace(">o<", ">+ADw-x+AD4-<")).encode())
    assert found.org_name == "+ADw-x+AD4-"


def test_utf_16_with_its_mark_is_read() -> None:
    assert parse_aggregate(codecs.BOM_UTF16_BE + report().encode("utf-16-be")).records[0].count == 3


def test_a_declared_charset_counts_where_the_octets_are_no_utf_8() -> None:
    text = '<?xml version="1.0" encoding="iso-8859-1"?>' + report(head=HEAD.replace(">o<", ">Müller<"))
    assert parse_aggregate(text.encode("latin-1")).org_name == "Müller"
    assert parse_aggregate(text.encode("utf-8")).org_name == "Müller"


def test_foreign_elements_and_namespaces_are_read_over() -> None:
    inside = RECORD.replace("</record>", "<ext:row xmlns:ext='x'><count>99</count></ext:row><extra><count>98</count></extra></record>")
    assert parse_aggregate(report(inside=inside).encode()).records[0].count == 3
    prefixed = report().replace("<", "<ns2:").replace("<ns2:/", "</ns2:").replace("<ns2:feedback>", "<ns2:feedback xmlns:ns2='http://dmarc.org/dmarc-xml/0.1'>")
    assert parse_aggregate(prefixed.encode()).records[0].count == 3


def test_a_record_after_a_broken_place_is_kept() -> None:
    found = parse_aggregate(report(inside=RECORD.replace("<header_from>a.test", "<header_from>bad<odd.test> & <who@x.test>") + RECORD).encode())
    assert [one.count for one in found.records] == [3, 3]
    assert found.records[0].header_from == "bad<odd.test> & <who@x.test>"


def test_what_is_repeated_or_long_is_cut() -> None:
    results = "<auth_results>" + "<dkim><domain>a.test</domain></dkim>" * 500 + "</auth_results></record>"
    found = parse_aggregate(report(inside=RECORD.replace("</record>", results), head=HEAD.replace(">o<", f">{'o' * 100_000}<")).encode())
    assert len(found.records[0].dkim_results) == REPORT_RESULTS_MAX
    assert len(found.org_name) == REPORT_TEXT_MAX
    assert found.notes


def test_a_large_report_is_kept_by_its_records_of_most_messages_and_counted_whole() -> None:
    records = "".join(RECORD.replace(">3<", f">{number}<") for number in range(8000))
    (row,) = read_reports(mail(report(inside=records).encode(), "text/xml"), ARRIVED)
    assert row.totals["messages"] == sum(range(8000))
    assert row.totals["records"] == 8000
    assert len(row.rows) <= REPORT_ROWS_OCTETS
    assert '"count":7999' in row.rows
    assert "are counted in the totals only" in row.rows


@pytest.mark.parametrize("first", [b"From: x@b.test", b"Feedback-Type: abuse"])
def test_a_returned_message_cannot_bring_a_report_of_its_own(first: bytes) -> None:
    spam = first + b"\r\nContent-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(gzip.compress(report().encode()))
    content = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nsee below\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" + spam + b"\r\n--b--\r\n"
    with pytest.raises(UnreadableReportError):
        read_reports(content, ARRIVED)


@pytest.mark.parametrize(
    ("octets", "form"),
    [
        (zipped({"folder/": b"", "a.txt": b"read me", "b.xml": report().encode()}), Form.XML),
        (b"prefix" * 0 + gzip.compress(report().encode()) + b"trailing garbage", Form.XML),
        (gzip.compress(report().encode()[:100]) + gzip.compress(report().encode()[100:]), Form.XML),
        (gzip.compress(zipped({"x": b'{"policies":[]}'})), Form.JSON),
    ],
    ids=["a zip with other files", "gzip with octets behind it", "gzip of two members", "zip within gzip"],
)
def test_odd_packings_are_undone(octets: bytes, form: Form) -> None:
    (found,) = unpacked(octets, Room())
    assert found.form is form
    if form is Form.XML:
        assert parse_aggregate(found.octets).records[0].count == 3


def test_a_cut_gzip_gives_the_records_it_holds() -> None:
    packed = gzip.compress(report(inside=RECORD * 50).encode(), 0)
    (found,) = unpacked(packed[: len(packed) // 2], Room())
    report_read = parse_aggregate(found.octets)
    assert 0 < len(report_read.records) < 50
    assert any(note.startswith("the XML is broken") for note in report_read.notes)


@pytest.mark.parametrize(
    "octets",
    [b"{}", b"[]", b'{"policies":{}}', b'{"policies":[]}', b"{", b'{"policies":null}', b"\xff\xfe{}"],
    ids=["nothing", "a list", "an object for policies", "no policies", "cut", "null", "UTF-16"],
)
def test_json_that_is_no_tls_report_is_refused(octets: bytes) -> None:
    with pytest.raises(UnreadableReportError):
        parse_tls(octets)


def test_tls_counts_of_odd_kinds_are_read_or_taken_for_nothing() -> None:
    found = parse_tls(b'{"policies":[{"policy":{"mx-host":"a"},"summary":{"total-successful-session-count":"7","total-failure-session-count":-1}},5,null]}')
    assert (found.policies[0].successes, found.policies[0].failures, found.policies[0].hosts) == (7, 0, ("a",))
    assert "a count that is none was taken for 0" in found.notes


@pytest.mark.parametrize("name", ["a\\u001b[31m.test", "a b.test", ".", "a..b", "", "\\u202ea.test"])
def test_a_domain_that_is_no_name_is_that_of_the_address_it_came_to(name: str) -> None:
    content = b"Content-Type: application/json\r\n\r\n" + b'{"policies":[{"policy":{"policy-domain":"%b"}}]}' % name.encode()
    (row,) = read_reports(content, Arrived(0, "", "ours.test"))
    assert row.domain == "ours.test"


def test_a_forged_report_cannot_keep_out_the_true_one() -> None:
    content = mail(report().encode(), "text/xml")
    seen = [Arrived(0, "o.test"), Arrived(0, "o.test", authenticated=True), Arrived(0, "forger.test", authenticated=True)]
    names = [read_reports(content, one)[0].reporter for one in seen]
    assert names == ["o (not proved)", "o (o.test)", "o (forger.test)"]
    assert read_reports(mail(report(head=HEAD.replace(">o<", ">o.test<")).encode(), "text/xml"), seen[1])[0].reporter == "o.test"
