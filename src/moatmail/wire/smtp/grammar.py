# SPDX-License-Identifier: Apache-2.0
"""The grammar of SMTP commands: paths, parameters, xtext; one pass over each line.

Obeys RFC 5321 §4.1.2 and §4.1.1.11, RFC 1870, RFC 3030, RFC 3461 §4, RFC 4954 §5, RFC 6152, RFC 6531.
Must never know the state of a session.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from moatmail.core.address import Address, AddressError, AddressNeedsUtf8Error, parse_mailbox
from moatmail.core.domain import DomainError, parse_domain, parse_literal
from moatmail.core.envelope import Body, Envelope, Notify, Recipient, Return
from moatmail.core.limits.smtp import ENVID_MAX, ORCPT_MAX, PARAMETERS_MAX, PATH_MAX, SIZE_DIGITS_MAX
from moatmail.core.status import Reply

# RFC 5321 §4.1.2: the source route (A-d-l) is read over, the quoted local-part may hold any bracket.
_PATH: Final = re.compile(rb'<(?:@[^<>":]++:)?+((?:"(?:[^"\\]|\\.)*+")?+[^<>"]*+)>(?= |\Z)', re.DOTALL)
# RFC 5321 §4.1.1.11: esmtp-param; RFC 6531 §3.3 adds UTF-8 to its value.
_PARAMETER: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([!-<>-~\x80-\xff]++))?+")
_XTEXT: Final = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})++")
_HEX: Final = re.compile(rb"\+([0-9A-F]{2})")
_ADDRESS_TYPE: Final = re.compile(rb"[A-Za-z0-9-]{1,64}")
_VERB: Final = re.compile(rb"[A-Za-z0-9]{1,16}")


class CommandError(ValueError):
    """A command outside the grammar; `reply` is what the client gets."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


_SYNTAX: Final = Reply.of(501, "5.5.4", "syntax error in parameters or arguments")
_REPEATED: Final = Reply.of(501, "5.5.4", "parameter given twice")
_UNKNOWN: Final = Reply.of(555, "5.5.4", "parameter not recognized or not implemented")
_BAD_REVERSE: Final = Reply.of(501, "5.1.7", "syntax error in the reverse-path")
_BAD_FORWARD: Final = Reply.of(501, "5.1.3", "syntax error in the forward-path")
_NEEDS_UTF8: Final = Reply.of(553, "5.6.7", "non-ASCII address without SMTPUTF8")


def split_command(line: bytes) -> tuple[bytes, bytes]:
    """Give the verb in capitals, empty if it is no word, and its arguments (RFC 5321 §2.4: verbs know no case)."""
    verb, _, arguments = line.partition(b" ")
    return (verb.upper() if _VERB.fullmatch(verb) else b""), arguments.strip(b" ")


def is_host(name: bytes) -> bool:
    """Tell whether the name of EHLO is a Domain or an address literal (RFC 5321 §4.1.1.1)."""
    try:
        parse_literal(name) if name[:1] == b"[" else parse_domain(name, utf8=True)
    except DomainError:
        return False
    return True


def parse_mail(arguments: bytes, *, extended: bool) -> Envelope:
    """Parse what follows MAIL into an envelope without recipients; CommandError (RFC 5321 §4.1.1.2)."""
    path, words = _split_path(arguments, b"FROM:", _BAD_REVERSE)
    fields = _parse_parameters(words, _MAIL_PARAMETERS if extended else {})
    # RFC 6531 §3.4: the parameter that follows the path decides how the path is read.
    utf8 = bool(fields.get("smtputf8"))
    address = _parse_address(path, _BAD_REVERSE, utf8=utf8) if path else None
    return Envelope(address, **fields)


def parse_rcpt(arguments: bytes, *, extended: bool, utf8: bool) -> Recipient:
    """Parse what follows RCPT; CommandError (RFC 5321 §4.1.1.3)."""
    path, words = _split_path(arguments, b"TO:", _BAD_FORWARD)
    fields = _parse_parameters(words, _RCPT_PARAMETERS if extended else {})
    # RFC 5321 §4.1.1.3: the postmaster needs no domain, in any case of letters.
    if path.lower() == b"postmaster":
        return Recipient(Address(path.decode("ascii"), ""), **fields)
    return Recipient(_parse_address(path, _BAD_FORWARD, utf8=utf8), **fields)


def parse_bdat(arguments: bytes) -> tuple[int, bool]:
    """Give the octets of the chunk and whether it is the last; CommandError (RFC 3030 §2)."""
    words = arguments.split()
    last = len(words) == 2 and words[1].upper() == b"LAST"
    if not words or len(words) > 1 + last or not _is_number(words[0]):
        raise CommandError(_SYNTAX)
    return int(words[0]), last


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= SIZE_DIGITS_MAX


def _split_path(arguments: bytes, keyword: bytes, refusal: Reply) -> tuple[bytes, list[bytes]]:
    if arguments[: len(keyword)].upper() != keyword:
        raise CommandError(_SYNTAX)
    # RFC 5321 §3.3 allows no space behind the colon; nothing is ambiguous about it, and strict servers lost mail.
    match = _PATH.match(arguments[len(keyword) :].lstrip(b" "))
    if match is None or len(match[0]) > PATH_MAX:
        raise CommandError(refusal)
    return match[1], match.string[match.end() :].split()


