# SPDX-License-Identifier: Apache-2.0
"""Tokens and keyed hashes."""

from __future__ import annotations

import re
from hashlib import blake2b

import pytest

from moatmail.crypto import token


def test_tokens_are_opaque_fit_for_a_url_and_never_the_same() -> None:
    made = {token.new_token() for _ in range(500)}
    assert len(made) == 500
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", one) for one in made)


def test_a_token_matches_its_stored_hash_alone() -> None:
    one = token.new_token()
    stored = token.token_hash(one)
    assert one.encode() not in stored
    assert token.token_matches(one, stored)
    assert not token.token_matches(token.new_token(), stored)
    assert not token.token_matches(one, stored[:-1])


def test_keyed_hashes_depend_on_key_kind_and_data() -> None:
    hashes = {
        token.keyed_hash64(key, kind, data) for key in (bytes(32), bytes(range(32))) for kind in (b"word", b"correspondent") for data in (b"", b"a", b"b")
    }
    assert len(hashes) == 12
    assert token.keyed_hash64(bytes(32), b"word", b"a") == token.keyed_hash64(bytes(32), b"word", b"a")


def test_a_64_bit_hash_is_a_signed_number_a_database_can_keep() -> None:
    hashes = [token.keyed_hash64(bytes(32), b"word", b"%d" % number) for number in range(200)]
    assert all(-(2**63) <= one < 2**63 for one in hashes)
    assert any(one < 0 for one in hashes)
    assert hashes[0].to_bytes(8, "big", signed=True) == blake2b(b"0", digest_size=8, key=bytes(32), person=b"word").digest()


@pytest.mark.parametrize("size", [1, 16, 64])
def test_a_keyed_hash_has_the_size_asked_for(size: int) -> None:
    assert len(token.keyed_hash(bytes(32), b"word", b"a", size)) == size


def test_a_kind_over_sixteen_octets_is_refused() -> None:
    with pytest.raises(ValueError):
        token.keyed_hash(bytes(32), b"x" * 17, b"a")
