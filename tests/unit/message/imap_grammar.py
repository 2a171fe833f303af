# SPDX-License-Identifier: Apache-2.0
"""A strict reader of ENVELOPE, BODY and BODYSTRUCTURE by the letter of RFC 3501 §9, independent of what it judges."""

from __future__ import annotations

import re

Item = bytes | None | int | list["Item"]


class GrammarError(AssertionError):
    """The octets leave the grammar."""


class Reader:
    """Consumes octets token by token; every method names the rule it follows."""

    def __init__(self, octets: bytes) -> None:
        self.octets, self.at = octets, 0

    def end(self) -> None:
        if self.at != len(self.octets):
            self.fail("octets after the end")

    def fail(self, why: str) -> None:
        raise GrammarError(f"{why} at {self.at}: {self.octets[max(self.at - 30, 0) : self.at + 30]!r}")

    def take(self, octets: bytes) -> None:
        if not self.octets.startswith(octets, self.at):
            self.fail(f"{octets!r} expected")
        self.at += len(octets)

    def sees(self, octets: bytes) -> bool:
        return self.octets.startswith(octets, self.at)

    def number(self) -> int:
        match = re.compile(rb"(?:0|[1-9][0-9]*)(?=[ )])").match(self.octets, self.at)
        if match is None:
            self.fail("number expected")
            raise AssertionError
        self.at = match.end()
        assert int(match[0]) < 2**32
        return int(match[0])

    def string(self) -> bytes:
        if self.sees(b'"'):
            match = re.compile(rb'"((?:[\x01-\x09\x0b\x0c\x0e-\x21\x23-\x5b\x5d-\x7f]|\\["\\])*)"(?=[ )]|\Z)').match(self.octets, self.at)
            if match is None:
                self.fail("quoted string expected")
                raise AssertionError
            self.at = match.end()
            return re.sub(rb"\\(.)", rb"\1", match[1])
        match = re.compile(rb"\{(0|[1-9][0-9]*)\}\r\n").match(self.octets, self.at)
        if match is None:
            self.fail("string expected")
            raise AssertionError
        start = match.end()
        self.at = start + int(match[1])
        value = self.octets[start : self.at]
        if len(value) != int(match[1]) or b"\0" in value:
            self.fail("literal cut short, or NUL in it")
        return value

    def nstring(self) -> bytes | None:
        if self.sees(b"NIL"):
            self.take(b"NIL")
            return None
        return self.string()

    def address_list(self) -> list[tuple[bytes | None, ...]] | None:
        if self.sees(b"NIL"):
            self.take(b"NIL")
            return None
        self.take(b"(")
        found = []
        while not self.sees(b")"):
            found.append(self.address())
        self.take(b")")
        if not found:
            self.fail("an empty address list")
        return found

    def address(self) -> tuple[bytes | None, ...]:
        self.take(b"(")
        values = []
        for place in range(4):
            if place:
                self.take(b" ")
            values.append(self.nstring())
        self.take(b")")
        return tuple(values)

    def envelope(self) -> list[object]:
        self.take(b"(")
        values: list[object] = [self.nstring()]
        self.take(b" ")
        values.append(self.nstring())
        for _ in range(6):
            self.take(b" ")
            values.append(self.address_list())
        self.take(b" ")
        values.append(self.nstring())
        self.take(b" ")
        values.append(self.nstring())
        self.take(b")")
        return values

    def parameters(self) -> list[tuple[bytes, bytes]]:
        if self.sees(b"NIL"):
            self.take(b"NIL")
            return []
        self.take(b"(")
        found = []
        while True:
            name = self.string()
            self.take(b" ")
            found.append((name, self.string()))
            if self.sees(b")"):
                break
            self.take(b" ")
        self.take(b")")
        return found

    def body(self, *, extended: bool) -> dict[str, object]:
        self.take(b"(")
        result = self.multipart(extended=extended) if self.sees(b"(") else self.single(extended=extended)
        self.take(b")")
        return result

    def multipart(self, *, extended: bool) -> dict[str, object]:
        parts = [self.body(extended=extended)]
        while self.sees(b"("):
            parts.append(self.body(extended=extended))
        self.take(b" ")
        result: dict[str, object] = {"type": b"multipart", "subtype": self.string(), "parts": parts}
        if extended:
            self.take(b" ")
            result["parameters"] = self.parameters()
            self.extension(result)
        return result

    def single(self, *, extended: bool) -> dict[str, object]:
        media = self.string()
        self.take(b" ")
        subtype = self.string()
        self.take(b" ")
        result: dict[str, object] = {"type": media, "subtype": subtype, "parameters": self.parameters()}
        for name, read in (("id", self.nstring), ("description", self.nstring), ("encoding", self.string), ("octets", self.number)):
            self.take(b" ")
            result[name] = read()
        if media.lower() == b"message" and subtype.lower() == b"rfc822":
            self.take(b" ")
            result["envelope"] = self.envelope()
            self.take(b" ")
            result["parts"] = [self.body(extended=extended)]
        if media.lower() == b"text" or "envelope" in result:
            self.take(b" ")
            result["lines"] = self.number()
        if extended:
            self.take(b" ")
            result["md5"] = self.nstring()
            self.extension(result)
        return result

    def extension(self, result: dict[str, object]) -> None:
        self.take(b" ")
        if self.sees(b"NIL"):
            self.take(b"NIL")
        else:
            self.take(b"(")
            result["disposition"] = self.string()
            self.take(b" ")
            result["disposition_parameters"] = self.parameters()
            self.take(b")")
        self.take(b" ")
        if self.sees(b"("):
            self.take(b"(")
            self.string()
            while self.sees(b" "):
                self.take(b" ")
                self.string()
            self.take(b")")
        else:
            self.nstring()
        self.take(b" ")
        result["location"] = self.nstring()


def read_envelope(octets: bytes) -> list[object]:
    """Give the ten values of an ENVELOPE; GrammarError (RFC 3501 §9 `envelope`)."""
    reader = Reader(octets)
    value = reader.envelope()
    reader.end()
    return value


def read_body(octets: bytes, *, extended: bool) -> dict[str, object]:
    """Give a BODY, or with `extended` a BODYSTRUCTURE, as a tree; GrammarError (RFC 3501 §9 `body`)."""
    reader = Reader(octets)
    value = reader.body(extended=extended)
    reader.end()
    return value
