# SPDX-License-Identifier: Apache-2.0
"""Records of SPF: which TXT record is one, and what stands in it.

Obeys RFC 7208 §3 (records), §4.5 (selecting), §4.6.1 (terms), §5 and §6 (mechanisms, modifiers), §12 (grammar), RFC 6652 §3 (modifiers we skip).
Must never know what a record says of a client, or the DNS.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from moatmail.core.limits.mailauth import SPF_CACHED_OCTETS, SPF_CACHED_RECORDS, SPF_RECORD_OCTETS
from moatmail.mailauth.result import Result
from moatmail.mailauth.spf.macro import MacroError, Template, parse_domain_spec, parse_macro_string

_VERSION: Final = b"v=spf1"
_QUALIFIERS: Final = {"+": Result.PASS, "-": Result.FAIL, "~": Result.SOFTFAIL, "?": Result.NEUTRAL}
# RFC 7208 §4.6.1: a modifier is known by the equals sign right behind its name.
_MODIFIER: Final = re.compile(r"([a-z][a-z0-9_.-]*+)=", re.IGNORECASE)
_MECHANISM: Final = re.compile(r"([+?~-]?)([a-z][a-z0-9]*+)(.*+)", re.IGNORECASE)
# RFC 7208 §12: dual-cidr-length, without leading zeros.
_LENGTHS: Final = re.compile(r"(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?\Z")
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,2}")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class RecordError(ValueError):
    """The record is outside the grammar: permerror (RFC 7208 §4.6)."""


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One directive: `name` in lower case, the result it gives, its domain (empty: the current one), prefix lengths, or its network."""

    text: str
    name: str
    result: Result
    domain: Template = ()
    length4: int = 32
    length6: int = 128
    network: Network | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What a record says: its mechanisms in order, and where `redirect` and `exp` point (empty: nowhere)."""

    mechanisms: tuple[Mechanism, ...]
    redirect: Template = ()
    explanation: Template = ()


def select(records: Iterable[object]) -> list[bytes]:
    """Give the TXT records that are SPF records: one is right, several a permerror (RFC 7208 §4.5)."""
    # RFC 7208 §4.5, §12: the version without regard to case, then a space or the end.
    return [record for record in records if isinstance(record, bytes) and record[:6].lower() == _VERSION and record[6:7] in {b"", b" "}]


def parse(record: bytes) -> Record:
    """Read a record as `select` gave it. Raises RecordError for any fault anywhere in it (RFC 7208 §4.6)."""
    if len(record) > SPF_RECORD_OCTETS:
        raise RecordError("record too long")
    return _parse_cached(record) if len(record) <= SPF_CACHED_OCTETS else _parse(record)


def _parse(record: bytes) -> Record:
    mechanisms: list[Mechanism] = []
    known: dict[str, Template] = {}
    try:
        text = record[len(_VERSION) :].decode("ascii")
    except UnicodeDecodeError as error:
        raise RecordError("record is not ASCII") from error
    for term in text.split(" "):  # RFC 7208 §12: spaces and nothing else stand between terms
        if not term:
            continue
        try:
            match = _MODIFIER.match(term)
            if match is not None:
                _modifier(match[1].lower(), term[match.end() :], known)
            else:
                mechanisms.append(_mechanism(term))
        except ValueError as error:  # MacroError, RecordError and what ipaddress raises
            raise RecordError(f"{term[:80]}: {error}") from error
    return Record(tuple(mechanisms), known.get("redirect", ()), known.get("exp", ()))


_parse_cached = lru_cache(SPF_CACHED_RECORDS)(_parse)


def _modifier(name: str, value: str, known: dict[str, Template]) -> None:
    if name not in {"redirect", "exp"}:
        # RFC 7208 §6: unknown ones are skipped, but their text must still be a macro-string.
        parse_macro_string(value)
        return
    if name in known:  # RFC 7208 §6: once at most
        raise RecordError(f"{name} twice")
    known[name] = parse_domain_spec(value)


# ---------------------------------------------------------------- mechanisms


def _mechanism(term: str) -> Mechanism:
    match = _MECHANISM.fullmatch(term)
    if match is None:
        raise RecordError("no mechanism")
    name = match[2].lower()
    reader = _READERS.get(name)
    if reader is None:
        raise RecordError("unknown mechanism")
    return reader(term, name, _QUALIFIERS[match[1] or "+"], match[3])


def _all(term: str, name: str, result: Result, rest: str) -> Mechanism:
    if rest:
        raise RecordError("all takes no argument")
    return Mechanism(term, name, result)


def _with_domain(term: str, name: str, result: Result, rest: str) -> Mechanism:
    return Mechanism(term, name, result, _argument(rest))


def _ptr(term: str, name: str, result: Result, rest: str) -> Mechanism:
    return Mechanism(term, name, result, _argument(rest) if rest else ())


def _with_lengths(term: str, name: str, result: Result, rest: str) -> Mechanism:
    match = _LENGTHS.search(rest)
    four, six = (match[1], match[2]) if match is not None else (None, None)
    rest = rest[: match.start()] if match is not None else rest
    return Mechanism(term, name, result, _argument(rest) if rest else (), _bounded(four, 32), _bounded(six, 128))


def _ip4(term: str, name: str, result: Result, rest: str) -> Mechanism:
    address, slash, length = _value(rest).partition("/")
    return Mechanism(term, name, result, network=ipaddress.IPv4Network((ipaddress.IPv4Address(address), _prefix(slash, length, 32)), strict=False))


def _ip6(term: str, name: str, result: Result, rest: str) -> Mechanism:
    address, slash, length = _value(rest).partition("/")
    if "%" in address:
        raise RecordError("address with a zone")
    return Mechanism(term, name, result, network=ipaddress.IPv6Network((ipaddress.IPv6Address(address), _prefix(slash, length, 128)), strict=False))


_READERS: Final[dict[str, Callable[[str, str, Result, str], Mechanism]]] = {
    "all": _all,
    "include": _with_domain,
    "a": _with_lengths,
    "mx": _with_lengths,
    "ptr": _ptr,
    "ip4": _ip4,
    "ip6": _ip6,
    "exists": _with_domain,
}


def _value(rest: str) -> str:
    if rest[:1] != ":":
        raise RecordError("colon and value are missing")
    return rest[1:]


def _argument(rest: str) -> Template:
    try:
        return parse_domain_spec(_value(rest))
    except MacroError as error:
        if rest[-1:].isdigit() and rest.count(".") == 3:  # what people write for ip4:
            raise RecordError("an IP address where a name belongs; ip4: was meant") from error
        raise


def _prefix(slash: str, length: str, most: int) -> int:
    if slash and _LENGTH.fullmatch(length) is None:
        raise RecordError("no prefix length")
    return _bounded(length if slash else None, most)


def _bounded(length: str | None, most: int) -> int:
    if length is None:
        return most
    if int(length) > most:  # RFC 7208 §5.6 and §12
        raise RecordError("prefix length too large")
    return int(length)
