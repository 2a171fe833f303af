# SPDX-License-Identifier: Apache-2.0
"""A small certification authority for trial mode: a root that may vouch for this machine only, and the server's certificate.

Obeys RFC 5280 §4.2.1 (extensions), §4.2.1.10 (name constraints), RFC 5480 (P-256).
Must never know listeners or who trusts the root.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moatmail.core.errors import ConfigError

NAMES: Final = ("localhost", "127.0.0.1", "::1")
ROOT_DAYS: Final = 3650
SERVER_DAYS: Final = 397  # clients of some makers refuse more than 398
_SKEW: Final = timedelta(hours=1)  # a client's clock may be behind ours


@dataclass(frozen=True, slots=True)
class Authority:
    """Where the files of a small authority lie; only `root` is for strangers' eyes."""

    root: Path
    root_key: Path
    certificate: Path
    key: Path

    @classmethod
    def at(cls, folder: Path) -> Authority:
        """Give the places in a trial folder: ``ca.pem`` beside the folder ``keys``."""
        keys = folder / "keys"
        return cls(folder / "ca.pem", keys / "ca.key", keys / "server.pem", keys / "server.key")


def ensure(files: Authority, now: float, names: Sequence[str] = NAMES) -> bool:
    """Make or renew what is missing, damaged, for other names, or has less than a third of its life left; tell whether anything was written.

    Raises ConfigError when a file cannot be written.
    """
    moment = datetime.fromtimestamp(now, UTC)
    try:
        root = _load_root(files, moment)
        if root is not None and _is_good(files, root[0], moment, names):
            return False
        certificate, key = root or _make_root(files, moment)
        _issue(files, certificate, key, moment, names)
    except OSError as error:
        raise ConfigError(f"{error.filename or files.root}: the trial certificate cannot be written ({error.strerror}); use another --dir") from error
    return True


# ---------------------------------------------------------------- what is there


def _load_root(files: Authority, moment: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    """Give the root and its key if both are there, belong together and live long enough to vouch for a new certificate."""
    try:
        certificate = x509.load_pem_x509_certificate(files.root.read_bytes())
        key = serialization.load_pem_private_key(files.root_key.read_bytes(), None)
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    lasting = certificate.not_valid_after_utc >= moment + timedelta(days=SERVER_DAYS)
    return (certificate, key) if lasting and _has_life(certificate, moment) else None


def _is_good(files: Authority, root: x509.Certificate, moment: datetime, names: Sequence[str]) -> bool:
    """Tell whether the server's certificate is of this root, for these names, its key fits, and a third of its life is left."""
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        certificate.verify_directly_issued_by(root)
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return key.public_key() == certificate.public_key() and list(held) == _general_names(names) and _has_life(certificate, moment)


def _has_life(certificate: x509.Certificate, moment: datetime) -> bool:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return start <= moment and end - moment >= (end - start) / 3


# ---------------------------------------------------------------- what is made


def _make_root(files: Authority, moment: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Moatmail trial {x509.random_serial_number() & 0xFFFFFFFF:08x}")])
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _SKEW)
        .not_valid_after(moment + timedelta(days=ROOT_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        # RFC 5280 §4.2.1.10: whoever imports this root, and whoever steals its key, gets nothing but loopback names.
        .add_extension(x509.NameConstraints(permitted_subtrees=_loopback_only(), excluded_subtrees=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(files.root_key, _private(key), 0o600)
    _write(files.root, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return certificate, key


def _issue(files: Authority, root: x509.Certificate, root_key: ec.EllipticCurvePrivateKey, moment: datetime, names: Sequence[str]) -> None:
    """Write a fresh key and a certificate for `names`; the key first, so that a certificate never lacks its key for long."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder(issuer_name=root.subject, subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _SKEW)
        .not_valid_after(moment + timedelta(days=SERVER_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    _write(files.key, _private(key), 0o600)
    _write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o600)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _loopback_only() -> list[x509.GeneralName]:
    networks = ("127.0.0.0/8", "::1/128")
    return [x509.DNSName("localhost"), *(x509.IPAddress(ip_network(one)) for one in networks)]


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    made: list[x509.GeneralName] = []
    for name in names:
        try:
            made.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            made.append(x509.DNSName(name))
    return made


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    """Put a file in place whole, durable, never readable by more than `mode` allows."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    beside.replace(path)
