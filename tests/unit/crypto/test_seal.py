# SPDX-License-Identifier: Apache-2.0
"""Sealed small objects: what opens, and everything that must not."""

from __future__ import annotations

import random
from os import urandom

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import crypto as limits
from moatmail.crypto import seal
from moatmail.crypto.seal import Purpose

KEY = bytes(range(32))
ID = bytes(range(100, 116))
TEXT = b"Received: from a.example by b.example; the eagle lands at dawn\r\n" * 40


@given(plain=st.binary(max_size=3000), owner=st.integers(0, 2**63 - 1), object_id=st.binary(max_size=20), purpose=st.sampled_from(Purpose))
def test_what_was_sealed_opens_to_the_same_octets(plain: bytes, owner: int, object_id: bytes, purpose: Purpose) -> None:
    assert seal.open_sealed(KEY, purpose, owner, object_id, seal.seal(KEY, purpose, owner, object_id, plain)) == plain


def test_a_sealed_object_is_version_key_id_nonce_and_ciphertext_as_the_format_says() -> None:
    sealed = seal.seal(KEY, Purpose.SUMMARY, 7, ID, b"plain")
    secret = HKDFExpand(SHA256(), 36, b"moatmail seal 1 summ").derive(KEY)
    assert sealed[:1] == b"\x01"
    assert sealed[1:5] == secret[32:]
    aad = b"summ" + (7).to_bytes(8, "big") + ID
    assert AESGCM(secret[:32]).decrypt(sealed[5:17], sealed[17:], aad) == b"\x00plain"


def test_text_is_compressed_before_it_is_sealed() -> None:
    assert len(seal.seal(KEY, Purpose.WORDS, 7, ID, TEXT)) < len(TEXT) // 4


def test_what_does_not_shrink_is_sealed_raw() -> None:
    plain = urandom(5000)
    sealed = seal.seal(KEY, Purpose.WORDS, 7, ID, plain)
    assert len(sealed) == 1 + 4 + 12 + 1 + 5000 + 16
    assert seal.open_sealed(KEY, Purpose.WORDS, 7, ID, sealed) == plain


def test_no_plain_octets_show() -> None:
    assert b"eagle" not in seal.seal(KEY, Purpose.SUMMARY, 7, ID, b"the eagle lands")


def test_two_sealings_of_one_object_share_no_nonce_and_no_ciphertext() -> None:
    sealings = [seal.seal(KEY, Purpose.SUMMARY, 7, ID, b"plain") for _ in range(200)]
    assert len({sealed[5:17] for sealed in sealings}) == 200
    assert len({sealed[17:] for sealed in sealings}) == 200


@pytest.mark.parametrize("plain", [b"", b"short", TEXT], ids=["an empty object", "a short object", "a compressed object"])
def test_every_flipped_bit_is_detected(plain: bytes) -> None:
    sealed = seal.seal(KEY, Purpose.SUMMARY, 7, ID, plain)
    for bit in range(len(sealed) * 8):
        damaged = bytearray(sealed)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(SealBrokenError):
            seal.open_sealed(KEY, Purpose.SUMMARY, 7, ID, bytes(damaged))


@pytest.mark.parametrize(
    ("key", "purpose", "owner", "object_id"),
    [
        pytest.param(bytes(32), Purpose.SUMMARY, 7, ID, id="under another key"),
        pytest.param(KEY, Purpose.WORDS, 7, ID, id="as another kind of object"),
        pytest.param(KEY, Purpose.SUMMARY, 8, ID, id="in another account"),
        pytest.param(KEY, Purpose.SUMMARY, 7, bytes(16), id="in another row"),
        pytest.param(KEY, Purpose.SUMMARY, 7, ID[:-1], id="under a shortened id"),
    ],
)
def test_an_object_does_not_open(key: bytes, purpose: Purpose, owner: int, object_id: bytes) -> None:
    sealed = seal.seal(KEY, Purpose.SUMMARY, 7, ID, b"plain")
    with pytest.raises(SealBrokenError):
        seal.open_sealed(key, purpose, owner, object_id, sealed)


