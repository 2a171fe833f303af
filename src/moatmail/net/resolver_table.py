# SPDX-License-Identifier: Apache-2.0
"""Port Resolver over a table: names and answers as plain maps, for trial mode and for tests. No socket, no DNS library.

Obeys RFC 1034 §3.6.2 (CNAME), RFC 2308 §2 (no such name, no such data), RFC 4592 §2.2 (wildcards), RFC 7505 §3 (null MX) and
RFC 8020 §2 (a name with names below it exists).
Must never know the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from moatmail.core.ports.resolver import Answer, DNSError
from moatmail.net.questions import Questions

Outcome = str
"""Stands for what happens instead of an answer: "NXDOMAIN", "SERVFAIL" or "TIMEOUT"."""
Zone = Mapping[str, "Mapping[str, Sequence[object] | Outcome] | Outcome"]
"""Name -> type -> records: A, AAAA, PTR and CNAME as texts, MX as (preference, host), TXT as a text or octets, or a list of them.

A first label ``*`` is a wildcard.
"""

_CHAIN: Final = 8  # CNAMEs that are followed
_MISSING: Final = "NXDOMAIN"
_TTL: Final = 300.0


class TableResolver(Questions):
    """Answers from a table; what is not in it does not exist."""

    def __init__(self, zone: Zone, *, authentic: bool = False) -> None:
        """Take the table; `authentic` is what every answer claims of DNSSEC."""
        self._zone = {_plain(name): types for name, types in zone.items()}
        self._authentic = authentic
        # RFC 8020 §2: a name that has only names below it exists, without data.
        self._existing = {above for name in self._zone for above in _upwards(name)}

    async def ask(self, kind: str, name: str) -> Answer:
        """Give the records of one kind: A, AAAA, MX, TXT or PTR. Raises `DNSError` where the table says so."""
        found = self._records(name, kind)
        if not isinstance(found, str):
            return Answer(tuple(_FORMS[kind](record) for record in found), authentic=self._authentic, ttl=_TTL)
        if found == _MISSING:
            return Answer(exists=False, authentic=self._authentic, ttl=_TTL)
        raise DNSError(found)

    def _records(self, name: str, kind: str) -> Sequence[object] | Outcome:
        """Give the records of one type, or the outcome that stands for them, CNAMEs followed."""
        for _ in range(_CHAIN):
            types = self._types(_plain(name))
            if isinstance(types, str):
                return types
            found = types.get(kind, ())
            alias = types.get("CNAME", ())
            if found or not alias:
                return found
            if isinstance(alias, str):
                return alias
            name = str(alias[0])
        return "SERVFAIL"

    def _types(self, name: str) -> Mapping[str, Sequence[object] | Outcome] | Outcome:
        if name in self._zone:
            return self._zone[name]
        if name in self._existing:
            return {}
        for above in _upwards(name)[1:]:
            if (wild := self._zone.get(f"*.{above}")) is not None:
                return wild
            if above in self._existing:  # RFC 4592 §2.2.1: only the closest name above that exists may have the wildcard
                break
        return _MISSING


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _upwards(name: str) -> list[str]:
    """Give the name and every name above it."""
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]


def _item(record: object, at: int) -> object:
    return record[at] if isinstance(record, Sequence) else ""


def _number(record: object, at: int) -> int:
    return int(str(_item(record, at)))


def _joined(record: object) -> bytes:
    parts = [record] if isinstance(record, str | bytes) else record if isinstance(record, Sequence) else []
    return b"".join(part if isinstance(part, bytes) else str(part).encode() for part in parts)


_FORMS: Final[dict[str, Callable[[object], object]]] = {
    "A": str,
    "AAAA": str,
    "MX": lambda record: (_number(record, 0), _plain(str(_item(record, 1)))),
    "TXT": _joined,
    "PTR": lambda record: _plain(str(record)),
}
