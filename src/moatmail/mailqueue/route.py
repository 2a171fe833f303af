# SPDX-License-Identifier: Apache-2.0
"""Which hosts take mail for a domain, in which order. Pure.

Obeys RFC 5321 §5.1 (locating the target host), RFC 7505 (null MX).
Must never know the network: it gets the DNS answer.
"""

from __future__ import annotations

from moatmail.core.errors import PermanentError
from moatmail.core.ports.random import Random
from moatmail.core.ports.resolver import Answer


class NoRouteError(PermanentError):
    """The domain takes no mail, and that will not change by waiting: bounce at once."""


def order(domain: str, answer: Answer, own: str, random: Random) -> tuple[str, ...]:
    """Give the mail hosts of `domain`, best first, equals shuffled; `own` is our name.

    Raises NoRouteError for a null MX, a domain that does not exist, or one whose best host is ourselves.
    """
    if not answer.exists:
        raise NoRouteError(f"{domain} does not exist", status="5.1.2", public=f"the domain {domain} does not exist")
    hosts = [record for record in answer.records if isinstance(record, tuple)]
    if not hosts:
        # RFC 5321 §5.1: no MX at all means the domain itself, as if it were its own MX.
        return (domain,)
    usable = [(int(preference), str(host).lower()) for preference, host in hosts if host]
    if not usable:
        # RFC 7505 §4.1: a lone MX with an empty name says "no mail here"; beside others it is a fault of theirs and is skipped.
        raise NoRouteError(f"{domain} has a null MX", status="5.1.10", public=f"the domain {domain} does not take mail (null MX)")
    # RFC 5321 §5.1: where we are a mail host ourselves, those not better than us would only send it back.
    ours = min((preference for preference, host in usable if host == own.lower()), default=None)
    if ours is not None:
        usable = [pair for pair in usable if pair[0] < ours]
        if not usable:
            raise NoRouteError(f"{domain} points to us", status="5.4.6", public=f"the mail host of {domain} is this server, which does not know the domain")
    random.shuffle(usable)
    # RFC 5321 §5.1: lowest preference first; equals in an order of chance to spread the load.
    usable.sort(key=lambda pair: pair[0])
    return tuple(dict.fromkeys(host for _, host in usable))
