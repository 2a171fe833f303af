# SPDX-License-Identifier: Apache-2.0
"""SASL mechanisms without sockets, both sides: PLAIN, LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS.

Obeys RFC 4422, RFC 4616 (PLAIN), RFC 5802 and RFC 7677 (SCRAM), RFC 5929 §4 (tls-server-end-point).
Must never know accounts, how a password is judged, or the protocol that carries the exchange.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from moatmail.core.errors import LocalProtocolError, RemoteProtocolError
from moatmail.core.limits.crypto import SCRAM_ROUNDS_HUMAN
from moatmail.core.limits.sasl import (
    CLIENT_ITERATIONS_MAX,
    CLIENT_ITERATIONS_MIN,
    IDENTITY_MAX,
    NONCE_MAX,
    NONCE_SIZE,
    PASSWORD_MAX,
    RESPONSE_MAX,
    SALT_SIZE,
    SCRAM_MESSAGE_MAX,
)

_HASH: Final = "sha256"
_DIGEST_SIZE: Final = 32
_END_POINT: Final = b"tls-server-end-point"

PLAIN: Final = b"PLAIN"
LOGIN: Final = b"LOGIN"
SCRAM: Final = b"SCRAM-SHA-256"
SCRAM_PLUS: Final = b"SCRAM-SHA-256-PLUS"


def _fresh_nonce() -> bytes:
    return os.urandom(NONCE_SIZE)


class Reason(Enum):
    """Why an exchange failed; all but SYNTAX are failed logins."""

    PROOF = "the proof does not fit the verifier"
    CHANNEL = "the channel binding does not fit: somebody may stand between"
    DOWNGRADE = "the client was told that we have no channel binding, and we have"
    SYNTAX = "the message does not fit the mechanism"

    @property
    def counts(self) -> bool:
        """Tell whether it is a failed login."""
        return self is not Reason.SYNTAX


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """What is kept to check SCRAM: `salt`, `iterations`, `stored_key`, `server_key` (RFC 5802 §3)."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


@dataclass(frozen=True, slots=True)
class Context:
    """What a server exchange may know of its connection.

    `end_points`: the tls-server-end-point hashes of every certificate assigned to the listener and name, empty without TLS.
    `offers_plus`: whether a -PLUS mechanism was announced. `decoy_key`: at least 32 secret octets, the same in every process, from
    which names that do not exist get their salt; `decoy_iterations`: the rounds they show. `nonce`: 18 fresh random octets a call.
    """

    end_points: tuple[bytes, ...] = ()
    offers_plus: bool = False
    decoy_key: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    decoy_iterations: int = SCRAM_ROUNDS_HUMAN
    nonce: Callable[[], bytes] = field(default=_fresh_nonce, repr=False)


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send `data` (not yet base64) and wait for the response."""

    data: bytes


@dataclass(frozen=True, slots=True)
class NeedsPassword:
    """Judge this password: as sent, before any preparation; `authzid` empty if not given or equal to `authcid` (RFC 4616 §2)."""

    authcid: str
    authzid: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NeedsVerifier:
    """Look up the verifier of `authcid` and call `supply` with it, or with None when there is none."""

    authcid: str
    authzid: str


@dataclass(frozen=True, slots=True)
class Success:
    """The client proved to be `authcid`; whether it may act as `authzid` (empty: itself) is for the application."""

    authcid: str
    authzid: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The exchange is over without proof; `authcid` is empty when no name was told."""

    reason: Reason
    authcid: str = ""


Step = Challenge | NeedsPassword | NeedsVerifier | Success | Failure


class Exchange(Protocol):
    """One server exchange: `respond` takes each decoded response, None first when the client sent no initial one."""

    def respond(self, data: bytes | None) -> Step:
        """Take a response and tell what comes next; never raises for what the client sent."""
        ...

    def supply(self, verifier: ScramVerifier | None) -> Step:
        """Take the verifier that NeedsVerifier asked for."""
        ...


def announced(names: tuple[bytes, ...], context: Context) -> tuple[bytes, ...]:
    """Give the mechanisms of `names` that work on this connection: a -PLUS one needs an end point (RFC 5802 §4)."""
    return tuple(name for name in names if name in _MECHANISMS and (name != SCRAM_PLUS or context.end_points))


