# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from moatmail.core.errors import LocalProtocolError, RemoteProtocolError
from moatmail.wire.sasl import (
    LOGIN,
    PLAIN,
    SCRAM,
    SCRAM_PLUS,
    Challenge,
    Context,
    Exchange,
    Failure,
    LoginClient,
    NeedsPassword,
    NeedsVerifier,
    PlainClient,
    Reason,
    ScramClient,
    Success,
    announced,
    choose,
    decode_base64,
    decoy,
    encode_base64,
    scram_verifier,
    start,
)

# RFC 7677 §3: the example exchange.
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
NONCE = b"rOprNGfwEbeRWgbNEkqO"
END_POINT = hashlib.sha256(b"certificate").digest()
VERIFIER = scram_verifier("pencil", SALT, 4096)


def test_the_clients_side_of_rfc_7677() -> None:
    client = ScramClient("user", "pencil", nonce=NONCE)
    assert client.initial() == CLIENT_FIRST
    assert client.respond(SERVER_FIRST) == CLIENT_FINAL
    with pytest.raises(RemoteProtocolError):
        client.finish()
    assert client.respond(SERVER_FINAL) == b""
    client.finish()


def test_the_verifier_of_rfc_7677_judges_its_proof() -> None:
    message = b",".join((CLIENT_FIRST[3:], SERVER_FIRST, CLIENT_FINAL.rpartition(b",p=")[0]))
    assert b"v=" + encode_base64(hmac.digest(VERIFIER.server_key, message, "sha256")) == SERVER_FINAL


def begin(name: bytes = SCRAM, context: Context | None = None) -> Exchange:
    return start(name, context or Context(end_points=(END_POINT,), offers_plus=True, decoy_key=b"k" * 32))


def exchange(client: ScramClient, server: Exchange, verifier: object = VERIFIER) -> object:
    step = server.respond(client.initial())
    if not isinstance(step, NeedsVerifier):
        return step
    step = server.supply(verifier)  # type: ignore[arg-type]
    assert isinstance(step, Challenge)
    step = server.respond(client.respond(step.data))
    if not isinstance(step, Challenge):
        return step
    return server.respond(client.respond(step.data))


@pytest.mark.parametrize("authcid", ["user", "a=b,c", "jürgen@münchen.de", "=2C"])
def test_scram_proves_who_knows_the_password(authcid: str) -> None:
    assert exchange(ScramClient(authcid, "pencil"), begin()) == Success(authcid, "")
    assert exchange(ScramClient(authcid, "pencil", end_point=END_POINT), begin(SCRAM_PLUS)) == Success(authcid, "")


def test_scram_fails_who_does_not() -> None:
    assert exchange(ScramClient("user", "Pencil"), begin()) == Failure(Reason.PROOF, "user")
    assert exchange(ScramClient("user", "pencil"), begin(), None) == Failure(Reason.PROOF, "user")


def test_an_unknown_name_looks_like_a_known_one_at_every_try() -> None:
    context = Context(decoy_key=b"k" * 32, decoy_iterations=4096)
    first, again, other = (decoy(context, name) for name in ("nobody", "nobody", "someone"))
    assert (first.salt, first.iterations) == (again.salt, 4096)
    assert first.salt != other.salt
    assert len(first.salt) == 16
    assert decoy(Context(decoy_key=b"x" * 32), "nobody").salt != first.salt
    assert first.stored_key != again.stored_key


@pytest.mark.parametrize("shown", [0, 1, 2])
def test_any_certificate_of_the_listener_binds(shown: int) -> None:
    points = tuple(hashlib.sha256(b"%d" % number).digest() for number in range(3))
    context = Context(end_points=points, offers_plus=True, decoy_key=b"k" * 32)
    assert exchange(ScramClient("user", "pencil", end_point=points[shown]), begin(SCRAM_PLUS, context)) == Success("user", "")


def test_a_foreign_certificate_does_not_bind() -> None:
    client = ScramClient("user", "pencil", end_point=b"\0" * 32)
    assert exchange(client, begin(SCRAM_PLUS)) == Failure(Reason.CHANNEL, "user")


