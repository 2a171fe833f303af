# SPDX-License-Identifier: Apache-2.0
"""From text to settings: `moatmail.toml` to `Start`, stored values to `Mail`; every mistake told at once, with its path.

Obeys TOML 1.0 (by the standard library) and RFC 8259 (JSON values of the store).
Must never know the store or the command line.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

from moatmail.core.errors import ConfigError
from moatmail.core.settings.field import Entry, entries, repeated
from moatmail.core.settings.mail import Mail
from moatmail.core.settings.start import TLS, Folders, Keys, Start

T = TypeVar("T")

MAX_FILE_OCTETS: Final = 1024 * 1024
_BAD: Final = object()


# ---------------------------------------------------------------- moatmail.toml


def load_start(path: Path) -> Start:
    """Read `path`; relative paths in it count from its folder. Raises ConfigError with every mistake."""
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_FILE_OCTETS + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name another file with --config or --dir") from None
    if len(octets) > MAX_FILE_OCTETS:
        raise ConfigError(f"{path}: larger than {MAX_FILE_OCTETS} octets; this is not a moatmail.toml")
    try:
        return parse_start(octets.decode(), path.parent)
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8; save it as UTF-8") from None
    except ConfigError as error:
        raise ConfigError(*(f"{path}: {mistake}" for mistake in error.mistakes)) from None


def parse_start(text: str, folder: Path) -> Start:
    """Parse the text of a `moatmail.toml` that lies in `folder`; raises ConfigError with every mistake."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}") from None
    mistakes: list[str] = []
    start = _build(Start, table, "", mistakes)
    if start is not None:
        mistakes += _contradictions(start)
    if mistakes or start is None:
        raise ConfigError(*mistakes)
    return _anchored(start, folder)


def _contradictions(start: Start) -> list[str]:
    """Tell what cannot hold together although each value is good."""
    mistakes = []
    seen: dict[tuple[str, int], str] = {}
    for one in start.listener:
        other = seen.setdefault((one.address, one.port), one.door)
        if other != one.door or sum(x == one for x in start.listener) > 1:
            mistakes.append(f"listener: {one.name} and {other} share a port")
    if start.dns.source == "servers" and not start.dns.servers:
        mistakes.append('dns.servers: must not be empty if dns.source is "servers"')
    if start.keys.master.parent == start.folders.data or start.folders.data in start.keys.master.parents:
        mistakes.append("keys.master: must lie outside folders.data (else a copy of the data carries its key)")
    return list(dict.fromkeys(mistakes))


def _anchored(start: Start, folder: Path) -> Start:
    """Give `start` with absolute paths."""
    folder = folder.absolute()
    return replace(
        start,
        folders=Folders(data=folder / start.folders.data, run=folder / start.folders.run),
        keys=Keys(master=folder / start.keys.master),
        tls=TLS(certificate=folder / start.tls.certificate, key=folder / start.tls.key),
    )


# ---------------------------------------------------------------- settings of the store


def overlay(values: Mapping[str, str]) -> Mail:
    """Give the defaults with `values` (key -> JSON text) laid over them; raises ConfigError with every mistake."""
    table: dict[str, dict[str, object]] = {}
    mistakes = []
    for key, text in values.items():
        name, _, inner = key.partition(".")
        try:
            table.setdefault(name, {})[inner] = json.loads(text)
        except ValueError:
            mistakes.append(f"{key}: not JSON")
    mail = _build(Mail, table, "", mistakes)
    if mistakes or mail is None:
        raise ConfigError(*mistakes)
    return mail


def mail_entries() -> dict[str, Entry]:
    """Give every setting of the store by its key."""
    return {entry.key: entry for entry in entries(Mail)}


def value_of(mail: Mail, key: str) -> object:
    """Give the value of `key` in a snapshot; raises ConfigError for an unknown key."""
    entry_of(key)
    name, _, inner = key.partition(".")
    return getattr(getattr(mail, name), inner)


def entry_of(key: str) -> Entry:
    """Give the setting called `key`; raises ConfigError, with the nearest name, if there is none."""
    known = mail_entries()
    if key not in known:
        raise ConfigError(_unknown(key, list(known), "`moatmail settings show` lists all"))
    return known[key]


