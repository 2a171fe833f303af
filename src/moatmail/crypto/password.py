# SPDX-License-Identifier: Apache-2.0
"""Passwords: how they are prepared, hashed and generated.

Obeys RFC 8265 §4.2 (OpaqueString), RFC 9106 (Argon2id).
Must never know accounts: the one place that judges a login is directory.
"""

from __future__ import annotations

import secrets
import unicodedata
from functools import cache
from typing import Final

from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type, hash_secret, verify_secret

from moatmail.core.errors import PermanentError
from moatmail.core.limits import crypto as limits

_ALPHABET: Final = "23456789abcdefghijkmnpqrstuvwxyz"
_GROUPS: Final = 7
_GROUP_SIZE: Final = 4
# RFC 8264 §9: what the FreeformClass disallows, by general category: controls, surrogates, unassigned.
# Format characters are judged one by one: most are default-ignorable, so two passwords would look alike.
_DISALLOWED: Final = frozenset({"Cc", "Cs", "Cn", "Cf", "Zl", "Zp"})
# RFC 5892 §A.1, §A.2 (CONTEXTJ): joiners carry meaning in several scripts. We admit them anywhere, where the RFC looks at their neighbours:
# joined emoji are passwords people choose.
_JOINERS: Final = frozenset("\u200c\u200d")


class PasswordRefusedError(PermanentError):
    """A password that cannot be set: empty, too long, or with characters that no keyboard repeats reliably."""

    status = "5.7.8"
    public = "this password cannot be used"


def prepare(password: str) -> bytes:
    """Give a password's octets as they are hashed, equal for composed and decomposed forms; raise PasswordRefusedError (RFC 8265 §4.2)."""
    if password.isascii():
        prepared = password
    else:
        # RFC 8265 §4.2.2: no width or case mapping; every blank outside ASCII becomes U+0020; then NFC.
        blanks = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password[: limits.PASSWORD_MAX + 1])
        prepared = unicodedata.normalize("NFC", blanks)
    if not prepared:
        raise PasswordRefusedError("empty", public="the password is empty")
    if len(password) > limits.PASSWORD_MAX:
        raise PasswordRefusedError("too long", public=f"the password is longer than {limits.PASSWORD_MAX} octets")
    if any(unicodedata.category(char) in _DISALLOWED and char not in _JOINERS for char in prepared):
        raise PasswordRefusedError("control or unassigned character", public="the password holds a control or unassigned character")
    octets = prepared.encode()
    if len(octets) > limits.PASSWORD_MAX:
        raise PasswordRefusedError("too long", public=f"the password is longer than {limits.PASSWORD_MAX} octets")
    return octets


def hash_password(password: str) -> bytes:
    """Give the Argon2id hash in its encoded form (about 97 octets); 24 ms and 19 MiB, so run it in a thread; raise PasswordRefusedError."""
    return _hash(prepare(password))


def verify_password(hashed: bytes | None, password: str) -> bool:
    """Tell whether a password is the one that was hashed; as slow where there is no such account (`hashed` is None) or no such password."""
    try:
        octets = prepare(password)
    except PasswordRefusedError:
        # What cannot be set matches nothing, but the time must not tell.
        octets, hashed = b"", None
    try:
        verify_secret(_decoy() if hashed is None else hashed, octets, Type.ID)
    except (VerificationError, InvalidHashError):
        return False
    return hashed is not None


def needs_rehash(hashed: bytes) -> bool:
    """Tell whether a hash was made under other parameters than today's: then hash anew at the next login."""
    return not hashed.startswith(b"$argon2id$v=19$m=%d,t=%d,p=%d$" % (limits.ARGON2_MEMORY_KIB, limits.ARGON2_PASSES, limits.ARGON2_LANES))


def generate_password() -> str:
    """Make a password of 140 random bits in groups a person can read out: no 0, 1, l or o, lower case only."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_SIZE)) for _ in range(_GROUPS))


def warm() -> None:
    """Make the decoy hash before the first login, so that its making does not tell (24 ms)."""
    _decoy()


@cache
def _decoy() -> bytes:
    return _hash(secrets.token_bytes(limits.SALT_SIZE))


def _hash(octets: bytes) -> bytes:
    return hash_secret(
        octets,
        secrets.token_bytes(limits.SALT_SIZE),
        time_cost=limits.ARGON2_PASSES,
        memory_cost=limits.ARGON2_MEMORY_KIB,
        parallelism=limits.ARGON2_LANES,
        hash_len=limits.KEY_SIZE,
        type=Type.ID,
    )