def test_a_client_that_saw_no_plus_while_we_announced_it_is_told_of_the_downgrade() -> None:
    assert exchange(ScramClient("user", "pencil", could_bind=True), begin()) == Failure(Reason.DOWNGRADE, "user")
    assert exchange(ScramClient("user", "pencil", could_bind=True), begin(context=Context())) == Success("user", "")


@pytest.mark.parametrize(
    ("name", "first"),
    [
        (SCRAM, b""),
        (SCRAM, b"n,,n=user"),
        (SCRAM, b"n,,n=,r=abc"),
        (SCRAM, b"n,,n=user,r="),
        (SCRAM, b"n,,n=us=er,r=abc"),
        (SCRAM, b"n,,m=ext,n=user,r=abc"),
        (SCRAM, b"n,b=x,n=user,r=abc"),
        (SCRAM, b"n,a=,n=user,r=abc"),
        (SCRAM, b"x,,n=user,r=abc"),
        (SCRAM, b"p=tls-server-end-point,,n=user,r=abc"),
        (SCRAM, b"n,,n=user,r=a b"),
        (SCRAM, b"n,,n=user,r=\xff"),
        (SCRAM, b"n,,n=us\0er,r=abc"),
        (SCRAM, b"n,,n=\xff,r=abc"),
        (SCRAM, b"n,,n=user,r=" + b"x" * 5000),
        (SCRAM, b"n,,n=user,r=" + b"x" * 600),
        (SCRAM_PLUS, b"n,,n=user,r=abc"),
        (SCRAM_PLUS, b"y,,n=user,r=abc"),
        (SCRAM_PLUS, b"p=tls-unique,,n=user,r=abc"),
        (PLAIN, b""),
        (PLAIN, b"user"),
        (PLAIN, b"\0user"),
        (PLAIN, b"\0user\0"),
        (PLAIN, b"\0\0pass"),
        (PLAIN, b"\0user\0pa\0ss"),
        (PLAIN, b"\0\xff\0pass"),
        (PLAIN, b"\0user\0\xff"),
        (PLAIN, b"\0" + b"u" * 2000 + b"\0pass"),
        (LOGIN, b""),
        (LOGIN, b"us\0er"),
    ],
)
def test_what_is_no_message_of_the_mechanism_is_no_failed_login(name: bytes, first: bytes) -> None:
    step = begin(name).respond(first)
    assert isinstance(step, Failure)
    assert step.reason is Reason.SYNTAX
    assert not step.reason.counts


@pytest.mark.parametrize(
    "final",
    [
        b"",
        b"c=biws",
        b"c=biws,r=NONCE",
        b"c=biws,r=NONCE,p=",
        b"c=biws,r=NONCE,p=AAAA",
        b"c=biws,r=NONCEx,p=" + b"A" * 43 + b"=",
        b"c=biws,r=abc,p=" + b"A" * 43 + b"=",
        b"r=NONCE,c=biws,p=" + b"A" * 43 + b"=",
        b"c=biws,r=NONCE,p=" + b"A" * 43 + b"=,x=y",
    ],
)
def test_a_final_message_outside_the_grammar_fails(final: bytes) -> None:
    server = begin()
    assert isinstance(server.respond(b"n,,n=user,r=abc"), NeedsVerifier)
    first = server.supply(VERIFIER)
    assert isinstance(first, Challenge)
    nonce = first.data[2:].partition(b",")[0]
    assert server.respond(final.replace(b"NONCE", nonce)) == Failure(Reason.SYNTAX, "user")
    assert server.respond(b"") == Failure(Reason.SYNTAX)


def test_the_header_that_the_client_binds_is_the_one_it_sent() -> None:
    server = begin(context=Context())
    assert isinstance(server.respond(b"y,,n=user,r=abc"), NeedsVerifier)
    first = server.supply(VERIFIER)
    assert isinstance(first, Challenge)
    nonce = first.data[2:].partition(b",")[0]
    # c=biws is "n,,": a flag changed on the way.
    assert server.respond(b"c=biws,r=" + nonce + b",p=" + b"A" * 43 + b"=") == Failure(Reason.CHANNEL, "user")


def test_plain_passes_the_identities_on() -> None:
    assert begin(PLAIN).respond(None) == Challenge(b"")
    assert begin(PLAIN).respond(b"\0ann\0secret") == NeedsPassword("ann", "", "secret")
    assert begin(PLAIN).respond(b"ann\0ann\0secret") == NeedsPassword("ann", "", "secret")
    assert begin(PLAIN).respond(b"bob\0ann\0secret") == NeedsPassword("ann", "bob", "secret")


