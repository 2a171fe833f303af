# SPDX-License-Identifier: Apache-2.0
"""Method arc: whether the chain of a message holds, who sealed it, and what the first sealer saw.

Obeys RFC 8617 §5.2 (validating), RFC 8601 §2.7 (results); structure is judged in `arc_chain`.
Must never know whom we trust: a chain that holds says who vouches, not whether to believe it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from moatmail.core.limits.mailauth import ARC_KEYS_AT_ONCE
from moatmail.core.ports.resolver import Lookup, Resolver
from moatmail.mailauth.arc_chain import ARCSet, seal_digests
from moatmail.mailauth.canonical import relaxed_value
from moatmail.mailauth.dkim_check import Refused, check_body, find_key, octets_beyond, usable_keys
from moatmail.mailauth.dkim_key import KeyAnswer, fetch_keys
from moatmail.mailauth.dkim_signature import Signature
from moatmail.mailauth.result import Result
from moatmail.mailauth.signed import SignedMessage


@dataclass(frozen=True, slots=True)
class Sealer:
    """Who made one set: its instance, the domains of its seal and of its message signature, what it found (on one line, without `i=`)."""

    instance: int
    domain: str
    selector: str
    signed_by: str
    results: bytes


@dataclass(frozen=True, slots=True)
class ARCResult:
    """What became of the chain: none, pass, fail or temperror; why; its sets from the first on (believe them only at pass).

    `failed_at` is the instance where it broke (0: structure, or it holds); `sealed_as_failed` says that a sealer before us found it broken.
    """

    result: Result
    reason: str = ""
    sealers: tuple[Sealer, ...] = ()
    failed_at: int = 0
    sealed_as_failed: bool = False
    lookups: tuple[Lookup, ...] = ()

    @property
    def instance(self) -> int:
        """Give the number of the newest set; 0 for none."""
        return self.sealers[-1].instance if self.sealers else 0


async def check_arc(resolver: Resolver, message: SignedMessage) -> ARCResult:
    """Validate the chain of `message`, whose body was fed whole. Raises nothing; a key that cannot be had now is temperror (RFC 8617 §5.2)."""
    chain = message.chain
    if not chain.fields:
        return ARCResult(Result.NONE)
    sealers = tuple(_sealer(message, one) for one in chain.sets)
    if chain.problem:
        return ARCResult(Result.FAIL, chain.problem, sealers, sealed_as_failed=chain.sealed_as_failed)
    newest = chain.sets[-1].message_signature
    keys = _Keys(resolver, chain.sets)
    instance = chain.instance
    try:
        await keys.fetch(instance, newest.key_name)
        _check_message_signature(message, newest, keys.answers[newest.key_name])
        digests = seal_digests(message.header, chain.sets)
        for instance in range(chain.instance, 0, -1):
            seal = chain.sets[instance - 1].seal.signature
            if seal.key_name not in keys.answers:
                await keys.fetch(instance)
            await asyncio.sleep(0)  # one seal is tried with all keys at its name: fifty are more than one slice of a shared loop
            find_key(seal, usable_keys(seal, keys.answers[seal.key_name]), digests[instance - 1])
    except Refused as refused:
        result = Result.TEMPERROR if refused.result is Result.TEMPERROR else Result.FAIL
        return ARCResult(result, refused.reason, sealers, instance, lookups=keys.lookups)
    return ARCResult(Result.PASS, "", sealers, lookups=keys.lookups)


class _Keys:
    """The keys of a chain, asked for a few sets at a time, the newest first."""

    def __init__(self, resolver: Resolver, sets: Sequence[ARCSet]) -> None:
        self._resolver = resolver
        self._sets = sets
        self.answers: dict[str, KeyAnswer] = {}

    async def fetch(self, instance: int, *more: str) -> None:
        """Ask for the seals' keys of set `instance` and of those before it, and for the keys at `more`."""
        few = self._sets[max(0, instance - ARC_KEYS_AT_ONCE) : instance]
        names = [*more, *(one.seal.signature.key_name for one in reversed(few))]
        self.answers |= await fetch_keys(self._resolver, [name for name in names if name not in self.answers])

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        """Give what was asked."""
        return tuple(answer.lookup for answer in self.answers.values())


def _check_message_signature(message: SignedMessage, signature: Signature, answer: KeyAnswer) -> None:
    keys = usable_keys(signature, answer)
    check_body(signature, message.body, keys[0])
    if signature.tags is None:
        raise Refused(Result.PERMERROR, "no tag list")
    find_key(signature, keys, message.header.digest(signature.names, signature.at, signature.tags, signature.header_form))
    if beyond := octets_beyond(signature, message.body):
        raise Refused(Result.POLICY, f"{beyond} octets of the body are not signed")  # as in DKIM, RFC 6376 §8.2


def _sealer(message: SignedMessage, one: ARCSet) -> Sealer:
    _, _, results = message.header.value(one.results_at).partition(b";")
    return Sealer(one.instance, one.seal.signature.domain, one.seal.signature.selector, one.message_signature.domain, relaxed_value(results))
