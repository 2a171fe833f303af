# SPDX-License-Identifier: Apache-2.0
"""DMARC policy records: their tags, what a broken one still says, and the addresses that reports go to.

Obeys RFC 9989 §4.6 to §4.8 (URIs, tags, grammar), §4.10.1 (a bad policy beside a good `rua`), §9.4 and appendix A.6 (historic tags).
Must never know where a record was found or whether it applies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, TypeVar
from urllib.parse import unquote_to_bytes

from moatmail.core.address import Address, AddressError, parse_mailbox
from moatmail.core.limits.mailauth import DMARC_CACHED_OCTETS, DMARC_CACHED_RECORDS, DMARC_RECORD_OCTETS, DMARC_TAGS_MAX, DMARC_URIS_MAX

_BLANKS: Final = b" \t"
# RFC 9989 §4.8: the version is the first tag; its name is a literal without case, its value one with case, blanks may stand round both.
_VERSION: Final = re.compile(rb"[vV][ \t]*+=[ \t]*+DMARC1[ \t]*+(?:;|\Z)")
_URI: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*+:[!-~]++")
_MAILTO: Final = b"mailto:"
_Word = TypeVar("_Word", bound=StrEnum)


class Policy(StrEnum):
    """What a domain asks for messages that fail; in order of strength."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"

    @property
    def strength(self) -> int:
        """Give a number that grows with what is asked."""
        return _STRENGTHS.index(self)

    @property
    def lowered(self) -> Policy:
        """Give the policy one step weaker (RFC 9989 §4.7, t)."""
        return _STRENGTHS[max(0, self.strength - 1)]


_STRENGTHS: Final = (Policy.NONE, Policy.QUARANTINE, Policy.REJECT)


class Suffix(StrEnum):
    """What a record says of its domain: a public suffix, an organization, or nothing (RFC 9989 §4.7, psd)."""

    YES = "y"
    NO = "n"
    UNKNOWN = "u"


