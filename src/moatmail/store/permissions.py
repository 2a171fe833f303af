# SPDX-License-Identifier: Apache-2.0
"""Which role may ask the store for what: one literal table, role × operation.

Obeys no RFC.
Must never know processes: `store.channel` tells the role of a peer.
"""

from __future__ import annotations

from typing import Final

from moatmail.core.settings.load import mail_entries
from moatmail.store.queries import SettingsAnswer

_OWN_STATE: Final = frozenset({"GetSettings", "Journal"})
# What was judged, and why: written by who judges, read by who administers.
_DECISIONS: Final = frozenset({"GetDecision", "ListDecisions", "ListSigningKeys", "ListReports", "GetReport"})
_DIRECTORY: Final = frozenset({"LookupAddresses", "ListDomains", "ListAccounts", "ListAliases", "GetSettings", "ListRecorded", "ListJournal", "GetLedger"})
_READING: Final = frozenset(
    {
        "GetDatabaseKey",
        "ListMailboxes",
        "GetMailbox",
        "ListPlacements",
        "ListColumns",
        "ListChanges",
        "GetMessages",
        "FindMessages",
        "MessageSizes",
        "RealSizes",
        "DeletedOctets",
        "ListVanished",
        "GetContent",
        "OldCovers",
        "ListUnindexed",
        "ListSegmentRows",
        "FindDoomed",
        "CountUnindexed",
        "ListSegments",
        "GetSegmentNumbers",
        "ListNumbers",
        "ListPlaced",
        "FindSegments",
        "GetSegmentPart",
        "ListUnthreaded",
        "GetThreads",
        "FindThread",
    }
)
_MAILBOX: Final = _READING | {
    "Append",
    "Replace",
    "Copy",
    "Move",
    "StoreFlags",
    "Expunge",
    "Rewrap",
    "AddWords",
    "AddSegment",
    "AddThreads",
    "CreateMailbox",
    "RenameMailboxes",
    "DeleteMailbox",
    "Subscribe",
    "OpenAccount",
    "FetchLogin",
}
# Making anew what was damaged: with the folder's lock, never over the channel of a running server.
_REPAIR: Final = frozenset({"DropSegments", "SetSummary", "Retail", "Recount"})
# Submission: our own user's message to our own and to others.
_SUBMISSION: Final = frozenset({"Accept", "LookupAddresses", "GetPostmaster", "GetQueueKeys", "CountQueue", "RecordDecision", "ListSigningKeys"})

TABLE: Final[dict[str, frozenset[str]]] = {
    # Talks to strangers: it may look up who exists and hand over mail; it reads nothing back and changes nothing.
    "mx": frozenset({"Accept", "LookupAddresses", "GetPostmaster", "GetQueueKeys", "RecordDecision"}) | _OWN_STATE,
    "access": _MAILBOX | _SUBMISSION | _OWN_STATE,
    "web": _MAILBOX | _SUBMISSION | _DIRECTORY | _DECISIONS | _OWN_STATE | {"Change"},
    "back": frozenset(
        {
            "Accept",
            "ClaimSpool",
            "ReleaseLeases",
            "SettleSpool",
            "CountQueue",
            "GetQueueKeys",
            "GetQueuePrivateKey",
            "GetContent",
            "GetDatabaseKey",
            "LookupAddresses",
            "GetPostmaster",
            "ListDomains",
            "ListAccounts",
            "GetLedger",
            "EraseDue",
            "TruncateWAL",
            # The private halves of signing keys go to nobody else.
            "GetSigningKeys",
            "ListSigningKeys",
            "ListObserved",
            "ForgetObserved",
            "EraseDecisions",
        }
    )
    | _OWN_STATE,
    # Itself: what it does at start and on its own schedule.
    "store": frozenset({"EraseDue", "TruncateWAL"}) | _REPAIR | _OWN_STATE,
    # The administrator at the machine: directory and settings, no mail and no keys.
    "cli": _DIRECTORY | _DECISIONS | _OWN_STATE | {"Change", "CountQueue", "EraseDue", "TruncateWAL"},
    # Opens archives of strangers: nothing at all.
    "scan": frozenset(),
}
"""Role -> names of operations and queries it may ask; `GetQueuePrivateKey` stands for GetQueueKeys with `private`."""


_SECRET_SETTINGS: Final = frozenset(key for key, entry in mail_entries().items() if entry.secret)
_KNOWS_SECRETS: Final = frozenset({"back", "web", "cli", "store"})


def told(role: str, answer: SettingsAnswer) -> SettingsAnswer:
    """Give the settings as a role may know them: who meets strangers or readers has no use for our password at a smart host."""
    if _KNOWS_SECRETS.intersection(role.split("+")):
        return answer
    return SettingsAnswer(answer.version, {key: value for key, value in answer.values.items() if key not in _SECRET_SETTINGS})


def may(role: str, asked: object) -> bool:
    """Tell whether a role may ask for this operation or query; a folded role ("mx+access") holds the rows of both."""
    name = type(asked).__name__
    if name == "GetQueueKeys" and getattr(asked, "private", False):
        name = "GetQueuePrivateKey"
    return any(name in TABLE.get(one, ()) for one in role.split("+"))
