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

MEMORY_FINDINGS: Final = 2_000
"""Findings about clients, domains and authors that a process remembers: some KB each."""

MEMORY_LOOKUPS: Final = 16
"""Questions of one remembered finding: SPF may ask ten terms' worth (RFC 7208 §4.6.4); who asks for more is looked at anew each time."""

MEMORY_OCTETS: Final = 8 * 1024
"""Octets of the answers of one remembered finding: what the resolver's own memory may drop stays in memory with it."""

# ---- kept decisions: a stranger's message may not fill the disk with what was found about it ----
DECISION_RECIPIENTS: Final = 100
"""Recipients of one kept decision: what RFC 5321 §4.5.3.1.8 asks every server to admit; of those beyond only the number is kept."""

DECISION_FINDINGS: Final = 300
"""Findings of one kept decision: some forty about the message, and two for each recipient."""

DECISION_EVIDENCE: Final = 24 * 1024
"""Characters of all evidence together; beyond it every text is cut to the same length, so that none crowds out another."""

DECISION_LOOKUPS: Final = 100
"""Questions to the DNS of one kept decision."""

DECISION_ANSWERS: Final = 16 * 1024
"""Characters of all answers together, cut in the same way: a key of 4096 bits has 750."""

DECISION_NAME: Final = 255
"""Characters of one name: of a fact, a host, a question (RFC 1035 §2.3.4)."""

CHANGES_TRIED: Final = 20_000
"""Choices looked at for the lightest change of findings that turns a verdict; with weights as varied as ours a few dozen suffice."""