@dataclass(frozen=True, slots=True)
class ReportAddress:
    """Where reports may go: the URI with scheme and host in lower case, and the address it stands for."""

    uri: str
    address: Address


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it counts: policies, alignment (True: strict), test mode, addresses.

    `usable` is False where its policy is broken or missing and no `rua` makes up for it: then DMARC does not apply. `problems` says what was dropped.
    """

    text: str
    p: Policy = Policy.NONE
    sp: Policy | None = None
    np: Policy | None = None
    strict_dkim: bool = False
    strict_spf: bool = False
    suffix: Suffix = Suffix.UNKNOWN
    testing: bool = False
    fo: str = "0"
    rua: tuple[ReportAddress, ...] = ()
    ruf: tuple[ReportAddress, ...] = ()
    usable: bool = True
    problems: tuple[str, ...] = ()


def is_record(text: bytes) -> bool:
    """Tell whether a TXT record is a DMARC record at all (RFC 9989 §4.8, §4.10 step 2)."""
    return _VERSION.match(text) is not None


def parse_record(text: bytes) -> Record:
    """Read what `is_record` accepts; a broken tag is dropped alone; never raises (RFC 9989 §4.7)."""
    return _parse_cached(text) if len(text) <= DMARC_CACHED_OCTETS else _parse(text)


def _parse(text: bytes) -> Record:
    tags, problems = _tags(text)
    policies = {name: _word(tags, name, Policy, problems) for name in (b"p", b"sp", b"np")}
    broken = policies[b"p"] is None or any(policies[name] is None and name in tags for name in (b"sp", b"np"))
    uris = _uris(tags.get(b"rua", b""))
    # RFC 9989 §4.10.1: whoever wants reports but wrote a policy that cannot be read gets p=none; without `rua` nothing applies.
    rescued = broken and any(_URI.fullmatch(uri) is not None for uri in uris)
    psd = _word(tags, b"psd", Suffix, problems)
    testing = _word(tags, b"t", _Flag, problems)
    return Record(
        text=text[:DMARC_RECORD_OCTETS].decode("utf-8", "backslashreplace"),
        p=Policy.NONE if broken else policies[b"p"] or Policy.NONE,
        sp=None if broken else policies[b"sp"],
        np=None if broken else policies[b"np"],
        strict_dkim=_word(tags, b"adkim", _Alignment, problems) is _Alignment.STRICT,
        strict_spf=_word(tags, b"aspf", _Alignment, problems) is _Alignment.STRICT,
        suffix=psd or Suffix.UNKNOWN,
        testing=testing is _Flag.YES,
        fo=_failure_options(tags.get(b"fo", b"")),
        rua=_addresses(uris),
        ruf=_addresses(_uris(tags.get(b"ruf", b""))),
        usable=rescued or not broken,
        problems=tuple(problems),
    )


_parse_cached = lru_cache(DMARC_CACHED_RECORDS)(_parse)


class _Flag(StrEnum):
    YES = "y"
    NO = "n"


class _Alignment(StrEnum):
    STRICT = "s"
    RELAXED = "r"


def _tags(text: bytes) -> tuple[dict[bytes, bytes], list[str]]:
    """Split a record; unlike the lists of DKIM a fault spoils one tag only, so the shared reader of tag lists would be too strict here."""
    tags: dict[bytes, bytes] = {}
    problems: list[str] = []
    for part in text[:DMARC_RECORD_OCTETS].split(b";", DMARC_TAGS_MAX)[:DMARC_TAGS_MAX]:
        name, equals, value = part.partition(b"=")
        # RFC 9989 §4.8 writes names as literals, which have no case (RFC 5234 §2.3).
        key = name.strip(_BLANKS).lower()
        if not equals:
            if key:
                problems.append("a tag without a value")
            continue
        # Nothing says which of two equal tags counts; the first does, as an addition at the end is what an attacker or a template makes.
        if key in tags:
            problems.append(f"tag {_shown(key)} stands twice")
            continue
        tags[key] = value.strip(_BLANKS)
    return tags, problems


def _word(tags: dict[bytes, bytes], name: bytes, words: type[_Word], problems: list[str]) -> _Word | None:
    value = tags.get(name)
    if value is None:
        return None
    try:
        return words(value.decode("ascii", "replace").lower())
    except ValueError:
        problems.append(f"tag {_shown(name)} has no known value")
        return None


def _shown(name: bytes) -> str:
    return name[:16].decode("ascii", "backslashreplace")


def _failure_options(value: bytes) -> str:
    """Give the known options of `fo` (RFC 9989 §4.7); "0" where there is none."""
    options = [option.strip(_BLANKS).lower() for option in value.split(b":")]
    return ":".join(dict.fromkeys(option.decode() for option in options if option in {b"0", b"1", b"d", b"s"})) or "0"


def _uris(value: bytes) -> list[bytes]:
    return [uri.strip(_BLANKS) for uri in value.split(b",", DMARC_URIS_MAX)[:DMARC_URIS_MAX]]


def _addresses(uris: list[bytes]) -> tuple[ReportAddress, ...]:
    found = [_report_address(uri) for uri in uris]
    return tuple(dict.fromkeys(one for one in found if one is not None))


def _report_address(uri: bytes) -> ReportAddress | None:
    """Read one URI: mailto alone counts, and what is no address is dropped (RFC 9989 §4.6)."""
    if uri[: len(_MAILTO)].lower() != _MAILTO or _URI.fullmatch(uri) is None:
        return None
    # RFC 9989 appendix C: the size that older records put behind "!" is read over; what follows "?" would be a sender's header field.
    path = uri[len(_MAILTO) :].partition(b"!")[0].partition(b"?")[0]
    localpart, _, host = path.rpartition(b"@")
    if not localpart:
        return None
    try:
        address = parse_mailbox(_quoted(unquote_to_bytes(localpart)) + b"@" + host, utf8=True)
    except AddressError:
        return None
    return None if address.domain.startswith("[") else ReportAddress(f"mailto:{localpart.decode('ascii')}@{address.domain}", address)


def _quoted(localpart: bytes) -> bytes:
    """Give a local-part as a quoted string: what was percent-encoded may be any character (RFC 6068 §2); the parser knows the plain ones again."""
    return b'"' + localpart.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
