# SPDX-License-Identifier: Apache-2.0
"""Dates of IMAP: date-time of INTERNALDATE and APPEND, date of SEARCH.

Obeys RFC 3501 §9 (date-time, date) and, for one-digit days, what clients send.
Must never know the present time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Final

MONTHS: Final = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - the zone is kept beside it, so that the first and last years can be written
_MONTH_NUMBER: Final = {name.lower(): number for number, name in enumerate(MONTHS, 1)}
# RFC 3501 §9: date-day-fixed has two places, the first may be a space. Some clients send one digit only; nothing else can be meant.
_DATE_TIME: Final = re.compile(rb" ?([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})")
_DATE: Final = re.compile(rb" ?([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")


@dataclass(frozen=True, slots=True)
class ZonedMoment:
    """A moment with the zone it was told in: `seconds` since 1970 (UTC), `offset` in minutes east of UTC."""

    seconds: int
    offset: int = 0


def parse_date_time(text: bytes) -> ZonedMoment | None:
    """Read a date-time without its quotes; None if it is none (RFC 3501 §9)."""
    match = _DATE_TIME.fullmatch(text)
    if match is None or (month := _MONTH_NUMBER.get(match[2].lower())) is None:
        return None
    offset = int(match[8]) * 60 + int(match[9])
    if offset >= 24 * 60 or int(match[9]) > 59:
        return None
    if match[7] == b"-":
        offset = -offset
    second = min(int(match[6]), 59)  # a leap second has no number of its own
    try:
        moment = datetime(int(match[3]), month, int(match[1]), int(match[4]), int(match[5]), second, tzinfo=timezone(timedelta(minutes=offset)))
        return ZonedMoment(int(moment.timestamp()), offset) if int(match[6]) <= 60 else None
    except (ValueError, OverflowError):
        return None


def parse_date(text: bytes) -> date | None:
    """Read the date of a search key, without quotes; None if it is none (RFC 3501 §9, date-text)."""
    match = _DATE.fullmatch(text)
    if match is None or (month := _MONTH_NUMBER.get(match[2].lower())) is None:
        return None
    try:
        return date(int(match[3]), month, int(match[1]))
    except ValueError:
        return None


def format_date_time(moment: ZonedMoment) -> bytes:
    """Write a date-time with its quotes and a day of two places (RFC 3501 §9, date-day-fixed)."""
    local = _EPOCH + timedelta(seconds=moment.seconds, minutes=moment.offset)
    sign, minutes = (b"-", -moment.offset) if moment.offset < 0 else (b"+", moment.offset)
    head = b'"%2d-%b-%04d %02d:%02d:%02d ' % (local.day, MONTHS[local.month - 1], local.year, local.hour, local.minute, local.second)
    return head + b'%b%02d%02d"' % (sign, minutes // 60, minutes % 60)


def format_date_times(moments: Sequence[int]) -> list[bytes]:
    """Write many moments (seconds since 1970) as `format_date_time` does, in UTC: the date of a day once."""
    days: dict[int, bytes] = {}
    texts: list[bytes] = []
    for moment in moments:
        day, second = divmod(moment, 86_400)
        date_of = days.get(day)
        if date_of is None:
            date_of = days[day] = format_date_time(ZonedMoment(day * 86_400))[:13]
        minute, second = divmod(second, 60)
        texts.append(b'%b%02d:%02d:%02d +0000"' % (date_of, minute // 60, minute % 60, second))
    return texts
