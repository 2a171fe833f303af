# SPDX-License-Identifier: Apache-2.0
"""Dates of header fields: read in all the forms mail carries, written in one.

Obeys RFC 5322 §3.3 (date-time), §4.3 (obsolete years and zones).
Must never know the present time: it is given.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

from moatmail.message.parameters import strip_comments

_MONTHS = {name: number for number, name in enumerate((b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1)}
_TIME = rb"([0-9]{1,2})[:.]([0-9]{1,2})(?:[:.]([0-9]{1,2}))?(?:\.[0-9]++)?"
_ZONE = rb"(?:[ \t]*+([+-][0-9]{4}|[A-Za-z]{1,5}))?"
_DATE = re.compile(
    rb"[ \t]*+(?:[A-Za-z]++[ \t]*+[.,]?[ \t]*+)?([0-9]{1,2})[ \t.-]*+([A-Za-z]{3})[a-z]*+[ \t.,-]*+([0-9]{2,4})(?:[ \t,]++%b%b)?" % (_TIME, _ZONE)
)
# The form of C's asctime, which is no date of any RFC but is met.
_ASCTIME = re.compile(
    rb"[ \t]*+(?:[A-Za-z]{3}[ \t,]++)?([A-Za-z]{3})[a-z]*+[ \t]++([0-9]{1,2})[ \t,]++%b(?:[ \t]++([A-Za-z]{3,4}))?[ \t]++([0-9]{4})%b" % (_TIME, _ZONE)
)
# RFC 5322 §4.3: these names have offsets; military letters were defined wrongly and count, as all unknown names, as +0000.
_ZONES = {b"est": -300, b"edt": -240, b"cst": -360, b"cdt": -300, b"mst": -420, b"mdt": -360, b"pst": -480, b"pdt": -420}
_DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_DATE_OCTETS_MAX = 256


def parse_date(value: bytes) -> tuple[int, int] | None:
    """Give (epoch seconds, zone offset in minutes) of an unfolded Date value, or None if it cannot be read (RFC 5322 §3.3, §4.3).

    A value without readable time is midnight UTC of its day.
    """
    value = value[:_DATE_OCTETS_MAX]
    if b"(" in value:
        value = strip_comments(value, in_words=True)
    match = _DATE.match(value)
    if match is not None:
        day, month, year, hour, minute, second, zone = match.groups()
    else:
        match = _ASCTIME.match(value)
        if match is None:
            return None
        month, day, hour, minute, second, zone_before, year, zone = match.groups()
        zone = zone or zone_before
    return _moment(_day(year, month, day), hour, minute, second, _offset(zone))


def _moment(days: int | None, hour: bytes | None, minute: bytes | None, second: bytes | None, offset: int) -> tuple[int, int] | None:
    if days is None:
        return None
    if hour is None or minute is None:
        return days * 86_400, 0
    hours, minutes, seconds = int(hour), int(minute), int(second or 0)
    # RFC 5322 §3.3: second 60 is the leap second.
    if hours > 23 or minutes > 59 or seconds > 60:
        return days * 86_400, 0
    return days * 86_400 + hours * 3_600 + minutes * 60 + seconds - offset * 60, offset


def _day(year: bytes, month: bytes, day: bytes) -> int | None:
    """Give the days since 1970-01-01."""
    number = int(year)
    if len(year) < 4:
        # RFC 5322 §4.3: 00 to 49 are of this century, 50 to 99 and three digits count from 1900.
        number += 2000 if number < 50 and len(year) == 2 else 1900
    try:
        return date(number, _MONTHS[month.lower()], int(day)).toordinal() - _EPOCH_ORDINAL
    except (KeyError, ValueError):
        return None


def _offset(zone: bytes | None) -> int:
    if zone is None:
        return 0
    if zone[0] in b"+-":
        minutes = int(zone[1:3]) * 60 + int(zone[3:5])
        # RFC 5322 §3.3: the last two digits are minutes, 00 to 59; no zone is a day away.
        if int(zone[3:5]) > 59 or minutes >= 24 * 60:
            return 0
        return -minutes if zone[0] == 0x2D else minutes
    return _ZONES.get(zone.lower(), 0)


def format_date(moment: float, offset: int = 0) -> str:
    """Give epoch seconds as a date-time in the zone `offset` minutes east of UTC (RFC 5322 §3.3)."""
    zone = UTC if not offset else timezone(timedelta(minutes=offset))
    at = datetime.fromtimestamp(moment, zone)
    sign = "-" if offset < 0 else "+"
    hours, minutes = divmod(abs(offset), 60)
    # Names of days and months are English whatever the locale, so strftime does not serve.
    day, month = _DAY_NAMES[at.weekday()], _MONTH_NAMES[at.month - 1]
    return f"{day}, {at.day} {month} {at.year:04d} {at:%H:%M:%S} {sign}{hours:02d}{minutes:02d}"
