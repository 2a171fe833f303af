# SPDX-License-Identifier: Apache-2.0
"""Names as DNS questions of sender authentication: what can be asked, and what an internationalized name is asked as.

Obeys RFC 1035 §2.3.4 (lengths), RFC 8616 §4 and §5 (U-labels become A-labels).
Must never know what a name is asked for.
"""

from __future__ import annotations

from moatmail.core.domain import DomainError, parse_domain
from moatmail.core.limits.mailauth import DNS_LABEL_MAX, DNS_NAME_MAX


def to_a_labels(name: str) -> str | None:
    """Give `name` in A-labels, lower-case, without its last dot; None where a U-label is none (RFC 8616 §4)."""
    plain = name.removesuffix(".")
    if plain.isascii():
        return plain.lower()
    try:
        return parse_domain(plain.encode("utf-8", "replace"), utf8=True)
    except DomainError:
        return None


def is_question(name: str) -> bool:
    """Tell whether a DNS question can be made of `name`: ASCII, labels of 1 to 63 octets, 253 in all (RFC 1035 §2.3.4)."""
    plain = name.removesuffix(".")
    if len(plain) > DNS_NAME_MAX or not plain.isascii():
        return False
    labels = plain.split(".")
    return "" not in labels and max(map(len, labels)) <= DNS_LABEL_MAX