def start(name: bytes, context: Context) -> Exchange:
    """Begin a server exchange by a mechanism's name in capitals; LocalProtocolError for a name that `announced` does not give."""
    maker = _MECHANISMS.get(name)
    if maker is None:
        raise LocalProtocolError("a mechanism that was never announced")
    return maker(context)


def decode_base64(text: bytes) -> bytes | None:
    """Decode strictly, None for anything but canonical base64 within the limit of a response (RFC 4648 §4, RFC 4954 §4)."""
    if len(text) > RESPONSE_MAX:
        return None
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    # RFC 4648 §3.5: bits of the last digit that carry nothing are zero, or two texts would mean the same.
    return data if encode_base64(data) == text else None


def encode_base64(data: bytes) -> bytes:
    """Encode without a line end (RFC 4648 §4)."""
    return binascii.b2a_base64(data, newline=False)


def _identity(raw: bytes, limit: int = IDENTITY_MAX) -> str | None:
    """Decode a name or a password; None if it is empty, too long, not UTF-8 or holds NUL (RFC 4616 §2)."""
    if not 0 < len(raw) <= limit or b"\0" in raw:
        return None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


_BROKEN: Final = Failure(Reason.SYNTAX)


class _PlainServer:
    """PLAIN: one response of authzid, authcid and password with NUL between (RFC 4616 §2)."""

    __slots__ = ()

    def __init__(self, context: Context) -> None:
        del context

    def respond(self, data: bytes | None) -> Step:
        """Take the one response; an empty challenge asks for it."""
        if data is None:
            return Challenge(b"")
        fields = data.split(b"\0", 3)
        if len(fields) != 3:
            return _BROKEN
        authcid, password = _identity(fields[1]), _identity(fields[2], PASSWORD_MAX)
        authzid = _identity(fields[0]) if fields[0] else ""
        if authcid is None or password is None or authzid is None:
            return _BROKEN
        return NeedsPassword(authcid, "" if authzid == authcid else authzid, password)

    def supply(self, verifier: ScramVerifier | None) -> Step:
        """Never asked for."""
        raise LocalProtocolError(f"PLAIN asks for no verifier, got {type(verifier)}")


class _LoginServer:
    """LOGIN: name and password in two responses, the name also as the initial one (draft-murchison-sasl-login)."""

    __slots__ = ("_authcid",)

    def __init__(self, context: Context) -> None:
        del context
        self._authcid = ""

    def respond(self, data: bytes | None) -> Step:
        """Take name, then password."""
        if data is None:
            return Challenge(b"Username:")
        if not self._authcid:
            self._authcid = _identity(data) or ""
            return Challenge(b"Password:") if self._authcid else _BROKEN
        password = _identity(data, PASSWORD_MAX)
        return NeedsPassword(self._authcid, "", password) if password else Failure(Reason.SYNTAX, self._authcid)

    def supply(self, verifier: ScramVerifier | None) -> Step:
        """Never asked for."""
        raise LocalProtocolError(f"LOGIN asks for no verifier, got {type(verifier)}")


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, _HASH)


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")


def _is_nonce(raw: bytes) -> bool:
    # RFC 5802 §7: printable without the comma, so that no field can be smuggled in.
    return 0 < len(raw) <= NONCE_MAX and raw.isascii() and raw.decode("ascii").isprintable() and b"," not in raw and b" " not in raw


def _decode_saslname(raw: bytes) -> str | None:
    # RFC 5802 §5.1: the equals sign stands only in its two escapes.
    if raw.count(b"=") != raw.count(b"=2C") + raw.count(b"=3D"):
        return None
    return _identity(raw.replace(b"=2C", b",").replace(b"=3D", b"="))


def _encode_saslname(name: str) -> bytes:
    return name.replace("=", "=3D").replace(",", "=2C").encode("utf-8")


def decoy(context: Context, authcid: str) -> ScramVerifier:
    """Make the verifier of a name that does not exist: the same at every try, and no proof fits it (RFC 5802 §9)."""
    seed = _hmac(context.decoy_key, b"scram decoy\0" + authcid.encode("utf-8"))
    return ScramVerifier(seed[:SALT_SIZE], context.decoy_iterations, os.urandom(_DIGEST_SIZE), os.urandom(_DIGEST_SIZE))


