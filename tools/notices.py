# SPDX-License-Identifier: Apache-2.0
"""Writes THIRD-PARTY-NOTICES.md from the metadata of the installed run-time packages (make notices).

Obeys no RFC.
Must never know versions: the notices change when a package or a licence does, not with every update.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent
NOTICES: Final = REPOSITORY / "THIRD-PARTY-NOTICES.md"
LOCK: Final = REPOSITORY / "requirements.lock"
LICENCE_FILE: Final = re.compile(r"licen[cs]e|notice|copying|authors", re.IGNORECASE)

# Where the metadata name no licence, read in the package's own licence file; a package that needs a row here and has none stops the run.
NAMED_BY_HAND: Final = {"sqlcipher3": "Zlib", "uvloop": "MIT OR Apache-2.0"}
# Foreign code inside a wheel, which the package's own licence does not cover.
CARRIED: Final = {
    "argon2-cffi-bindings": "carries the Argon2 reference code (CC0-1.0 OR Apache-2.0)",
    "cryptography": "its wheel carries OpenSSL (Apache-2.0)",
    "sqlcipher3": "its wheel carries SQLite (public domain), SQLCipher (BSD-3-Clause) and OpenSSL (Apache-2.0)",
    "uvloop": "carries libuv (MIT)",
    "zstandard": "carries zstd (BSD-3-Clause)",
}
ALLOWED: Final = frozenset({"Apache-2.0", "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "PSF-2.0", "MPL-2.0", "Zlib"})


def locked(lock: Path = LOCK) -> list[str]:
    """Give the packages of a lock, sorted."""
    return sorted(re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text(encoding="utf-8"), re.MULTILINE))


def licence(name: str) -> str:
    """Give the SPDX expression of a package; ValueError where nobody says it, or where it is none that we may ship."""
    said = NAMED_BY_HAND.get(name) or str(metadata.metadata(name).json.get("license_expression", ""))
    if not said:
        message = f"{name}: its metadata name no licence. Remedy: read its licence file and add it to NAMED_BY_HAND in tools/notices.py"
        raise ValueError(message)
    if not ALLOWED.intersection(re.split(r" OR | AND |[()]", said)):
        message = f"{name}: {said} is no licence that we ship (docs/dependencies.md). Remedy: use another package"
        raise ValueError(message)
    return said


def texts(name: str) -> list[tuple[str, str]]:
    """Give the licence files of an installed package: name and text."""
    files = [file for file in metadata.files(name) or [] if LICENCE_FILE.search(file.name) and ".dist-info" in str(file)]
    return [(file.name, Path(str(file.locate())).read_text(encoding="utf-8").strip()) for file in sorted(files, key=str)]


def table(names: list[str]) -> str:
    """Give the overview: one row a package."""
    rows = [f"| {name} | {licence(name)} | {CARRIED.get(name, '')} |" for name in names]
    return "\n".join(["| package | licence | note |", "|---|---|---|", *rows])


def notices() -> str:
    """Give the whole document."""
    names = locked()
    parts = [
        "# Third-party notices",
        "Moatmail is under Apache-2.0 (LICENSE). It runs on the packages below, installed beside it, each under its own licence. Made by `make notices`.",
        table(names),
    ]
    seen: dict[str, str] = {}
    for name in names:
        parts.append(f"## {name}")
        for file, text in texts(name):
            if text in seen:
                parts.append(f"{file}: the same text as {seen[text]}.")
                continue
            seen[text] = f"{file} of {name}"
            parts.append(f"{file}:\n\n```text\n{_plain(text)}\n```")
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """Make a text fit for a fenced block: no fence and no blanks at the ends of lines."""
    return "\n".join(line.rstrip() for line in text.replace("```", "").splitlines())


def main() -> int:
    """Write the document, or say in one line why not."""
    try:
        NOTICES.write_text(notices(), encoding="utf-8")
    except (ValueError, metadata.PackageNotFoundError) as error:
        sys.stderr.write(f"notices: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
