# SPDX-License-Identifier: Apache-2.0
"""What a finding means, in plain words: one sentence for every finding that a stage can give, and for every way a message can end.

Obeys RFC 8601 §2.7 (the result words of sender authentication) and RFC 5598 (who is who).
Must never know what follows from a finding: `policy/verdict` decides, `policy/explain` tells why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moatmail.core.verdict import Disposition, Finding

UNAVAILABLE: Final = "unavailable"

_SENTENCES: Final[Mapping[str, str]] = {
    # ---- iprev: the client's address and its names ----
    "iprev.pass": "the client's address has a name that leads back to it: {names}",
    "iprev.fail": "the client's address has names, but none of them leads back to it; mail servers that are looked after have one",
    "iprev.permerror": "the client's address has no name at all; mail servers that are looked after have one",
    "iprev.temperror": "the DNS did not say what the client's address is called",
    # ---- spf: who may send ----
    "spf.pass": "{domain} ({identity}) says that this client may send for it",
    "spf.fail": "{domain} ({identity}) says that this client may not send for it: forged, or forwarded on the way",
    "spf.softfail": "{domain} ({identity}) says that this client should not send for it, but does not insist",
    "spf.neutral": "{domain} ({identity}) does not say whether this client may send for it",
    "spf.none": "{domain} ({identity}) does not say who may send for it",
    "spf.permerror": "the SPF record of {domain} ({identity}) is broken; only its owner can mend it",
    "spf.temperror": "the DNS did not say who may send for {domain} ({identity})",
    # ---- dkim: signatures ----
    "dkim.none": "the message is not signed",
    "dkim.pass": "{domain} signed this message, and it was not changed since",
    "dkim.fail": "a signature of {domain} does not hold: changed on the way, or forged ({reason})",
    "dkim.policy": "a signature of {domain} holds, but it leaves too much of the message open to be worth anything ({reason})",
    "dkim.permerror": "a signature in the name of {domain} cannot be checked, now or later ({reason})",
    "dkim.temperror": "a signature of {domain} could not be checked, because its key could not be had from the DNS",
    # ---- arc: what those found through whom it came ----
    "arc.none": "nobody on the way sealed what it had found",
    "arc.pass": "everybody who passed it on sealed what it had found, and all seals hold: {sealers}",
    "arc.fail": "the seals of those who passed it on do not hold ({reason}); what they claim to have found does not count",
    "arc.temperror": "the seals of those who passed it on could not be checked, because a key could not be had from the DNS",
    # ---- dmarc: the author's domain ----
    "dmarc.none": "the author's domain, {domain}, does not say how to know its mail",
    "dmarc.pass": "{domain}, the author's domain, vouches for this message",
    "dmarc.fail": "{domain}, the author's domain, does not vouch for this message, and asks for this: {disposition}",
    "dmarc.permerror": "the author's domain cannot be asked: {reason}",
    "dmarc.temperror": "the DNS did not say whether {domain}, the author's domain, vouches for this message",
    # ---- loop ----
    "loop.received_hops": "the message went through {hops} servers, more than the {bound} that are allowed: it goes in circles",
    "loop.delivered_to": "the message was delivered to {address} before and came back: two forwardings lead to each other",
    # ---- form ----
    "form.no_from": "there is no From field: nobody can tell who wrote this",
    "form.several_from": "there are {fields} From fields: a filter may believe one and a reader see the other",
    "form.no_author": "From holds no address: nobody can tell who wrote this",
    "form.several_author_domains": "From names authors of several domains, and nobody can vouch for all of them",
    "form.malformed_from": "From can be read in more than one way: a filter may see another author than a reader",
    "form.several_sender": "there are {fields} Sender fields: a filter may believe one and a reader see the other",
    "form.utf8_author": "the author's address is not ASCII, and the client did not say so (SMTPUTF8): readers would differ in what it is",
    # ---- user filter ----
    "user_filter.placed": "the recipient's own rules put it into {mailboxes}",
    # ---- checks that could not be made ----
    "iprev.unavailable": "the name of the client's address could not be looked up ({why})",
    "spf.unavailable": "it could not be asked who may send for the envelope sender's domain ({why})",
    "dkim.unavailable": "the signatures could not be checked ({why})",
    "arc.unavailable": "the seals of those who passed it on could not be checked ({why})",
    "dmarc.unavailable": "the author's domain could not be asked whether it vouches ({why})",
    "loop.unavailable": "it could not be seen whether the message goes in circles ({why})",
    "form.unavailable": "it could not be seen whether the message names its author ({why})",
    "user_filter.unavailable": "the recipients' own rules could not be asked ({why})",
}
"""A sentence per finding; names in braces are facts of its evidence."""

_WITHOUT: Final[Mapping[str, str]] = {
    "domain": "a domain that is not named",
    "identity": "an identity",
    "names": "no name told",
    "reason": "no reason told",
    "sealers": "nobody told",
    "disposition": "nothing",
    "hops": "too many",
    "bound": "number",
    "address": "this recipient",
    "fields": "several",
    "mailboxes": "a mailbox of its own",
    "why": "no reason told",
}
"""What stands for a fact that the evidence does not hold."""

_IDENTITIES: Final[Mapping[str, str]] = {"helo": "the name the client gives itself", "mailfrom": "the domain of the envelope sender"}

_ENDS: Final[Mapping[Disposition, str]] = {
    Disposition.ACCEPT: "accepted",
    Disposition.TEMPFAIL: "put off: the other server will try again",
    Disposition.REJECT: "refused: the other server tells its sender",
    Disposition.QUARANTINE: "held apart: delivered to Junk, with a mark, until there is a quarantine",
    Disposition.HOLD: "held until somebody releases it",
    Disposition.DISCARD: "thrown away",
}


class _Facts(dict[str, str]):
    """Evidence as the sentences want it: a fact that is missing is spoken round."""

    def __missing__(self, name: str) -> str:
        return _WITHOUT.get(name, "?")


def meaning_of(finding: Finding) -> str:
    """Say in one sentence what a finding means; evidence stands in it as it is (a stranger may have written it: whoever prints it makes it safe)."""
    facts = _Facts((name, text) for name, text in finding.evidence.items() if text)
    if "identity" in facts:
        facts["identity"] = _IDENTITIES.get(facts["identity"], facts["identity"])
    if "mailboxes" in facts:
        facts["mailboxes"] = facts["mailboxes"].replace("\n", " and ")
    return _SENTENCES.get(finding.name, _stranger(finding)).format_map(facts)


def _stranger(finding: Finding) -> str:
    """Speak of a finding of another version, or of a stage added since: its name says what can be said."""
    stage, _, result = finding.name.partition(".")
    if result == UNAVAILABLE or finding.temporary:
        return f"check {_literal(stage)} could not be made ({{why}})"
    return f"check {_literal(stage)} found {_literal(result.replace('_', ' ') or 'something')}"


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def end_of(disposition: Disposition, mailboxes: tuple[str, ...]) -> str:
    """Say in words what happened to the message for one recipient."""
    if disposition is Disposition.ACCEPT and mailboxes:
        return f"accepted into {' and '.join(mailboxes)}"
    return _ENDS[disposition]


def known_findings() -> frozenset[str]:
    """Give the names of all findings that have a sentence (for the test that walks what stages can give)."""
    return frozenset(_SENTENCES)
