# SPDX-License-Identifier: Apache-2.0
"""The documents that are printed from the types: the example `moatmail.toml` and the table of the store's settings.

Obeys TOML 1.0.
Must never hold a fact of its own: every word comes from the fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final, get_type_hints

from moatmail.core.settings.field import Entry, entries, has_default, repeated
from moatmail.core.settings.mail import Mail
from moatmail.core.settings.start import Start

_HEAD: Final = (
    "# moatmail.toml: what Moatmail needs to start. Every value here is the default; leave out what you do not change.",
    "# Everything else lives in the store: `moatmail settings show`. Check this file: `moatmail check-config`.",
)


def example() -> str:
    """Give the documented example `moatmail.toml`: all keys with their defaults; it loads as it stands."""
    return render(Start(), [*_HEAD])


def render(start: Start, head: list[str], *, helped: bool = True) -> str:
    """Give `start` as the text of a `moatmail.toml` beginning with the comment lines `head`; `helped` adds the help."""
    lines = list(head)
    hints = get_type_hints(Start)
    for table in fields(Start):
        value = getattr(start, table.name)
        about = [f"# {table.metadata['about']}"] if helped else []
        if is_dataclass(value):
            lines += ["", *about, f"[{table.name}]", *_body(value, helped=helped)]
        elif inner := repeated(hints[table.name]):
            notes = [f"#   {entry.key}: {_told(entry)}" for entry in entries(inner)] if helped else []
            lines += ["", *about, *notes]
            for one in value:
                lines += ["", f"[[{table.name}]]", *_body(one, helped=False)]
    return "\n".join(lines).lstrip("\n") + "\n"


def settings_table() -> str:
    """Give the store's settings as a Markdown table: key, default, what it is."""
    rows = ["| key | default | what it is |", "|---|---|---|"]
    for entry in entries(Mail):
        unit = f" {entry.unit}" if entry.unit else ""
        rows.append(f"| `{entry.key}` | {toml(entry.default)}{unit} | {entry.about} |")
    return "\n".join(rows) + "\n"


_PAGE: Final = """\
# Settings that can be changed while the server runs

They lie in the store and hold at once, without a restart. What is needed to start (folders, keys, listeners) stands in `moatmail.toml`, see
`docs/example-moatmail.toml`. This page is printed from the code (`make docs`).

    moatmail settings show                             all, with their values here
    moatmail settings show smtp.max_message_octets     one, with its help
    moatmail settings set smtp.max_message_octets 26214400
    moatmail settings set smtp.max_message_octets --default

"""


def settings_page() -> str:
    """Give the page docs/settings.md."""
    return _PAGE + settings_table()


def _body(table: Any, *, helped: bool) -> Iterator[str]:  # noqa: ANN401 - any dataclass
    for entry in entries(type(table)):
        if helped:
            yield f"# {_told(entry)}"
        yield f"{entry.key} = {toml(getattr(table, entry.key))}"


def _told(entry: Entry) -> str:
    unit = f" ({entry.unit})" if entry.unit else ""
    default = f" Default: {toml(entry.default)}." if has_default(entry) and entry.unit else ""
    return f"{entry.about}{unit}{default}"


def toml(value: object) -> str:
    """Give a value in TOML, which for our types is JSON but for the escapes above the BMP (they stay as they are)."""
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(toml(one) for one in value)}]"
    return json.dumps(value, ensure_ascii=False)
