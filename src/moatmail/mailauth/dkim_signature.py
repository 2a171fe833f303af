# SPDX-License-Identifier: Apache-2.0
"""Signature fields as they are written: the tags that DKIM-Signature, ARC-Message-Signature and ARC-Seal share, each checked before the DNS is asked.

Obeys RFC 6376 §3.5 (tags), §6.1.1 (checks), RFC 8301 §3.1 (no SHA-1), RFC 8463 §3 (ed25519-sha256), RFC 8616 §4 and §5 (U-labels).
Must never know keys, the DNS, or the clock.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from moatmail.core.domain import DomainError, parse_domain
from moatmail.core.limits.mailauth import IDENTITY_MAX, SIGNATURE_FIELD_OCTETS, SIGNED_NAMES_MAX
from moatmail.mailauth.canonical import BodyForm, Canonicalization, SignedHeader
from moatmail.mailauth.dkim_key import key_name
from moatmail.mailauth.dns_name import is_question
from moatmail.mailauth.tags import TagError, Tags, compact, items

ALGORITHMS: Final = {b"rsa-sha256": "rsa", b"ed25519-sha256": "ed25519"}
"""`a=` and the type of key it wants (RFC 8463 §3; RFC 8301 §3.1: not rsa-sha1)."""

Reader = Callable[[Tags], str]
_FORMS: Final = {form.value.encode(): form for form in Canonicalization}
# RFC 6376 §3.1: a selector is made of sub-domains; underscores are outside that grammar, in use, and harmless in a question.
_SELECTOR: Final = re.compile(rb"[a-z0-9_](?:[a-z0-9_-]*+(?<!-))?", re.IGNORECASE)
_NUMBER: Final = re.compile(rb"[0-9]{1,12}")
_LENGTH: Final = re.compile(rb"[0-9]{1,76}")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature field: where it stands, what its tags say; `problem` tells why it cannot be verified (empty: it can).

    `names` are those of `h=` in lower case and in order; domain and selector are A-labels in lower case.
    """

    at: int
    tags: Tags | None = None
    problem: str = ""
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    names: tuple[bytes, ...] = ()
    header_form: Canonicalization = Canonicalization.SIMPLE
    body: BodyForm | None = None
    body_hash: bytes = b""
    signature: bytes = b""
    signed_at: int | None = None
    expires: int | None = None

    @property
    def key_name(self) -> str:
        """Give the name of the key record."""
        return key_name(self.selector, self.domain)

    @property
    def key_kind(self) -> str:
        """Give the type of key that the algorithm wants."""
        return self.algorithm.partition("-")[0]


def read_signature(header: SignedHeader, at: int) -> Signature:
    """Read the DKIM-Signature field at place `at`; whatever is wrong with it becomes its `problem` (RFC 6376 §6.1.1)."""
    value = header.value(at)
    try:
        tags = read_tags(value)
    except TagError as error:
        return Signature(at, problem=str(error))
    try:
        return _signature(at, tags)
    except TagError as error:
        # Who claims to have signed is told where it can be read, so that the result can be understood.
        return Signature(at, tags, str(error), _or_empty(domain_of, tags), _or_empty(selector_of, tags), algorithm=_known_algorithm(tags))


def _signature(at: int, tags: Tags) -> Signature:
    if tags.require(b"v") != b"1":
        raise TagError("version is not 1")
    domain, selector = domain_of(tags), selector_of(tags)
    header_form, body_form = forms_of(tags)
    if b"q" in tags.values and b"dns/txt" not in items(tags.values[b"q"]):
        raise TagError("query method unknown")
    names = names_of(tags)
    if b"from" not in names:
        raise TagError("From is not signed")  # RFC 6376 §5.4
    signed_at, expires = number_of(tags, b"t"), number_of(tags, b"x")
    if signed_at is not None and expires is not None and expires <= signed_at:
        raise TagError("expires before it was signed")  # RFC 6376 §3.5, x=
    return Signature(
        at,
        tags,
        "",
        domain,
        selector,
        identity_of(tags, domain),
        algorithm_of(tags),
        names,
        header_form,
        BodyForm(body_form, length_of(tags)),
        base64_of(tags, b"bh"),
        base64_of(tags, b"b"),
        signed_at,
        expires,
    )


def read_tags(value: bytes) -> Tags:
    """Read the tags of a signature field's raw value; TagError."""
    if len(value) > SIGNATURE_FIELD_OCTETS:
        raise TagError("signature field too long")
    return Tags(value)


