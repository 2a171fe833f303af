# SPDX-License-Identifier: Apache-2.0
"""A stored verifier as the SASL exchange of every door wants it.

Obeys RFC 5802 §3 (salt, iteration count, StoredKey, ServerKey).
Must never know a password, or which protocol carries the exchange.
"""

from __future__ import annotations

from moatmail.crypto.scram import ScramVerifier as StoredVerifier
from moatmail.directory.login import Verifier
from moatmail.wire.sasl import ScramVerifier


def for_exchange(verifier: Verifier) -> ScramVerifier | None:
    """Give what the engine compares with; None where the account has no verifier (or there is no account: the engine invents one)."""
    if verifier.value is None:
        return None
    stored = StoredVerifier.from_bytes(verifier.value)
    return ScramVerifier(stored.salt, stored.rounds, stored.stored_key, stored.server_key)
