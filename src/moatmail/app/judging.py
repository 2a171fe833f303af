# SPDX-License-Identifier: Apache-2.0
"""A message judged without being sent or kept: the same checks and the same verdict as at the door of strangers, over octets from a file.

Obeys RFC 5321 §2.3.8 (what the door refuses before any check), §3.6.2 (no relay); the checks cite their own.
Must never write anything, nor guess how the message came: a check that needs what is not known is left out and said to be.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.resolver import Lookups
from moatmail.core.settings.mail import Mail
from moatmail.core.transaction import Session, Transaction
from moatmail.directory.recipients import resolve
from moatmail.intake.receive import judge as judge_recipient
from moatmail.mailauth.signed import SignedMessage
from moatmail.mailbox.keep_everything import KeepEverything
from moatmail.message.structure import Structure, StructureParser
from moatmail.policy import decision, order, pipeline, verdict
from moatmail.policy.decision import Decided
from moatmail.policy.stage import Order, Phase, Stage, Tools
from moatmail.policy.stages import iprev, spf
from moatmail.store.interface import Store
from moatmail.wire.smtp.content import ContentCheck, ContentLimits

ANYBODY: Final = Address("anybody", "")
"""Stands for the recipient where none is named."""

_NEEDS: Final[Mapping[Stage, tuple[str, ...]]] = {iprev.check: ("--ip",), spf.check: ("--ip", "--mail-from")}
"""Stages that ask for more than the message itself, and the options that tell it."""

_CRLF: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class Given:
    """What is known of how the message came: the client's address and greeting, "" where not known; `mail_from` counts if `has_mail_from`."""

    ip: str = ""
    helo: str = ""
    mail_from: Address | None = None
    has_mail_from: bool = False
    recipients: tuple[Address, ...] = ()

    def missing(self, options: Iterable[str]) -> list[str]:
        """Give those of `options` that are not known."""
        known = {"--ip": bool(self.ip), "--mail-from": self.has_mail_from, "--helo": bool(self.helo), "--rcpt": bool(self.recipients)}
        return [option for option in options if not known[option]]


@dataclass(frozen=True, slots=True)
class Bench:
    """By whose lights it is judged: settings, our host name, the resolver, and the directory, if there is one to ask."""

    mail: Mail
    hostname: str
    resolver: Lookups
    clock: Clock
    store: Store | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The decision as it would be kept; `unchecked` (what, why) was left out; `door` are replies that come before any check, each with what it is about."""

    decided: Decided
    unchecked: tuple[tuple[str, str], ...] = ()
    door: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _FileContent:
    """A `core.transaction.Content` over octets in memory."""

    octets: bytes
    id: bytes = bytes(16)
    _structure: Structure | None = None
    _signed: SignedMessage | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        return len(self.octets)

    @property
    def structure(self) -> Structure:
        if self._structure is None:
            parser = StructureParser()
            parser.feed(self.octets)
            self._structure = parser.finish()
        return self._structure

    @property
    def header(self) -> bytes:
        return self.octets[: self.structure.header_size]

    @property
    def signed(self) -> SignedMessage:
        if self._signed is None:
            self._signed = SignedMessage(self.structure.header)
            if self._signed.needs_body:
                for piece in self.body():
                    self._signed.feed(piece)
        return self._signed

    def body(self) -> Iterator[bytes]:
        yield self.octets[self.structure.header_size :]


async def judge(octets: bytes, given: Given, bench: Bench) -> Judgement:
    """Judge a message now; raises StoreUnavailableError where the directory should be asked and does not answer."""
    octets = with_wire_ends(octets)
    recipients = given.recipients or (ANYBODY,)
    session = Session("file", "mx", given.ip, 0, given.helo, extended=True)
    envelope = Envelope(given.mail_from, tuple(map(Recipient, recipients)), smtputf8=True)
    transaction = Transaction(session, envelope, bench.clock.now(), _FileContent(octets))
    lookups = bench.resolver.for_message()
    tools = Tools(KeepEverything(), lookups, bench.hostname, bench.mail.policy.max_received)
    stages, unchecked = _without(order.RECEIVE, given)
    transaction = await pipeline.run(stages, Phase.DATA, transaction, tools)
    transaction = _without_empty_helo(transaction, given)
    settings = verdict.Settings.of(bench.mail.policy)
    decided = verdict.compose(transaction, lambda _recipient: settings)
    kept = decision.encode(transaction, decided, lookups.lookups, decision.told(settings, transaction.findings))
    return Judgement(decision.decode(kept), tuple(unchecked), tuple([one async for one in _at_the_door(octets, given, bench)]))


def with_wire_ends(octets: bytes) -> bytes:
    """Give a message as it travels: programs save lines with LF alone; where some end in CR LF the file is taken as it is."""
    return octets if _CRLF in octets else octets.replace(b"\n", _CRLF)


def _without(stages: Order, given: Given) -> tuple[Order, list[tuple[str, str]]]:
    """Give the order without the stages that need what is not known, and say which."""
    unchecked = []
    for stage, needs in _NEEDS.items():
        if missing := given.missing(needs):
            unchecked.append((_name(stage), f"no {' and no '.join(missing)}"))
    gone = {name for name, _ in unchecked}
    left = {phase: tuple(tuple(stage for stage in group if _name(stage) not in gone) for group in groups) for phase, groups in stages.items()}
    if "spf" in gone:
        unchecked.append(("dmarc by SPF", "SPF was not checked; only signatures can let dmarc pass"))
    elif given.missing(("--helo",)):
        unchecked.append(("spf of the greeting", "no --helo"))
    if given.missing(("--rcpt",)):
        unchecked.append(("recipients", "no --rcpt"))
    return left, unchecked


def _name(stage: Stage) -> str:
    return stage.__module__.rpartition(".")[2]


def _without_empty_helo(transaction: Transaction, given: Given) -> Transaction:
    """Leave out what was found about a greeting that nobody knows."""
    if given.helo:
        return transaction
    findings = tuple(one for one in transaction.findings if not (one.stage == "spf" and one.evidence.get("identity") == "helo"))
    return replace(transaction, findings=findings)


async def _at_the_door(octets: bytes, given: Given, bench: Bench) -> AsyncIterator[tuple[str, str]]:
    """Give the replies with which the server would refuse before it asks any check: recipients, and octets that are no message."""
    if bench.store is not None:
        for one in given.recipients:
            reply = judge_recipient(await resolve(bench.store, one), len(octets))
            if not reply.positive:
                yield str(one), str(reply)
    check = ContentCheck(ContentLimits(size=bench.mail.smtp.max_message_octets))
    check.take(octets)
    fault = check.finish()
    if fault is not None:
        yield "message", str(fault.reply)
