# SPDX-License-Identifier: Apache-2.0
"""Dates as mail carries them, and as we write them."""

from __future__ import annotations

import email.utils
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moatmail.message.dates import format_date, parse_date
from moatmail.message.header import unfold
from tests.unit.message.reading import DATA

FIELDS = DATA / "mime" / "stalwart-mail-parser" / "fields"


def moment(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, offset: int = 0) -> tuple[int, int]:
    """Give what parse_date gives for a local time."""
    at = datetime(year, month, day, hour, minute, second, tzinfo=timezone(timedelta(minutes=offset)))
    return int(at.timestamp()), offset


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        pytest.param("Wed, 5 Mar 2025 07:06:05 +0000", moment(2025, 3, 5, 7, 6, 5), id="the usual form"),
        pytest.param("5 Mar 2025 07:06 -0130", moment(2025, 3, 5, 7, 6, 0, -90), id="no day name, no seconds"),
        pytest.param("Tue,9 Jan 24 3:07:05 +0200 (GMT+02:00)", moment(2024, 1, 9, 3, 7, 5, 120), id="two-digit year, one-digit hour, a zone comment (mime-12)"),
        pytest.param("1 Jan 49 0:0:0 Z", moment(2049, 1, 1), id="49 is of this century"),
        pytest.param("1 Jan 50 0:0:0 Z", moment(1950, 1, 1), id="50 is of the last"),
        pytest.param("1 Jan 104 0:0:0 Z", moment(2004, 1, 1), id="three digits count from 1900"),
        pytest.param("Wed, 5 Mar 2025 07:06:05 EDT", moment(2025, 3, 5, 7, 6, 5, -240), id="a zone name"),
        pytest.param("Wed, 5 Mar 2025 07:06:05 A", moment(2025, 3, 5, 7, 6, 5), id="a military zone is unknown"),
        pytest.param("Wed, 5 Mar 2025 07:06:05 +9999", moment(2025, 3, 5, 7, 6, 5), id="a zone that cannot be"),
        pytest.param("Wed, 5 Mar 2025 07:06:05", moment(2025, 3, 5, 7, 6, 5), id="no zone"),
        pytest.param("Wed, 5 Mar (a (b)) 2025 (c) 07:06:05 +0100(CET)", moment(2025, 3, 5, 7, 6, 5, 60), id="comments"),
        pytest.param("Sat, 31 Dec 2016 23:59:60 +0000", moment(2017, 1, 1), id="a leap second"),
        pytest.param("Wed, 5 Mar 2025 27:06:05 +0100", moment(2025, 3, 5), id="an hour that cannot be leaves the day"),
        pytest.param("Wed, 5 Mar 2025", moment(2025, 3, 5), id="a day only"),
        pytest.param("Wed Mar  5 07:06:05 2025", moment(2025, 3, 5, 7, 6, 5), id="asctime"),
        pytest.param("Wed Mar  5 07:06:05 EST 2025", moment(2025, 3, 5, 7, 6, 5, -300), id="date(1)"),
        pytest.param("5-Mar-2025 07:06:05 +0000", moment(2025, 3, 5, 7, 6, 5), id="hyphens"),
        pytest.param("Wed, 5 March 2025 07.06.05 +0000", moment(2025, 3, 5, 7, 6, 5), id="a long month, dots in the time"),
        pytest.param("31 Feb 2025 07:06:05 +0000", None, id="no such day"),
        pytest.param("5 Foo 2025 07:06:05 +0000", None, id="no such month"),
        pytest.param("0 Jan 0000 00:00:00 +0000", None, id="no such year"),
        pytest.param("yesterday", None, id="no date"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_parse(value: str, wanted: tuple[int, int] | None) -> None:
    assert parse_date(value.encode()) == wanted


@given(st.datetimes(min_value=datetime(1900, 1, 2), max_value=datetime(2200, 1, 1)), st.integers(-23 * 60, 23 * 60))  # noqa: DTZ001
def test_what_we_write_we_and_the_library_read(at: datetime, offset: int) -> None:
    epoch = int(at.replace(tzinfo=UTC).timestamp())
    text = format_date(epoch, offset)
    assert parse_date(text.encode()) == (epoch, offset)
    assert int(email.utils.parsedate_to_datetime(text).timestamp()) == epoch


@given(st.binary(max_size=80))
def test_no_octets_raise(value: bytes) -> None:
    found = parse_date(value)
    assert found is None or abs(found[1]) < 24 * 60


@pytest.mark.skipif(not FIELDS.is_dir(), reason="the MIME samples (shared/data/mime) are not here")
def test_a_second_opinion_on_dates() -> None:
    same = 0
    for sample in json.loads((FIELDS / "date.json").read_text("utf-8")):
        expected = sample["expected"]
        found = parse_date(unfold(sample["header"].encode()))
        if sample["header"] in ARGUED:
            continue
        if expected is None:
            assert found is None, sample
        else:
            offset = (expected["tz_hour"] * 60 + expected["tz_minute"]) * (-1 if expected["tz_before_gmt"] else 1)
            year, month, day, hour, minute, second = (expected[name] for name in ("year", "month", "day", "hour", "minute", "second"))
            assert found == moment(year, month, day, hour, minute, second, offset), sample
        same += 1
    assert same >= 35


ARGUED = {
    # Numbers where the month stands, and a trace field, are no dates; a comment is one even across lines; EST5EDT is no zone of RFC 5322.
    "20 11 (some \n 44 comments(more comments\n )) 79 05:34:27 -0300",
    " 4 8 15 16 23 42, 4 8 15 16 23 42, 4 8 15 16 23 42, ",
    "Tue, 1 Jul 2003 ((invalid)\ncomment) 10:52:37 +0200",
    (
        "by 2002:aa7:cd10:0:b0:45c:2c83:1208 with SMTP id b16-20020aa7cd10000000b0045c2c831208mr4220805edw.81.1665423075119;"
        "\n\tMon, 10 Oct 2022 10:31:15 -0700 (PDT)"
    ),
}
