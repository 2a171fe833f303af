# SPDX-License-Identifier: Apache-2.0
"""What is kept beside mail and for how long: decisions and observations, which go to soft state after the commit.

Obeys no RFC; the promise is told in docs/security.md.
Must never know what evidence says.
"""

from __future__ import annotations

import msgspec

from moatmail.core.limits import store as limits
from moatmail.store.apply.work import Work
from moatmail.store.operations import Decision, EraseDecisions, ForgetObserved, RecordDecision
from moatmail.store.soft import DAY
from moatmail.store.sql.signing import FORGET_REPORTS, FORGET_SENT


def erase_decisions(work: Work, operation: EraseDecisions) -> None:
    """Have old soft state forgotten, after the commit, which reports of such days were sent, and reports of others that are older still."""
    work.effects.soft.append(operation)
    work.db.run(FORGET_REPORTS, {"before": operation.before - (limits.REPORTS_KEPT - limits.DECISIONS_KEPT)})
    work.db.run(FORGET_SENT, {"before_day": int(operation.before // DAY)})


def forget_observed(work: Work, operation: ForgetObserved) -> None:
    """Have the observations of a day forgotten, after the commit."""
    work.effects.soft.append(operation)


def record_decision(work: Work, operation: RecordDecision) -> None:
    """Have a decision kept, after the commit."""
    keep_decision(work, operation.decision)


def keep_decision(work: Work, decision: Decision) -> None:
    """Have a decision kept, dated by our own clock where a process tells a time that cannot be: it would be kept for ever."""
    if not 0 <= decision.at <= work.now + DAY:
        decision = msgspec.structs.replace(decision, at=work.now)
    work.effects.soft.append(decision)
