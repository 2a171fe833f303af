# SPDX-License-Identifier: Apache-2.0
"""The DNS tree walk: which records stand at a name and above it, and what they make its Organizational Domain.

Obeys RFC 9989 §4.10 (tree walk), §4.10.2 (Organizational Domain), §11.8 (suffixes that forget to say so).
Must never know whose name it is or what passed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from moatmail.core.limits.mailauth import DMARC_QUESTIONS_MAX
from moatmail.core.ports.resolver import Answer, DNSError, Lookup, Resolver
from moatmail.mailauth.dmarc.record import Record, Suffix, is_record, parse_record

_PREFIX: Final = "_dmarc."


def questions(name: str) -> list[str]:
    """Give the names to ask for, from `name` to its top level: at most eight, a long name is followed by its last seven labels (RFC 9989 §4.10)."""
    labels = name.split(".")
    longest = min(len(labels), DMARC_QUESTIONS_MAX) - 1
    return [name, *(".".join(labels[-count:]) for count in range(longest, 0, -1))]


@dataclass(slots=True)
class Walk:
    """A walk under way: `found` are names with their record, the longest first; it asks no more than it is told to.

    `failed` is the first name for which no usable answer came: what lies there is not known.
    """

    name: str
    found: list[tuple[str, Record]] = field(default_factory=list)
    lookups: list[Lookup] = field(default_factory=list)
    failed: str = ""
    _ahead: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin at the name."""
        self._ahead = questions(self.name)[::-1]

    @property
    def own(self) -> Record | None:
        """Give the record of the name itself, if it was found."""
        return self.found[0][1] if self.found and self.found[0][0] == self.name else None

    async def begin(self, resolver: Resolver) -> None:
        """Ask for the name itself, once."""
        if not self.lookups:
            await self._step(resolver)

    async def finish(self, resolver: Resolver) -> None:
        """Ask for what is left, until a record says where the organization ends."""
        while self._ahead:
            await self._step(resolver)

    async def _step(self, resolver: Resolver) -> None:
        name = self._ahead.pop()
        try:
            answer: Answer | None = await resolver.txt(_PREFIX + name)
        except DNSError:
            answer = None
        self.lookups.append(Lookup("TXT", _PREFIX + name, answer))
        if answer is None:
            self.failed = self.failed or name
            return
        # RFC 9989 §4.10 step 2 and 3: what is no DMARC record is no matter; of two or more none counts, and the walk goes on.
        records = [text for text in answer.records if isinstance(text, bytes) and is_record(text)]
        if len(records) != 1:
            return
        record = parse_record(records[0])
        self.found.append((name, record))
        if record.suffix is not Suffix.UNKNOWN:
            self._ahead.clear()

    # ------------------------------------------------------------ what it says; only after `finish`

    @property
    def organization(self) -> str:
        """Give the Organizational Domain (RFC 9989 §4.10.2); of a walk with a failed question it is a guess."""
        for name, record in self.found:
            if record.suffix is Suffix.NO:
                return name
            if record.suffix is Suffix.YES and name != self.name:
                return ".".join(self.name.split(".")[-name.count(".") - 2 :])
        # RFC 9989 §11.8: a top level that forgot to say psd=y would make one organization of everybody below it.
        named = [name for name, _ in self.found if "." in name or name == self.name]
        return named[-1] if named else self.name

    def policy(self) -> tuple[str, Record] | None:
        """Give the record that applies and its name: of the name itself, of its organization, of the suffix above that (RFC 9989 §4.10.1)."""
        organization = self.organization
        places = {name: record for name, record in self.found if name in {self.name, organization} or record.suffix is Suffix.YES}
        return next(iter(places.items()), None)
