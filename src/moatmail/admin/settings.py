# SPDX-License-Identifier: Apache-2.0
"""The settings of the store, as an administrator handles them.

Obeys no RFC; each setting names the rule it comes from.
Must never know the command line.
"""

from __future__ import annotations

from dataclasses import dataclass

from moatmail.admin.change import Desk
from moatmail.core.settings.load import entry_of, mail_entries, overlay, to_json, value_of
from moatmail.core.settings.mail import Mail
from moatmail.store.operations import SetSetting
from moatmail.store.queries import GetSettings


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting as it is told: key, value (a secret one hidden), whether it is the default, unit, help."""

    key: str
    value: object
    default: bool
    unit: str
    about: str


async def snapshot(desk: Desk) -> Mail:
    """Give all settings as one snapshot. Raises ConfigError when what is stored no longer fits."""
    return overlay((await desk.store.read(GetSettings())).values)


async def listing(desk: Desk) -> tuple[Shown, ...]:
    """Give every setting by key."""
    stored = (await desk.store.read(GetSettings())).values
    mail = overlay(stored)
    return tuple(_shown(mail, key, stored) for key in sorted(mail_entries()))


async def show(desk: Desk, key: str) -> Shown:
    """Give one setting. Raises ConfigError for an unknown key."""
    entry_of(key)
    stored = (await desk.store.read(GetSettings())).values
    return _shown(overlay(stored), key, stored)


async def put(desk: Desk, key: str, text: str | None) -> int:
    """Set `key` to what a person typed, or back to its default (None); gives the settings version. Raises ConfigError."""
    entry_of(key)
    return await desk.apply(SetSetting(key, to_json(key, text) if text is not None else None))


def _shown(mail: Mail, key: str, stored: dict[str, str]) -> Shown:
    entry = entry_of(key)
    value = value_of(mail, key)
    hidden = "(set)" if value else "(not set)"
    return Shown(key, hidden if entry.secret else value, key not in stored, entry.unit, entry.about)
