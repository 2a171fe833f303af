# SPDX-License-Identifier: Apache-2.0
"""Hostile or broken XML read as plain nested texts: a shape says which elements count, everything else is read over.

Obeys XML 1.0 as far as reports need it, RFC 9990 §5 (foreign elements are ignored) and §8.1 (reports are attacks).
Must never know what a report says, and never a document type, an entity or anything outside of the octets it is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar
from xml.parsers import expat

from moatmail.core.limits.mailauth import (
    REPORT_DEPTH_MAX,
    REPORT_ELEMENTS_MAX,
    REPORT_MENDS_MAX,
    REPORT_NOTES_MAX,
    REPORT_RESULTS_MAX,
    REPORT_TAG_OCTETS,
    REPORT_TEXT_MAX,
)
from moatmail.mailauth.reports.unreadable import UnreadableReportError

Shape = Mapping[str, "Shape | None"]
"""Names of elements (lower case, without prefix) and what may stand in each: None for text."""

Node = dict[str, list["Node | str"]]
"""One element as it was read: its known children by name, in order."""

_DECLARED: Final = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*+=\s*+["']([A-Za-z0-9._-]{1,40})["']""")
# Charsets in which every octet stands for itself. All others are read as UTF-8, whatever a document declares of itself: UTF-7 or UTF-16
# would let markup pass that no reader of octets sees.
_SINGLE: Final = re.compile(r"(?:iso[-_]?8859-?[0-9]{1,2}|latin-?1|(?:windows|cp)-?125[0-8])", re.IGNORECASE)
_WINDOWS: Final = re.compile(r"iso[-_]?8859-?1|latin-?1", re.IGNORECASE)

# What is markup, what only looks like it, and what no XML text may hold; possessive, and each alternative ends at the next angle bracket.
_SUSPECT: Final = re.compile(
    r"<(?:(/?)((?:[A-Za-z_][\w.-]*+:)?[A-Za-z_][\w.-]*+)(?:[\s/][^<>]*+)?+>|(!--|!\[CDATA\[|\?|!DOCTYPE))?+"
    r"|&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});)"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]"
)
_SLICE: Final = 64 * 1024
_ENDS: Final = {"!--": "-->", "![CDATA[": "]]>", "?": "?>"}


T = TypeVar("T")


