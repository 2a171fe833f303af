# SPDX-License-Identifier: Apache-2.0
"""The Author Domain of a message: what its From field says, or why it says nothing that can be judged.

Obeys RFC 9989 §4.2 and §5.3.1 (Author Domain), §11.5 (several From fields or domains), RFC 5322 §3.6.2, RFC 6854 §2 (groups in From).
Must never know DNS, or what follows from a From field that cannot be judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from moatmail.core.address import Address
from moatmail.core.limits.mailauth import AUTHOR_CACHED_OCTETS, AUTHORS_CACHED
from moatmail.core.limits.message import FIELD_OCTETS_MAX
from moatmail.message.addresses import AddressList, Group, Mailbox, read_addresses
from moatmail.message.encoded_word import decode_words
from moatmail.message.header import Header, unfold

_FROM: Final = b"from"
# A line that is no field of RFC 5322 §2.2 but a From field for a reader that skips blanks, controls and what is not ASCII, also between the letters.
# What is skipped in front of the name ends with its line: every line is a beginning of its own, and time stays linear.
_SKIPPED: Final = rb"[^!-~\n]*+"
_HIDDEN_FROM: Final = re.compile(rb"(?:\A|\n)%bf%br%bo%bm[^!-~]*+:" % ((_SKIPPED,) * 4), re.IGNORECASE)
# RFC 5322 §2.2: CR and LF come together, and behind them the line is folded; whoever reads on where another ends reads another name.
_BARE: Final = re.compile(rb"\0|\r(?!\n)|\n(?![ \t])")


class FromProblem(StrEnum):
    """Why a message has no Author Domain; to be told to local policy, which may refuse it."""

    NO_FIELD = "no-field"
    SEVERAL_FIELDS = "several-fields"
    NO_ADDRESS = "no-address"
    NO_DOMAIN = "no-domain"
    SEVERAL_DOMAINS = "several-domains"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Author:
    """What From says: its addresses, their domains (A-labels, each once, in order), and what keeps them from being one Author Domain."""

    addresses: tuple[Address, ...] = ()
    domains: tuple[str, ...] = ()
    problem: FromProblem | None = None

    @property
    def domain(self) -> str | None:
        """Give the Author Domain, None where there is not exactly one that is certain (RFC 9989 §5.3.1)."""
        return self.domains[0] if self.problem is None and self.domains else None


def find_author(header: Header) -> Author:
    """Read the author of a message; never raises."""
    fields = [header.block[start:end] for name, (_, start, end) in zip(header.names, header.spans, strict=True) if name == _FROM]
    return author_of(fields, hidden=_has_hidden_from(header))


def _has_hidden_from(header: Header) -> bool:
    """Tell whether lines that are no fields hold what another reader takes for a From field."""
    place = 0
    for start, _, end in [*header.spans, (len(header.block), 0, 0)]:
        if start > place and _HIDDEN_FROM.search(header.block[place:start]) is not None:
            return True
        place = end + 1
    return False


def author_of(fields: Sequence[bytes], *, hidden: bool = False) -> Author:
    """Read the author from the raw values of all From fields; `hidden` tells of one more that only some readers see. Never raises."""
    # RFC 9989 §11.5: which of several fields a reader shows is unknown, so none of them is the author, be they equal.
    if len(fields) + hidden > 1:
        return Author(problem=FromProblem.SEVERAL_FIELDS)
    if not fields:
        return Author(problem=FromProblem.MALFORMED if hidden else FromProblem.NO_FIELD)
    raw = fields[0].removesuffix(b"\n").removesuffix(b"\r")
    if len(raw) > FIELD_OCTETS_MAX or _BARE.search(raw) is not None:
        return Author(problem=FromProblem.MALFORMED)
    return _read_cached(raw) if len(raw) <= AUTHOR_CACHED_OCTETS else _read(raw)


def _read(raw: bytes) -> Author:
    return _judge(read_addresses(unfold(raw)))


_read_cached = lru_cache(AUTHORS_CACHED)(_read)


def _judge(found: AddressList) -> Author:
    # An address in the place of an unquoted name is shown by some readers: it counts as one more author.
    named = [one for one in _mailboxes(found) if not _is_words(one)] + list(found.in_names)
    addresses = [one.address for one in named]
    read = tuple(address for address in addresses if address is not None)
    domains = tuple(dict.fromkeys(address.domain for address in read if not address.domain.startswith("[")))
    return Author(read, domains, _problem(found, addresses, domains))


def _problem(found: AddressList, addresses: Sequence[Address | None], domains: Sequence[str]) -> FromProblem | None:
    if not found.sound or None in addresses or any(_hides_address(one) for one in _mailboxes(found) if _is_words(one) and (addresses or one.name is not None)):
        return FromProblem.MALFORMED
    if not addresses:
        return FromProblem.NO_ADDRESS
    # RFC 9989 §5.3.1: an address literal names a host, no domain.
    if any(address is not None and address.domain.startswith("[") for address in addresses):
        return FromProblem.SEVERAL_DOMAINS if domains else FromProblem.NO_DOMAIN
    return FromProblem.SEVERAL_DOMAINS if len(domains) > 1 else None


def _mailboxes(found: AddressList) -> list[Mailbox]:
    return [one for entry in found.entries for one in (entry.members if isinstance(entry, Group) else (entry,))]


def _is_words(one: Mailbox) -> bool:
    """Tell whether an entry names no address at all: words, or an empty path."""
    return one.domain is None and (one.route is None or not one.localpart)


def _hides_address(one: Mailbox) -> bool:
    """Tell whether words that are no address look like one to a reader who decodes first (RFC 2047 §5 has it the other way round)."""
    return "@" in decode_words(one.localpart)
