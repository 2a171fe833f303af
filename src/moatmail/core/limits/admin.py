# SPDX-License-Identifier: Apache-2.0
"""Limits of what administrators do.

Obeys RFC 6376 §3.1 (a key is withdrawn only when nothing signed by it is still on its way).
Must never know settings.
"""

from __future__ import annotations

from typing import Final

SIGNING_OVERLAP_SECONDS: Final = 7 * 86_400.0
"""How long a new signing key signs beside the old one: every cache of the DNS has the new record before the old key stops."""

SIGNING_ROTATION_SECONDS: Final = 90 * 86_400.0
"""How long a signing key is used before a new one is advised."""

SIGNING_RECORD_SECONDS: Final = 30 * 86_400.0
"""How long the record of a retired key stays in the DNS: what it signed is verified as long as it may be on its way or be read for the first time."""

SIGNING_BATCH: Final = 20
"""Domains that get their first keys in one change: some seconds of CPU, and not lost when the next ones fail."""

REPORTS_SHOWN_MAX: Final = 1000
"""Received reports that one command lists or adds up."""
