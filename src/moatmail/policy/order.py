# SPDX-License-Identifier: Apache-2.0
"""The table of contents of the filter: phase -> groups of stages, one table to receive and one to submit.

Obeys RFC 5321 §3.3 (the order of a transaction) and RFC 6409 §3 (submission differs from relay).
Must never know how stages run (`policy/pipeline`) or what follows from their findings (`policy/verdict`).
"""

from __future__ import annotations

from typing import Final

from moatmail.policy.stage import Order, Phase
from moatmail.policy.stages import (
    arc,
    dkim,
    dmarc,
    form,
    iprev,
    loop,
    spf,
    user_filter,
)

RECEIVE: Final[Order] = {
    Phase.CONNECT: (),
    Phase.HELO: (),
    Phase.MAIL: (),
    Phase.RCPT: (),
    # The user's filter comes last: it may ask for what the others found.
    # The first two never wait for anything, so they stand alone: side by side is for stages that ask the network.
    # DMARC asks what SPF and DKIM found; for the author's policy it asks first of all.
    Phase.DATA: (
        (loop.check,),
        (form.check_received,),
        (dmarc.look_ahead, iprev.check, spf.check, dkim.check, arc.check),
        (dmarc.check,),
        (user_filter.check,),
    ),
}
"""Mail from strangers, port 25."""

SUBMIT: Final[Order] = {
    Phase.CONNECT: (),
    Phase.HELO: (),
    Phase.MAIL: (),
    Phase.RCPT: (),
    Phase.DATA: ((loop.check,), (form.check_submitted,), (user_filter.check,)),
}
"""Mail from our users, whichever door it came through."""
