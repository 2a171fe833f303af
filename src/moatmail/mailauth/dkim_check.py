# SPDX-License-Identifier: Apache-2.0
"""One signature against the keys of its domain and the hash of the body: the part that DKIM and ARC share.

Obeys RFC 6376 §6.1.2 (keys), §6.1.3 (computing), RFC 8301 §3.2 (key sizes), RFC 8601 §2.7.1 (results).
Must never know the order of checks or what a result leads to.
"""

from __future__ import annotations

from moatmail.mailauth.canonical import BodyHashes
from moatmail.mailauth.dkim_key import Key, KeyAnswer
from moatmail.mailauth.dkim_signature import Signature
from moatmail.mailauth.result import Result


class Refused(Exception):  # noqa: N818 - a result on its way, not an error
    """The signature does not count: `result` says how, `reason` why in a few words, `key` which key was tried, if any."""

    def __init__(self, result: Result, reason: str, key: Key | None = None) -> None:
        super().__init__(reason)
        self.result = result
        self.reason = reason
        self.key = key


def usable_keys(signature: Signature, answer: KeyAnswer) -> list[Key]:
    """Give the keys that may have made `signature`; raises Refused where there is none (RFC 6376 §6.1.2)."""
    if answer.problem:
        raise Refused(Result.TEMPERROR if answer.lookup.answer is None else Result.PERMERROR, answer.problem)
    keys = [key for key in answer.keys if not key.problem]
    first = answer.keys[0]
    if not keys:
        raise Refused(Result.PERMERROR, first.problem, first)
    keys = [key for key in keys if key.kind == signature.key_kind]
    if not keys:
        raise Refused(Result.PERMERROR, "key is of another type than the signature", first)
    first = keys[0]
    keys = [key for key in keys if not key.is_weak]
    if not keys:
        raise Refused(Result.FAIL, f"key of {first.bits} bits is too short", first)  # RFC 8301 §3.2
    return keys


def find_key(signature: Signature, keys: list[Key], digest: bytes) -> Key:
    """Give the key that made `signature` over the SHA-256 `digest`; raises Refused where none did."""
    for key in keys:
        if key.verify(signature.signature, digest):
            return key
    raise Refused(Result.FAIL, "signature does not fit what is signed", keys[0])


def check_body(signature: Signature, body: BodyHashes, key: Key) -> None:
    """Compare the hash of the body; raises Refused where it is another (RFC 6376 §6.1.3)."""
    if signature.body is None:
        return
    digest = body.digest(signature.body)
    if digest is None:
        raise Refused(Result.FAIL, "tag l is longer than the body", key)
    if digest != signature.body_hash:
        raise Refused(Result.FAIL, "body is not the one that was signed", key)


def octets_beyond(signature: Signature, body: BodyHashes) -> int:
    """Give how many octets of the canonical body stand behind `l=`."""
    if signature.body is None or signature.body.length is None:
        return 0
    return max(0, body.octets(signature.body.form) - signature.body.length)