def domain_of(tags: Tags) -> str:
    """Give `d=` in lower-case A-labels; TagError for what is no domain name (RFC 6376 §3.5, RFC 8616 §5)."""
    try:
        # Whatever stands in d= becomes a question and later a property of our own: NUL, quotes and parentheses end here.
        domain = parse_domain(compact(tags.require(b"d")), utf8=True)
    except DomainError as error:
        raise TagError("tag d is no domain name") from error
    if "." not in domain:
        raise TagError("tag d is no domain name")  # RFC 6376 §3.5: at least two labels
    return domain


def selector_of(tags: Tags) -> str:
    """Give `s=` in lower-case A-labels; TagError (RFC 6376 §3.1, RFC 8616 §5)."""
    selector = _a_labels(compact(tags.require(b"s")))
    if not is_question(key_name(selector, _or_empty(domain_of, tags) or "invalid")):
        raise TagError("tag s is too long")
    return selector


def _a_labels(octets: bytes) -> str:
    if octets.isascii():
        if not all(_SELECTOR.fullmatch(label) for label in octets.split(b".")):
            raise TagError("tag s is no selector")
        return octets.decode().lower()
    try:
        return parse_domain(octets, utf8=True)
    except DomainError as error:
        raise TagError("tag s is no selector") from error


def identity_of(tags: Tags, domain: str) -> str:
    """Give `i=`, its domain in A-labels, or @ and the domain of `d=`; TagError where it is not at or below that (RFC 6376 §3.5)."""
    value = tags.get(b"i")
    if value is None:
        return f"@{domain}"
    localpart, at, name = compact(value).rpartition(b"@")
    try:
        below = parse_domain(name, utf8=True)
        text = f"{localpart.decode()}@{below}"
    except (DomainError, UnicodeDecodeError) as error:
        raise TagError("tag i is no identity") from error
    if not at or len(text) > IDENTITY_MAX:
        raise TagError("tag i is no identity")
    if below != domain and not below.endswith(f".{domain}"):
        raise TagError("tag i is not within tag d")
    return text


def algorithm_of(tags: Tags) -> str:
    """Give `a=`; TagError for unknown ones and for SHA-1 (RFC 8301 §3.1)."""
    value = tags.require(b"a")
    if value == b"rsa-sha1":
        raise TagError("rsa-sha1 does not count any more")
    if value not in ALGORITHMS:
        raise TagError("algorithm unknown")
    return value.decode()


def _known_algorithm(tags: Tags) -> str:
    value = tags.get(b"a") or b""
    return value.decode() if value in ALGORITHMS or value == b"rsa-sha1" else ""


def forms_of(tags: Tags, default: Canonicalization = Canonicalization.SIMPLE) -> tuple[Canonicalization, Canonicalization]:
    """Give the forms of header and body that `c=` names; without it both are `default`, and a body that it does not name is simple (RFC 6376 §3.5)."""
    value = tags.get(b"c")
    if value is None:
        return default, default
    header, slash, body = compact(value).partition(b"/")
    if header not in _FORMS or (slash and body not in _FORMS):
        raise TagError("canonicalization unknown")
    return _FORMS[header], _FORMS[body] if slash else Canonicalization.SIMPLE


def names_of(tags: Tags) -> tuple[bytes, ...]:
    """Give the names of `h=` in lower case, in order and as often as they stand; TagError if there is no `h=` (RFC 6376 §3.5)."""
    value = tags.get(b"h")
    if value is None:
        raise TagError("tag h is missing")
    names = items(value.lower())
    if len(names) > SIGNED_NAMES_MAX:
        raise TagError("too many names in tag h")
    return names


def number_of(tags: Tags, name: bytes) -> int | None:
    """Give a time in epoch seconds, or None if the tag is missing; TagError (RFC 6376 §3.5, t= and x=)."""
    value = tags.get(name)
    if value is None:
        return None
    if _NUMBER.fullmatch(value) is None:
        raise TagError(f"tag {name.decode()} is no time")
    return int(value)


def length_of(tags: Tags) -> int | None:
    """Give `l=`, or None; TagError (RFC 6376 §3.5)."""
    value = tags.get(b"l")
    if value is None:
        return None
    if _LENGTH.fullmatch(value) is None:
        raise TagError("tag l is no length")
    return int(value)


def base64_of(tags: Tags, name: bytes) -> bytes:
    """Give the octets of a base64 value, white space in it dropped; TagError."""
    try:
        return base64.b64decode(compact(tags.require(name)), validate=True)
    except (binascii.Error, ValueError) as error:
        raise TagError(f"tag {name.decode()} is not base64") from error


def _or_empty(read: Reader, tags: Tags) -> str:
    try:
        return read(tags)
    except TagError:
        return ""
