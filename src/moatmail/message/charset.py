# SPDX-License-Identifier: Apache-2.0
"""Octets in a named charset as text, whatever the name.

Obeys RFC 2045 §4, RFC 2046 §4.1.2, RFC 1556 (directions of iso-8859-6 and -8); label aliases as mail really carries them.
Must never know where the octets come from; never raises.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

_LABEL_MAX = 64
_HALVES = frozenset(("utf-7", "utf_7"))
# Codecs that are no charsets of text in mail, or cost more than linear time.
_REFUSED = frozenset(("idna", "punycode", "unicode_escape", "raw_unicode_escape", "mbcs", "oem", "undefined"))
_ALIASES = {
    # RFC 1556: -e and -i only tell the direction of the text.
    "iso88598i": "iso8859-8",
    "iso88598e": "iso8859-8",
    "iso88596i": "iso8859-6",
    "iso88596e": "iso8859-6",
    # Superset codecs, because senders label them with the name of the set they extend.
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "xgbk": "gb18030",
    "ksc56011987": "cp949",
    "ksc5601": "cp949",
    "euckr": "cp949",
    "shiftjis": "cp932",
    "sjis": "cp932",
    "xsjis": "cp932",
    "iso88591": "cp1252",
    "latin1": "cp1252",
    "iso2022jp": "iso2022_jp_ext",
    "cp50220": "iso2022_jp_ext",
    "windows31j": "cp932",
    "tis620": "cp874",
    "windows874": "cp874",
    "macintosh": "mac_roman",
    "xmaccyrillic": "mac_cyrillic",
    "xmacroman": "mac_roman",
    # UTF-8 and UTF-7 under their other names; a blank label and us-ascii are read as UTF-8, of which ASCII is a part.
    "": "utf-8",
    "utf8mb4": "utf-8",
    "utf8mb3": "utf-8",
    "xutf8": "utf-8",
    "unicode11utf8": "utf-8",
    "unicode11utf7": "utf-7",
    "xunicode20utf7": "utf-7",
    "unicode20utf7": "utf-7",
    "usascii": "utf-8",
    "ascii": "utf-8",
    "ansix341968": "utf-8",
    "default": "utf-8",
}
_NOISE = re.compile(r"[^a-z0-9]")


def decode(octets: bytes, charset: str) -> str:
    """Give `octets` as text; what the charset cannot say, and all but ASCII under an unknown label, becomes U+FFFD."""
    if octets.isascii():
        name = _codec(charset)
        # Most text is ASCII; only the charsets that shift with ASCII octets need their codec then.
        if name is None or not _shifts(name):
            return octets.decode("ascii")
    else:
        name = _codec(charset)
    if name is None:
        return octets.decode("ascii", "replace")
    try:
        text = octets.decode(name, "replace")
        # UTF-7 lets halves of surrogate pairs through, which no UTF-8 can carry on.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if name in _HALVES else text
    except (ValueError, LookupError):
        # A codec that ignores the error handler (utf-16 without its mark at odd lengths among them).
        return octets.decode("ascii", "replace")


def is_known(charset: str) -> bool:
    """Tell whether a charset label is one we can decode: SEARCH answers BADCHARSET otherwise (RFC 3501 §6.4.4)."""
    return _codec(charset) is not None


def _shifts(name: str) -> bool:
    return name.startswith(
        ("utf-7", "utf_7", "utf-16", "utf_16", "utf-32", "utf_32", "iso2022", "hz", "cp037", "cp500", "cp1026", "cp1140", "cp273", "cp424", "cp875")
    )


@lru_cache(maxsize=512)
def _codec(charset: str) -> str | None:
    label = charset[:_LABEL_MAX].strip().strip("\"'").lower()
    bare = _NOISE.sub("", label)
    alias = _ALIASES.get(bare)
    if alias is not None and (bare or not label):
        return alias
    # Spellings like cp-850, iso_8859-2, windows 1252, x-windows-1251.
    for spelling in (label, label.removeprefix("x-"), label.replace("-", "").replace("_", ""), re.sub(r"[^a-z0-9]+", "_", label).strip("_")):
        name = _text_codec(spelling)
        if name is not None:
            return name
    return None


def _text_codec(label: str) -> str | None:
    if not label.isascii() or "\0" in label:
        return None
    try:
        info = codecs.lookup(label)
    except (LookupError, ValueError):
        return None
    # The registry also holds codecs from octets to octets (zlib, hex): never those, nor the costly ones.
    if not info._is_text_encoding or info.name.replace("-", "_") in _REFUSED:  # noqa: SLF001 - the only mark the registry has
        return None
    return info.name
