# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
import sys
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from moatmail.core.errors import ConfigError
from moatmail.core.transaction import TLSFacts
from moatmail.net import tls
from moatmail.net.drive import Connection
from moatmail.net.tls import Certificate, CertificateSet
from tests.unit.net.lab import authority, certificate, eventually, open_house, self_signed, trusting

MX = "mx.example.test"


def handshake(served: CertificateSet, client: ssl.SSLContext, name: str | None) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Shake hands in memory; gives the server's and the client's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = served.context.wrap_bio(to_server, to_client, server_side=True)
    peer = client.wrap_bio(to_client, to_server, server_hostname=name)
    waiting = [peer, server]
    for _ in range(10):
        for end in tuple(waiting):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                waiting.remove(end)
    assert not waiting
    return server, peer


def anybody(**settings: object) -> ssl.SSLContext:
    """A client that trusts all and offers what `settings` say."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for key, value in settings.items():
            setattr(context, key, value)
    return context


def leaf(served: Certificate) -> bytes:
    return ssl.PEM_cert_to_DER_cert(served.chain.decode().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")


@pytest.mark.parametrize("rsa_key", [False, True], ids=["an ECDSA key", "an RSA key"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def test_both_versions_give_forward_secrecy_and_aead(rsa_key: bool, version: ssl.TLSVersion) -> None:
    served = CertificateSet([certificate(MX, rsa_key=rsa_key)])
    server, peer = handshake(served, anybody(maximum_version=version, minimum_version=version), MX)
    facts = tls.facts(server)
    assert facts.version == ("TLSv1.2" if version == ssl.TLSVersion.TLSv1_2 else "TLSv1.3")
    assert facts.cipher.startswith("ECDHE-" if version == ssl.TLSVersion.TLSv1_2 else "TLS_")
    assert "GCM" in facts.cipher or "CHACHA20" in facts.cipher
    assert peer.compression() is None


@pytest.mark.parametrize(
    ("ciphers", "version"),
    [
        ("AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA", ssl.TLSVersion.TLSv1_2),
        ("DHE-RSA-AES128-GCM-SHA256", ssl.TLSVersion.TLSv1_2),
        ("ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES128-SHA", ssl.TLSVersion.TLSv1_2),
        ("ECDHE-RSA-AES128-SHA:@SECLEVEL=0", ssl.TLSVersion.TLSv1_1),
        ("ECDHE-RSA-AES128-SHA:@SECLEVEL=0", ssl.TLSVersion.TLSv1),
    ],
    ids=["static RSA", "finite-field DHE", "CBC", "TLS 1.1", "TLS 1.0"],
)
def test_what_is_old_is_refused(ciphers: str, version: ssl.TLSVersion) -> None:
    served = CertificateSet([certificate(MX, rsa_key=True)])
    client = anybody(maximum_version=version, minimum_version=version)
    client.set_ciphers(ciphers)
    with pytest.raises(ssl.SSLError, match=r"(?i)unsupported|no.shared|alert|version"):
        handshake(served, client, MX)


@pytest.mark.parametrize(
    "name", ["no-such-name.example", None, "192.0.2.1", "a.b.wild.example.test"], ids=["unknown", "absent", "an address", "two labels under a wildcard"]
)
def test_a_name_we_do_not_have_gets_the_default_certificate(name: str | None) -> None:
    first = certificate(MX)
    served = CertificateSet([first, certificate("imap.example.test"), certificate("*.wild.example.test")])
    server, peer = handshake(served, anybody(), name)
    assert peer.getpeercert(binary_form=True) == leaf(first)
    assert tls.facts(server).server_name == (None if name in (None, "192.0.2.1") else name)


@pytest.mark.parametrize("name", ["imap.example.test", "IMAP.Example.TEST", "one.wild.example.test"], ids=["known", "in other letters", "under a wildcard"])
def test_a_name_gets_its_certificate(name: str) -> None:
    second = certificate("imap.example.test", "*.wild.example.test")
    served = CertificateSet([certificate(MX), second])
    server, peer = handshake(served, trusting(), name)
    assert peer.getpeercert(binary_form=True) == leaf(second)
    assert tls.facts(server) == TLSFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", name.lower(), (hashlib.sha256(leaf(second)).digest(),))


def test_a_client_that_knows_the_root_only_verifies_us() -> None:
    _, peer = handshake(CertificateSet([certificate(MX)]), trusting(), MX)
    assert peer.getpeercert()


def test_without_the_intermediate_it_could_not() -> None:
    given = certificate(MX)
    bare = Certificate(ssl.DER_cert_to_PEM_cert(leaf(given)).encode(), given.key)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(CertificateSet([bare]), trusting(), MX)


def test_rsa_and_ecdsa_certificates_of_one_name_are_served_side_by_side() -> None:
    one, two = certificate(MX), certificate(MX, rsa_key=True)
    served = CertificateSet([one, two])
    seen = set()
    for algorithm in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"):
        client = anybody(maximum_version=ssl.TLSVersion.TLSv1_2)
        client.set_ciphers(algorithm)
        server, peer = handshake(served, client, MX)
        seen.add(peer.getpeercert(binary_form=True))
        assert set(tls.facts(server).end_points) == {one.end_point, two.end_point}
    assert seen == {leaf(one), leaf(two)}


@pytest.mark.parametrize(
    ("digest", "expected"),
    [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512")],
    ids=["SHA-256", "SHA-384", "SHA-512"],
)
def test_the_end_point_hash_follows_the_signature(digest: hashes.HashAlgorithm, expected: str) -> None:
    given = authority().issue(MX, digest=digest)
    assert given.end_point == hashlib.new(expected, leaf(given)).digest()


@pytest.mark.parametrize("last", [4, 5], ids=["MD5", "SHA-1"])
def test_a_weak_signature_hash_counts_as_sha_256(last: int) -> None:
    prefix = bytes.fromhex("2a864886f70d0101")  # RFC 8017 appendix A.2.4: the signatures differ in the last octet of their identifier
    weak = self_signed(hashes.SHA256()).replace(prefix + b"\x0b", prefix + bytes([last]))
    assert tls.end_point(x509.load_der_x509_certificate(weak)) == hashlib.sha256(weak).digest()


def test_a_client_knows_the_end_point_of_its_peer() -> None:
    given = certificate(MX)
    _, peer = handshake(CertificateSet([given]), tls.opportunistic(), MX)
    assert tls.facts(peer).end_points == (given.end_point,)


def test_replaced_certificates_serve_the_next_handshake_and_the_one_before_keeps_its_facts() -> None:
    old, new = certificate(MX), authority().issue(MX)
    served = CertificateSet([old])
    server, _ = handshake(served, trusting(), MX)
    served.replace([new])
    _, peer = handshake(served, trusting(), MX)
    assert peer.getpeercert(binary_form=True) == leaf(new)
    assert tls.facts(server).end_points == (old.end_point,)


def test_a_bad_replacement_changes_nothing() -> None:
    good, other = certificate(MX), certificate("imap.example.test")
    served = CertificateSet([good])
    for bad in ([], [Certificate(good.chain, other.key)], [Certificate(b"nonsense", good.key)], [Certificate(good.chain, b"nonsense")]):
        with pytest.raises(ConfigError):
            served.replace(bad)
    _, peer = handshake(served, trusting(), MX)
    assert peer.getpeercert(binary_form=True) == leaf(good)


def test_an_encrypted_key_is_a_clear_mistake_and_never_a_question_on_the_terminal() -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    good = certificate(MX)
    key = serialization.load_pem_private_key(good.key, None)
    sealed = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word"))
    with pytest.raises(ConfigError, match="encrypted"):
        CertificateSet([Certificate(good.chain, sealed)])


def test_a_renegotiation_is_not_answered() -> None:
    served = CertificateSet([certificate(MX)])
    assert served.context.options & ssl.OP_NO_RENEGOTIATION
    assert served.context.options & ssl.OP_NO_COMPRESSION


def test_opportunistic_takes_any_certificate_and_verified_only_the_right_one() -> None:
    served = CertificateSet([certificate(MX)])
    handshake(served, tls.opportunistic(), "other.example.test")
    handshake(served, tls.verified(authority().root), MX)
    for context, name in ((tls.verified(authority().root), "other.example.test"), (tls.verified(), MX)):
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(served, context, name)


def test_a_key_is_not_told_when_its_certificate_is_printed() -> None:
    given = certificate(MX)
    assert "PRIVATE" not in repr(given)
    assert (given.names, given.own) == ((MX,), x509.load_pem_x509_certificates(given.chain)[0])


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root, to become somebody else")
def test_certificates_load_in_a_process_that_gave_up_its_rights_and_is_not_dumpable() -> None:
    import ctypes  # noqa: PLC0415

    given = certificate(MX)
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE
            CertificateSet([given])
            status = 0
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def test_an_old_client_is_refused_on_the_wire_and_the_next_is_served() -> None:
    async def session(connection: Connection[bytes]) -> None:
        connection.write(b"hello")

    house = await open_house(session, tls=CertificateSet([certificate(MX)]))

    def old() -> None:
        client = anybody(maximum_version=ssl.TLSVersion.TLSv1_1, minimum_version=ssl.TLSVersion.TLSv1)
        client.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"), socket.create_connection(("127.0.0.1", house.port)) as sock:
            client.wrap_socket(sock)

    def new() -> bytes:
        with trusting().wrap_socket(socket.create_connection(("127.0.0.1", house.port)), server_hostname=MX) as sock:
            return sock.recv(10)

    await asyncio.to_thread(old)
    assert await asyncio.to_thread(new) == b"hello"
    await eventually(lambda: house.listener.open_connections == 0)