def _parse_address(path: bytes, refusal: Reply, *, utf8: bool) -> Address:
    try:
        return parse_mailbox(path, utf8=utf8)
    except AddressNeedsUtf8Error as error:
        # RFC 6531 §3.5: said with its own code, so that the client learns what is missing.
        raise CommandError(_NEEDS_UTF8) from error
    except AddressError as error:
        raise CommandError(refusal) from error


Parse = Callable[[bytes], Any]


def _parse_parameters(words: list[bytes], known: dict[bytes, tuple[str, Parse]]) -> dict[str, Any]:
    if len(words) > PARAMETERS_MAX:
        raise CommandError(_SYNTAX)
    fields: dict[str, Any] = {}
    for word in words:
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise CommandError(_SYNTAX)
        if match[1].upper() not in known:
            # RFC 5321 §4.1.1.11: 555 for what was never announced.
            raise CommandError(_UNKNOWN)
        name, parse = known[match[1].upper()]
        if name in fields:
            raise CommandError(_REPEATED)
        fields[name] = parse(match[2] or b"")
    return fields


def decode_xtext(text: bytes, limit: int) -> bytes:
    """Decode xtext of at most `limit` octets into printable ASCII; CommandError (RFC 3461 §4)."""
    if len(text) > limit or _XTEXT.fullmatch(text) is None:
        raise CommandError(_SYNTAX)
    decoded = _HEX.sub(_unhex, text)
    # RFC 3461 §4.2 and §4.4 encode printable characters only: a line end in here would break a notice's header.
    if not decoded.isascii() or not decoded.decode("ascii").isprintable():
        raise CommandError(_SYNTAX)
    return decoded


def _unhex(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 16),))


def encode_xtext(data: bytes) -> bytes:
    """Encode as xtext (RFC 3461 §4)."""
    return b"".join(b"+%02X" % octet if octet in b"+=" or not 0x21 <= octet <= 0x7E else bytes((octet,)) for octet in data)


def _parse_size(value: bytes) -> int:
    if not _is_number(value):
        raise CommandError(_SYNTAX)
    return int(value)


def _parse_body(value: bytes) -> Body:
    try:
        return Body(value.decode("ascii", "replace").upper())
    except ValueError as error:
        # RFC 3030 §3: BINARYMIME is not announced, so it is no value that we know.
        raise CommandError(_UNKNOWN if value.upper() == b"BINARYMIME" else _SYNTAX) from error


def _parse_flag(value: bytes) -> bool:
    # RFC 6531 §3.4: the parameter has no value.
    if value:
        raise CommandError(_SYNTAX)
    return True


def _parse_auth(value: bytes) -> Address | None:
    # RFC 4954 §5: <> or a mailbox in xtext; a server may ignore what it says, so what is no mailbox says nothing.
    if value == b"<>":
        return None
    try:
        return parse_mailbox(decode_xtext(value, PATH_MAX), utf8=False)
    except AddressError as error:
        raise CommandError(_SYNTAX) from error


def _parse_ret(value: bytes) -> Return:
    try:
        return Return(value.decode("ascii", "replace").upper())
    except ValueError as error:
        raise CommandError(_SYNTAX) from error


def _parse_envid(value: bytes) -> bytes:
    return decode_xtext(value, ENVID_MAX)


def _parse_notify(value: bytes) -> Notify:
    names = value.upper().split(b",")
    # RFC 3461 §4.1: NEVER excludes the rest, and each stands once.
    if names == [b"NEVER"]:
        return Notify.NEVER
    if len(set(names)) != len(names) or not _NOTIFY.keys() >= set(names):
        raise CommandError(_SYNTAX)
    result = Notify.NEVER
    for name in names:
        result |= _NOTIFY[name]
    return result


def _parse_orcpt(value: bytes) -> bytes:
    kind, separator, text = value.partition(b";")
    if not separator or _ADDRESS_TYPE.fullmatch(kind) is None:
        raise CommandError(_SYNTAX)
    if kind.lower() == b"utf-8" and not text.isascii():
        return kind + separator + _check_utf8(text)
    return kind + separator + decode_xtext(text, ORCPT_MAX)


def _check_utf8(text: bytes) -> bytes:
    # RFC 6533 §3: under SMTPUTF8 the utf-8 type may stand unencoded.
    try:
        printable = text.decode("utf-8").isprintable()
    except UnicodeDecodeError as error:
        raise CommandError(_SYNTAX) from error
    if not printable or len(text) > ORCPT_MAX:
        raise CommandError(_SYNTAX)
    return text


_NOTIFY: Final = {b"SUCCESS": Notify.SUCCESS, b"FAILURE": Notify.FAILURE, b"DELAY": Notify.DELAY}
_MAIL_PARAMETERS: Final[dict[bytes, tuple[str, Parse]]] = {
    b"SIZE": ("declared_size", _parse_size),
    b"BODY": ("body", _parse_body),
    b"SMTPUTF8": ("smtputf8", _parse_flag),
    b"AUTH": ("auth", _parse_auth),
    b"RET": ("ret", _parse_ret),
    b"ENVID": ("envid", _parse_envid),
}
_RCPT_PARAMETERS: Final[dict[bytes, tuple[str, Parse]]] = {
    b"NOTIFY": ("notify", _parse_notify),
    b"ORCPT": ("original", _parse_orcpt),
}
