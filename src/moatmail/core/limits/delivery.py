# SPDX-License-Identifier: Apache-2.0
"""Limits of delivery to remote hosts.

Obeys RFC 5321 §4.5.3.2 (how long a client waits), §5.1 (how many hosts are tried).
Must never know settings.
"""

from __future__ import annotations

from typing import Final

REPLY_SECONDS: Final = 300.0
"""Waiting for a greeting or the reply to a command (RFC 5321 §4.5.3.2.1 to §4.5.3.2.4)."""

CONTENT_SECONDS: Final = 180.0
"""Waiting for room to send the next piece of content (RFC 5321 §4.5.3.2.5)."""

END_SECONDS: Final = 600.0
"""Waiting for the reply to the final dot: giving up earlier sends twice (RFC 5321 §4.5.3.2.6)."""

HANDSHAKE_SECONDS: Final = 60.0
"""Waiting for a TLS handshake."""

HOSTS_MAX: Final = 8
"""Mail hosts of one domain that one attempt tries."""

ADDRESSES_MAX: Final = 2
"""Addresses of one host that one attempt tries (RFC 5321 §5.1: at least two in all)."""

TRANSACTIONS_MAX: Final = 20
"""Transactions of one message in one session, when a server takes few recipients at a time (452)."""

WHOLE_CONTENT_MAX: Final = 1024 * 1024
"""Content up to this size is opened once and kept for the attempt; larger content is opened as it is sent."""

SIGNING_DOMAINS_MAX: Final = 1000
"""Domains whose signing keys are kept open; more are asked for again."""

SIGNING_SECONDS: Final = 300.0
"""How long signing keys are used without asking again: a hint of a change comes at once, this heals one that was lost."""

REPORT_DAYS_BACK: Final = 3
"""Days after which a DMARC report that could not be sent, because the DNS did not answer, is given up (RFC 9990 §3.5 leaves it to the sender)."""

REPORT_DOMAINS_AT_ONCE: Final = 8
"""Policy domains whose reports are made side by side: each waits for the DNS."""

REPORT_ROWS_MAX: Final = 10_000
"""Different observations of one policy domain and day that are looked at; a stranger can make as many as he sends mail, a report holds fewer."""

REPORT_RUN_SECONDS: Final = 1800.0
"""How long one run begins new reports: name servers that keep silent must not keep others' reports for days."""
