# SPDX-License-Identifier: Apache-2.0
"""Method dkim: every signature of a message verified by itself, with what it covers and what it does not.

Obeys RFC 6376 §6 (verifying), RFC 8301 §3 (algorithms, key sizes), RFC 8463 (Ed25519), RFC 8601 §2.7.1 (results), RFC 6008 (header.b).
Must never know what a signature is worth: alignment, reputation and verdicts are others'.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from moatmail.core.limits.mailauth import SIGNED_AHEAD_SECONDS
from moatmail.core.ports.resolver import Lookup, Resolver
from moatmail.mailauth.dkim_check import Refused, check_body, find_key, octets_beyond, usable_keys
from moatmail.mailauth.dkim_key import Key, KeyAnswer, fetch_keys
from moatmail.mailauth.dkim_signature import Signature
from moatmail.mailauth.result import Result
from moatmail.mailauth.signed import SignedMessage
from moatmail.mailauth.tags import compact

SHOWN_FIELDS: Final = (
    b"from",
    b"reply-to",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
)
"""Fields that change what a reader sees or answers to (RFC 6376 §5.4.1)."""


@dataclass(frozen=True, slots=True)
class DKIMResult:
    """What became of one signature: `result` (RFC 8601 §2.7.1), `reason` in a few words (empty at pass), and the facts behind them.

    `domain` and `selector` are A-labels, checked by grammar; `identity` is `i=` and may hold anything a local part may. `signature` is the value of
    `b=` (RFC 6008 wants its first octets). `covered` are the names of `h=`; `oversigned` those listed more often than they stand, `uncovered` fields a
    reader sees that stand more often than they are covered. `length` is `l=`, `beyond` the octets of the canonical body behind it. `key_bits` is 0
    where there is no key; `testing` says that the domain only tests DKIM; times are epoch seconds.
    """

    result: Result
    reason: str
    domain: str
    selector: str
    identity: str
    algorithm: str
    signature: str
    covered: tuple[str, ...] = ()
    oversigned: tuple[str, ...] = ()
    uncovered: tuple[str, ...] = ()
    length: int | None = None
    beyond: int = 0
    key_bits: int = 0
    testing: bool = False
    signed_at: int | None = None
    expires: int | None = None
    lookup: Lookup | None = None


async def check_dkim(resolver: Resolver, message: SignedMessage, now: float) -> tuple[DKIMResult, ...]:
    """Verify the signatures of `message`, whose body was fed whole; `now` in epoch seconds. Empty: it is not signed. Raises nothing.

    A key that cannot be had now is temperror (RFC 6376 §6.1.2).
    """
    answers = await fetch_keys(resolver, (one.key_name for one in message.signatures if not one.problem))
    results: list[DKIMResult] = []
    for one in message.signatures:
        if results:
            await asyncio.sleep(0)  # one signature is tried with all keys at its name: several are more than one slice of a shared loop
        results.append(_check(message, one, answers.get(one.key_name), now))
    return tuple(results)


def _check(message: SignedMessage, signature: Signature, answer: KeyAnswer | None, now: float) -> DKIMResult:
    if signature.problem or answer is None:
        return _told(message, signature, Result.PERMERROR, signature.problem)
    try:
        key = _verify(message, signature, answer, now)
    except Refused as refused:
        return _told(message, signature, refused.result, refused.reason, refused.key, answer.lookup)
    return _told(message, signature, Result.PASS, "", key, answer.lookup)


def _verify(message: SignedMessage, signature: Signature, answer: KeyAnswer, now: float) -> Key:
    keys = usable_keys(signature, answer)
    # RFC 6376 §3.5, x= and t=: both may be held against a signature, and we do.
    if signature.expires is not None and signature.expires < now:
        raise Refused(Result.FAIL, "signature expired", keys[0])
    if signature.signed_at is not None and signature.signed_at > now + SIGNED_AHEAD_SECONDS:
        raise Refused(Result.FAIL, "signed in the future", keys[0])
    if signature.tags is None:
        raise Refused(Result.PERMERROR, "no tag list")
    check_body(signature, message.body, keys[0])
    key = find_key(signature, keys, message.header.digest(signature.names, signature.at, signature.tags, signature.header_form))
    if key.exact and signature.identity.rpartition("@")[2] != signature.domain:
        raise Refused(Result.PERMERROR, "key is not for domains below its own", key)  # RFC 6376 §3.6.1, t=s
    if beyond := octets_beyond(signature, message.body):
        # RFC 6376 §8.2: what stands behind l= may come from anybody, so the message as it is was signed by nobody.
        raise Refused(Result.POLICY, f"{beyond} octets of the body are not signed", key)
    return key


def _told(message: SignedMessage, signature: Signature, result: Result, reason: str, key: Key | None = None, lookup: Lookup | None = None) -> DKIMResult:
    """Give the result with the facts of the signature, of one that cannot be read as far as it could."""
    listed: dict[bytes, int] = {}
    for name in signature.names:
        listed[name] = listed.get(name, 0) + 1
    standing = message.header.by_name
    raw = signature.tags.get(b"b") if signature.tags is not None else None
    return DKIMResult(
        result,
        reason,
        signature.domain,
        signature.selector,
        signature.identity,
        signature.algorithm,
        compact(raw or b"").decode("ascii", "replace"),
        covered=_texts(signature.names),
        oversigned=_texts(tuple([name for name, count in listed.items() if count > len(standing.get(name, ()))])),
        uncovered=_texts(tuple([name for name in SHOWN_FIELDS if len(standing.get(name, ())) > listed.get(name, 0)])) if not signature.problem else (),
        length=signature.body.length if signature.body is not None else None,
        beyond=octets_beyond(signature, message.body),
        key_bits=key.bits if key is not None else 0,
        testing=key.testing if key is not None else False,
        signed_at=signature.signed_at,
        expires=signature.expires,
        lookup=lookup,
    )


def _texts(names: tuple[bytes, ...]) -> tuple[str, ...]:
    return tuple([name.decode("ascii", "replace") for name in names])
