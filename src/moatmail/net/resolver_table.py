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

Outcome = str
"""Stands for what happens instead of an answer: "NXDOMAIN", "SERVFAIL" or "TIMEOUT"."""
Zone = Mapping[str, "Mapping[str, Sequence[object] | Outcome] | Outcome"]
"""Name -> type -> records: A, AAAA and CNAME as texts, MX as (preference, host), TXT as a text or a list of texts. A first label ``*`` is a wildcard."""

_CHAIN: Final = 8  # CNAMEs that are followed
_MISSING: Final = "NXDOMAIN"


class TableResolver:
    """Answers from a table; what is not in it does not exist."""

    def __init__(self, zone: Zone, *, authentic: bool = False) -> None:
        """Take the table; `authentic` is what every answer claims of DNSSEC."""
        self._zone = {_plain(name): types for name, types in zone.items()}
        self._authentic = authentic
        # RFC 8020 §2: a name that has only names below it exists, without data.
        self._existing = {above for name in self._zone for above in _upwards(name)}

    async def mx(self, name: str) -> Answer:
        """Give MX records as ``(preference, host)``; the null MX host is the empty text."""
        return self._answer(self._records(name, "MX"), lambda record: (_number(record, 0), _plain(str(_item(record, 1)))))

    async def addresses(self, name: str) -> Answer:
        """Give the A and AAAA records of `name` as texts; one kind is enough if the other has no usable answer."""
        found = [self._records(name, kind) for kind in ("A", "AAAA")]
        answers = [one for one in found if not isinstance(one, str)]
        records = tuple(str(record) for one in answers for record in one)
        if records or not any(one in ("SERVFAIL", "TIMEOUT") for one in found if isinstance(one, str)):
            return Answer(records, bool(answers), self._authentic)
        raise DNSError(f"{name}: {found[0]}/{found[1]}")

    async def txt(self, name: str) -> Answer:
        """Give TXT records, each one octet string joined from its parts."""
        return self._answer(self._records(name, "TXT"), _joined)

    def _answer(self, found: Sequence[object] | Outcome, form: Callable[[object], object]) -> Answer:
        if not isinstance(found, str):
            return Answer(tuple(form(record) for record in found), authentic=self._authentic)
        if found == _MISSING:
            return Answer(exists=False, authentic=self._authentic)
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
    parts = [record] if isinstance(record, str) else record if isinstance(record, Sequence) else []
    return b"".join(str(part).encode() for part in parts)
