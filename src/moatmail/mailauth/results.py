# SPDX-License-Identifier: Apache-2.0
"""Authentication-Results as we write it: what each method found, as statements that say nothing in a stranger's words.

Obeys RFC 8601 §2.2 (the field), §2.7 (methods and their properties), RFC 6008 (header.b), RFC 8617 §5.2 (arc), RFC 9989 (policy.dmarc).
Must never know what follows from a result.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, takewhile
from typing import Final

from moatmail.core.domain import DomainError, parse_literal
from moatmail.core.limits.mailauth import DNS_NAME_MAX, RESULT_TEXT_MAX, RESULTS_CACHED, RESULTS_LINE_OCTETS, RESULTS_MAX
from moatmail.mailauth.arc import ARCResult
from moatmail.mailauth.claimed_results import FIELD_NAME, remove_foreign
from moatmail.mailauth.dkim import DKIMResult
from moatmail.mailauth.dmarc.check import DMARCResult
from moatmail.mailauth.dns_name import to_a_labels
from moatmail.mailauth.iprev import IprevResult
from moatmail.mailauth.result import Result
from moatmail.mailauth.spf.check import SPFResult

__all__ = ["Method", "compose", "of_arc", "of_dkim", "of_dmarc", "of_iprev", "of_spf", "remove_foreign"]

Property = tuple[str, str, str]
"""A property of a result: its type (smtp, header, body, policy), its name, its value (RFC 8601 §2.2)."""

# RFC 8601 §2.2: methods, types and properties are keywords, a hyphen and dot beside letters and digits.
_KEYWORD: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*+(?<!-))?")
# RFC 2045 §5.1: a token takes all printable ASCII but these marks.
_TOKEN: Final = re.compile(r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]++")
_AT_DOMAIN: Final = re.compile(r"@[a-z0-9_.-]++")
_PRINTABLE: Final = re.compile(r"[ -~]++")
# What our own sentences are made of: nothing that ends a comment, a string or a statement.
_NOT_OURS: Final = re.compile(r"[^A-Za-z0-9 .,'=_-]++")
# RFC 1035 §2.3.4: labels of 1 to 63 octets; underscores are outside the grammar of hosts, in use, and harmless.
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,62}+(?<!-))?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*+")
# Reasons of DKIM and ARC name tags; all that the standards know have one or two letters, longer ones are a stranger's text.
_LONG_TAG: Final = re.compile(r"\Atag [A-Za-z0-9_]{3,}+")
_SIGNATURE: Final = re.compile(r"[A-Za-z0-9+/]{8,}+={0,2}")
_SIGNATURE_PROPERTY: Final = ("header", "b")
_SIGNATURE_SHOWN: Final = 8
_ALGORITHMS: Final = frozenset(("rsa-sha256", "ed25519-sha256", "rsa-sha1"))


@dataclass(frozen=True, slots=True)
class Method:
    """What one method found: its name, its result, why (in our own words), the properties it looked at, and a remark."""

    name: str
    result: Result
    reason: str = ""
    properties: tuple[Property, ...] = ()
    comment: str = ""


# ---------------------------------------------------------------- writing


def compose(authserv_id: str, methods: Sequence[Method]) -> bytes:
    """Give our Authentication-Results field with its line ends, folded; at most RESULTS_MAX results, `none` where there are none (RFC 8601 §2.2).

    A property that does not fit the grammar is left out. Raises ValueError for an authserv-id or a method that does not.
    """
    head = _value(authserv_id)
    if not head:
        raise ValueError("authserv-id fits no field")
    statements: list[Sequence[str]] = [_words(method) for method in _told_apart(methods[:RESULTS_MAX])] or [["none"]]
    lines = [[FIELD_NAME + ":", head]]
    for words in statements:
        lines[-1][-1] += ";"
        lines.extend(_folded(words))
    return ("\r\n\t".join(" ".join(line) for line in lines) + "\r\n").encode("ascii")


def _folded(words: Iterable[str]) -> list[list[str]]:
    """Share out the words of a statement to lines; a word that is longer than a line has one of its own, all are far below 998 octets."""
    lines: list[list[str]] = []
    room = 0
    for word in words:
        room -= len(word) + 1
        if not lines or room < 0:
            # The tab counts one, and so does the semicolon that may follow.
            lines.append([])
            room = RESULTS_LINE_OCTETS - 2 - len(word)
        lines[-1].append(word)
    return lines


@lru_cache(maxsize=RESULTS_CACHED)
def _words(method: Method) -> tuple[str, ...]:
    """Give the words of a statement: of a client or a domain they are the same from message to message."""
    return tuple(_statement(method))


def _statement(method: Method) -> Iterator[str]:
    if _KEYWORD.fullmatch(method.name) is None:
        raise ValueError("method is no keyword")
    yield f"{method.name}={method.result.value}"
    if method.comment and (comment := _own_words(method.comment)):
        yield from f"({comment})".split(" ")
    if method.reason and (reason := _own_words(_LONG_TAG.sub("a tag", method.reason))):
        yield from f'reason="{reason}"'.split(" ")
    for kind, name, text in method.properties:
        value = _value(text)
        if value and _KEYWORD.fullmatch(kind) is not None and _KEYWORD.fullmatch(name) is not None:
            yield f"{kind}.{name}={value}"


def _own_words(text: str) -> str:
    return " ".join(_NOT_OURS.sub("", text)[:RESULT_TEXT_MAX].split())


def _value(text: str) -> str:
    """Give a value as it is written: bare, quoted, or empty where it cannot be (RFC 8601 §2.2, RFC 2045 §5.1)."""
    if _TOKEN.fullmatch(text) is not None or _AT_DOMAIN.fullmatch(text) is not None:
        return text
    if len(text) > RESULT_TEXT_MAX or _PRINTABLE.fullmatch(text) is None or _NOT_QUOTED.intersection(text):
        return ""
    return f'"{text}"'


# No value of ours has them; in a quoted string they would be lawful and misread by whoever searches with regular expressions.
_NOT_QUOTED: Final = frozenset("\"\\;() '`<>,")


def _told_apart(methods: Sequence[Method]) -> Iterator[Method]:
    """Shorten each `header.b` to its first octets, as many as tell it from the others (RFC 6008 §4)."""
    signatures = sorted({text for method in methods for kind, name, text in method.properties if (kind, name) == _SIGNATURE_PROPERTY})
    shown = _SIGNATURE_SHOWN
    for one, other in pairwise(signatures):
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
        shown = max(shown, min(alike + 1, RESULT_TEXT_MAX))
    for method in methods:
        if all((kind, name) != _SIGNATURE_PROPERTY for kind, name, _ in method.properties):
            yield method
        else:
            yield Method(method.name, method.result, method.reason, tuple([_shortened(one, shown) for one in method.properties]), method.comment)


def _shortened(one: Property, shown: int) -> Property:
    kind, name, text = one
    return (kind, name, text[:shown]) if (kind, name) == _SIGNATURE_PROPERTY else one


# ---------------------------------------------------------------- what each method says


def of_iprev(found: IprevResult) -> Method:
    """Give the statement of iprev (RFC 8601 §2.7.3): the address, which is no stranger's word."""
    return Method("iprev", found.result, properties=_properties(("policy", "iprev", _address(found.client))))


