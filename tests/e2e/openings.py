# SPDX-License-Identifier: Apache-2.0
"""What well-known clients say when they open an account, and what they have to find in the answers.

Written from the clients' documented and observed behaviour, in our own words: Thunderbird asks for subscribed mailboxes with their uses, and reads headers by
UID; Apple Mail says ID first, keeps CONDSTORE and lists everything; Outlook knows neither uses nor extensions, sends synchronising literals and marks
deletions silently; K-9 asks for uses, for the newest messages by date, and for bodies in pieces.
Must never know our server's insides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Say:
    """A command, and patterns of which each has to match an untagged line (``!`` before one: none may); `literal` follows its ``{n}``."""

    command: str
    finds: tuple[str, ...] = ()
    tagged: str = "OK"
    literal: bytes = b""
    waits: bool = True
    """The literal is sent when the server asks for it; else at once (LITERAL+)."""
    why: str = ""
    """What a user sees if the answer is another."""


DRAFT: Final = b"From: alice@example.test\r\nTo: carol@friend.test\r\nSubject: sent by a client\r\nDate: Wed, 25 Nov 2026 10:00:00 +0000\r\n\r\nhello\r\n"
USES: Final = tuple(rf"LIST \([^)]*\\{use}[^)]*\) \"/\" " for use in ("Drafts", "Sent", "Junk", "Trash", "Archive"))
SELECTED: Final = (r"\d+ EXISTS", r"OK \[UIDVALIDITY \d+\]", r"OK \[UIDNEXT \d+\]", r"FLAGS \(.*\\Seen", r"OK \[PERMANENTFLAGS \(.*\\\*\)\]")
LIST_HEADER: Final = (
    "BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)]"
)

OPENINGS: Final[dict[str, tuple[Say, ...]]] = {
    "Thunderbird": (
        Say("CAPABILITY", (r"CAPABILITY .*\bIDLE\b", r"CAPABILITY .*\bSPECIAL-USE\b", r"CAPABILITY .*\bLIST-EXTENDED\b", r"CAPABILITY .*\bUIDPLUS\b")),
        Say('ID ("name" "Thunderbird" "version" "128.5.0")', (r"ID \(\"name\" \"Moatmail\"",)),
        Say("NAMESPACE", (r"NAMESPACE \(\(\"\" \"/\"\)\) NIL NIL",)),
        Say("ENABLE UTF8=ACCEPT", (r"ENABLED UTF8=ACCEPT",)),
        Say("ENABLE CONDSTORE", (r"ENABLED CONDSTORE",)),
        Say('LIST (SUBSCRIBED) "" "*" RETURN (SPECIAL-USE)', USES),
        Say('LIST "" "INBOX"', (r"LIST \(.*\) \"/\" INBOX",)),
        Say('SELECT "INBOX" (CONDSTORE)', (*SELECTED, r"OK \[HIGHESTMODSEQ \d+\]")),
        Say('GETQUOTAROOT "INBOX"', (r"QUOTAROOT INBOX",)),
        Say("UID FETCH 1:* (FLAGS)", (r"1 FETCH \(UID \d+ FLAGS \(",)),
        Say(f"UID FETCH 1 (UID RFC822.SIZE FLAGS {LIST_HEADER})", (r"1 FETCH \(UID 1 RFC822.SIZE \d+ FLAGS \([^)]*\) .*BODY\[HEADER.FIELDS \(",)),
        Say("UID FETCH 1 (UID RFC822.SIZE BODY[])", (r"BODY\[\] \{\d+\}",)),
        Say("UID STORE 1 +FLAGS (\\Seen \\Flagged)"),
        Say("NOOP"),
        Say(
            f'APPEND "Sent" (\\Seen) "25-Nov-2026 11:00:00 +0100" UTF8 (~{{{len(DRAFT)}+}}',
            tagged=r"OK \[APPENDUID \d+ \d+\]",
            literal=DRAFT + b")",
            waits=False,
            why="no copy of what was sent is kept",
        ),
        Say('UID MOVE 1 "Trash"', (r"OK \[COPYUID \d+ 1 \d+\]", r"1 EXPUNGE")),
        Say('STATUS "Trash" (UIDNEXT MESSAGES UNSEEN RECENT)', (r"STATUS Trash \(UIDNEXT \d+ MESSAGES 1 UNSEEN 0 RECENT \d+\)",)),
        Say("CLOSE"),
    ),
    "Apple Mail": (
        Say("CAPABILITY", (r"CAPABILITY .*\bID\b", r"CAPABILITY .*\bCONDSTORE\b")),
        Say('ID ("name" "Mac OS X Mail" "version" "16.0 (3826.200.121)" "os" "Mac OS X" "os-version" "15.1 (24B83)" "vendor" "Apple Inc.")', (r"ID \(",)),
        Say('LIST "" ""', (r"LIST \(\\Noselect\) \"/\" \"\"",)),
        Say('LIST "" "*" RETURN (SPECIAL-USE SUBSCRIBED)', (*USES, r"LIST \([^)]*\\Subscribed[^)]*\) \"/\" INBOX")),
        Say('LSUB "" "*"', (r"LSUB \(\) \"/\" INBOX",)),
        Say(
            'STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)',
            (r"STATUS INBOX \(MESSAGES [1-9]\d* UIDNEXT \d+ UIDVALIDITY \d+ UNSEEN \d+ HIGHESTMODSEQ \d+\)",),
        ),
        Say("ENABLE CONDSTORE QRESYNC", (r"ENABLED .*QRESYNC",)),
        Say('SELECT "INBOX" (CONDSTORE)', SELECTED),
        Say("FETCH 1:* (FLAGS UID)", (r"1 FETCH \(.*FLAGS \(", r"1 FETCH \(.*UID 1\b")),
        Say(
            "UID FETCH 1:* (INTERNALDATE UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (date subject from to cc message-id in-reply-to references content-type "
            "x-priority x-uniform-type-identifier x-universally-unique-identifier list-id list-unsubscribe "
            "bimi-indicator authentication-results dkim-signature)])",
            (r"1 FETCH \(INTERNALDATE \"[^\"]+\" UID \d+ RFC822.SIZE \d+ FLAGS \(",),
        ),
        Say("UID FETCH 1 (BODYSTRUCTURE BODY.PEEK[HEADER])", (r"BODYSTRUCTURE \(\"text\" \"plain\"", r"BODY\[HEADER\]")),
        Say("UID FETCH 1 BODY.PEEK[TEXT]", (r"BODY\[TEXT\]",)),
        Say("UID STORE 1 +FLAGS.SILENT (\\Seen)", (r"!FLAGS \(",)),
        Say('UID COPY 1 "Archive"', tagged=r"OK \[COPYUID \d+ 1 \d+\]"),
        Say("UID STORE 1 +FLAGS.SILENT (\\Deleted)"),
        Say("UID EXPUNGE 1", (r"VANISHED 1",), tagged=r"OK \[HIGHESTMODSEQ \d+\]"),
        Say("UID SEARCH 1:* NOT DELETED", (r"SEARCH",)),
        Say("CHECK"),
    ),
    "Outlook": (
        Say("CAPABILITY", (r"CAPABILITY IMAP4rev1 ",)),
        Say('LIST "" "*"', (r"LIST \(.*\) \"/\" INBOX", r"LIST \(.*\) \"/\" Sent", r"LIST \(.*\) \"/\" Trash")),
        Say('LSUB "" "*"', (r"LSUB \(\) \"/\" Sent",)),
        Say('STATUS "Sent" (UIDNEXT UIDVALIDITY MESSAGES UNSEEN)', (r"STATUS Sent \(",)),
        Say('SELECT "INBOX"', SELECTED),
        Say("FETCH 1:1 (UID)", (r"1 FETCH \(UID \d+\)",)),
        Say("UID FETCH 1:* (UID FLAGS)", (r"1 FETCH \(UID \d+ FLAGS \(",)),
        Say("UID FETCH 1 (UID FLAGS RFC822.SIZE RFC822.HEADER INTERNALDATE)", (r"RFC822.HEADER \{\d+\}", r"INTERNALDATE")),
        Say("UID FETCH 1 (UID FLAGS RFC822.SIZE RFC822.PEEK INTERNALDATE)", tagged="BAD"),
        Say("UID FETCH 1 (UID FLAGS RFC822.SIZE BODY.PEEK[] INTERNALDATE)", (r"BODY\[\] \{\d+\}",)),
        Say("UID STORE 1 +FLAGS.SILENT (\\Seen)"),
        Say(f'APPEND "Sent" (\\Seen) "25-Nov-2026 11:00:00 +0100" {{{len(DRAFT)}}}', tagged=r"OK \[APPENDUID", literal=DRAFT),
        Say("UID STORE 1 +FLAGS.SILENT (\\Deleted)"),
        Say("EXPUNGE", (r"1 EXPUNGE",)),
        Say('CREATE "Kunden/M&APw-ller"'),
        Say('LIST "" "Kunden/%"', (r"LIST \(.*\) \"/\" Kunden/M&APw-ller",)),
        Say("LOGOUT", (r"BYE ",)),
    ),
    "K-9": (
        Say("CAPABILITY", (r"CAPABILITY .*\bMOVE\b", r"!\bCOMPRESS=")),
        Say('ID ("name" "K-9 Mail" "version" "8.0")', (r"ID \(",)),
        Say("NAMESPACE", (r"NAMESPACE \(\(\"\" \"/\"\)\)",)),
        Say('LIST "" "*" RETURN (SPECIAL-USE)', USES),
        Say('LIST (SUBSCRIBED) "" "*" RETURN (SPECIAL-USE)', (r"LIST \(.*\) \"/\" INBOX",)),
        Say('SELECT "INBOX"', SELECTED),
        Say("UID SEARCH 1:* SINCE 1-Jan-2020 NOT DELETED", (r"SEARCH 1\b",)),
        Say(
            "UID FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (date subject from content-type to cc reply-to message-id references "
            "in-reply-to list-unsubscribe sender X-K9mail-Identity Chat-Version)])",
            (r"1 FETCH \(UID 1 FLAGS",),
        ),
        Say("UID FETCH 1 (UID BODYSTRUCTURE)", (r"BODYSTRUCTURE \(",)),
        Say("UID FETCH 1 (UID BODY.PEEK[TEXT]<0.32768>)", (r"BODY\[TEXT\]<0>",)),
        Say('UID SEARCH HEADER MESSAGE-ID "<nowhere@example.test>"', (r"SEARCH$",)),
        Say(f'APPEND "Drafts" (\\Seen) {{{len(DRAFT)}+}}', tagged=r"OK \[APPENDUID", literal=DRAFT, waits=False),
        Say('UID MOVE 1 "Archive"', (r"1 EXPUNGE",)),
        Say("EXPUNGE"),
    ),
}