@dataclass(slots=True)
class Document(Generic[T]):
    """What was read: the top node, the items made of repeated elements, how many beyond the bound were not, and what was mended or dropped."""

    top: Node = field(default_factory=dict)
    items: list[T] = field(default_factory=list)
    beyond: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep a remark, once, REPORT_NOTES_MAX of them."""
        if text not in self.notes and len(self.notes) < REPORT_NOTES_MAX:
            self.notes.append(text)


@dataclass(frozen=True, slots=True)
class Items(Generic[T]):
    """The element right below the root that stands there any number of times: its name, what is made of one, how many are kept."""

    name: str
    make: Callable[[Node, Document[T]], T]
    most: int


def read_xml(octets: bytes, root: str, shape: Shape, items: Items[T]) -> Document[T]:
    """Read the first element `root` by `shape`; each of `items` is made when its element ends, so that no tree of the whole is built.

    Raises UnreadableReportError: a document type, too deep, too many elements, no such root. Broken places are mended once and told in the notes; what
    cannot be mended ends the reading, and what was complete until there stays.
    """
    first: Document[T] = Document()
    text = _as_text(octets, first)
    kept = list(first.notes)
    error = _Reader(first, root, shape, items).read(text.encode("utf-8"))
    if error is None:
        return first
    second: Document[T] = Document(notes=kept)
    mended = _mend(text, _names(root, shape), second)
    error = _Reader(second, root, shape, items).read(mended.encode("utf-8"))
    if error is not None:
        second.note(f"the XML is broken ({error}); what follows there was dropped")
    return second


def _as_text(octets: bytes, document: Document[T]) -> str:
    if octets.startswith((b"\xff\xfe", b"\xfe\xff")):
        return octets.decode("utf-16", "replace").removeprefix("\ufeff")
    octets = octets.removeprefix(b"\xef\xbb\xbf")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        declared = _DECLARED.match(octets.lstrip())
    name = declared[1].decode("ascii") if declared is not None else ""
    if _SINGLE.fullmatch(name) is not None:
        try:
            return octets.decode("cp1252" if _WINDOWS.fullmatch(name) is not None else name, "replace")
        except LookupError:
            pass
    document.note("octets that are no UTF-8 were replaced")
    return octets.decode("utf-8", "replace")


def _names(root: str, shape: Shape) -> frozenset[str]:
    found = {root}
    for name, inner in shape.items():
        found |= _names(name, inner or {})
    return frozenset(found)


def _mend(text: str, known: frozenset[str], document: Document[T]) -> str:
    """Make text of every bracket, ampersand and control that cannot be markup, so that one bad place does not cost the whole report."""
    pieces: list[str] = []
    place = mends = 0
    while (match := _SUSPECT.search(text, place)) is not None:
        pieces.append(text[place : match.start()])
        place = match.end()
        name, special = match[2], match[3]
        if special is not None:
            end = text.find(_ENDS[special], place) if special in _ENDS else place
            if end < 0:
                document.note("a comment without an end was dropped")
                return "".join(pieces)
            place = end + len(_ENDS.get(special, ""))
            # What says nothing cannot be broken either: only a section of text and a document type (which is refused) go on.
            pieces.append(text[match.start() : place] if special[0] == "!" and special != "!--" else "")
        elif name is not None and (":" in name or name.lower() in known):
            pieces.append(match[0])
        else:
            mends += 1
            if mends > REPORT_MENDS_MAX:
                raise UnreadableReportError(f"the XML is broken in more than {REPORT_MENDS_MAX} places")
            pieces.append(_as_written(match[0]))
            document.note("stray markup was read as text" if match[0][0] in "<&" else "control characters were dropped")
    pieces.append(text[place:])
    return "".join(pieces)


def _as_written(found: str) -> str:
    return found.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") if found[0] in "<&" else ""


class _Reader(Generic[T]):
    """One pass of expat over a document; the stack holds the open elements that count."""

    def __init__(self, document: Document[T], root: str, shape: Shape, items: Items[T]) -> None:
        self._document = document
        self._root = root
        self._shape = shape
        self._items = items
        self._stack: list[tuple[str, Shape | None, Node]] = []
        self._text: list[str] = []
        self._room = 0
        self._prefix = ""
        self._depth = 0
        self._ignored = 0  # elements open within one that does not count
        self._elements = 0
        self._found = False

    def read(self, octets: bytes) -> str | None:
        """Read all; gives what was wrong with the XML, None if nothing."""
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        # RFC 9990 §8.1: no document type, so no entity of the writer's own, none from outside, and nothing to expand.
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.ordered_attributes = True  # nobody looks at them, and a list is made faster
        error = None
        try:
            # In slices, so that other threads get their turn between them.
            for end in range(_SLICE, len(octets) + _SLICE, _SLICE):
                parser.Parse(octets[end - _SLICE : end], False)
                if min(end, len(octets)) - parser.CurrentByteIndex > REPORT_TAG_OCTETS:
                    raise UnreadableReportError(f"a tag of more than {REPORT_TAG_OCTETS} octets")
            parser.Parse(b"", True)
        except expat.ExpatError as broken:
            error = f"{expat.ErrorString(broken.code)}, line {broken.lineno}"
        if not self._found:
            raise UnreadableReportError(f"no element {self._root}" + (f": {error}" if error else ""))
        return error

    def _start(self, name: str, _attributes: list[str]) -> None:
        self._elements += 1
        self._depth += 1
        if self._depth > REPORT_DEPTH_MAX:
            raise UnreadableReportError(f"elements nested deeper than {REPORT_DEPTH_MAX}")
        if self._elements > REPORT_ELEMENTS_MAX:
            raise UnreadableReportError(f"more than {REPORT_ELEMENTS_MAX} elements")
        prefix, _, local = name.rpartition(":")
        local = local.lower()
        if not self._stack:
            if local == self._root and not self._found:
                self._found, self._prefix = True, prefix
                self._stack.append((local, self._shape, self._document.top))
            return
        shape = self._stack[-1][1]
        if self._ignored or shape is None or prefix != self._prefix or local not in shape:
            self._ignored += 1
            return
        self._stack.append((local, shape[local], {}))
        self._text.clear()
        self._room = REPORT_TEXT_MAX

    def _end(self, _name: str) -> None:
        self._depth -= 1
        if self._ignored:
            self._ignored -= 1
            return
        if not self._stack:
            return
        name, shape, node = self._stack.pop()
        if not self._stack:
            return
        if name == self._items.name and len(self._stack) == 1:
            self._make(node)
            return
        siblings = self._stack[-1][2].setdefault(name, [])
        if len(siblings) < REPORT_RESULTS_MAX:
            siblings.append(node if shape is not None else "".join(self._text).strip())
        else:
            self._document.note(f"more than {REPORT_RESULTS_MAX} elements {name} in one place; the rest was dropped")
        self._text.clear()

    def _make(self, node: Node) -> None:
        if len(self._document.items) < self._items.most:
            self._document.items.append(self._items.make(node, self._document))
        else:
            self._document.beyond += 1

    def _characters(self, text: str) -> None:
        # Text counts in an element for text alone, and only as much of it as is kept.
        if self._room > 0 and not self._ignored and self._stack and self._stack[-1][1] is None:
            self._text.append(text[: self._room])
            self._room -= len(text)


def _refuse(*_declaration: object) -> None:
    raise UnreadableReportError("a document type or an entity is declared")
