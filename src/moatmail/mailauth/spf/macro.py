# SPDX-License-Identifier: Apache-2.0
"""Macros of SPF: texts with holes, and what the holes are filled with.

Obeys RFC 7208 §7 (macros) and §12 (their grammar), RFC 3986 §2.3 (what upper-case letters leave unescaped), RFC 8616 §4 (non-ASCII local-parts).
Must never know mechanisms, records or the DNS: the validated name for `p` is given.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from moatmail.core.limits.mailauth import DNS_NAME_MAX, SPF_TEXT_OCTETS

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 7208 §12: macro-expand and macro-literal; possessive, so that each octet is looked at once.
_TOKEN: Final = re.compile(r"%\{([slodiphcrtv])([0-9]*+)(r?)([.\-+,/_=]*+)\}|%([%_-])|([!-$&-~]++)", re.IGNORECASE)
_EXPLANATION: Final = re.compile(r"%\{([slodiphcrtv])([0-9]*+)(r?)([.\-+,/_=]*+)\}|%([%_-])|([ -$&-~]++)", re.IGNORECASE)
_ONLY_EXPLANATION: Final = frozenset("crt")
_SENDER: Final = frozenset("sl")
_ESCAPES: Final = {"%": "%", "_": " ", "-": "%20"}
# RFC 7208 §12: toplabel = letters, digits and hyphens, no hyphen at an end, not digits alone.
_TOPLABEL: Final = re.compile(r"(?=[0-9-]*+[a-z]|[0-9]++-)[a-z0-9](?:[a-z0-9-]*+(?<!-))?", re.IGNORECASE)


class MacroError(ValueError):
    """The text is outside the grammar of macros (RFC 7208 §7.1)."""


class UnspeakableError(ValueError):
    """The text needs a local-part that no DNS name can hold: what contains it matches nothing (RFC 8616 §4)."""


@dataclass(frozen=True, slots=True)
class Macro:
    """One hole: its letter in lower case, how many parts from the right (0: all), whether reversed, at what split, whether URL-escaped."""

    letter: str
    parts: int = 0
    reverse: bool = False
    delimiters: str = "."
    escape: bool = False


Template = tuple[str | Macro, ...]
"""Texts and holes in turn."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What macros are filled with: `localpart` and `sender_domain` make the sender, `domain` is the one being checked, `now` in epoch seconds."""

    client: IPAddress
    localpart: str
    sender_domain: str
    helo: str
    domain: str
    receiver: str = "unknown"
    now: int = 0


# ---------------------------------------------------------------- grammar


def parse_domain_spec(text: str) -> Template:
    """Read a domain-spec (RFC 7208 §7.1): it ends in a macro or in a dot and a top label. Raises MacroError."""
    template, ends_in_macro = _parse(text, _TOKEN)
    for part in template:
        if isinstance(part, Macro) and part.letter in _ONLY_EXPLANATION:  # RFC 7208 §7.2: for explanations alone
            raise MacroError(f"macro {part.letter} outside an explanation")
    _, dot, top = text.removesuffix(".").rpartition(".")
    if not ends_in_macro and (not dot or _TOPLABEL.fullmatch(top) is None):
        raise MacroError("name without a top label" if text else "no name")
    return template


def parse_macro_string(text: str) -> Template:
    """Read a macro-string (RFC 7208 §7.1), which may be empty. Raises MacroError."""
    return _parse(text, _TOKEN)[0]


def parse_explanation(text: str) -> Template:
    """Read an explain-string, where spaces may stand (RFC 7208 §6.2, §12). Raises MacroError."""
    return _parse(text, _EXPLANATION)[0]


