# SPDX-License-Identifier: Apache-2.0
"""No setting without effect: each one is read somewhere outside the room that defines it."""

from __future__ import annotations

import re

from moatmail.core.settings.document import settings_page
from moatmail.core.settings.field import entries
from moatmail.core.settings.mail import Mail
from tests.architecture.source import REPOSITORY, claim_none


def test_every_setting_of_the_store_is_obeyed_somewhere() -> None:
    sources = [path.read_text() for path in (REPOSITORY / "src").rglob("*.py") if "core/settings" not in path.as_posix()]
    claim_none(
        f"setting {entry.key} is read nowhere. Remedy: obey it, or take it out of core/settings/mail.py"
        for entry in entries(Mail)
        if not any(re.search(rf"(?:\.|store\.){entry.key.rpartition('.')[2]}\b", text) for text in sources)
    )


def test_the_page_of_settings_is_fresh() -> None:
    page = REPOSITORY / "docs" / "settings.md"
    claim_none([] if page.is_file() and page.read_text() == settings_page() else ["docs/settings.md differs from the code. Remedy: make docs"])
