# SPDX-License-Identifier: Apache-2.0
"""ID: what we say of ourselves, and what a client says of itself, kept for the administrator's log.

Obeys RFC 2971 §3 (nothing else depends on it), §3.3 (fields), §6.
Must never know a password, nor let a client write a log line of its own making.
"""

from __future__ import annotations

from typing import Final

from moatmail.core.limits.endpoints import CLIENT_WORD
from moatmail.endpoints.imap.conversation import Conversation
from moatmail.wire.imap import events, responses

_NAME: Final = b"Moatmail"
# Devices, users and addresses that some clients add are nobody's business.
_KEPT: Final = (b"name", b"version", b"os", b"os-version")


async def on_id(conversation: Conversation, command: events.Id) -> None:
    """Tell who we are, and take note of who asks."""
    conversation.untagged(responses.identity(_about_us(conversation)))
    conversation.done(command, b"done")
    if conversation.client == "":
        conversation.client = describe(command.pairs or ())
        tell_client(conversation)


def _about_us(conversation: Conversation) -> list[tuple[bytes, bytes | None]]:
    door = conversation.door
    url = door.settings().imap.support_url or f"mailto:postmaster@{door.hostname}"
    pairs: list[tuple[bytes, bytes | None]] = [(b"name", _NAME), (b"support-url", url.encode())]
    if conversation.opened is not None and door.version:
        # RFC 2971 §6: which holes a program has follows from its version; a stranger need not know ours.
        pairs.insert(1, (b"version", door.version.encode()))
    return pairs


def describe(pairs: tuple[tuple[bytes, bytes | None], ...]) -> str:
    """Give what a client calls itself, as ``name version (os os-version)``; bounded, and without quotes, for it will stand between some."""
    words: dict[bytes, str] = {}
    for field, value in pairs:
        if value:
            words.setdefault(field.lower(), value[: 4 * CLIENT_WORD].decode(errors="replace").replace('"', "'").strip()[:CLIENT_WORD])
    name, version, system, release = (words.get(field, "") for field in _KEPT)
    where = " ".join(filter(None, (system, release)))
    return " ".join(filter(None, (name, version, f"({where})" if where else "")))


def tell_client(conversation: Conversation) -> None:
    """Tell the log, once a session and of accounts only, which program speaks."""
    if conversation.opened is None or not conversation.client:
        return
    client, conversation.client = conversation.client, None
    conversation.tell("client.named", f'{conversation.identity.address} uses "{client}"', account=conversation.identity.address, client=client)
