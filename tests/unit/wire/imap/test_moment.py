# SPDX-License-Identifier: Apache-2.0
"""Dates of APPEND, INTERNALDATE and SEARCH.

Obeys RFC 3501 §9 (date-time, date).
Must never know the present time.
"""

from __future__ import annotations

from datetime import date

import pytest

from moatmail.wire.imap.moment import ZonedMoment, format_date_time, format_date_times, parse_date, parse_date_time

GOOD = {
    "two places": (b"17-Jul-1996 02:44:25 -0700", ZonedMoment(837596665, -420), b'"17-Jul-1996 02:44:25 -0700"'),
    "a space before the day": (b" 5-Mar-2025 07:06:05 +0000", ZonedMoment(1741158365, 0), b'" 5-Mar-2025 07:06:05 +0000"'),
    "one digit only, as case imap-03 sends": (b"5-mar-2025 07:06:05 +0000", ZonedMoment(1741158365, 0), b'" 5-Mar-2025 07:06:05 +0000"'),
    "half an hour of zone": (b"05-Mar-2025 12:36:05 +0530", ZonedMoment(1741158365, 330), b'" 5-Mar-2025 12:36:05 +0530"'),
    "a leap second": (b"31-Dec-2016 23:59:60 +0000", ZonedMoment(1483228799, 0), b'"31-Dec-2016 23:59:59 +0000"'),
    "before 1970": (b"01-Jan-1900 00:00:00 -0230", ZonedMoment(-2208979800, -150), b'" 1-Jan-1900 00:00:00 -0230"'),
}
BAD = [
    b"", b"5-Foo-2025 07:06:05 +0000", b"31-Feb-2025 07:06:05 +0000", b"5-Mar-2025 24:06:05 +0000", b"5-Mar-2025 07:06:61 +0000",
    b"5-Mar-2025 07:06:05", b"5-Mar-2025 07:06:05 +2400", b"5-Mar-2025 07:06:05 +0060", b"  5-Mar-2025 07:06:05 +0000",
    b"5-Mar-0000 07:06:05 +0000", b"005-Mar-2025 07:06:05 +0000",
]  # fmt: skip


@pytest.mark.parametrize(("text", "moment", "written"), GOOD.values(), ids=GOOD.keys())
def test_date_time(text: bytes, moment: ZonedMoment, written: bytes) -> None:
    """A date-time is read leniently and written in the fixed form."""
    assert parse_date_time(text) == moment
    assert format_date_time(moment) == written


@pytest.mark.parametrize("text", BAD)
def test_no_date_time(text: bytes) -> None:
    """What is none is None, never an exception."""
    assert parse_date_time(text) is None


@pytest.mark.parametrize("text", [b"01-Jan-0001 00:00:00 +2359", b"31-Dec-9999 23:59:59 -2359"])
def test_the_first_and_the_last_moment_can_be_written(text: bytes) -> None:
    """The zone must not push a year out of the calendar."""
    moment = parse_date_time(text)
    assert moment is not None
    assert format_date_time(moment) == b'"%b"' % text.replace(b"01-Jan", b" 1-Jan")


def test_date() -> None:
    """The date of a search key."""
    assert parse_date(b"1-Feb-1994") == date(1994, 2, 1)
    assert parse_date(b"29-feb-2024") == date(2024, 2, 29)
    assert parse_date(b"29-Feb-2023") is None
    assert parse_date(b"1-Feb-94") is None
    assert parse_date(b"1-Feb-1994 ") is None


def test_many_moments_are_written_as_one_is() -> None:
    moments = [0, -1, 86_399, 86_400, 1_234_567_890, 1_234_567_891, -62_135_596_800, 253_402_300_799]
    assert format_date_times(moments) == [format_date_time(ZonedMoment(moment)) for moment in moments]
