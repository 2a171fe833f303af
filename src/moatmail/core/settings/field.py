# SPDX-License-Identifier: Apache-2.0
"""How a setting is written down: a dataclass field that carries its help, its unit and its check.

Obeys no RFC.
Must never know where a value comes from (file, store, command line).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from ipaddress import ip_address
from typing import Any, get_args, get_origin, get_type_hints

from moatmail.core.address import AddressError, parse_mailbox

Check = Callable[[Any], str]
"""Gives what is wrong with a value of the right type, in a few words, or the empty text."""

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting as people see it: dotted key, type, default, unit, help; `secret` values are never shown."""

    key: str
    kind: Any
    default: Any
    about: str
    unit: str
    check: Check | None
    secret: bool


def setting(default: Any, about: str, *, unit: str = "", check: Check | None = None, secret: bool = False) -> Any:  # noqa: ANN401 - a field of any type
    """Make a field with a default; `about` is one sentence for the example file and `settings show`."""
    return field(default=default, metadata={"about": about, "unit": unit, "check": check, "secret": secret})


def required(about: str, *, unit: str = "", check: Check | None = None) -> Any:  # noqa: ANN401 - a field of any type
    """Make a field without default: the file must name it."""
    return field(metadata={"about": about, "unit": unit, "check": check, "secret": False})


def group(cls: type[Any], about: str) -> Any:  # noqa: ANN401 - a field of any type
    """Make a field that is a table of its own."""
    return field(default_factory=cls, metadata={"about": about})


def entries(cls: type[Any], prefix: str = "") -> Iterator[Entry]:
    """Walk the settings of `cls` in the order of the source, groups opened; tables that repeat are one entry."""
    hints = get_type_hints(cls)
    for one in fields(cls):
        kind = hints[one.name]
        key = prefix + one.name
        if is_dataclass(kind):
            yield from entries(kind, f"{key}.")  # type: ignore[arg-type]
            continue
        note = one.metadata
        yield Entry(key, kind, one.default, note["about"], note.get("unit", ""), note.get("check"), note.get("secret", False))


def repeated(kind: object) -> type[Any] | None:
    """Give the dataclass of a table that may repeat (``tuple[Listener, ...]``), else None."""
    if get_origin(kind) is not tuple:
        return None
    inner = get_args(kind)[0]
    return inner if isinstance(inner, type) and is_dataclass(inner) else None


def has_default(entry: Entry) -> bool:
    """Tell whether the setting may be left out."""
    return entry.default is not MISSING


# ---------------------------------------------------------------- checks


def between(low: float, high: float) -> Check:
    """Admit numbers from `low` to `high`, both included; of a list, each."""

    def check(value: Any) -> str:  # noqa: ANN401 - number or tuple of numbers
        values = value if isinstance(value, tuple) else (value,)
        return "" if all(low <= one <= high for one in values) else f"must be from {low} to {high}"

    return check


def one_of(*words: str) -> Check:
    """Admit these words; of a list, each."""

    def check(value: Any) -> str:  # noqa: ANN401 - text or tuple of texts
        values = value if isinstance(value, tuple) else (value,)
        return "" if all(one in words for one in values) else f"must be one of {', '.join(words)}"

    return check


def not_empty(value: Any) -> str:  # noqa: ANN401 - text, path or tuple
    """Admit anything but nothing."""
    return "" if value and str(value) != "." else "must not be empty"


def is_address(value: str) -> str:
    """Admit an IP address."""
    try:
        ip_address(value)
    except ValueError:
        return "must be an IP address, such as 127.0.0.1 or ::1"
    return ""


def are_addresses(value: tuple[str, ...]) -> str:
    """Admit a list of IP addresses."""
    return next((text for text in map(is_address, value) if text), "")


def is_hostname(value: str) -> str:
    """Admit a host name in ASCII (RFC 5321 §4.1.2 Domain; a U-label is written as its A-label)."""
    return "" if _HOST.fullmatch(value) and ".." not in value else "must be a host name, such as mail.example.org"


def is_host_port(value: str) -> str:
    """Admit ``host:port``, ``[address]:port`` or the empty text."""
    if not value:
        return ""
    host, _, port = value.rpartition(":")
    wrong = is_address(host[1:-1]) if host.startswith("[") and host.endswith("]") else is_hostname(host)
    if not wrong and port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536:
        return ""
    return "must be host:port, such as relay.example.org:587"


def is_mailbox(value: str) -> str:
    """Admit a mail address, or the empty text."""
    if not value:
        return ""
    try:
        parse_mailbox(value.encode(), utf8=True)
    except AddressError:
        return "must be a mail address, such as reports@example.org"
    return ""


def is_url(value: str) -> str:
    """Admit an https or mailto URL of printable ASCII, at most 255 long, or the empty text."""
    fits = value.startswith(("https://", "http://", "mailto:")) and value.isascii() and value.isprintable() and " " not in value and len(value) < 256
    return "" if fits or not value else "must be a URL, such as https://example.org/help or mailto:help@example.org"


def are_overrides(value: tuple[str, ...]) -> str:
    """Admit a list of ``domain=policy``, policies by the words of RFC 9989 §4.7; a domain once."""
    domains = []
    for one in value:
        domain, _, policy = one.partition("=")
        if is_hostname(domain) or policy not in {"none", "quarantine", "reject"}:
            return "must be domain=none, domain=quarantine or domain=reject"
        domains.append(domain.lower())
    return "" if len(set(domains)) == len(domains) else "names a domain twice"
