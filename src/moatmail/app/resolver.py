# SPDX-License-Identifier: Apache-2.0
"""The resolver of a process, as `moatmail.toml` wants it.

Obeys no RFC; the resolvers themselves cite theirs.
Must never know who asks.
"""

from __future__ import annotations

from moatmail.app.clock import SystemClock
from moatmail.app.trial_names import ZONE
from moatmail.core.ports.resolver import Lookups
from moatmail.core.settings.start import DNS
from moatmail.net.resolver import DnsResolver
from moatmail.net.resolver_cache import CachingResolver
from moatmail.net.resolver_table import TableResolver


def open_resolver(dns: DNS) -> Lookups:
    """Give a process's one resolver: what it learned serves everything that asks."""
    inner = TableResolver(ZONE) if dns.source == "trial" else DnsResolver(dns.servers if dns.source == "servers" else (), trusted=dns.trusted)
    return CachingResolver(inner, SystemClock())