def test_login_takes_the_name_at_once_or_when_asked() -> None:
    server = begin(LOGIN)
    assert server.respond(None) == Challenge(b"Username:")
    assert server.respond(b"ann") == Challenge(b"Password:")
    assert server.respond(b"secret") == NeedsPassword("ann", "", "secret")
    server = begin(LOGIN)
    assert server.respond(b"ann") == Challenge(b"Password:")
    assert server.respond(b"") == Failure(Reason.SYNTAX, "ann")


def test_a_password_is_not_shown_by_repr() -> None:
    assert "secret" not in repr(NeedsPassword("ann", "", "secret"))


@pytest.mark.parametrize("name", [PLAIN, LOGIN])
def test_only_scram_takes_a_verifier(name: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        begin(name).supply(None)
    with pytest.raises(LocalProtocolError):
        start(b"CRAM-MD5", Context())


def test_plus_is_announced_only_where_it_can_bind() -> None:
    names = (SCRAM_PLUS, SCRAM, PLAIN, b"CRAM-MD5")
    assert announced(names, Context()) == (SCRAM, PLAIN)
    assert announced(names, Context(end_points=(END_POINT,))) == (SCRAM_PLUS, SCRAM, PLAIN)


@pytest.mark.parametrize("text", [b"A", b"AA", b"AA=", b"AAA", b"AB==", b"AA==AA==", b"A A=", b"AA==\n", b"AA-_", b"====", b"\xff\xff\xff\xff", b"A" * 16_388])
def test_base64_is_strict(text: bytes) -> None:
    assert decode_base64(text) is None


def test_base64_of_the_limit_fits() -> None:
    assert decode_base64(b"A" * 16_384) == b"\0" * 12_288
    assert decode_base64(b"") == b""


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=abc",
        b"r=other,s=QUFB,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqO,s=QUFB,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=!!,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=QUFB,i=4095",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=QUFB,i=99999999",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=QUFB,i=-1",
        b"m=x,r=rOprNGfwEbeRWgbNEkqOx,s=QUFB,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqO" + b"x" * 5000 + b",s=QUFB,i=4096",
    ],
)
def test_the_client_refuses_a_hostile_first_message(challenge: bytes) -> None:
    client = ScramClient("user", "pencil", nonce=NONCE)
    with pytest.raises(RemoteProtocolError):
        client.respond(challenge)


@pytest.mark.parametrize("final", [b"", b"e=invalid-proof", b"v=AAAA", b"v=" + encode_base64(b"\0" * 32)])
def test_the_client_refuses_a_server_without_the_verifier(final: bytes) -> None:
    client = ScramClient("user", "pencil", nonce=NONCE)
    client.respond(SERVER_FIRST)
    with pytest.raises(RemoteProtocolError):
        client.respond(final)


def test_the_client_chooses_the_strongest() -> None:
    every = ("LOGIN", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "CRAM-MD5")

    def name(offered: tuple[str, ...], end_point: bytes | None = None) -> bytes | None:
        chosen = choose(offered, "ann", "secret", end_point)
        return chosen.name if chosen is not None else None

    assert name(every, END_POINT) == SCRAM_PLUS
    assert name(every) == SCRAM
    assert name(("LOGIN", "PLAIN")) == PLAIN
    assert name(("LOGIN",)) == LOGIN
    assert name(("CRAM-MD5",)) is None
    bound = choose(("SCRAM-SHA-256",), "ann", "secret", END_POINT)
    assert bound is not None
    assert (bound.initial() or b"").startswith(b"y,,")


def test_plain_and_login_clients_keep_to_their_form() -> None:
    plain = PlainClient("ann", "secret")
    assert plain.initial() == plain.respond(b"") == b"\0ann\0secret"
    with pytest.raises(RemoteProtocolError):
        plain.respond(b"more?")
    with pytest.raises(LocalProtocolError):
        PlainClient("ann\0", "secret")
    login = LoginClient("ann", "secret")
    assert (login.initial(), login.respond(b"x"), login.respond(b"y")) == (None, b"ann", b"secret")
    with pytest.raises(RemoteProtocolError):
        login.respond(b"z")
