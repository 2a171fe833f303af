# SPDX-License-Identifier: Apache-2.0
"""The trial authority: what clients check, when it renews, and that its keys are nobody else's."""

from __future__ import annotations

import ssl
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from moatmail.certs.authority import SERVER_DAYS, Authority, ensure
from moatmail.core.errors import ConfigError

DAY = 86_400.0
NOW = time.time()


@pytest.fixture
def files(tmp_path: Path) -> Authority:
    (tmp_path / "keys").mkdir()
    made = Authority.at(tmp_path)
    assert ensure(made, NOW)
    return made


def shake_hands(files: Authority, name: str) -> None:
    """Let a client that trusts only the root talk to a server with the certificate, through memory."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    client = ssl.create_default_context(cafile=files.root)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server, server_hostname=name), server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].getpeercert()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_client_that_trusts_only_the_root_is_content(files: Authority, name: str) -> None:
    shake_hands(files, name)


def test_another_name_is_refused(files: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(files, "mail.example.org")


def test_the_root_cannot_vouch_for_the_world(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    files = Authority.at(tmp_path)
    ensure(files, NOW, ("mail.example.org",))
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        shake_hands(files, "mail.example.org")


def test_keys_are_readable_by_their_owner_only(files: Authority) -> None:
    modes = {one: stat.S_IMODE(one.stat().st_mode) for one in (files.root_key, files.key, files.certificate, files.root)}
    assert modes == {files.root_key: 0o600, files.key: 0o600, files.certificate: 0o600, files.root: 0o644}


def test_the_next_start_changes_nothing(files: Authority) -> None:
    before = files.certificate.read_bytes()
    assert not ensure(files, NOW + SERVER_DAYS * DAY * 0.6)
    assert files.certificate.read_bytes() == before


def test_with_less_than_a_third_of_its_life_left_it_is_renewed_under_the_same_root(files: Authority) -> None:
    root, before = files.root.read_bytes(), files.certificate.read_bytes()
    assert ensure(files, NOW + SERVER_DAYS * DAY * 0.7)
    assert files.root.read_bytes() == root
    assert files.certificate.read_bytes() != before


def test_an_old_root_is_replaced_before_it_could_die_first(files: Authority) -> None:
    root = files.root.read_bytes()
    assert ensure(files, NOW + 3000 * DAY)
    assert files.root.read_bytes() != root


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda files: files.key.unlink(), id="the key is gone"),
        pytest.param(lambda files: files.certificate.write_text("-----BEGIN"), id="the certificate is cut"),
        pytest.param(lambda files: files.key.write_bytes(files.root_key.read_bytes()), id="the key is another one"),
        pytest.param(lambda files: files.root_key.write_bytes(files.key.read_bytes()), id="the root's key is another one"),
        pytest.param(lambda files: files.root.unlink(), id="the root is gone"),
    ],
)
def test_what_is_damaged_is_made_anew_and_works(files: Authority, damage: Callable[[Authority], None]) -> None:
    damage(files)
    assert ensure(files, NOW)
    shake_hands(files, "localhost")


def test_other_names_mean_another_certificate(files: Authority) -> None:
    assert ensure(files, NOW, ("localhost",))
    names = x509.load_pem_x509_certificate(files.certificate.read_bytes()).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value) == [x509.DNSName("localhost")]


def test_a_folder_that_is_not_there_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be written \(No such file or directory\); use another --dir"):
        ensure(Authority.at(tmp_path / "nowhere"), NOW)
