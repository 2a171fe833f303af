# SPDX-License-Identifier: Apache-2.0
"""TLS settings: what we offer as a server, what we ask as a client, certificates that change while we run, and the facts of a handshake.

Obeys RFC 9325 (BCP 195) §3 and §4, RFC 8996, RFC 6066 §3 (server name), RFC 6125 §6.4.3 (wildcards), RFC 5929 §4.1 (end-point hashes).
Must never know sockets, or where certificates come from.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from moatmail.core.errors import ConfigError
from moatmail.core.transaction import TLSFacts

# RFC 9325 §4.2: forward secrecy and AEAD only. TLS 1.3 has no others, so this speaks of TLS 1.2.
_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!PSK:!aNULL"


@dataclass(frozen=True)
class Certificate:
    """A certificate we serve: `chain` in PEM, our own first, then every intermediate; `key` in PEM, not encrypted."""

    chain: bytes
    key: bytes = field(repr=False)  # a traceback or a log line must not tell it

    @cached_property
    def own(self) -> x509.Certificate:
        """Give the parsed certificate of ours; raises `ConfigError` if there is none."""
        try:
            return x509.load_pem_x509_certificates(self.chain)[0]
        except (ValueError, IndexError) as error:
            raise ConfigError("certificate: not a chain in PEM form") from error

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Give the DNS names it is for, lower-case, perhaps with a wildcard as the first label."""
        try:
            names = self.own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            return ()
        return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))

    @cached_property
    def end_point(self) -> bytes:
        """Give its hash for channel binding (tls-server-end-point)."""
        return end_point(self.own)

    @property
    def kind(self) -> str:
        """Give the sort of its key: one of each sort can be served side by side."""
        return type(self.own.public_key()).__name__


def end_point(certificate: x509.Certificate) -> bytes:
    """Hash a certificate for tls-server-end-point; empty where the RFC defines no hash (RFC 5929 §4.1)."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return b""
    if algorithm is None:  # RFC 5929 §4.1: undefined for signatures without one hash; RFC 9266 §2 leaves Ed25519 so, peers take SHA-256
        algorithm = hashes.SHA256()
    if isinstance(algorithm, (hashes.MD5, hashes.SHA1)):  # RFC 5929 §4.1: weak hashes count as SHA-256
        algorithm = hashes.SHA256()
    return certificate.fingerprint(algorithm)


class _NamedObject(ssl.SSLObject):
    """A server's TLS state that remembers which name the client asked for."""

    asked_name: str | None = None


class _ServerContext(ssl.SSLContext):
    """A server's context with the end-point hashes of the certificates it may send."""

    end_points: tuple[bytes, ...] = ()


def _server_context(certificates: Sequence[Certificate]) -> _ServerContext:
    context = _ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996 §4, §5
    context.set_ciphers(_SUITES)
    # RFC 9325 §3.3 (compression), §3.5 (renegotiation).
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1  # each costs a signature-sized write in every handshake; mail clients resume one connection at a time
    context.sslobject_class = _NamedObject
    for certificate in certificates:
        _load(context, certificate)
    context.end_points = tuple(dict.fromkeys(one.end_point for one in certificates if one.end_point))
    return context


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Load chain and key through a memory file: a key never becomes a file, though the library takes only paths."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(certificate.key.rstrip() + b"\n" + certificate.chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
    except ssl.SSLError as error:
        raise ConfigError(f"certificate for {', '.join(certificate.names) or 'no name'}: {error.reason or error}") from error
    finally:
        os.close(descriptor)


def _no_password() -> str:
    raise ConfigError("certificate: its key is encrypted; give it without a password")


class CertificateSet:
    """The certificates of a listener. The first is the default: for clients that name nothing, or a name we do not have.

    Certificates that share a name and differ in the sort of key are served side by side (RSA and ECDSA).
    """

    def __init__(self, certificates: Iterable[Certificate]) -> None:
        """Build the contexts; raises `ConfigError` if the set is empty or one of them is not usable."""
        self._by_name: dict[str, _ServerContext] = {}
        self._default = self._build(certificates)

    @property
    def context(self) -> ssl.SSLContext:
        """Give the context for the next handshake."""
        return self._default

    def replace(self, certificates: Iterable[Certificate]) -> None:
        """Serve others from the next handshake on; if one is not usable, nothing changes and `ConfigError` is raised.

        Also to be called with the same ones every 12 hours: that makes new keys for session tickets (RFC 9325 §3.4).
        """
        self._default = self._build(certificates)

    def _build(self, certificates: Iterable[Certificate]) -> _ServerContext:
        given = tuple(certificates)
        if not given:
            raise ConfigError("certificate: a listener with TLS needs at least one")
        contexts: dict[tuple[Certificate, ...], _ServerContext] = {}
        by_name: dict[str, _ServerContext] = {}
        for name in {name for one in given for name in one.names}:
            group = _one_of_each_kind(one for one in given if name in one.names)
            by_name[name] = contexts.get(group) or contexts.setdefault(group, _server_context(group))
        first = given[0]
        default = _server_context(_one_of_each_kind(one for one in given if one is first or set(one.names) & set(first.names)))
        default.sni_callback = self._choose
        self._by_name = by_name
        return default

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        """Take the context of the asked name; without one the default stays and the handshake goes on (RFC 6066 §3)."""
        if name is None:
            return
        name = name.lower().rstrip(".")
        if isinstance(connection, _NamedObject):
            connection.asked_name = name
        wildcard = f"*.{name.partition('.')[2]}"  # RFC 6125 §6.4.3: the wildcard is one whole label, the first
        found = self._by_name.get(name) or self._by_name.get(wildcard)
        if found is not None:
            connection.context = found


def _one_of_each_kind(certificates: Iterable[Certificate]) -> tuple[Certificate, ...]:
    kinds: dict[str, Certificate] = {}
    for certificate in certificates:
        kinds.setdefault(certificate.kind, certificate)
    return tuple(kinds.values())


def facts(connection: ssl.SSLObject) -> TLSFacts:
    """Tell what was agreed on; a server's end points are those of every certificate it may have sent, a client's that of the peer."""
    cipher = connection.cipher()
    if isinstance(connection, _NamedObject):
        name = connection.asked_name
        end_points = connection.context.end_points if isinstance(connection.context, _ServerContext) else ()
    else:
        name = connection.server_hostname
        end_points = _peer_end_points(connection.getpeercert(binary_form=True))
    return TLSFacts(version=connection.version() or "", cipher=cipher[0] if cipher else "", server_name=name, end_points=end_points)


def _peer_end_points(certificate: bytes | None) -> tuple[bytes, ...]:
    try:
        return (end_point(x509.load_der_x509_certificate(certificate)),) if certificate else ()
    except ValueError:  # a certificate that OpenSSL takes and the stricter parser does not
        return ()


def opportunistic() -> ssl.SSLContext:
    """Give a client's context that hides the talk from listeners but trusts any certificate (RFC 7435 §3)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def verified(authorities: bytes | None = None) -> ssl.SSLContext:
    """Give a client's context that wants a valid certificate for the name it asks for; `authorities` in PEM replace the system's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if authorities is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context.load_verify_locations(cadata=authorities.decode("ascii", "replace"))
    return context
