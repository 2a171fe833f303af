# SPDX-License-Identifier: Apache-2.0
"""Invariant: any octets as a mail, an aggregate report, TLS report, feedback report or archive are read within bounds or refused with one error.

Obeys RFC 9990 §8.1; started as tests/fuzz/harness.py says.
Must never know how reports are read.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile
from random import Random

from moatmail.core.limits.mailauth import REPORT_NOTES_MAX, REPORT_OCTETS, REPORT_RESULTS_MAX, REPORT_ROWS_OCTETS, REPORT_TEXT_MAX
from moatmail.mailauth.reports.aggregate import parse_aggregate
from moatmail.mailauth.reports.failure import parse_feedback
from moatmail.mailauth.reports.received import KINDS, Arrived, read_reports
from moatmail.mailauth.reports.tls import parse_tls
from moatmail.mailauth.reports.unpack import Room, unpacked
from moatmail.mailauth.reports.unreadable import UnreadableReportError
from tests.fuzz.harness import Target

XML = (
    b'<?xml version="1.0" encoding="UTF-8"?><feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0"><version>1.0</version><report_metadata>'
    b"<org_name>o</org_name><email>e@o.test</email><report_id>r</report_id><date_range><begin>1</begin><end>2</end></date_range></report_metadata>"
    b"<policy_published><domain>a.test</domain><p>none</p></policy_published><record><row><source_ip>192.0.2.1</source_ip><count>3</count>"
    b"<policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf><reason><type>other</type></reason></policy_evaluated></row>"
    b"<identifiers><header_from>a.test</header_from></identifiers><auth_results><dkim><domain>a.test</domain><result>pass</result></dkim>"
    b"</auth_results></record></feedback>"
)
JSON = (
    b'{"organization-name":"o","date-range":{"start-datetime":"2024-01-09T00:00:00Z","end-datetime":"2024-01-09T23:59:59Z"},"report-id":"i",'
    b'"policies":[{"policy":{"policy-type":"sts","policy-domain":"a.test","mx-host":["m"]},"summary":{"total-successful-session-count":1,'
    b'"total-failure-session-count":2},"failure-details":[{"result-type":"x","failed-session-count":2}]}]}'
)
FEEDBACK = b"Feedback-Type: auth-failure\r\nVersion: 1\r\nAuth-Failure: dmarc\r\nSource-IP: 192.0.2.1 (x)\r\nArrival-Date: Thu, 8 Mar 2005 14:00:00 EDT\r\n"
ORIGINAL = b"Received: from x ([192.0.2.1]) by y; Thu, 8 Mar 2005 14:00:00 -0400\r\nFrom: a@a.test\r\nTo: b@b.test\r\nMessage-ID: <i@a.test>\r\n\r\n"


def _zip() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("a.xml", (1980, 1, 1, 0, 0, 0)), XML)
    return made.getvalue()


PACKED = (gzip.compress(XML, mtime=0), _zip(), gzip.compress(gzip.compress(JSON, mtime=0), mtime=0))
MAIL = (
    b"From: a@o.test\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n%b\r\n--b\r\n"
    b"Content-Type: message/rfc822\r\n\r\n%btext\r\n--b--\r\n" % (FEEDBACK, ORIGINAL)
)
SEEDS = (XML, JSON, FEEDBACK, MAIL, *PACKED)
TOKENS = (
    *(b"<", b">", b"&", b"&x;", b"&amp;", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<?", b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"</feedback>", b"<record>"),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"\x91", b"PK\x03\x04", b"\x1f\x8b", b"{", b"[", b'"', b"null", b"-1", b"1e999", b"\r\n", b":", b"--b", b" "),
)


def check(data: bytes) -> None:
    """Read `data` in every way there is, and check the invariant."""
    for read in (check_aggregate, check_tls, check_feedback, check_archive, check_mail):
        try:
            read(data)
        except UnreadableReportError:
            continue


def check_aggregate(data: bytes) -> None:
    """Read `data` as XML."""
    report = parse_aggregate(data)
    assert report.published.domain
    assert len(report.notes) <= REPORT_NOTES_MAX
    assert len(report.org_name) <= REPORT_TEXT_MAX
    for record in report.records:
        assert record.count >= 0
        assert len(record.dkim_results) <= REPORT_RESULTS_MAX
        assert len(record.header_from) <= REPORT_TEXT_MAX


def check_tls(data: bytes) -> None:
    """Read `data` as JSON."""
    report = parse_tls(data)
    assert report.policies
    assert all(one.successes >= 0 and one.failures >= 0 for one in report.policies)
    assert report.begin >= 0
    assert report.end >= 0


def check_feedback(data: bytes) -> None:
    """Read `data` as the machine-readable part and as the returned header."""
    for fields, original in ((data, ORIGINAL), (FEEDBACK, data)):
        report, _ = parse_feedback(fields, original)
        assert report.feedback_type
        assert report.incidents >= 0
        assert len(report.user_agent) <= REPORT_TEXT_MAX


def check_archive(data: bytes) -> None:
    """Unpack `data`."""
    room = Room()
    assert sum(len(one.octets) for one in unpacked(data, room)) <= REPORT_OCTETS
    assert room.left >= 0


def check_mail(data: bytes) -> None:
    """Read `data` as a mail, and as the attachment of one."""
    for content in (data, b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(data)):
        for row in read_reports(content, Arrived(0)):
            assert row.kind in KINDS
            assert len(row.rows) <= REPORT_ROWS_OCTETS
            assert isinstance(json.loads(row.rows), dict)


def mutate(random: Random) -> bytes:
    """Make an input from the seeds: cut, overwritten, grown."""
    data = bytearray(random.choice(SEEDS))
    for _ in range(random.randint(0, 8)):
        place = random.randrange(max(1, len(data)))
        token = random.choice(TOKENS)
        match random.randrange(4):
            case 0:
                data[place : place + len(token)] = token
            case 1:
                del data[place : place + random.randint(1, 30)]
            case 2:
                data[place : place + 1] = random.randbytes(1)
            case _:
                data[place:place] = token * random.randint(1, 4)
    return bytes(data)


TARGET = Target(check, mutate, SEEDS)

if __name__ == "__main__":
    TARGET.main()