class _ScramServer:
    """SCRAM-SHA-256 and, with `plus`, its channel-binding form (RFC 5802 §3, RFC 7677 §3)."""

    __slots__ = ("_authcid", "_authzid", "_bare", "_context", "_first", "_header", "_next", "_nonce", "_plus", "_verifier")

    def __init__(self, context: Context, *, plus: bool = False) -> None:
        self._context = context
        self._plus = plus
        self._next = self._client_first
        self._authcid = self._authzid = ""
        self._header = self._bare = self._first = self._nonce = b""
        self._verifier: ScramVerifier | None = None

    def respond(self, data: bytes | None) -> Step:
        """Take the client's messages in turn."""
        if data is None:
            return Challenge(b"")
        if len(data) > SCRAM_MESSAGE_MAX or b"\0" in data:
            return self._fail(Reason.SYNTAX)
        return self._next(data)

    def supply(self, verifier: ScramVerifier | None) -> Step:
        """Answer with salt and rounds, made up for a name that does not exist."""
        self._verifier = verifier or decoy(self._context, self._authcid)
        self._nonce += encode_base64(self._context.nonce())
        self._first = b"r=%b,s=%b,i=%d" % (self._nonce, encode_base64(self._verifier.salt), self._verifier.iterations)
        self._next = self._client_final
        return Challenge(self._first)

    def _fail(self, reason: Reason) -> Failure:
        self._next = self._over
        return Failure(reason, self._authcid)

    def _over(self, data: bytes) -> Step:
        del data
        return _BROKEN

    def _client_first(self, data: bytes) -> Step:
        fields = data.split(b",", 4)
        # RFC 5802 §7: flag, authzid, name, nonce, extensions; a mandatory extension (m=) would stand before the name.
        if len(fields) < 4 or not fields[2].startswith(b"n=") or not fields[3].startswith(b"r="):
            return self._fail(Reason.SYNTAX)
        flag, authzid, name, nonce = fields[0], fields[1], fields[2][2:], fields[3][2:]
        authcid = _decode_saslname(name)
        asked = _decode_saslname(authzid[2:]) if authzid.startswith(b"a=") else ("" if not authzid else None)
        if authcid is None or asked is None or not _is_nonce(nonce):
            return self._fail(Reason.SYNTAX)
        self._authcid, self._authzid, self._nonce = authcid, "" if asked == authcid else asked, nonce
        problem = self._judge_flag(flag)
        if problem is not None:
            return self._fail(problem)
        self._header = b"%b,%b," % (flag, authzid)
        self._bare = data[len(self._header) :]
        return NeedsVerifier(self._authcid, self._authzid)

    def _judge_flag(self, flag: bytes) -> Reason | None:
        if self._plus:
            # RFC 5802 §6: the -PLUS name goes with the flag p and a binding that we know.
            return None if flag == b"p=" + _END_POINT else Reason.SYNTAX
        if flag == b"y":
            # RFC 5802 §6: the client could bind and saw no -PLUS; if we announced it, somebody removed it on the way.
            return Reason.DOWNGRADE if self._context.offers_plus else None
        return None if flag == b"n" else Reason.SYNTAX

    def _client_final(self, data: bytes) -> Step:
        without_proof, _, proof_text = data.rpartition(b",p=")
        fields = without_proof.split(b",", 2)
        proof = decode_base64(proof_text)
        if len(fields) < 2 or not fields[0].startswith(b"c=") or proof is None or len(proof) != _DIGEST_SIZE:
            return self._fail(Reason.SYNTAX)
        # RFC 5802 §5.1: the nonce comes back whole, or the exchange is another one.
        if not hmac.compare_digest(fields[1], b"r=" + self._nonce):
            return self._fail(Reason.SYNTAX)
        if not self._binds(decode_base64(fields[0][2:])):
            return self._fail(Reason.CHANNEL)
        return self._judge_proof(without_proof, proof)

    def _binds(self, binding: bytes | None) -> bool:
        if binding is None:
            return False
        # RFC 5929 §4: which of the listener's certificates was shown cannot be asked, so any of them binds.
        wanted = [self._header + end_point for end_point in self._context.end_points] if self._plus else [self._header]
        return any([hmac.compare_digest(binding, one) for one in wanted])  # noqa: C419 - every one is compared, in equal time

    def _judge_proof(self, without_proof: bytes, proof: bytes) -> Step:
        verifier = self._verifier
        if verifier is None:
            raise LocalProtocolError("SCRAM went on without a verifier")
        message = b",".join((self._bare, self._first, without_proof))
        client_key = _xor(proof, _hmac(verifier.stored_key, message))
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), verifier.stored_key):
            return self._fail(Reason.PROOF)
        self._next = self._client_done
        return Challenge(b"v=" + encode_base64(_hmac(verifier.server_key, message)))

    def _client_done(self, data: bytes) -> Step:
        # RFC 4954 §4: what goes with success travels as a last challenge, and the client answers with nothing.
        if data:
            return self._fail(Reason.SYNTAX)
        self._next = self._over
        return Success(self._authcid, self._authzid)


