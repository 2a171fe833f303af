# SPDX-License-Identifier: Apache-2.0
"""Port Resolver over the DNS: questions to the configured or the system's servers, UDP first and TCP when an answer is cut off.

Obeys RFC 1035 §4.2, RFC 7766 §5 (TCP), RFC 2308 §2 (no such name, no such data), RFC 6840 §5.7 (AD in a question), RFC 7505 §3 (null MX),
RFC 9715 §3 (UDP size).
Must never know what an answer is used for. The DNS library is imported when a resolver is made: only one role needs it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from moatmail.core.limits import net as limits
from moatmail.core.ports.resolver import Answer, DNSError
from moatmail.net.questions import Questions

if TYPE_CHECKING:
    import dns.name

_UDP_SIZE: Final = 1232  # RFC 9715 §3: what passes everywhere without fragments, which can be forged


class DnsResolver(Questions):
    """Asks DNS servers; no answer is kept."""

    def __init__(self, servers: Sequence[str] = (), *, port: int = 53, trusted: bool = False, seconds: float = limits.DNS_SECONDS) -> None:
        """Ask `servers` (addresses), or the system's if none are given; `trusted` says that their AD bit is worth believing.

        A question takes `seconds` at most, over all servers and retries. Raises `DNSError` if the system names no server.
        """
        import dns.asyncresolver  # noqa: PLC0415 - several MiB that only the role `back` needs
        import dns.exception  # noqa: PLC0415
        import dns.flags  # noqa: PLC0415

        try:
            asker = dns.asyncresolver.Resolver(configure=not servers)
        except dns.exception.DNSException as error:
            raise DNSError(f"no DNS server is configured: {error}") from error
        if servers:
            asker.nameservers = list(servers)
            asker.port = port
        asker.use_edns(0, 0, _UDP_SIZE)
        asker.flags = dns.flags.RD | dns.flags.AD  # RFC 6840 §5.7: without AD in the question a server need not tell
        asker.cache = None
        self._asker = asker
        self._trusted = trusted
        self._seconds = seconds
        self._ad = dns.flags.AD

    async def ask(self, kind: str, name: str) -> Answer:
        """Give the records of one kind: A, AAAA, MX, TXT or PTR. Raises `DNSError`."""
        import dns.exception  # noqa: PLC0415
        import dns.resolver  # noqa: PLC0415

        question = _question(name)
        if question is None:  # RFC 1035 §2.3.4: no such name can exist
            return Answer(exists=False)
        form = _FORMS[kind]
        try:
            answer = await self._asker.resolve(question, kind, raise_on_no_answer=False, lifetime=self._seconds)
            records = () if answer.rrset is None else tuple(form(record) for record in itertools.islice(answer.rrset, limits.DNS_RECORDS))
            return Answer(records, authentic=self._authentic(answer.response.flags), ttl=answer.chaining_result.minimum_ttl)
        except dns.resolver.NXDOMAIN as error:
            responses = error.kwargs["responses"].values()  # the library's method for this has no types
            # RFC 2308 §5: how long it may be kept stands in the SOA, which comes with the answer; the library reads it.
            ttl = min((response.resolve_chaining().minimum_ttl for response in responses), default=0)
            return Answer(exists=False, authentic=all(self._authentic(response.flags) for response in responses), ttl=ttl)
        except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
            raise DNSError(f"{name} {kind}: {type(error).__name__}") from error

    def _authentic(self, flags: int) -> bool:
        return self._trusted and bool(flags & self._ad)


def _question(name: str) -> dns.name.Name | None:
    """Give `name` as labels up to the root, so that no search list applies; none if it cannot be one. No escapes are read: they could hide a dot."""
    import dns.exception  # noqa: PLC0415
    import dns.name  # noqa: PLC0415

    try:
        return dns.name.Name([*(label.encode("ascii") for label in name.lower().removesuffix(".").split(".")), b""])
    except (dns.exception.DNSException, UnicodeEncodeError):
        return None


def _host(name: dns.name.Name) -> str:
    """Give a name as the field writes it: lower-case, no trailing dot; the root is the empty text (RFC 7505 §3)."""
    text = name.to_text(omit_final_dot=True).lower()
    return "" if text == "." else text


_FORMS: Final[dict[str, Callable[[Any], object]]] = {
    "A": lambda record: str(record.address),
    "AAAA": lambda record: str(record.address),
    "MX": lambda record: (record.preference, _host(record.exchange)),
    "TXT": lambda record: b"".join(record.strings),
    "PTR": lambda record: _host(record.target),
}
