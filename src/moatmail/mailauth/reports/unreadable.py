# SPDX-License-Identifier: Apache-2.0
"""The one error of reading reports: this is none that can be read, and why.

Obeys no RFC.
Must never know a format.
"""

from __future__ import annotations

from moatmail.core.errors import PermanentError


class UnreadableReportError(PermanentError):
    """The octets are no report that can be read within our bounds; the text says why, in our own words (5.6.0: RFC 3463 §3.7)."""

    status = "5.6.0"
    public = "this is no report that can be read here"
