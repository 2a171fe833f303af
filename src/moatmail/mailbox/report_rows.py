# SPDX-License-Identifier: Apache-2.0
"""Mail to the address for reports, as the rows it becomes: read in one thread of this process, one report at a time.

Obeys RFC 9990 §8.1 (reports are attacks: octets, time and memory are bounded).
Must never know who sent it, by which door it came, or what a report says.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from moatmail.core.errors import TemporaryError
from moatmail.core.limits.mailauth import REPORT_MAIL_OCTETS
from moatmail.core.limits.mailbox import REPORT_WAIT_SECONDS
from moatmail.crypto.content_seal import ContentOpener
from moatmail.crypto.seal import new_id
from moatmail.mailauth.reports.received import Arrived, read_reports
from moatmail.mailauth.reports.unreadable import UnreadableReportError
from moatmail.store.operations import NewReport

# One thread: whoever sends many hostile reports delays other reports, not the doors, and holds the memory of one.
_READER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reports")


async def read_rows(opener: ContentOpener, arrived: Arrived) -> tuple[NewReport, ...]:
    """Read a mail as rows to be kept; raises UnreadableReportError, and TemporaryError where others were before it for too long."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(REPORT_WAIT_SECONDS):
            return await loop.run_in_executor(_READER, _read, opener, arrived)
    except TimeoutError:
        raise TemporaryError("too many reports wait to be read") from None


def _read(opener: ContentOpener, arrived: Arrived) -> tuple[NewReport, ...]:
    if opener.size > REPORT_MAIL_OCTETS:
        raise UnreadableReportError(f"the mail is larger than {REPORT_MAIL_OCTETS} octets")
    # The octets are opened in the thread: who waits for it holds none.
    found = read_reports(opener.read(0, opener.size), arrived)
    return tuple(
        NewReport(
            id=new_id(arrived.at * 1000),
            kind=one.kind,
            received_at=float(arrived.at),
            domain=one.domain,
            reporter=one.reporter,
            report_id=one.report_id,
            begin=float(one.begin),
            end=float(one.end),
            totals=one.totals,
            rows=one.rows,
        )
        for one in found
    )
