# SPDX-License-Identifier: Apache-2.0
"""The settings of the store: defaults that pass their own checks, values laid over them, words typed by people."""

from __future__ import annotations

import json

import pytest

from moatmail.core.errors import ConfigError
from moatmail.core.settings.document import settings_table
from moatmail.core.settings.field import is_host_port, is_url
from moatmail.core.settings.load import mail_entries, overlay, to_json, value_of
from moatmail.core.settings.mail import Mail


@pytest.mark.parametrize("key", list(mail_entries()))
def test_every_default_passes_its_own_check(key: str) -> None:
    default = mail_entries()[key].default
    assert value_of(overlay({key: json.dumps(default)}), key) == default


def test_nothing_stored_means_the_defaults() -> None:
    assert overlay({}) == Mail()


def test_a_stored_value_is_laid_over_its_default_alone() -> None:
    mail = overlay({"smtp.max_recipients": "250", "delivery.retry_minutes": "[1, 2.5]"})
    assert (mail.smtp.max_recipients, mail.delivery.retry_minutes, mail.imap) == (250, (1.0, 2.5), Mail().imap)


def test_all_bad_values_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        overlay({"smtp.max_recipients": "5", "policy.x": "1", "imap.login_seconds": "{"})
    assert set(caught.value.mistakes) == {
        "smtp.max_recipients: must be from 100 to 10000",
        "policy.x: unknown key; remove it",
        "imap.login_seconds: not JSON",
    }


@pytest.mark.parametrize(
    ("key", "typed", "stored"),
    [
        pytest.param("smtp.max_recipients", "250", "250", id="a number"),
        pytest.param("submission.scram", "false", "false", id="a truth value"),
        pytest.param("delivery.smart_host", "relay.example.org:587", '"relay.example.org:587"', id="a bare word"),
        pytest.param("delivery.smart_host_user", "12345", '"12345"', id="digits where text is wanted"),
        pytest.param("delivery.retry_minutes", "1, 2.5", "[1, 2.5]", id="a list with commas"),
        pytest.param("delivery.retry_minutes", "[3]", "[3]", id="a list in JSON"),
    ],
)
def test_what_a_person_types_becomes_json(key: str, typed: str, stored: str) -> None:
    assert to_json(key, typed) == stored


@pytest.mark.parametrize(
    ("key", "typed", "complaint"),
    [
        pytest.param("smtp.max_recipient", "250", "did you mean smtp.max_recipients?", id="a misspelt key"),
        pytest.param("nonsense", "1", "`moatmail settings show` lists all", id="an unknown key"),
        pytest.param("smtp.max_recipients", "many", "must be a whole number", id="a word for a number"),
        pytest.param("delivery.retry_minutes", "", "must not be empty", id="an empty schedule"),
        pytest.param("delivery.smart_host", "relay", "must be host:port", id="a host without port"),
    ],
)
def test_what_cannot_be_is_refused(key: str, typed: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint.replace("?", r"\?")):
        to_json(key, typed)


@pytest.mark.parametrize("text", ["", "a.example:25", "127.0.0.1:2525", "[::1]:25"])
def test_a_place_on_the_net_is_taken(text: str) -> None:
    assert is_host_port(text) == ""


@pytest.mark.parametrize("text", ["a.example", "a.example:0", "a.example:65536", ":25", "a b:25", "[x]:25", "a.example:²", "a..b:25"])
def test_what_is_no_place_on_the_net_is_refused(text: str) -> None:
    assert is_host_port(text) != ""


@pytest.mark.parametrize("text", ["", "https://example.test/help", "mailto:help@example.test"])
def test_a_url_for_programs_is_taken(text: str) -> None:
    assert is_url(text) == ""


@pytest.mark.parametrize("text", ["example.test", "ftp://example.test", "https://exämple.test", "https://a b", "https://a\nb", "https://" + "a" * 255])
def test_what_is_no_url_is_refused(text: str) -> None:
    assert is_url(text) != ""


def test_the_table_names_every_setting_and_no_secret_has_a_default() -> None:
    table = settings_table()
    assert all(f"`{key}`" in table for key in mail_entries())
    assert all(not entry.default for entry in mail_entries().values() if entry.secret)
