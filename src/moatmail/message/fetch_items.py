# SPDX-License-Identifier: Apache-2.0
"""ENVELOPE, BODY and BODYSTRUCTURE of a message as they stand in an IMAP answer.

Obeys RFC 3501 §7.4.2 and §9 (envelope, body) to the letter, whatever the message holds: 7-bit texts quoted, others as literals;
for who reads UTF-8 RFC 9051 §7.5.2 and §9, RFC 9755 §6: texts in UTF-8 quoted, message/global like message/rfc822.
Must never know the session that asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from moatmail.core.imap_string import NIL, string, string_utf8
from moatmail.message.addresses import Group, Mailbox, parse_addresses
from moatmail.message.parameters import Parameters
from moatmail.message.structure import Part

_EMPTY_ENVELOPE = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
_EMPTY_TEXT = b'("text" "plain" NIL NIL NIL "7bit" 0 0)'
_EMPTY_TEXT_EXTENDED = b'("text" "plain" NIL NIL NIL "7bit" 0 0 NIL NIL NIL NIL)'
_DEFAULT_PARAMETERS = b'("charset" "us-ascii")'
_GROUP_END = b"(NIL NIL NIL NIL)"


@dataclass(frozen=True, slots=True)
class Form:
    """How a text is written, and which subtypes of message are told with what they hold."""

    string: Callable[[bytes], bytes]
    messages: frozenset[bytes]

    def nstring(self, value: bytes | None) -> bytes:
        """Give a text, or NIL for None (RFC 3501 §4.5)."""
        return NIL if value is None else self.string(value)


COMMON: Final = Form(string, frozenset((b"rfc822",)))
"""For everybody (RFC 3501 §9)."""
UTF8: Final = Form(string_utf8, frozenset((b"rfc822", b"global")))
"""For who enabled IMAP4rev2 or UTF8=ACCEPT (RFC 9051 §7.5.2, RFC 9755 §6)."""


def render_envelope(fields: dict[bytes, bytes], form: Form = COMMON) -> bytes:
    """Give ENVELOPE of a message's unfolded fields; encoded words stay as they are (RFC 3501 §7.4.2)."""
    author = _addresses(fields.get(b"from"), form)
    # RFC 3501 §7.4.2: where Sender and Reply-To are missing or empty, the server says From.
    sender = _addresses(fields.get(b"sender"), form)
    reply_to = _addresses(fields.get(b"reply-to"), form)
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        form.nstring(fields.get(b"date") or None),
        form.nstring(fields.get(b"subject")),
        author,
        author if sender is NIL else sender,
        author if reply_to is NIL else reply_to,
        _addresses(fields.get(b"to"), form),
        _addresses(fields.get(b"cc"), form),
        _addresses(fields.get(b"bcc"), form),
        form.nstring(fields.get(b"in-reply-to") or None),
        form.nstring(fields.get(b"message-id") or None),
    )


def render_body(part: Part, form: Form = COMMON) -> tuple[bytes, bytes]:
    """Give BODY and BODYSTRUCTURE of a part and all below it (RFC 3501 §7.4.2); depth is bounded by the parser's DEPTH_MAX."""
    if part.is_multipart:
        return _multipart(part, form)
    fields = _fields(part, form)
    if part.media == b"text":
        body = b"(%b %d" % (fields, part.lines)
        return body + b")", b"%b %b%b)" % (body, form.nstring(part.md5), _extension(part, form))
    if part.media == b"message" and part.subtype in form.messages:
        return _message(part, fields, form)
    return b"(%b)" % fields, b"(%b %b%b)" % (fields, form.nstring(part.md5), _extension(part, form))


def _multipart(part: Part, form: Form) -> tuple[bytes, bytes]:
    bodies: list[bytes] = []
    structures: list[bytes] = []
    for child in part.children:
        body, structure = render_body(child, form)
        bodies.append(body)
        structures.append(structure)
    subtype = form.string(part.subtype)
    return (
        b"(%b %b)" % (b"".join(bodies), subtype),
        b"(%b %b %b%b)" % (b"".join(structures), subtype, _parameters(part.parameters, form), _extension(part, form)),
    )


def _message(part: Part, fields: bytes, form: Form) -> tuple[bytes, bytes]:
    # RFC 3501 §9 body-type-msg demands an envelope and a body; a message that may not be looked into (encoded, too deep) has empty ones.
    envelope, body, structure = _EMPTY_ENVELOPE, _EMPTY_TEXT, _EMPTY_TEXT_EXTENDED
    if part.children:
        envelope = render_envelope(part.children[0].envelope or {}, form)
        body, structure = render_body(part.children[0], form)
    return (
        b"(%b %b %b %d)" % (fields, envelope, body, part.lines),
        b"(%b %b %b %d %b%b)" % (fields, envelope, structure, part.lines, form.nstring(part.md5), _extension(part, form)),
    )


def _fields(part: Part, form: Form) -> bytes:
    """Give media type, subtype and body-fields: parameters, id, description, encoding, octets (RFC 3501 §9)."""
    parameters = _parameters(part.parameters, form)
    if parameters is NIL and not part.typed and part.media == b"text":
        parameters = _DEFAULT_PARAMETERS  # RFC 2045 §5.2: what a part without a type is
    return b"%b %b %b %b %b %b %d" % (
        form.string(part.media),
        form.string(part.subtype),
        parameters,
        form.nstring(part.content_id),
        form.nstring(part.description),
        form.string(part.encoding or b"7bit"),
        part.size,
    )


def _extension(part: Part, form: Form) -> bytes:
    """Give disposition, language and location, a blank before each (RFC 3501 §9 body-ext-1part, body-ext-mpart)."""
    if part.disposition is None and not part.language and part.location is None:
        return b" NIL NIL NIL"
    disposition = NIL
    if part.disposition is not None:
        disposition = b"(%b %b)" % (form.string(part.disposition), _parameters(part.disposition_parameters, form))
    language = NIL
    if part.language:
        tags = b" ".join([form.string(tag) for tag in part.language])
        language = tags if len(part.language) == 1 else b"(%b)" % tags
    return b" %b %b %b" % (disposition, language, form.nstring(part.location))


def _parameters(parameters: Parameters, form: Form) -> bytes:
    if not parameters:
        return NIL
    return b"(%b)" % b" ".join([b"%b %b" % (form.string(name), form.string(value)) for name, value in parameters])


def _addresses(value: bytes | None, form: Form) -> bytes:
    if not value:
        return NIL
    entries = [_group(entry, form) if isinstance(entry, Group) else _mailbox(entry, form) for entry in parse_addresses(value)]
    # RFC 3501 §9 env-to: one address or more, nothing between them; an empty list is NIL.
    return b"(%b)" % b"".join(entries) if entries else NIL


def _mailbox(mailbox: Mailbox, form: Form) -> bytes:
    # RFC 3501 §7.4.2: a NIL host or mailbox name marks a group, so what is missing from a damaged address is the empty string.
    return b"(%b %b %b %b)" % (form.nstring(mailbox.name), form.nstring(mailbox.route), form.string(mailbox.localpart), form.string(mailbox.domain or b""))


def _group(group: Group, form: Form) -> bytes:
    return b"(NIL NIL %b NIL)%b%b" % (form.string(group.name), b"".join([_mailbox(member, form) for member in group.members]), _GROUP_END)
