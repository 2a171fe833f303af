# SPDX-License-Identifier: Apache-2.0
"""The certificate on disk and the one on the wire: the second follows the first, and a bad one changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from moatmail.app.certificate import TICKET_SECONDS, CertificateFiles
from moatmail.app.clock import SystemClock
from moatmail.certs.authority import Authority, ensure
from moatmail.core.errors import ConfigError
from moatmail.core.events import Event
from moatmail.core.settings.start import TLS


class Told:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def files(tmp_path: Path) -> Authority:
    (tmp_path / "keys").mkdir()
    made = Authority.at(tmp_path)
    ensure(made, SystemClock().now())
    return made


def test_new_files_are_served_without_being_told_and_said_once(files: Authority) -> None:
    told = Told()
    served = CertificateFiles(TLS(files.certificate, files.key), Hand(), told)
    before = served.served.context
    assert not served.follow()
    files.certificate.unlink()
    ensure(files, SystemClock().now())
    assert served.follow()
    assert served.served.context is not before
    assert not served.follow()
    assert [event.name for event in told.events] == ["certificate.changed"]


@pytest.mark.parametrize("damage", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None], ids=["empty", "nonsense", "missing"])
def test_a_bad_one_is_told_once_and_the_good_one_stays(files: Authority, damage: str | None) -> None:
    told = Told()
    served = CertificateFiles(TLS(files.certificate, files.key), Hand(), told)
    before = served.served.context
    if damage is None:
        files.certificate.unlink()
    else:
        files.certificate.write_text(damage)
    assert not served.follow()
    assert not served.follow()
    assert served.served.context is before
    assert [(event.name, event.alert) for event in told.events] == [("certificate.bad", True)]
    files.certificate.unlink(missing_ok=True)
    ensure(files, SystemClock().now())
    assert served.follow(), "the next good one is taken"


def test_twice_a_day_the_same_files_give_new_ticket_keys(files: Authority) -> None:
    clock = Hand()
    served = CertificateFiles(TLS(files.certificate, files.key), clock, Told())
    before = served.served.context
    clock.at = TICKET_SECONDS
    assert served.follow()
    assert served.served.context is not before
    assert not served.follow()


def test_no_certificate_at_the_start_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file or directory\); check tls.certificate and tls.key"):
        CertificateFiles(TLS(tmp_path / "a", tmp_path / "b"), Hand(), Told())


def test_files_that_get_their_rights_later_are_taken_then(files: Authority) -> None:
    told = Told()
    served = CertificateFiles(TLS(files.certificate, files.key), Hand(), told)
    before = served.served.context
    aside = files.key.with_name("aside")
    # A renewal whose key we may not read yet: root may read everything, so a folder stands in its place.
    files.key.rename(aside)
    files.key.mkdir()
    assert not served.follow()
    files.key.rmdir()
    aside.rename(files.key)
    assert served.follow()
    files.key.chmod(0o640)
    assert served.follow(), "new rights are a change: they may be what was missing"
    assert served.served.context is not before
