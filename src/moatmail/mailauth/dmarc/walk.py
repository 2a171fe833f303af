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


class PolicyRecords:
    """The records that one evaluation asks for: walks that meet at a name ask for it once."""

    def __init__(self, resolver: Resolver) -> None:
        """Ask through `resolver`."""
        self._resolver = resolver
        self._known: dict[str, Record | DNSError | None] = {}
        self._lookups: list[Lookup] = []

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        """Give what was asked and what came, each question once."""
        return tuple(self._lookups)

    async def at(self, name: str) -> Record | None:
        """Give the one record of `name`, None where there is not exactly one. Raises `DNSError` (RFC 9989 §4.10 step 2 and 3)."""
        known = self._known[name] if name in self._known else await self._ask(name)
        if isinstance(known, DNSError):
            raise known
        return known

    async def _ask(self, name: str) -> Record | DNSError | None:
        answer: Answer | None = None
        known: Record | DNSError | None
        try:
            answer = await self._resolver.txt(_PREFIX + name)
            known = _only_record(answer)
        except DNSError as error:
            known = error.with_traceback(None)
        if name not in self._known:  # another walk may have asked at the same time
            self._known[name] = known
            self._lookups.append(Lookup("TXT", _PREFIX + name, answer))
        return known


def _only_record(answer: Answer) -> Record | None:
    # RFC 9989 §4.10 step 2 and 3: what is no DMARC record is no matter; of two or more none counts.
    records = [text for text in answer.records if isinstance(text, bytes) and is_record(text)]
    return parse_record(records[0]) if len(records) == 1 else None


@dataclass(slots=True)
class Walk:
    """A walk under way: `found` are names with their record, the longest first; it asks no more than it is told to.

    `failed` is the first name for which no usable answer came: what lies there is not known. The questions of one walk follow each other, since a
    record may end it (RFC 9989 §4.10 step 4); walks of several names go side by side.
    """

    name: str
    records: PolicyRecords
    found: list[tuple[str, Record]] = field(default_factory=list)
    failed: str = ""
    _ahead: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Stand before the name."""
        self._ahead = questions(self.name)[::-1]

    @property
    def whole(self) -> bool:
        """Tell whether nothing is left to ask."""
        return not self._ahead

    async def begin(self) -> Record | None:
        """Ask for the name itself, once; give its record."""
        if self._ahead and self._ahead[-1] == self.name:
            await self._step()
        return self.found[0][1] if self.found and self.found[0][0] == self.name else None

    async def finish(self) -> None:
        """Ask for what is left, until a record says where the organization ends."""
        while self._ahead:
            await self._step()

    async def _step(self) -> None:
        name = self._ahead.pop()
        try:
            record = await self.records.at(name)
        except DNSError:
            self.failed = self.failed or name
            return
        # RFC 9989 §4.10: where nothing counts the walk goes on; psd=n and psd=y end it.
        if record is not None:
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
            if record.suffix is Suffix.YES:
                # Counted on the starting name: whether the name between has a record or was asked for does not matter. A suffix's own name stays as it is.
                return ".".join(self.name.split(".")[-name.count(".") - 2 :])
        # RFC 9989 §11.8: a top level that forgot to say psd=y would make one organization of everybody below it.
        named = [name for name, _ in self.found if "." in name or name == self.name]
        return named[-1] if named else self.name

    def policy(self) -> tuple[str, Record] | None:
        """Give the record that applies and its name: of the name itself, of its organization, of the suffix above that (RFC 9989 §4.10.1)."""
        organization = self.organization
        for name, record in self.found:
            if name in {self.name, organization} or record.suffix is Suffix.YES:
                return name, record
        return None
