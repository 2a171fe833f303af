# SPDX-License-Identifier: Apache-2.0
"""The published SPF suites as tables: their cases, and their zones as TableResolver has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moatmail.net.resolver_table import TableResolver, Zone
from tests.unit.message.reading import DATA

SPF = DATA / "spf"
KINDS = ("A", "AAAA", "MX", "PTR", "TXT")


@dataclass(frozen=True)
class Case:
    """One check: `results` holds the preferred one first; `explanation` is None where the suite asks for none, DEFAULT for no words of the publisher."""

    scenario: str
    name: str
    host: str
    helo: str
    mail_from: str
    results: tuple[str, ...]
    explanation: str | None
    zone: Zone

    @property
    def resolver(self) -> TableResolver:
        """Give a resolver over the scenario's zone."""
        return TableResolver(self.zone)


def cases(file: str) -> list[Case]:
    """Give the cases of a suite, none where it is not here."""
    path = SPF / file
    return list(_cases(path)) if path.is_file() else []


def _cases(path: Path) -> Iterator[Case]:
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if not document:
            continue
        zone = zone_of(document["zonedata"])
        for name, test in document["tests"].items():
            result = test["result"]
            results = tuple(result) if isinstance(result, list) else (result,)
            yield Case(
                document["description"], str(name), str(test["host"]), str(test["helo"]), str(test["mailfrom"] or ""), results, test.get("explanation"), zone
            )


def zone_of(data: Mapping[str, Any]) -> Zone:
    """Give the zone: records of type SPF stand for TXT where the name has none of that type; TIMEOUT for every type not listed."""
    zone: dict[str, dict[str, list[object] | str]] = {}
    for name, entries in data.items():
        found: dict[str, list[object]] = {}
        timeout = False
        for entry in entries:
            if entry == "TIMEOUT":
                timeout = True
                continue
            ((kind, value),) = entry.items()
            found.setdefault(kind, []).append(record(kind, value))
        types: dict[str, list[object] | str] = {**{kind: found[kind] for kind in (*KINDS, "CNAME") if kind in found}}
        if "TXT" not in found and "SPF" in found:
            types["TXT"] = found["SPF"]
        elif found.get("TXT") == ["NONE"]:  # the suite's way to say that type SPF alone is there
            del types["TXT"]
        if timeout:
            types = {**dict.fromkeys(KINDS, "TIMEOUT"), **types}
        zone[str(name)] = types
    return zone


def record(kind: str, value: object) -> object:
    """Give a record as TableResolver takes it; texts of the suite are octets written as Latin-1."""
    if kind not in {"TXT", "SPF"} or value == "NONE":
        return value
    return [str(part).encode("latin-1") for part in (value if isinstance(value, list) else [value])]
