# SPDX-License-Identifier: Apache-2.0
"""ENVELOPE, BODY and BODYSTRUCTURE of a message as they stand in an IMAP answer.

Obeys RFC 3501 §7.4.2 and §9 (envelope, body) to the letter, whatever the message holds: 7-bit texts quoted, others as literals.
Must never know the session that asks.
"""

from __future__ import annotations

from moatmail.core.imap_string import NIL, nstring, string
from moatmail.message.addresses import Group, Mailbox, parse_addresses
from moatmail.message.parameters import Parameters
from moatmail.message.structure import Part

_EMPTY_ENVELOPE = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
_EMPTY_TEXT = b'("text" "plain" NIL NIL NIL "7bit" 0 0)'
_EMPTY_TEXT_EXTENDED = b'("text" "plain" NIL NIL NIL "7bit" 0 0 NIL NIL NIL NIL)'
_DEFAULT_PARAMETERS = b'("charset" "us-ascii")'
_GROUP_END = b"(NIL NIL NIL NIL)"


def render_envelope(fields: dict[bytes, bytes]) -> bytes:
    """Give ENVELOPE of a message's unfolded fields; encoded words stay as they are (RFC 3501 §7.4.2)."""
    author = _addresses(fields.get(b"from"))
    # RFC 3501 §7.4.2: where Sender and Reply-To are missing or empty, the server says From.
    sender = _addresses(fields.get(b"sender"))
    reply_to = _addresses(fields.get(b"reply-to"))
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        nstring(fields.get(b"date") or None),
        nstring(fields.get(b"subject")),
        author,
        author if sender is NIL else sender,
        author if reply_to is NIL else reply_to,
        _addresses(fields.get(b"to")),
        _addresses(fields.get(b"cc")),
        _addresses(fields.get(b"bcc")),
        nstring(fields.get(b"in-reply-to") or None),
        nstring(fields.get(b"message-id") or None),
    )


def render_body(part: Part) -> tuple[bytes, bytes]:
    """Give BODY and BODYSTRUCTURE of a part and all below it (RFC 3501 §7.4.2); depth is bounded by the parser's DEPTH_MAX."""
    if part.is_multipart:
        return _multipart(part)
    fields = _fields(part)
    if part.media == b"text":
        body = b"(%b %d" % (fields, part.lines)
        return body + b")", b"%b %b%b)" % (body, nstring(part.md5), _extension(part))
    if part.media == b"message" and part.subtype == b"rfc822":
        return _message(part, fields)
    return b"(%b)" % fields, b"(%b %b%b)" % (fields, nstring(part.md5), _extension(part))


def _multipart(part: Part) -> tuple[bytes, bytes]:
    bodies: list[bytes] = []
    structures: list[bytes] = []
    for child in part.children:
        body, structure = render_body(child)
        bodies.append(body)
        structures.append(structure)
    subtype = string(part.subtype)
    return (
        b"(%b %b)" % (b"".join(bodies), subtype),
        b"(%b %b %b%b)" % (b"".join(structures), subtype, _parameters(part.parameters), _extension(part)),
    )


def _message(part: Part, fields: bytes) -> tuple[bytes, bytes]:
    # RFC 3501 §9 body-type-msg demands an envelope and a body; a message that may not be looked into (encoded, too deep) has empty ones.
    envelope, body, structure = _EMPTY_ENVELOPE, _EMPTY_TEXT, _EMPTY_TEXT_EXTENDED
    if part.children:
        envelope = render_envelope(part.children[0].envelope or {})
        body, structure = render_body(part.children[0])
    return (
        b"(%b %b %b %d)" % (fields, envelope, body, part.lines),
        b"(%b %b %b %d %b%b)" % (fields, envelope, structure, part.lines, nstring(part.md5), _extension(part)),
    )


def _fields(part: Part) -> bytes:
    """Give media type, subtype and body-fields: parameters, id, description, encoding, octets (RFC 3501 §9)."""
    parameters = _parameters(part.parameters)
    if parameters is NIL and not part.typed and part.media == b"text":
        parameters = _DEFAULT_PARAMETERS  # RFC 2045 §5.2: what a part without a type is
    return b"%b %b %b %b %b %b %d" % (
        string(part.media),
        string(part.subtype),
        parameters,
        nstring(part.content_id),
        nstring(part.description),
        string(part.encoding or b"7bit"),
        part.size,
    )


def _extension(part: Part) -> bytes:
    """Give disposition, language and location, a blank before each (RFC 3501 §9 body-ext-1part, body-ext-mpart)."""
    if part.disposition is None and not part.language and part.location is None:
        return b" NIL NIL NIL"
    disposition = NIL
    if part.disposition is not None:
        disposition = b"(%b %b)" % (string(part.disposition), _parameters(part.disposition_parameters))
    language = NIL
    if part.language:
        tags = b" ".join([string(tag) for tag in part.language])
        language = tags if len(part.language) == 1 else b"(%b)" % tags
    return b" %b %b %b" % (disposition, language, nstring(part.location))


def _parameters(parameters: Parameters) -> bytes:
    if not parameters:
        return NIL
    return b"(%b)" % b" ".join([b"%b %b" % (string(name), string(value)) for name, value in parameters])


def _addresses(value: bytes | None) -> bytes:
    if not value:
        return NIL
    entries = [_group(entry) if isinstance(entry, Group) else _mailbox(entry) for entry in parse_addresses(value)]
    # RFC 3501 §9 env-to: one address or more, nothing between them; an empty list is NIL.
    return b"(%b)" % b"".join(entries) if entries else NIL


def _mailbox(mailbox: Mailbox) -> bytes:
    # RFC 3501 §7.4.2: a NIL host or mailbox name marks a group, so what is missing from a damaged address is the empty string.
    return b"(%b %b %b %b)" % (nstring(mailbox.name), nstring(mailbox.route), string(mailbox.localpart), string(mailbox.domain or b""))


def _group(group: Group) -> bytes:
    return b"(NIL NIL %b NIL)%b%b" % (string(group.name), b"".join([_mailbox(member) for member in group.members]), _GROUP_END)