def to_json(key: str, text: str) -> str:
    """Turn what a person typed (JSON, or a bare word where text is wanted) into the JSON text of the store; raises ConfigError."""
    entry = entry_of(key)
    try:
        value: object = json.loads(text)
    except ValueError:
        value = text
    if entry.kind is str and not isinstance(value, str):
        value = text
    if get_origin(entry.kind) is tuple and not isinstance(value, list):
        value = _listed(text)
    mistakes: list[str] = []
    if _checked(entry.kind, entry.check, value, key, mistakes) is _BAD:
        raise ConfigError(*mistakes)
    return json.dumps(value)


def _listed(text: str) -> list[object]:
    """Read ``a, b, c`` as a list of JSON values or words."""
    found: list[object] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(json.loads(word))
        except ValueError:
            found.append(word)
    return found


# ---------------------------------------------------------------- the mechanism


def _build(cls: type[T], table: Mapping[str, object], path: str, mistakes: list[str]) -> T | None:
    """Make a `cls` from `table`; on any mistake add it to `mistakes` and give None."""
    hints = get_type_hints(cls)
    before = len(mistakes)
    values: dict[str, object] = {}
    known = {one.name: one for one in fields(cls)}  # type: ignore[arg-type]
    for name, value in table.items():
        if name not in known:
            mistakes.append(_stranger(f"{path}{name}", [path + one for one in known], value))
            continue
        kind, check = hints[name], known[name].metadata.get("check")
        values[name] = _checked(kind, check, value, path + name, mistakes)
    for name, one in known.items():
        if name not in table and one.default is MISSING and one.default_factory is MISSING:
            mistakes.append(f"{path}{name}: missing")
    return cls(**values) if len(mistakes) == before else None


def _checked(kind: Any, check: Callable[[Any], str] | None, value: object, path: str, mistakes: list[str]) -> object:  # noqa: ANN401 - any type
    """Give `value` as `kind`, or `_BAD` after adding what is wrong."""
    before = len(mistakes)
    made = _convert(kind, value, path, mistakes)
    if len(mistakes) == before and check is not None and (complaint := check(made)):
        mistakes.append(f"{path}: {complaint}")
    return made if len(mistakes) == before else _BAD


def _convert(kind: Any, value: object, path: str, mistakes: list[str]) -> object:  # noqa: ANN401 - any type
    if is_dataclass(kind):
        if isinstance(value, dict):
            return _build(kind, value, f"{path}.", mistakes)  # type: ignore[arg-type]
        mistakes.append(f"{path}: must be a table")
        return _BAD
    if get_origin(kind) is tuple:
        return _convert_list(kind, value, path, mistakes)
    scalar = _SCALARS[kind]
    if scalar.admits(value):
        return scalar.make(value)
    mistakes.append(f"{path}: must be {scalar.words}")
    return _BAD


def _convert_list(kind: Any, value: object, path: str, mistakes: list[str]) -> object:  # noqa: ANN401 - any type
    if not isinstance(value, list):
        mistakes.append(f"{path}: must be {'repeated tables [[' + path + ']]' if repeated(kind) else 'a list'}")
        return _BAD
    inner = get_args(kind)[0]
    return tuple(_convert(inner, one, f"{path}[{number}]", mistakes) for number, one in enumerate(value))


@dataclass(frozen=True, slots=True)
class _Scalar:
    words: str
    admits: Callable[[object], bool]
    make: Callable[[Any], object]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_line(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


_SCALARS: Final[dict[Any, _Scalar]] = {
    bool: _Scalar("true or false", lambda value: isinstance(value, bool), bool),
    int: _Scalar("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool), int),
    float: _Scalar("a number", _is_number, float),
    str: _Scalar("text of one line", _is_line, str),
    Path: _Scalar("a path", _is_line, Path),
}


def _stranger(path: str, known: list[str], value: object) -> str:
    """Tell that a key is unknown: it may live in the store, or be misspelt."""
    inside = [f"{path}.{inner}" for inner in value] if isinstance(value, dict) else [path]
    if any(key in mail_entries() for key in inside):
        return f"{path}: lives in the store; change it with `moatmail settings set`"
    return _unknown(path, known, "remove it")


def _unknown(path: str, known: list[str], remedy: str) -> str:
    near = get_close_matches(path, known, n=1, cutoff=0.7)
    return f"{path}: unknown key; {'did you mean ' + near[0] + '?' if near else remedy}"
