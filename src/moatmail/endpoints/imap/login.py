# SPDX-License-Identifier: Apache-2.0
"""The commands before login: STARTTLS, LOGIN, AUTHENTICATE; and what a login opens.

Obeys RFC 3501 §6.2, RFC 4959 (SASL-IR), RFC 5530 §3 (AUTHENTICATIONFAILED, UNAVAILABLE, CONTACTADMIN), RFC 9051 §11.7.
Must never know how a password is judged (`directory/login`), nor what a mechanism says (`wire/sasl`).
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Final

from moatmail.core.errors import MoatmailError, TemporaryError
from moatmail.core.limits.endpoints import FAILED_LOGINS
from moatmail.core.transaction import Identity
from moatmail.directory.login import FrozenAccountError, Verifier
from moatmail.endpoints.imap.conversation import Conversation, RefusedError, refusal_of
from moatmail.endpoints.imap.identify import tell_client
from moatmail.endpoints.verifier import for_exchange
from moatmail.wire import sasl
from moatmail.wire.imap import events
from moatmail.wire.imap.server import Result

_EMPTY_INITIAL: Final = b"="
_WRONG: Final = RefusedError(b"authentication failed", b"AUTHENTICATIONFAILED")


def announce(conversation: Conversation) -> None:
    """Let the engine offer the mechanisms that work on this connection."""
    profile = conversation.engine.profile
    names = sasl.announced(conversation.door.mechanisms, _context(conversation))
    conversation.engine.profile = replace(profile, mechanisms=names)


async def on_starttls(conversation: Conversation, command: events.Starttls) -> None:
    """Shake hands; nothing that was said before counts (RFC 3501 §6.2.1)."""
    tls = conversation.door.tls
    if tls is None:
        raise RefusedError(b"TLS is not available here", result=Result.BAD)
    conversation.done(command, b"begin TLS")
    conversation.tls = await conversation.connection.start_tls(tls.context)
    conversation.engine.tls_started()
    announce(conversation)


async def on_login(conversation: Conversation, command: events.Login) -> None:
    """Judge name and password."""
    try:
        name, password = command.username.decode(), command.password.decode()
    except UnicodeDecodeError:
        name = password = ""
    await _conclude(conversation, command, sasl.NeedsPassword(name, "", password))


async def on_authenticate(conversation: Conversation, command: events.Authenticate) -> None:
    """Begin an exchange."""
    if command.mechanism not in conversation.engine.profile.mechanisms:
        raise RefusedError(b"no such mechanism", b"CANNOT")
    conversation.exchange = sasl.start(command.mechanism, _context(conversation))
    if command.initial is None:
        await _take(conversation, command, conversation.exchange.respond(None))
    else:
        # RFC 4959 §3: a single equals sign is the empty initial response.
        await _respond(conversation, command, b"" if command.initial == _EMPTY_INITIAL else sasl.decode_base64(command.initial))


async def on_response(conversation: Conversation, command: events.AuthenticateResponse) -> None:
    """Go on with an exchange."""
    await _respond(conversation, command, sasl.decode_base64(command.response))


async def on_cancelled(conversation: Conversation, notice: events.AuthenticateCancelled) -> None:
    """Forget an exchange that the client gave up: no failed login."""
    del notice
    _forget(conversation)


def _forget(conversation: Conversation) -> None:
    conversation.exchange = conversation.verifier = None


async def _respond(conversation: Conversation, command: events.Command, data: bytes | None) -> None:
    exchange = conversation.exchange
    if data is None or exchange is None:
        _forget(conversation)
        raise RefusedError(b"this is not base64", result=Result.BAD)
    await _take(conversation, command, exchange.respond(data))


async def _take(conversation: Conversation, command: events.Command, step: sasl.Step) -> None:
    """Do what the mechanism asks for."""
    if isinstance(step, sasl.NeedsVerifier) and conversation.exchange is not None:
        conversation.verifier = await conversation.door.login.verifier(step.authcid)
        step = conversation.exchange.supply(for_exchange(conversation.verifier))
    if isinstance(step, sasl.Challenge):
        conversation.engine.continue_(sasl.encode_base64(step.data))
    elif isinstance(step, sasl.Failure) and not step.reason.counts:
        _forget(conversation)
        raise RefusedError(b"the response does not fit the mechanism", result=Result.BAD)
    elif not isinstance(step, sasl.NeedsVerifier):
        await _conclude(conversation, command, step)


async def _conclude(conversation: Conversation, command: events.Command, step: sasl.NeedsPassword | sasl.Success | sasl.Failure) -> None:
    verifier = conversation.verifier
    _forget(conversation)
    try:
        identity = await _identity(conversation, step, verifier)
        settings = conversation.door.settings().imap
        conversation.opened = await conversation.door.accounts.open(
            identity, f"IMAP login from {conversation.connection.peer_ip}", settings.max_sessions_per_account
        )
    except MoatmailError as error:
        _tell_failed(conversation, step.authcid, error)
        _refuse(conversation, command, error)
        return
    conversation.opened.wakers.add(conversation.connection.notify)
    conversation.tell("login.succeeded", f"{identity.address} logged in from {conversation.connection.peer_ip}")
    tell_client(conversation)
    conversation.done(command, b"logged in")


async def _identity(conversation: Conversation, step: sasl.NeedsPassword | sasl.Success | sasl.Failure, verifier: Verifier | None) -> Identity:
    login = conversation.door.login
    if isinstance(step, sasl.NeedsPassword):
        return await login.with_password(step.authcid, step.password, step.authzid)
    if isinstance(step, sasl.Success) and verifier is not None:
        return login.after_scram(verifier, step.authzid)
    raise login.wrong()


def _tell_failed(conversation: Conversation, name: str, error: MoatmailError) -> None:
    conversation.tell("login.failed", f"login as {name or 'nobody'} from {conversation.connection.peer_ip} failed: {error.public}")


def _refuse(conversation: Conversation, command: events.Command, error: MoatmailError) -> None:
    if isinstance(error, TemporaryError):
        # The directory did not answer, or there are too many sessions: nothing was judged, nothing is counted.
        conversation.refuse(command, refusal_of(error) or _WRONG)
        return
    if isinstance(error, FrozenAccountError):
        conversation.refuse(command, RefusedError(error.public.encode(), b"CONTACTADMIN"))
        return
    conversation.refuse(command, _WRONG)
    conversation.failures += 1
    if conversation.failures >= FAILED_LOGINS:
        conversation.engine.bye(b"too many failed logins")


def _context(conversation: Conversation) -> sasl.Context:
    end_points = conversation.tls.end_points if conversation.tls is not None else ()
    door = conversation.door
    return sasl.Context(
        end_points,
        # RFC 5802 §6: only what the client could have seen makes its `y` a sign of tampering.
        offers_plus=bool(end_points) and sasl.SCRAM_PLUS in door.mechanisms,
        decoy_key=door.decoy_key or os.urandom(32),
    )
