# SPDX-License-Identifier: Apache-2.0
"""SCRAM-SHA-256 verifiers: made from a password, kept as text, asked for a proof.

Obeys RFC 5802, RFC 7677, RFC 5803 (the text form), RFC 4013 (SASLprep).
Must never know the dialogue: messages and channel binding are wire's.
"""

from __future__ import annotations

import hmac
import stringprep
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import pbkdf2_hmac, sha256
from os import urandom
from typing import Final

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import crypto as limits
from moatmail.crypto.password import prepare

_MECHANISM: Final = b"SCRAM-SHA-256"
_HASH_SIZE: Final = 32
_SALT_MAX: Final = 64
# RFC 4013 §2.3: prohibited output.
_PROHIBITED: Final[tuple[Callable[[str], bool], ...]] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """What a server keeps of a password for SCRAM-SHA-256: with it a client's proof is checked and the server proves itself (RFC 5802 §3)."""

    salt: bytes
    rounds: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def check(self, auth_message: bytes, client_proof: bytes) -> bytes | None:
        """Give the server's signature (32 octets) if the client's proof is right, else None; takes the same time for both."""
        if len(client_proof) != _HASH_SIZE:
            return None
        # RFC 5802 §3: ClientKey = ClientProof xor ClientSignature, and H(ClientKey) must be the StoredKey.
        signature = hmac.digest(self.stored_key, auth_message, "sha256")
        client_key = (int.from_bytes(client_proof, "big") ^ int.from_bytes(signature, "big")).to_bytes(_HASH_SIZE, "big")
        if not hmac.compare_digest(sha256(client_key).digest(), self.stored_key):
            return None
        return hmac.digest(self.server_key, auth_message, "sha256")

    def to_bytes(self) -> bytes:
        """Give the text form to seal: ``SCRAM-SHA-256$rounds:salt$StoredKey:ServerKey`` (RFC 5803 §2)."""
        return b"%s$%d:%s$%s:%s" % (_MECHANISM, self.rounds, b64encode(self.salt), b64encode(self.stored_key), b64encode(self.server_key))

    @classmethod
    def from_bytes(cls, text: bytes) -> ScramVerifier:
        """Read the text form; raise SealBrokenError if it is none."""
        try:
            mechanism, work, keys = text.split(b"$")
            rounds, salt = work.split(b":")
            stored_key, server_key = (b64decode(key, validate=True) for key in keys.split(b":"))
            verifier = cls(b64decode(salt, validate=True), int(rounds), stored_key, server_key)
        except ValueError as fault:
            raise SealBrokenError("a SCRAM verifier is damaged") from fault
        if mechanism != _MECHANISM or not verifier._sound():
            raise SealBrokenError("a SCRAM verifier of a kind we do not know")
        return verifier

    def _sound(self) -> bool:
        sizes = len(self.stored_key) == len(self.server_key) == _HASH_SIZE and 0 < len(self.salt) <= _SALT_MAX
        # RFC 7677 §4: never fewer than 4,096 rounds.
        return sizes and limits.SCRAM_ROUNDS_GENERATED <= self.rounds <= limits.SCRAM_ROUNDS_MAX


def make_verifier(password: str, rounds: int = limits.SCRAM_ROUNDS_HUMAN, salt: bytes | None = None) -> ScramVerifier:
    """Make the verifier of a password (15 ms at 65,536 rounds: in a thread); raise PasswordRefusedError."""
    salt = urandom(limits.SALT_SIZE) if salt is None else salt
    salted = pbkdf2_hmac("sha256", prepare_scram(password), salt, rounds)
    # RFC 5802 §3: both keys come from the salted password under their own label.
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return ScramVerifier(salt, rounds, sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256"))


def decoy_verifier(hash_key: bytes, account_name: bytes) -> ScramVerifier:
    """Make a verifier that no proof satisfies, the same for each name asked again: an unknown account must look like a known one (RFC 5802 §9)."""
    salt, stored_key, server_key = (hmac.digest(hash_key, label + account_name, "sha256") for label in (b"salt ", b"stored ", b"server "))
    return ScramVerifier(salt[: limits.SALT_SIZE], limits.SCRAM_ROUNDS_HUMAN, stored_key, server_key)


def prepare_scram(password: str) -> bytes:
    """Give a password's octets as SCRAM clients salt them; raise PasswordRefusedError.

    SASLprep where it admits the password (RFC 5802 §5.1); else, for signs younger than Unicode 3.2, its OpaqueString form (RFC 8265), as clients do.
    """
    opaque = prepare(password)
    if opaque.isascii():
        return opaque
    prepared = _saslprep(password)
    return opaque if prepared is None else prepared.encode()


def _saslprep(password: str) -> str | None:
    """Give the SASLprep form (RFC 4013 §2), or None where the profile admits none."""
    # RFC 4013 §2.1: blanks become U+0020, what is commonly mapped to nothing goes.
    mapped = "".join(" " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char))
    # RFC 4013 §2.2: NFKC, of the Unicode version the profile is written for.
    text = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if not text or any(prohibited(char) for char in text for prohibited in _PROHIBITED):
        return None
    # RFC 3454 §6: text with a right-to-left letter begins and ends with one, and holds no left-to-right letter.
    if any(map(stringprep.in_table_d1, text)):
        ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
        if not ends or any(map(stringprep.in_table_d2, text)):
            return None
    return text
