# SPDX-License-Identifier: Apache-2.0
"""Mail addresses: the one parser of the house, and their way back to the wire.

Obeys RFC 5321 §4.1.2 (Mailbox), RFC 6531 §3.3 (UTF-8 in it), RFC 5233 (subaddress).
Must never know header syntax (comments, folding) or which addresses exist.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from moatmail.core.domain import DomainError, domain_for_eyes, parse_domain, parse_literal
from moatmail.core.limits.smtp import LOCALPART_MAX

SUBADDRESS_DELIMITER: Final = "+"

# RFC 5321 §4.1.2: Atom = 1*atext, RFC 6531 §3.3 adds every non-ASCII character; possessive, so never tried twice.
_ATEXT: Final = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]++"
_DOT_STRING: Final = re.compile(rb"%b(?:\.%b)*+" % (_ATEXT, _ATEXT))
# RFC 5321 §4.1.2: Quoted-string of qtextSMTP and quoted-pairSMTP.
_QUOTED: Final = re.compile(rb'"((?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*+)"')
_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)


class AddressError(ValueError):
    """The octets are no Mailbox of RFC 5321 §4.1.2."""


class AddressNeedsUtf8Error(AddressError):
    """The address holds non-ASCII characters where SMTPUTF8 was not agreed (RFC 6531 §3.5: 553 5.6.7)."""


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox: `localpart` unquoted and with its case, `domain` in lower-case A-labels, ``[literal]``, or empty for the bare postmaster."""

    localpart: str
    domain: str

    @property
    def canonical(self) -> Address:
        """Give the address with its local-part in lower case and normal form: the key under which it is looked up."""
        # RFC 5321 §2.4 lets only the receiving host fold case; everything we look up is ours.
        return Address(unicodedata.normalize("NFC", self.localpart.lower()), self.domain)

    @property
    def base(self) -> Address:
        """Give the address without its detail (RFC 5233 §4: `:user`)."""
        return Address(split_subaddress(self.localpart)[0], self.domain)

    @property
    def detail(self) -> str | None:
        """Give what follows the delimiter, None without one (RFC 5233 §4: `:detail`)."""
        return split_subaddress(self.localpart)[1]

    @property
    def is_bare(self) -> bool:
        """Tell whether it is the postmaster without a domain (RFC 5321 §4.1.1.3)."""
        return not self.domain

    @property
    def needs_utf8(self) -> bool:
        """Tell whether it can only travel with SMTPUTF8 (RFC 6531 §3.5)."""
        return not self.localpart.isascii()

    @property
    def wire(self) -> bytes:
        """Give the octets between the angle brackets, the local-part quoted where its characters need it."""
        return str(self).encode("utf-8")

    @property
    def for_eyes(self) -> str:
        """Give the address with the domain in U-labels, for people only."""
        return _join(self.localpart, domain_for_eyes(self.domain))

    def __str__(self) -> str:
        """Give the address as it stands on the wire, as text."""
        return _join(self.localpart, self.domain)


def _join(localpart: str, domain: str) -> str:
    if _DOT_STRING.fullmatch(localpart.encode("utf-8")) is None:
        # RFC 5321 §4.1.2: only the quote and the backslash need the pair.
        localpart = '"' + localpart.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{localpart}@{domain}" if domain else localpart


def split_subaddress(localpart: str, delimiter: str = SUBADDRESS_DELIMITER) -> tuple[str, str | None]:
    """Split a local-part at the first delimiter into user and detail; a leading delimiter splits nothing (RFC 5233 §4)."""
    place = localpart.find(delimiter, 1)
    if place < 0:
        return localpart, None
    return localpart[:place], localpart[place + len(delimiter) :]


def parse_mailbox(text: bytes, *, utf8: bool) -> Address:
    """Parse ``local-part@domain``; raises AddressError, AddressNeedsUtf8Error when only `utf8` is missing (RFC 5321 §4.1.2)."""
    if not utf8 and not text.isascii():
        raise AddressNeedsUtf8Error("address is not ASCII")
    if text[:1] == b'"':
        match = _QUOTED.match(text)
        end = match.end() if match is not None else -1
        raw = _PAIR.sub(rb"\1", match[1]) if match is not None else b""
    else:
        match = _DOT_STRING.match(text)
        end = match.end() if match is not None else -1
        raw = text[:end] if match is not None else b""
    if end < 0 or text[end : end + 1] != b"@":
        raise AddressError("local-part outside the grammar")
    if len(raw) > LOCALPART_MAX:
        raise AddressError("local-part too long")
    return Address(_decode(raw), _parse_host(text[end + 1 :], utf8=utf8))


def _decode(raw: bytes) -> str:
    try:
        localpart = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise AddressError("local-part is not UTF-8") from error
    # RFC 6531 §3.3 leaves C1 controls and line separators in; no address means them, and logs and headers would break.
    if not localpart.isascii() and any(unicodedata.category(char) in {"Cc", "Zl", "Zp"} for char in localpart):
        raise AddressError("local-part holds a control character")
    return localpart


def _parse_host(text: bytes, *, utf8: bool) -> str:
    try:
        return parse_literal(text) if text[:1] == b"[" else parse_domain(text, utf8=utf8)
    except DomainError as error:
        raise AddressError(str(error)) from error
