# SPDX-License-Identifier: Apache-2.0
"""What the tests of `net` share: a line engine, a listener on an ephemeral port, a small authority, a collector of events."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from moatmail.core.events import Event
from moatmail.net.drive import Connection
from moatmail.net.listener import Listener, Terms
from moatmail.net.tls import Certificate, CertificateSet

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@dataclass
class LineEngine:
    """Events are lines, or "eof"; every line may be answered by the session through `say`."""

    held: bytearray = field(default_factory=bytearray)
    out: bytearray = field(default_factory=bytearray)
    ended: bool = False
    closing: bool = False
    fed: list[int] = field(default_factory=list)

    def receive(self, data: bytes) -> None:
        self.fed.append(len(data))
        self.held += data

    def receive_eof(self) -> None:
        self.ended = True

    def next_event(self) -> bytes | None:
        at = self.held.find(b"\n")
        if at >= 0:
            line = bytes(self.held[:at]).rstrip(b"\r")
            del self.held[: at + 1]
            return line
        if self.ended:
            self.ended = False
            return b"eof"
        return None

    def take_output(self) -> bytes:
        out = bytes(self.out)
        self.out.clear()
        return out

    def say(self, line: bytes) -> None:
        self.out += line + b"\r\n"


@dataclass
class Events:
    seen: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.seen.append(event)


@dataclass
class OpenDoor:
    """Admission that lets everybody in but the refused, and counts."""

    refusal: bytes | None = None
    inside: int = 0
    asked: list[str] = field(default_factory=list)

    def admit(self, ip: str) -> bytes | None:
        self.asked.append(ip)
        if self.refusal is None:
            self.inside += 1
        return self.refusal

    def release(self, ip: str) -> None:
        self.inside -= 1


Session = Callable[[Connection[Any]], Coroutine[Any, Any, None]]


@dataclass
class House:
    """A listener with all that was injected into it."""

    listener: Listener
    port: int
    events: Events
    door: OpenDoor

    async def connect(self, context: ssl.SSLContext | None = None, name: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if context is None:
            return await asyncio.open_connection("127.0.0.1", self.port)
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name)


async def open_house(
    session: Session,
    *,
    tls: CertificateSet | None = None,
    door: OpenDoor | None = None,
    shed: bytes = b"",
    sockets: Sequence[socket.socket] = (),
) -> House:
    sockets = sockets or [socket.create_server(("127.0.0.1", 0))]
    port = sockets[0].getsockname()[1]
    events, door = Events(), door or OpenDoor()
    listener = Listener(sockets, session, door, events, Terms("test", shed, tls))
    await listener.start()
    return House(listener, port, events, door)


async def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Give the loop turns until `condition` holds: for what only the kernel's clock can bring about."""
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, "it never came to be"
        await asyncio.sleep(0.001)


@dataclass
class Authority:
    """A root and an intermediate that signs."""

    root: bytes
    intermediate: bytes
    signer: ec.EllipticCurvePrivateKey
    signer_name: x509.Name

    def issue(self, *names: str, rsa_key: bool = False, digest: hashes.HashAlgorithm | None = None) -> Certificate:
        key: PrivateKey = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
        own = (
            _builder(_name(names[0]), self.signer_name, key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .sign(self.signer, digest or hashes.SHA256())  # type: ignore[arg-type]
        )
        return Certificate(chain=_pem(own) + self.intermediate, key=_key(key))


@functools.cache
def authority() -> Authority:
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, name = _name("test root"), _name("test intermediate")
    basic = x509.BasicConstraints(ca=True, path_length=None)
    root = _builder(root_name, root_name, root_key).add_extension(basic, critical=True).sign(root_key, hashes.SHA256())
    middle = _builder(name, root_name, key).add_extension(basic, critical=True).sign(root_key, hashes.SHA256())
    return Authority(_pem(root), _pem(middle), key, name)


def self_signed(digest: hashes.SHA256) -> bytes:
    """Give a certificate of an RSA key, signed by itself, in DER."""
    key, name = rsa.generate_private_key(65537, 2048), _name("itself")
    return _builder(name, name, key).sign(key, digest).public_bytes(serialization.Encoding.DER)


@functools.cache
def certificate(*names: str, rsa_key: bool = False) -> Certificate:
    return authority().issue(*names, rsa_key=rsa_key)


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW)
        .not_valid_after(_NOW + dt.timedelta(days=3650))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(one: x509.Certificate) -> bytes:
    return one.public_bytes(serialization.Encoding.PEM)


def _key(key: PrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def trusting() -> ssl.SSLContext:
    """A client that knows the root only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority().root.decode())
    return context


def secure_socket(port: int, name: str) -> ssl.SSLSocket:
    """Give a blocking client; to be called in a thread. (The loops' own TLS transports lose input at an end of stream.)"""
    return trusting().wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10), server_hostname=name)


def read_all(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)
