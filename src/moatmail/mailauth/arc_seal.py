# SPDX-License-Identifier: Apache-2.0
"""Sealing: the three ARC fields that a mediator puts on a message it sends on.

Obeys RFC 8617 §4.1 (fields), §5.1 (sealing), RFC 8601 §2.2 (whose results).
Must never know whether we ought to seal, nor judge the chain: `arc.check_arc` did.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from moatmail.core.limits.mailauth import ARC_INSTANCES_MAX, SIGNED_NAMES_MAX
from moatmail.mailauth.arc import ARCResult
from moatmail.mailauth.arc_chain import MESSAGE_FIELD, RESULTS_FIELD, SEAL_FIELD, sealed_octets
from moatmail.mailauth.canonical import CRLF, Canonicalization, hash_body, relaxed_value
from moatmail.mailauth.result import Result
from moatmail.mailauth.sign import SIGNED_FIELDS, SigningError, SigningKey, TagPairs, sign_field
from moatmail.mailauth.signed import SignedMessage
from moatmail.mailauth.tags import FOLDING

_CHAIN_VALIDATION: Final = {Result.NONE: b"none", Result.PASS: b"pass", Result.FAIL: b"fail"}
# The next sealer's hash holds our b= as it is folded: in one piece, within RFC 5322 §2.1.1, it survives a relay that folds anew.
_WHOLE: Final = 990
_ALLOWED: Final = frozenset((*SIGNED_FIELDS, b"dkim-signature"))
_ASIDE: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|\((?:[^()\\]|\\.)*+\)')  # a quoted string, a comment
_VERDICT: Final = re.compile(rb"[ \t]*+arc[ \t]*+=[ \t]*+([a-z]++)(?![^ \t])")
_RESULTS_SAID: Final = {result.value.encode(): result for result in Result}
_FORBIDDEN: Final = frozenset((RESULTS_FIELD, MESSAGE_FIELD, SEAL_FIELD, b"authentication-results"))


def own_results(message: SignedMessage, authserv_id: bytes) -> bytes:
    """Give what the Authentication-Results fields of `authserv_id` say, joined from the top down, without the id; empty if there are none.

    Only for a message whose foreign fields of that id were removed on arrival (RFC 8601 §5).
    """
    found: list[bytes] = []
    for at in message.header.by_name.get(b"authentication-results", ()):
        name, semicolon, results = relaxed_value(message.header.value(at)).partition(b";")
        # RFC 8601 §2.2: a version may stand behind the id.
        if semicolon and name.split(b" ")[0].lower() == authserv_id.lower():
            found.append(results.strip(FOLDING).strip(b";").strip(FOLDING))
    return b"; ".join(found)


def own_verdict(results: bytes) -> Result | None:
    """Give what `own_results` say of the ARC chain; None where they say nothing, or more than one thing."""
    plain = _ASIDE.sub(b" ", results)
    # RFC 8601 §2.2: method "=" result begins each statement; the version of a method is not one that we write.
    said = [match[1] for part in plain.split(b";") if (match := _VERDICT.match(part)) is not None]
    return _RESULTS_SAID.get(said[0]) if len(said) == 1 else None


@dataclass(frozen=True, slots=True)
class Statement:
    """What a sealer says: its authserv-id, its results (without the id), the time in epoch seconds; `names` (lower case) overrides what is signed."""

    authserv_id: bytes
    results: bytes
    now: int
    names: tuple[bytes, ...] = ()


def seal(message: SignedMessage, body: Iterable[bytes], key: SigningKey, found: ARCResult, said: Statement) -> bytes:
    """Give ARC-Seal, ARC-Message-Signature and ARC-Authentication-Results with their line ends, to be put on top; empty where no set may be added.

    `found` is the chain as it was judged, `body` in pieces. Raises SigningError: a chain that could not be judged, results that do not fit a field.
    """
    if found.result not in _CHAIN_VALIDATION:
        raise SigningError("the ARC chain could not be judged")
    broken = found.result is Result.FAIL
    # RFC 8617 §5.1.2: a chain that a seal calls failed ends there; one without an order has no next number; and fifty are the most.
    if found.sealed_as_failed or (broken and not message.chain.sets) or message.chain.instance >= ARC_INSTANCES_MAX:
        return b""
    instance = b"%d" % (message.chain.instance + 1)
    results = _results_field(instance, said)
    signature = _message_field(message, body, key, instance, said)
    # RFC 8617 §5.1.2: the seal of a failed chain stands for its own set alone.
    hashed = hashlib.sha256(b"" if broken else sealed_octets(message.header, message.chain.sets))
    hashed.update(_relaxed(results) + _relaxed(signature))
    ahead: TagPairs = [(b"a", key.algorithm.encode())]
    rest: TagPairs = [(b"cv", _CHAIN_VALIDATION[found.result]), (b"d", key.domain.encode()), (b"i", instance), *_ending(key, said)]
    return sign_field(key, b"ARC-Seal", (ahead, rest), hashed, _WHOLE) + signature + results


def _results_field(instance: bytes, said: Statement) -> bytes:
    text = said.authserv_id + b"; " + said.results
    if not said.authserv_id or not said.results or text.translate(None, b"\r\n\0") != text:
        raise SigningError("results do not fit a field")
    # Folded between results; the relaxed form is the same either way.
    return b"ARC-Authentication-Results: i=%b; %b\r\n" % (instance, text.replace(b"; ", b";\r\n\t"))


def _message_field(message: SignedMessage, body: Iterable[bytes], key: SigningKey, instance: bytes, said: Statement) -> bytes:
    header = message.header
    names = said.names or tuple(name for name in header.header.names if name in _ALLOWED)
    if _FORBIDDEN.intersection(names) or len(names) > SIGNED_NAMES_MAX:
        raise SigningError("fields that ARC-Message-Signature must not sign, or too many")  # RFC 8617 §4.1.2
    body_hash = base64.b64encode(hash_body(body, Canonicalization.RELAXED))
    hashed = hashlib.sha256(b"".join(header.relaxed(at) for at in header.select(names)))
    rest: TagPairs = [(b"bh", body_hash), (b"c", b"relaxed/relaxed"), (b"d", key.domain.encode()), (b"h", b":".join(names)), (b"i", instance)]
    return sign_field(key, b"ARC-Message-Signature", ([(b"a", key.algorithm.encode())], [*rest, *_ending(key, said)]), hashed, _WHOLE)


def _ending(key: SigningKey, said: Statement) -> TagPairs:
    return [(b"s", key.selector.encode()), (b"t", b"%d" % said.now)]


def _relaxed(field: bytes) -> bytes:
    name, _, value = field.removesuffix(CRLF).partition(b":")
    return b"%b:%b\r\n" % (name.lower(), relaxed_value(value))