def _parse(text: str, token: re.Pattern[str]) -> tuple[Template, bool]:
    """Give the parts of a text, and whether the last is a macro: %%, %_ and %- count as macros (RFC 7208 §7.1)."""
    found: list[str | Macro] = []
    place = 0
    ends_in_macro = False
    while place < len(text):
        match = token.match(text, place)
        if match is None:
            raise MacroError(f"not allowed: {text[place : place + 8]!r}")
        place = match.end()
        letter, parts, reverse, delimiters, escaped, literal = match.groups()
        ends_in_macro = literal is None
        if letter:
            found.append(Macro(letter.lower(), _count(parts), bool(reverse), delimiters or ".", letter.isupper()))
        else:
            found.append(literal or _ESCAPES[escaped])
    return tuple(found), ends_in_macro


def _count(digits: str) -> int:
    if not digits:
        return 0
    digits = digits.lstrip("0")
    if not digits:  # RFC 7208 §7.3: none of the parts is not a number of parts
        raise MacroError("macro with zero parts")
    return int(digits[:4])  # more than a name has parts is all of them


# ---------------------------------------------------------------- expansion


def needs_validated_name(template: Template) -> bool:
    """Tell whether `p` is among the macros: it costs a lookup (RFC 7208 §7.3)."""
    return any(isinstance(part, Macro) and part.letter == "p" for part in template)


def expand_name(template: Template, facts: Facts, validated: str = "unknown") -> str:
    """Give the name that a domain-spec stands for, at most 253 characters (RFC 7208 §7.3); UnspeakableError."""
    if not facts.localpart.isascii() and any(isinstance(part, Macro) and part.letter in _SENDER for part in template):
        # RFC 8616 §4: a local-part outside ASCII cannot be a label, and no other spelling of it was published either.
        raise UnspeakableError("non-ASCII local-part in a name")
    return shorten(expand(template, facts, validated).removesuffix("."))


def shorten(name: str) -> str:
    """Take labels from the left until `name` is no longer than a name may be (RFC 7208 §7.3)."""
    if len(name) <= DNS_NAME_MAX:
        return name
    dot = name.find(".", len(name) - DNS_NAME_MAX - 1)
    return name[dot + 1 :] if dot >= 0 else name[-DNS_NAME_MAX:]


def expand(template: Template, facts: Facts, validated: str = "unknown") -> str:
    """Fill the holes of a text; what would grow beyond its bound is cut."""
    if len(template) == 1 and isinstance(template[0], str):
        return template[0]
    values = _values(facts, validated)
    made: list[str] = []
    size = 0
    for part in template:
        text = part if isinstance(part, str) else _fill(part, values)
        made.append(text)
        size += len(text)
        if size > SPF_TEXT_OCTETS:
            break
    return "".join(made)[:SPF_TEXT_OCTETS]


def _values(facts: Facts, validated: str) -> Mapping[str, str]:
    """Give what each letter stands for (RFC 7208 §7.2)."""
    four = facts.client.version == 4
    return {
        "s": f"{facts.localpart}@{facts.sender_domain}",
        "l": facts.localpart,
        "o": facts.sender_domain,
        "d": facts.domain,
        # RFC 7208 §7.3: IPv6 as 32 nibbles with dots between them.
        "i": str(facts.client) if four else ".".join(f"{int(facts.client):032X}"),
        "p": validated,
        "v": "in-addr" if four else "ip6",
        "h": facts.helo,
        "c": str(facts.client),
        "r": facts.receiver,
        "t": str(facts.now),
    }


def _fill(macro: Macro, values: Mapping[str, str]) -> str:
    text = values[macro.letter]
    if macro.parts or macro.reverse or macro.delimiters != ".":
        # RFC 7208 §7.3: split at any of the delimiters, turn round, take from the right, join with dots.
        first = macro.delimiters[0]
        for delimiter in set(macro.delimiters):
            text = text.replace(delimiter, first)
        parts = text.split(first)
        if macro.reverse:
            parts.reverse()
        text = ".".join(parts[-macro.parts :])
    return quote(text, safe="") if macro.escape else text  # leaves RFC 3986 §2.3 unreserved
