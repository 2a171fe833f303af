# SPDX-License-Identifier: Apache-2.0
"""Passwords and SCRAM verifiers."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from hashlib import pbkdf2_hmac

import pytest
from argon2.low_level import Type, verify_secret
from scramp import ScramClient

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import crypto as limits
from moatmail.crypto import password, scram
from moatmail.crypto.password import PasswordRefusedError
from moatmail.crypto.scram import ScramVerifier

HASHED = password.hash_password("Ångström pässword")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("\u00e9t\u00e9", "e\u0301te\u0301", id="composed and decomposed letters"),
        pytest.param("a\u00a0b", "a b", id="a no-break space and a space"),
        pytest.param("a\u3000b", "a b", id="an ideographic space and a space"),
        pytest.param("\u212b", "\u00c5", id="the ångström sign and the letter"),
    ],
)
def test_forms_of_one_password_agree(one: str, other: str) -> None:
    assert password.prepare(one) == password.prepare(other)
    assert scram.prepare_scram(one) == scram.prepare_scram(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("secret", "Secret", id="case"),
        pytest.param("\uff41", "a", id="full width"),
        pytest.param("a  b", "a b", id="number of blanks"),
        pytest.param(" a", "a", id="a leading blank"),
    ],
)
def test_different_passwords_stay_different(one: str, other: str) -> None:
    assert password.prepare(one) != password.prepare(other)


@pytest.mark.parametrize("text", ["correct horse battery staple", "π", "💙🔒", "👩\u200d💻", "ÜberMühe", " leading", "日本語"])
def test_a_password_is_admitted(text: str) -> None:
    assert password.prepare(text)
    assert scram.prepare_scram(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("a\x00b", id="NUL"),
        pytest.param("tab\tbed", id="a control"),
        pytest.param("del\x7f", id="DEL"),
        pytest.param("a\u0378b", id="an unassigned code point"),
        pytest.param("a\ud800b", id="a lone surrogate"),
        pytest.param("a\u202eb", id="a direction override"),
        pytest.param("a\ufffe", id="a noncharacter"),
        pytest.param("I\u00adX", id="a soft hyphen"),
        pytest.param("x" * (limits.PASSWORD_MAX + 1), id="too long"),
        pytest.param("é" * limits.PASSWORD_MAX, id="too long in octets"),
        pytest.param("é" * 10**6, id="a million letters"),
    ],
)
def test_a_password_is_refused(text: str) -> None:
    with pytest.raises(PasswordRefusedError):
        password.prepare(text)
    assert password.verify_password(HASHED, text) is False


def test_the_right_password_verifies_in_any_form_and_others_do_not() -> None:
    assert password.verify_password(HASHED, "A\u030angstro\u0308m pa\u0308ssword")
    assert not password.verify_password(HASHED, "Angstrom passwort")
    assert not password.verify_password(HASHED, "")


def test_hashes_are_argon2id_at_19_mib_two_passes_one_lane_with_a_fresh_salt() -> None:
    assert HASHED.startswith(b"$argon2id$v=19$m=19456,t=2,p=1$")
    assert password.hash_password("x") != password.hash_password("x")
    assert not password.needs_rehash(HASHED)
    assert password.needs_rehash(HASHED.replace(b"t=2", b"t=1"))


@pytest.mark.parametrize(
    "hashed",
    [b"", b"garbage", b"$argon2id$v=19$m=19456,t=2,p=1$AAAA", HASHED[:-3], b"$2b$12$abcdefghijklmnopqrstuv"],
    ids=["nothing", "garbage", "no hash in it", "cut off", "of another kind"],
)
def test_a_damaged_hash_matches_nothing(hashed: bytes) -> None:
    assert password.verify_password(hashed, "Ångström pässword") is False


def test_an_unknown_account_costs_a_hash_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def record(hashed: bytes, secret: bytes, kind: Type) -> bool:
        asked.append(hashed)
        return verify_secret(hashed, secret, kind)

    monkeypatch.setattr(password, "verify_secret", record)
    password.warm()
    assert password.verify_password(None, "anything") is False
    assert password.verify_password(HASHED, "\x00") is False
    assert [one.split(b"$")[3] for one in asked] == [b"m=19456,t=2,p=1"] * 2


def test_a_password_that_equals_the_decoy_does_not_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password, "_decoy", lambda: HASHED)
    assert password.verify_password(None, "Ångström pässword") is False


def test_generated_passwords_are_readable_and_hold_140_bits() -> None:
    made = {password.generate_password() for _ in range(300)}
    assert len(made) == 300
    assert all(re.fullmatch(r"(?:[2-9a-km-np-z]{4}-){6}[2-9a-km-np-z]{4}", one) for one in made)
    assert len(password._ALPHABET) == len(set(password._ALPHABET)) == 32  # 5 bits a letter, 28 letters
    assert {char for one in made for char in one} == {*password._ALPHABET, "-"}


# ---- SCRAM ----

# RFC 7677 §3: the published dialogue of user "user" with password "pencil".
NONCE = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
AUTH_MESSAGE = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={NONCE}".encode()
PROOF = b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
PENCIL = scram.make_verifier("pencil", 4096, b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))


def test_the_example_of_rfc_7677_is_verified_and_signed() -> None:
    signature = PENCIL.check(AUTH_MESSAGE, PROOF)
    assert signature is not None
    assert b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_another_proof_dialogue_or_password_is_refused() -> None:
    wrong = bytes([PROOF[0] ^ 1]) + PROOF[1:]
    assert PENCIL.check(AUTH_MESSAGE, wrong) is None
    assert PENCIL.check(AUTH_MESSAGE + b"x", PROOF) is None
    assert PENCIL.check(AUTH_MESSAGE, PROOF[:-1]) is None
    assert PENCIL.check(AUTH_MESSAGE, b"") is None
    assert scram.make_verifier("Pencil", 4096, PENCIL.salt).check(AUTH_MESSAGE, PROOF) is None


@pytest.mark.parametrize("text", ["pencil", "Ångström", "A\u030angstro\u0308m", "e\u0301", "\u2764\ufe0f", "\u2168", "\u0627\u0031\u0628"])
def test_a_client_of_another_make_logs_in(text: str) -> None:
    verifier = scram.make_verifier(text, 4096)
    client = ScramClient(["SCRAM-SHA-256"], "user", text)
    first = client.get_client_first()
    nonce = first.rsplit("r=", 1)[1] + "server"
    client.set_server_first(server_first := f"r={nonce},s={b64encode(verifier.salt).decode()},i=4096")
    final = client.get_client_final()
    without_proof, proof = final.rsplit(",p=", 1)
    signature = verifier.check(f"{first[3:]},{server_first},{without_proof}".encode(), b64decode(proof))
    assert signature is not None
    client.set_server_final(f"v={b64encode(signature).decode()}")


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        # RFC 4013 §3: the examples that a password may be.
        pytest.param("\u2764\ufe0f", "\u2764", id="a variation selector is mapped to nothing"),
        pytest.param("user", "user", id="ASCII stays"),
        pytest.param("USER", "USER", id="case stays"),
        pytest.param("\u00aa", "a", id="NFKC, an ordinal indicator"),
        pytest.param("\u2168", "IX", id="NFKC, a Roman numeral"),
        pytest.param("\u0627\u0031", "\u0627\u0031", id="bidirectional text SASLprep prohibits goes as OpaqueString"),
        pytest.param("💙", "💙", id="a sign younger than Unicode 3.2 goes as OpaqueString"),
    ],
)
def test_scram_prepares_as_clients_do(text: str, prepared: str) -> None:
    assert scram.prepare_scram(text) == prepared.encode()


def test_a_verifier_survives_its_text_form() -> None:
    assert ScramVerifier.from_bytes(PENCIL.to_bytes()) == PENCIL
    assert PENCIL.to_bytes().startswith(b"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"SCRAM-SHA-256$4096", id="half of it"),
        pytest.param(PENCIL.to_bytes().replace(b"-256", b"-1"), id="another mechanism"),
        pytest.param(PENCIL.to_bytes().replace(b"4096", b"1"), id="too few rounds"),
        pytest.param(PENCIL.to_bytes().replace(b"4096", b"99999999"), id="too many rounds"),
        pytest.param(PENCIL.to_bytes().replace(b"4096", b"x"), id="rounds that are no number"),
        pytest.param(PENCIL.to_bytes()[:-5], id="a cut key"),
        pytest.param(PENCIL.to_bytes() + b":AAAA", id="a third key"),
        pytest.param(b"SCRAM-SHA-256$4096:\xff$\xff:\xff", id="octets that are no text"),
    ],
)
def test_a_damaged_verifier_is_refused(text: bytes) -> None:
    with pytest.raises(SealBrokenError):
        ScramVerifier.from_bytes(text)


def test_verifiers_of_human_passwords_have_as_many_rounds_as_cyrus_sasl_computes_and_a_fresh_salt() -> None:
    """Fault: at 100,000 rounds mbsync, and every other client with Cyrus SASL, gave the login up: it computes 65,536 at most."""
    one, other = scram.make_verifier("pencil"), scram.make_verifier("pencil")
    assert one.rounds == 65_536
    assert one.salt != other.salt
    assert len(one.salt) == 16
    salted = pbkdf2_hmac("sha256", b"pencil", one.salt, 65_536)
    assert one == scram.make_verifier("pencil", 65_536, one.salt)
    assert salted not in one.to_bytes()


def test_an_unknown_account_shows_the_same_salt_each_time_and_no_proof_satisfies_it() -> None:
    one, again, other = (scram.decoy_verifier(bytes(32), name) for name in (b"nobody", b"nobody", b"someone"))
    assert one == again
    assert one.salt != other.salt
    assert (one.rounds, len(one.salt)) == (65_536, 16)
    assert one.check(AUTH_MESSAGE, PROOF) is None


def test_a_verifier_does_not_show_its_keys() -> None:
    assert "key" not in repr(PENCIL)
