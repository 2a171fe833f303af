# SPDX-License-Identifier: Apache-2.0
"""Limits of the policy pipeline.

Obeys RFC 5321 §6.3 (loops), §4.5.3.2.6 (a client waits ten minutes after the dot).
Must never know settings: these are the bounds behind them.
"""

from __future__ import annotations

from typing import Final

RECEIVED_MAX: Final = 100
"""Received fields before a message is taken for looping (RFC 5321 §6.3 asks for at least 100)."""

PHASE_SECONDS: Final = 60.0
"""Deadline of all stages of one phase together; a client waits 600 s after the dot (RFC 5321 §4.5.3.2.6)."""

EVIDENCE_MAX: Final = 500
"""Characters of one fact of a finding: enough for a list of names or a reason, and no more than a line or two to read at night."""