def of_spf(found: SPFResult) -> Method:
    """Give the statement of SPF (RFC 8601 §2.7.2): the domain of the identity, never its local-part."""
    # The record's problem quotes the record, which is its publisher's text: it is told by `explain`, not here.
    return _spf(found.result, found.identity.value, found.domain)


@lru_cache(maxsize=RESULTS_CACHED)
def _spf(result: Result, identity: str, domain: str) -> Method:
    return Method("spf", result, properties=_properties(("smtp", identity, _domain_or_literal(domain))))


def of_dkim(found: DKIMResult) -> Method:
    """Give the statement of one signature (RFC 8601 §2.7.1): domain, selector, algorithm, and the beginning of `b=` (RFC 6008)."""
    domain = _domain(found.domain)
    selector = _domain(found.selector)
    identity = _domain(found.identity.rpartition("@")[2])
    # Whose signature passed must be said with it: a pass of nobody could be taken for anybody's.
    unnamed = found.result is Result.PASS and not (domain and selector)
    return Method(
        "dkim",
        Result.PERMERROR if unnamed else found.result,
        "domain or selector is no name" if unnamed else found.reason,
        _properties(
            ("header", "d", domain),
            # The identity's local-part is the signer's to choose; its domain is told where `d` does not.
            ("header", "i", f"@{identity}" if identity and identity != domain else ""),
            ("header", "s", selector),
            ("header", "a", found.algorithm if found.algorithm in _ALGORITHMS else ""),
            ("header", "b", found.signature if _SIGNATURE.fullmatch(found.signature) is not None else ""),
        ),
    )


def of_arc(found: ARCResult, client: str = "") -> Method:
    """Give the statement of ARC (RFC 8617 §5.2), with the address that delivered where it is given."""
    # RFC 8617 §5.2: 0 says that every message signature holds. We verify the newest, so only a chain of one set lets us say it.
    oldest = "0" if found.result is Result.PASS and found.instance == 1 else ""
    return Method("arc", found.result, found.reason, _properties(("header", "oldest-pass", oldest), ("smtp", "remote-ip", _address(client))))


def of_dmarc(found: DMARCResult, disposition: str) -> Method:
    """Give the statement of DMARC (RFC 8601 §2.7.5, RFC 9989): the Author Domain, the policy that applies; the remark says what we did."""
    record = found.record
    if record is None:
        return Method("dmarc", found.result, properties=_properties(("header", "from", _domain(found.author_domain or ""))), comment=f"dis={disposition}")
    published = {"p": record.p, "sp": record.sp, "np": record.np}
    # RFC 9989 §4.7: what is asked after sp, np and t were looked at, whether or not the message fails.
    policy = found.policy.lowered if found.testing else found.policy
    return Method(
        "dmarc",
        found.result,
        properties=_properties(("header", "from", _domain(found.author_domain or "")), ("policy", "dmarc", policy.value)),
        comment=" ".join([*(f"{tag}={one.value}" for tag, one in published.items() if one is not None), f"dis={disposition}"]),
    )


def _properties(*properties: Property) -> tuple[Property, ...]:
    return tuple(one for one in properties if one[2])


@lru_cache(maxsize=RESULTS_CACHED)
def _domain(text: str) -> str:
    """Give a name in lower-case A-labels, empty where it is none: what a stranger put between the dots must be letters, digits, hyphens, underscores.

    A-labels also where the message is internationalized (RFC 8616 §6 would allow U-labels): a name that only looks like another is then seen.
    """
    name = to_a_labels(text) or ""
    return name if len(name) <= DNS_NAME_MAX and _NAME.fullmatch(name) is not None else ""


def _domain_or_literal(text: str) -> str:
    if not text.startswith("["):
        return _domain(text)
    try:
        literal = parse_literal(text.encode("ascii", "replace"))
    except DomainError:
        return ""
    # RFC 5321 §4.1.3: what is neither IPv6 under its tag nor IPv4, which has no colon, stands under another tag in its owner's words.
    return literal if literal.startswith("[IPv6:") or ":" not in literal else ""


@lru_cache(maxsize=RESULTS_CACHED)
def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    return str(address)
