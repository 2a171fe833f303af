# SPDX-License-Identifier: Apache-2.0
"""ARC chains as they are written: sets of three fields, put in order and checked for structure before any key is asked for.

Obeys RFC 8617 §4.1 (fields), §4.2 (instances), §5.1.1 (what a seal covers), §5.2 (structure before cryptography).
Must never know keys, the DNS, or whom we trust.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from moatmail.core.limits.mailauth import ARC_INSTANCES_MAX
from moatmail.mailauth.canonical import BodyForm, Canonicalization, SignedHeader
from moatmail.mailauth.dkim_signature import Signature, algorithm_of, base64_of, domain_of, forms_of, length_of, names_of, number_of, read_tags, selector_of
from moatmail.mailauth.tags import FOLDING, TagError, Tags

RESULTS_FIELD: Final = b"arc-authentication-results"
MESSAGE_FIELD: Final = b"arc-message-signature"
SEAL_FIELD: Final = b"arc-seal"
_FIELDS: Final = (RESULTS_FIELD, MESSAGE_FIELD, SEAL_FIELD)
T = TypeVar("T")
_INSTANCE: Final = re.compile(rb"0*+([1-9][0-9]?)")


@dataclass(frozen=True, slots=True)
class Seal:
    """One ARC-Seal: its signature and what it says of the chain before it, `cv=` ("none", "pass" or "fail")."""

    signature: Signature
    chain_validation: str


@dataclass(frozen=True, slots=True)
class ARCSet:
    """The three fields of one instance; `results_at` is the place of its ARC-Authentication-Results."""

    instance: int
    results_at: int
    message_signature: Signature
    seal: Seal


@dataclass(frozen=True, slots=True)
class Chain:
    """The sets in order of their instances; `problem` tells why the structure is broken (empty: it is sound), `fields` counts the ARC fields.

    `sealed_as_failed` says that a seal in it tells of a failed chain (cv=fail): nobody seals such a one again.
    """

    sets: tuple[ARCSet, ...] = ()
    problem: str = ""
    sealed_as_failed: bool = False
    fields: int = 0

    @property
    def instance(self) -> int:
        """Give the number of the newest set; 0 for none."""
        return self.sets[-1].instance if self.sets else 0


def read_chain(header: SignedHeader) -> Chain:
    """Read all ARC fields of a header block; whatever is wrong becomes the chain's `problem` (RFC 8617 §5.2)."""
    found = {name: header.by_name.get(name, []) for name in _FIELDS}
    counts = [len(places) for places in found.values()]
    if not any(counts):
        return Chain()
    fields = sum(counts)
    if max(counts) > ARC_INSTANCES_MAX:
        return Chain(problem="too many sets", fields=fields)  # RFC 8617 §4.2.1
    try:
        sets = _sets(header, found)
        failed = any(one.seal.chain_validation == "fail" for one in sets)
        # RFC 8617 §5.2: only none at the first, only pass behind it.
        if not failed and any(one.seal.chain_validation != ("pass" if one.instance > 1 else "none") for one in sets):
            return Chain(sets, "cv does not fit its place", fields=fields)
        return Chain(sets, "a seal tells of a failed chain" if failed else "", failed, fields)
    except TagError as error:
        return Chain(problem=str(error), fields=fields)


def _sets(header: SignedHeader, found: dict[bytes, list[int]]) -> tuple[ARCSet, ...]:
    results = _by_instance([(_results_instance(header.value(at)), at) for at in found[RESULTS_FIELD]])
    signatures = _by_instance([_message_signature(at, read_tags(header.value(at))) for at in found[MESSAGE_FIELD]])
    seals = _by_instance([_seal(at, read_tags(header.value(at))) for at in found[SEAL_FIELD]])
    # RFC 8617 §4.2.1: 1 to N without gaps, each with its three fields.
    if not results.keys() == signatures.keys() == seals.keys() == set(range(1, len(seals) + 1)):
        raise TagError("sets are not complete")
    return tuple(ARCSet(number, results[number], signatures[number], seals[number]) for number in range(1, len(seals) + 1))


def _by_instance(pairs: list[tuple[int, T]]) -> dict[int, T]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise TagError("an instance stands twice")
    return found


def _instance(value: bytes) -> int:
    match = _INSTANCE.fullmatch(value)
    if match is None or int(match[1]) > ARC_INSTANCES_MAX:
        raise TagError("tag i is no instance")
    return int(match[1])


def _results_instance(value: bytes) -> int:
    # RFC 8617 §4.1.1: the instance stands first, a semicolon ends it, the rest is Authentication-Results.
    head, semicolon, _ = value.partition(b";")
    name, equals, number = head.partition(b"=")
    if not semicolon or not equals or name.strip(FOLDING) != b"i":
        raise TagError("tag i is missing in ARC-Authentication-Results")
    return _instance(number.strip(FOLDING))


def _message_signature(at: int, tags: Tags) -> tuple[int, Signature]:
    # What c= means where it is missing RFC 8617 leaves open; its published tests and the signers in use take relaxed.
    header_form, body_form = forms_of(tags, Canonicalization.RELAXED)
    names = names_of(tags)
    if SEAL_FIELD in names:
        raise TagError("ARC-Seal is signed by ARC-Message-Signature")  # RFC 8617 §4.1.2
    signature = replace(_common(at, tags), names=names, header_form=header_form, body=BodyForm(body_form, length_of(tags)), body_hash=base64_of(tags, b"bh"))
    return _instance(tags.require(b"i")), signature


def _seal(at: int, tags: Tags) -> tuple[int, Seal]:
    # RFC 8617 §4.1.3: what a seal covers is fixed, h= in it makes the chain fail.
    if b"h" in tags.values:
        raise TagError("tag h stands in ARC-Seal")
    validation = tags.require(b"cv")
    if validation not in {b"none", b"pass", b"fail"}:
        raise TagError("tag cv is unknown")
    return _instance(tags.require(b"i")), Seal(_common(at, tags), validation.decode())


def _common(at: int, tags: Tags) -> Signature:
    return Signature(
        at, tags, "", domain_of(tags), selector_of(tags), algorithm=algorithm_of(tags), signature=base64_of(tags, b"b"), signed_at=number_of(tags, b"t")
    )


def seal_digests(header: SignedHeader, sets: tuple[ARCSet, ...]) -> list[bytes]:
    """Give for each set the SHA-256 that its seal signs: all sets before it, then its own, itself without `b=` (RFC 8617 §5.1.1)."""
    running = hashlib.sha256()
    digests: list[bytes] = []
    for one in sets:
        running.update(header.relaxed(one.results_at))
        running.update(header.relaxed(one.message_signature.at))
        seal = one.seal.signature
        own = running.copy()  # each set is hashed once, however long the chain
        own.update(header.unsigned(seal.at, seal.tags or Tags(b""), Canonicalization.RELAXED))
        digests.append(own.digest())
        running.update(header.relaxed(seal.at))
    return digests


def sealed_octets(header: SignedHeader, sets: tuple[ARCSet, ...]) -> bytes:
    """Give what the fields of `sets` are in the hash of a seal behind them (RFC 8617 §5.1.1)."""
    return b"".join(header.relaxed(at) for one in sets for at in (one.results_at, one.message_signature.at, one.seal.signature.at))