def _scram_plus(context: Context) -> Exchange:
    return _ScramServer(context, plus=True)


_MECHANISMS: Final[dict[bytes, Callable[[Context], Exchange]]] = {
    PLAIN: _PlainServer,
    LOGIN: _LoginServer,
    SCRAM: _ScramServer,
    SCRAM_PLUS: _scram_plus,
}


def scram_verifier(password: str, salt: bytes, iterations: int) -> ScramVerifier:
    """Make what is kept of a prepared password (RFC 5802 §3); costs `iterations` rounds of HMAC, so not on the loop."""
    client_key, server_key = _scram_keys(password, salt, iterations)
    return ScramVerifier(salt, iterations, hashlib.sha256(client_key).digest(), server_key)


def _scram_keys(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    salted = hashlib.pbkdf2_hmac(_HASH, password.encode("utf-8"), salt, iterations)
    return _hmac(salted, b"Client Key"), _hmac(salted, b"Server Key")


class ClientExchange(Protocol):
    """One client exchange by mechanism `name`: `initial` is the initial response, then `respond` answers each challenge (both not yet base64)."""

    @property
    def name(self) -> bytes:
        """Give the mechanism's name."""
        ...

    def initial(self) -> bytes | None:
        """Give the initial response, None to send none."""
        ...

    def respond(self, challenge: bytes) -> bytes:
        """Answer a challenge; RemoteProtocolError when the server does not keep to the mechanism or proves nothing."""
        ...

    def finish(self) -> None:
        """Raise RemoteProtocolError unless a success may be believed (SCRAM: only after the server proved itself)."""
        ...


class PlainClient:
    """PLAIN on the client's side (RFC 4616 §2); only inside TLS, which the caller sees to."""

    __slots__ = ("_response",)
    name: Final = PLAIN

    def __init__(self, authcid: str, password: str, authzid: str = "") -> None:
        if "\0" in authcid + password + authzid:
            raise LocalProtocolError("NUL in a name or a password")
        self._response = f"{authzid}\0{authcid}\0{password}".encode()

    def initial(self) -> bytes:
        """Give the one response."""
        return self._response

    def respond(self, challenge: bytes) -> bytes:
        """Answer the empty challenge of a server that ignored the initial response."""
        if challenge:
            raise RemoteProtocolError("PLAIN has no challenge")
        return self._response

    def finish(self) -> None:
        """Believe the server: TLS vouches for it."""


class LoginClient:
    """LOGIN on the client's side (draft-murchison-sasl-login); only inside TLS, for servers that offer nothing better."""

    __slots__ = ("_responses",)
    name: Final = LOGIN

    def __init__(self, authcid: str, password: str) -> None:
        self._responses = [password.encode(), authcid.encode()]

    def initial(self) -> bytes | None:
        """Wait to be asked: some servers take no initial response here."""
        return None

    def respond(self, challenge: bytes) -> bytes:
        """Give the name, then the password, whatever the words of the prompt."""
        del challenge
        if not self._responses:
            raise RemoteProtocolError("LOGIN has two challenges")
        return self._responses.pop()

    def finish(self) -> None:
        """Believe the server: TLS vouches for it."""


class ScramClient:
    """SCRAM-SHA-256 on the client's side, -PLUS with an `end_point` (RFC 5802 §3, RFC 5929 §4).

    `end_point` is the hash of the certificate the server showed, None to go without; `could_bind` tells that we have one but the
    server announced no -PLUS, which lets an honest server find a downgrade.
    """

    __slots__ = ("_bare", "_end_point", "_header", "_next", "_nonce", "_password", "_proven", "_signature", "name")

    def __init__(self, authcid: str, password: str, *, end_point: bytes | None = None, could_bind: bool = False, nonce: bytes | None = None) -> None:
        self.name: Final = SCRAM if end_point is None else SCRAM_PLUS
        self._end_point = end_point or b""
        flag = b"p=" + _END_POINT if end_point is not None else b"y" if could_bind else b"n"
        self._header = flag + b",,"
        self._nonce = encode_base64(_fresh_nonce()) if nonce is None else nonce
        self._bare = b"n=%b,r=%b" % (_encode_saslname(authcid), self._nonce)
        self._password = password
        self._signature = b""
        self._proven = False
        self._next = self._server_first

    def initial(self) -> bytes:
        """Give the client-first message."""
        return self._header + self._bare

    def respond(self, challenge: bytes) -> bytes:
        """Answer server-first with the proof and server-final with nothing."""
        if len(challenge) > SCRAM_MESSAGE_MAX:
            raise RemoteProtocolError("SCRAM message too long")
        return self._next(challenge)

    def finish(self) -> None:
        """Refuse a success that came before the server proved that it knows the verifier."""
        if not self._proven:
            raise RemoteProtocolError("server claims success without its signature")

    def _server_first(self, challenge: bytes) -> bytes:
        fields = challenge.split(b",", 3)
        if len(fields) < 3 or not (fields[0].startswith(b"r=") and fields[1].startswith(b"s=") and fields[2].startswith(b"i=")):
            raise RemoteProtocolError("server-first outside the grammar")
        nonce, salt, rounds = fields[0][2:], decode_base64(fields[1][2:]), fields[2][2:]
        # RFC 5802 §5.1: the nonce begins with ours and adds to it.
        if not _is_nonce(nonce) or not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise RemoteProtocolError("server-first with a foreign nonce")
        if not salt or not rounds.isdigit() or len(rounds) > 8:
            raise RemoteProtocolError("server-first without salt or rounds")
        if not CLIENT_ITERATIONS_MIN <= int(rounds) <= CLIENT_ITERATIONS_MAX:
            raise RemoteProtocolError("server-first with unreasonable rounds")
        self._next = self._server_final
        return self._prove(challenge, nonce, _scram_keys(self._password, salt, int(rounds)))

    def _prove(self, first: bytes, nonce: bytes, keys: tuple[bytes, bytes]) -> bytes:
        client_key, server_key = keys
        without_proof = b"c=%b,r=%b" % (encode_base64(self._header + self._end_point), nonce)
        message = b",".join((self._bare, first, without_proof))
        proof = _xor(client_key, _hmac(hashlib.sha256(client_key).digest(), message))
        self._signature = _hmac(server_key, message)
        return without_proof + b",p=" + encode_base64(proof)

    def _server_final(self, challenge: bytes) -> bytes:
        signature = decode_base64(challenge[2:].partition(b",")[0]) if challenge.startswith(b"v=") else None
        if signature is None or not hmac.compare_digest(signature, self._signature):
            raise RemoteProtocolError("server-final without the right signature")
        self._proven = True
        self._next = self._over
        return b""

    def _over(self, challenge: bytes) -> bytes:
        del challenge
        raise RemoteProtocolError("challenge after the end of SCRAM")


def choose(offered: tuple[str, ...], authcid: str, password: str, end_point: bytes | None) -> ClientExchange | None:
    """Begin the strongest exchange that a server offers and we can do, None if there is none.

    SCRAM first, because a false server learns no password from it (RFC 5802 §9); `end_point` as in ScramClient.
    """
    names = {name.encode("ascii", "replace") for name in offered}
    if end_point is not None and SCRAM_PLUS in names:
        return ScramClient(authcid, password, end_point=end_point)
    if SCRAM in names:
        return ScramClient(authcid, password, could_bind=end_point is not None)
    if PLAIN in names:
        return PlainClient(authcid, password)
    return LoginClient(authcid, password) if LOGIN in names else None