def test_every_truncation_and_any_appended_octet_is_detected() -> None:
    sealed = seal.seal(KEY, Purpose.SUMMARY, 7, ID, TEXT)
    for wrong in [sealed[:length] for length in range(len(sealed))] + [sealed + b"\x00", sealed + sealed]:
        with pytest.raises(SealBrokenError):
            seal.open_sealed(KEY, Purpose.SUMMARY, 7, ID, wrong)


@given(st.binary(max_size=300))
def test_any_octets_open_to_an_error_and_nothing_else(octets: bytes) -> None:
    with pytest.raises(SealBrokenError):
        seal.open_sealed(KEY, Purpose.SUMMARY, 7, ID, octets)


def _forge(framed: bytes) -> bytes:
    """Seal framed octets as a process that was taken over could."""
    cipher, key_id = seal.SealKey(KEY).cipher(Purpose.SUMMARY)
    return b"\x01" + key_id + bytes(12) + cipher.encrypt(bytes(12), framed, seal.bind(Purpose.SUMMARY, 7, ID))


@pytest.mark.parametrize(
    "framed",
    [
        pytest.param(b"\x01" + bytes.fromhex("28b52ffda0") + (2**31).to_bytes(4, "little") + bytes(40), id="a frame that claims two gigabytes"),
        pytest.param(b"\x01no frame at all", id="octets that are no frame"),
        pytest.param(b"\x01", id="no octets where a frame should be"),
        pytest.param(b"\x07plain", id="a framing we do not know"),
    ],
)
def test_a_hostile_sealer_cannot_hurt_the_opener(framed: bytes) -> None:
    with pytest.raises(SealBrokenError):
        seal.open_sealed(KEY, Purpose.SUMMARY, 7, ID, _forge(framed))


def test_an_object_that_unpacks_beyond_its_limit_does_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = seal.seal(KEY, Purpose.SUMMARY, 7, ID, TEXT)
    monkeypatch.setattr(limits, "OBJECT_PLAIN_MAX", len(TEXT) - 1)
    with pytest.raises(SealBrokenError):
        seal.open_sealed(KEY, Purpose.SUMMARY, 7, ID, sealed)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError):
        seal.seal(bytes(size), Purpose.SUMMARY, 7, ID, b"plain")
    with pytest.raises(ValueError):
        seal.derive(bytes(size), b"", 32)


def test_every_purpose_is_four_octets_and_its_own() -> None:
    assert {len(purpose.value) for purpose in Purpose} == {4}
    assert len({seal.SealKey(KEY).cipher(purpose)[1] for purpose in Purpose}) == len(Purpose)


def test_the_keys_of_two_purposes_and_of_a_subkey_differ() -> None:
    key = seal.SealKey(KEY)
    assert len({key.subkey(purpose) for purpose in Purpose} | {key.subkey(Purpose.HASH_KEY, b"a"), key.subkey(Purpose.HASH_KEY, b"b")}) == len(Purpose) + 2


def test_ids_sort_by_time_and_are_sixteen_octets() -> None:
    ids = [seal.new_id(now) for now in (0, 1, 255, 256, 1_700_000_000_000, 2**48 - 1)]
    assert ids == sorted(ids)
    assert {len(one) for one in ids} == {16}


def test_ids_of_one_moment_differ() -> None:
    assert len({seal.new_id(5) for _ in range(1000)}) == 1000


def test_a_key_never_shows_itself() -> None:
    key = random.Random(1).randbytes(32)
    assert key.hex() not in repr(seal.SealKey(key))
    assert repr(seal.SealKey(key)) == "SealKey(...)"


def test_the_errors_of_opening_tell_no_secret() -> None:
    with pytest.raises(SealBrokenError) as caught:
        seal.open_sealed(KEY, Purpose.SUMMARY, 7, ID, seal.seal(KEY, Purpose.SUMMARY, 8, ID, b"the eagle"))
    assert "eagle" not in str(caught.value)
    assert KEY.hex() not in str(caught.value)
