# SPDX-License-Identifier: Apache-2.0
"""Domain names: A-labels in storage, U-labels for eyes, and address literals.

Obeys RFC 5321 §4.1.2 and §4.1.3 (Domain, address-literal), RFC 5890-5893 (IDNA2008, registration rules without the script tables).
Must never know DNS: whether a name exists is nobody's business here.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from typing import Final

from moatmail.core.limits.smtp import DOMAIN_MAX, LABEL_MAX

_LABEL: Final = re.compile(rb"[a-z0-9](?:[a-z0-9-]*+(?<!-))?", re.IGNORECASE)
_TAGGED: Final = re.compile(rb"[a-z0-9](?:[a-z0-9-]*+(?<!-))?:[!-Z^-~]++", re.IGNORECASE)
_ACE: Final = "xn--"

# RFC 5892 §2.6: code points whose class the general rules would get wrong.
_ALWAYS: Final = frozenset("\u00df\u03c2\u06fd\u06fe\u0f0b\u3007")
_NEVER: Final = frozenset("\u0640\u07fa\u302e\u302f\u3031\u3032\u3033\u3034\u3035\u303b")
_ARABIC_DIGITS: Final = frozenset(map(chr, range(0x660, 0x66A)))
_EXTENDED_DIGITS: Final = frozenset(map(chr, range(0x6F0, 0x6FA)))
# RFC 5892 §2.1: letters, digits and marks.
_LETTER_DIGITS: Final = frozenset({"Ll", "Lo", "Nd", "Lm", "Mn", "Mc"})
# RFC 5893 §2: rules 2 and 3.
_RTL_ALLOWED: Final = frozenset({"R", "AL", "AN", "EN", "ES", "CS", "ET", "ON", "BN", "NSM"})
_RTL_END: Final = frozenset({"R", "AL", "EN", "AN"})


class DomainError(ValueError):
    """The octets are no domain name and no address literal."""


def parse_domain(text: bytes, *, utf8: bool) -> str:
    """Give the domain in lower-case A-labels; U-labels are taken if `utf8`; DomainError (RFC 5321 §4.1.2, RFC 6531 §3.3)."""
    if not text.isascii():
        if not utf8:
            raise DomainError("domain is not ASCII")
        return _from_u_labels(text)
    if not 0 < len(text) <= DOMAIN_MAX:
        raise DomainError("domain is empty or too long")
    for label in text.split(b"."):
        if len(label) > LABEL_MAX or _LABEL.fullmatch(label) is None:
            raise DomainError("domain has a label outside the grammar")
    return text.decode("ascii").lower()


def _from_u_labels(text: bytes) -> str:
    try:
        # RFC 5895 §2: width, case and the ideographic full stop are what people type, not what they mean.
        name = unicodedata.normalize("NFC", text.decode("utf-8").lower()).replace("\u3002", ".")
    except UnicodeDecodeError as error:
        raise DomainError("domain is not UTF-8") from error
    if len(name) > DOMAIN_MAX:
        raise DomainError("domain is too long")
    encoded = ".".join(_to_a_label(label) for label in name.split("."))
    return parse_domain(encoded.encode("ascii"), utf8=False)


def _to_a_label(label: str) -> str:
    if label.isascii():
        return label
    if len(label) > LABEL_MAX or not _is_u_label(label):
        raise DomainError("label outside IDNA2008")
    return _ACE + label.encode("punycode").decode("ascii")


def _is_u_label(label: str) -> bool:
    # RFC 5891 §4.2.3: hyphens, leading marks, code points and direction.
    if label[0] == "-" or label[-1] == "-" or label[2:4] == "--":
        return False
    if unicodedata.category(label[0]).startswith("M"):
        return False
    if not all(_admits(char, label, place) for place, char in enumerate(label)):
        return False
    return _direction_is_sound(label)


def _admits(char: str, label: str, place: int) -> bool:
    """Tell whether `char` may stand at `place` (RFC 5892 §3 with the context rules of appendix A that need no script tables)."""
    if char in _NEVER or 0x1100 <= ord(char) <= 0x11FF:
        return False
    if char.isascii():
        return char.isdigit() or char == "-" or "a" <= char <= "z"
    if char in _CONTEXT:
        return _CONTEXT[char](label, place)
    # RFC 5892 §2.2: what folding or compatibility would change has another name.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", char).casefold())
    return char in _ALWAYS or (unicodedata.category(char) in _LETTER_DIGITS and folded == char)


def _stands_between_l(label: str, place: int) -> bool:
    return label[place - 1 : place] == "l" == label[place + 1 : place + 2]


def _is_japanese(label: str, _place: int) -> bool:
    return any(unicodedata.name(other, "").startswith(("HIRAGANA", "KATAKANA LETTER", "CJK")) for other in label)


def _has_no_extended_digit(label: str, _place: int) -> bool:
    return _EXTENDED_DIGITS.isdisjoint(label)


def _has_no_arabic_digit(label: str, _place: int) -> bool:
    return _ARABIC_DIGITS.isdisjoint(label)


_CONTEXT: Final[dict[str, Callable[[str, int], bool]]] = {
    "\u00b7": _stands_between_l,
    "\u30fb": _is_japanese,
    **dict.fromkeys(_ARABIC_DIGITS, _has_no_extended_digit),
    **dict.fromkeys(_EXTENDED_DIGITS, _has_no_arabic_digit),
}


def _direction_is_sound(label: str) -> bool:
    classes = [unicodedata.bidirectional(char) for char in label]
    if not {"R", "AL", "AN"}.intersection(classes):
        return True
    trailing = next((one for one in reversed(classes) if one != "NSM"), "")
    return classes[0] in {"R", "AL"} and _RTL_ALLOWED.issuperset(classes) and trailing in _RTL_END and not {"EN", "AN"}.issubset(classes)


def domain_for_eyes(domain: str) -> str:
    """Give the domain in U-labels; a label that is no honest A-label stays as it is (RFC 5891 §5.4)."""
    return ".".join(_to_u_label(label) for label in domain.split("."))


def _to_u_label(label: str) -> str:
    if not label.startswith(_ACE):
        return label
    try:
        decoded = label[len(_ACE) :].encode("ascii").decode("punycode")
        honest = bool(decoded) and _to_a_label(decoded) == label
    except (UnicodeError, DomainError, OverflowError):
        return label
    return decoded if honest else label


def parse_literal(text: bytes) -> str:
    """Give an address literal with its brackets, IP addresses in their canonical form; DomainError (RFC 5321 §4.1.3)."""
    if len(text) > DOMAIN_MAX or not text.isascii() or text[:1] != b"[" or text[-1:] != b"]":
        raise DomainError("no address literal")
    inner = text[1:-1]
    try:
        # RFC 5321 §4.1.3: the tag is a name without case, and every textual form of RFC 4291 §2.2 counts.
        if inner[:5].lower() == b"ipv6:":
            six = ipaddress.IPv6Address(inner[5:].decode("ascii"))
            if six.scope_id is not None:
                raise DomainError("address literal with a zone")
            # RFC 4291 §2.2: one of its two forms for mapped addresses; Python changed its mind about which in 3.13.
            return f"[IPv6:::ffff:{six.ipv4_mapped}]" if six.ipv4_mapped else f"[IPv6:{six}]"
        if b":" not in inner:
            return f"[{ipaddress.IPv4Address(inner.decode('ascii'))}]"
    except ipaddress.AddressValueError as error:
        raise DomainError("no IP address in the literal") from error
    if _TAGGED.fullmatch(inner) is None:
        raise DomainError("no general address literal")
    return f"[{inner.decode('ascii')}]"
