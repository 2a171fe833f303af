# SPDX-License-Identifier: Apache-2.0
"""Openings of programs beside the four of `openings.py`, and what their users see if an answer is not there.

Written in our own words from what the programs' sources, bug reports and documentation tell: Evolution, KMail and the Android
mail program (the Gmail app's IMAP descends from it) from their public sources, iOS Mail from traces in bug reports, FairEmail from
the library it uses; Outlook for telephones and Gmail's fetching talk from their makers' servers, and little of them is known: they
are held to what any such server needs.
A tuple of commands is one packet: iOS sends what follows DONE, and pieces of one message, without waiting.
Must never know our server's insides.
"""

from __future__ import annotations

from typing import Final

from tests.e2e.openings import DRAFT, SELECTED, USES, Say

Opening = tuple[Say | tuple[Say, ...], ...]

_IOS_HEADER: Final = (
    "BODY.PEEK[HEADER.FIELDS (date subject from to cc message-id in-reply-to references content-type x-priority x-uniform-type-identifier "
    "x-universally-unique-identifier list-id list-unsubscribe)]"
)
_PIECE: Final = 393_216  # what iOS asks of a part at once, however small that is

MORE: Final[dict[str, Opening]] = {
    "iOS Mail": (
        Say(
            "CAPABILITY",
            (r"CAPABILITY .*\bID\b.*\bENABLE\b", r"CAPABILITY .*\bCONDSTORE\b", r"CAPABILITY .*\bIDLE\b"),
            why="no push, all flags each time",
        ),
        Say(
            'ID ("name" "com.apple.email.maild" "version" "3826.400.131" "os" "iOS" "os-version" "18.3 (22D63)" "vendor" "Apple Inc")',
            (r"ID \(\"name\" \"Moatmail\"",),
            why="the account cannot be verified",
        ),
        (
            Say("NAMESPACE", (r"NAMESPACE \(\(\"\" \"/\"\)\) NIL NIL",), why="folders of their own appear beside Sent and Trash"),
            Say('LIST "" "*" RETURN (SPECIAL-USE)', USES, why="sent mail stays on the telephone"),
        ),
        Say('LIST "" ""', (r"LIST \(\\Noselect\) \"/\" \"\"",)),
        Say('SELECT "INBOX" (CONDSTORE)', (*SELECTED, r"OK \[HIGHESTMODSEQ \d+\]"), why="an inbox that stays empty"),
        Say("FETCH 1:* (FLAGS UID MODSEQ)", (r"1 FETCH \(.*MODSEQ \(\d+\)",)),
        Say(f"UID FETCH 1 (INTERNALDATE UID RFC822.SIZE FLAGS {_IOS_HEADER} BODYSTRUCTURE)", (r"1 FETCH \(.*BODYSTRUCTURE \(", r"BODY\[HEADER\.FIELDS \(")),
        # The plan of pieces is made from the size of the whole message, so most of them lie behind the end of the part (an empty literal stops its parser).
        tuple(
            Say(
                f"UID FETCH 1 (UID BODY.PEEK[1]<{start * _PIECE}.{_PIECE}>)",
                ((r"1 FETCH \(UID 1 BODY\[1\]<0> \{\d+\}\r\n",) if start == 0 else (rf"1 FETCH \(UID 1 BODY\[1\]<{start * _PIECE}> \"\"\)", r"!\{0\}")),
                why="the message is shown after a minute and a half",
            )
            for start in range(10)
        ),
        Say("UID SEARCH RETURN (ALL) 1:* UNDELETED", (r"ESEARCH \(TAG \"[^\"]+\"\) UID ALL 1",)),
        Say("UID STORE 1 +FLAGS.SILENT (\\Seen $MailFlagBit0)", (r"!1 FETCH \([^)]*FLAGS",)),
        Say('CREATE "Deleted Messages"', tagged=r"OK \[MAILBOXID"),
        Say(f'APPEND "Sent" (\\Seen) {{{len(DRAFT)}+}}', tagged=r"OK \[APPENDUID", literal=DRAFT, waits=False),
        (
            Say('UID MOVE 1 "Deleted Messages"', (r"OK \[COPYUID \d+ 1 1\]", r"1 EXPUNGE"), why="deleted mail comes back"),
            Say('STATUS "Deleted Messages" (MESSAGES UIDNEXT UNSEEN HIGHESTMODSEQ)', (r"STATUS \"Deleted Messages\" \(MESSAGES 1 ",)),
            Say('SELECT "Deleted Messages" (CONDSTORE)', (r"OK \[CLOSED\]", r"1 EXISTS")),
        ),
    ),
    "Gmail app": (
        Say("CAPABILITY", (r"CAPABILITY .*\bID\b", r"CAPABILITY .*\bUIDPLUS\b")),
        Say(
            'ID ("name" "com.google.android.gm" "os" "android" "os-version" "14; UP1A.231105" "vendor" "Google" "x-android-device-model" "Pixel 8" '
            '"AGUID" "0OEJmnkRXtqBpXIhkmvzfXY5ecE=")',
            (r"ID \(\"name\" \"Moatmail\"",),
        ),
        Say("NAMESPACE", (r"NAMESPACE \(\(\"\" \"/\"\)\)",), why="every folder is looked for below INBOX"),
        Say('LIST "" "*"', (*USES, r"LIST \([^)]*\) \"/\" INBOX"), why="Sent and Drafts on the telephone only"),
        Say('SELECT "INBOX"', SELECTED),
        Say("UID SEARCH 1:* NOT DELETED", (r"SEARCH 1$",)),
        Say("UID SEARCH BEFORE 31-Dec-2037 SINCE 1-Jan-2020 NOT DELETED", (r"SEARCH 1$",)),
        Say("UID FETCH 1 (UID FLAGS)", (r"1 FETCH \(UID 1 FLAGS \(",)),
        Say(
            "UID FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (date subject from content-type to cc message-id)])",
            (r"1 FETCH \(UID 1 FLAGS \(.*RFC822\.SIZE \d+ BODY\[HEADER\.FIELDS",),
        ),
        Say("UID FETCH 1 (UID BODYSTRUCTURE)", (r"BODYSTRUCTURE \(",)),
        Say("UID FETCH 1 (UID BODY.PEEK[1.MIME] BODY.PEEK[1]<0.51200>)", (r"BODY\[1\.MIME\]", r"BODY\[1\]<0>"), why="an empty message"),
        Say("UID STORE 1 +FLAGS.SILENT (\\SEEN)"),
        Say(f'APPEND "Sent" (\\SEEN) {{{len(DRAFT)}}}', tagged=r"OK \[APPENDUID", literal=DRAFT, why="sent again and again"),
        Say('SELECT "Sent"', (r"1 EXISTS",)),
        Say("UID SEARCH HEADER MESSAGE-ID <sent-by-a-client@example.test>", (r"SEARCH$",)),
        Say("UID SEARCH (HEADER MESSAGE-ID <sent-by-a-client@example.test>)", (r"SEARCH$",)),
        Say('SELECT "INBOX"', SELECTED),
        Say('UID COPY 1 "Trash"', tagged=r"OK \[COPYUID \d+ 1 \d+\]"),
        Say("UID STORE 1 +FLAGS.SILENT (\\DELETED)"),
        Say("EXPUNGE", (r"1 EXPUNGE",)),
        Say("CLOSE"),
    ),
    "Gmail fetching by IMAP": (
        Say("CAPABILITY", (r"CAPABILITY .*\bIMAP4rev1\b", r"CAPABILITY .*\bUIDPLUS\b")),
        Say('ID ("name" "GImap" "vendor" "Google, Inc.")', (r"ID \(",)),
        Say('LIST "" "*"', USES),
        Say('EXAMINE "INBOX"', (r"\d+ EXISTS", r"OK \[UIDVALIDITY \d+\]"), tagged=r"OK \[READ-ONLY\]", why="unread mail is read"),
        Say("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)", (r"1 FETCH \(UID 1 FLAGS \(.*INTERNALDATE \"[^\"]+\" RFC822\.SIZE \d+\)",)),
        Say("UID FETCH 1 (UID BODY.PEEK[])", (r"BODY\[\] \{\d+\}",)),
        Say('STATUS "Sent" (MESSAGES UIDNEXT UIDVALIDITY)', (r"STATUS Sent \(MESSAGES \d+ UIDNEXT \d+ UIDVALIDITY \d+\)",)),
    ),
    "Outlook on a telephone": (
        Say("CAPABILITY", (r"CAPABILITY .*\bUIDPLUS\b", r"CAPABILITY .*\bIDLE\b", r"CAPABILITY .*\bSPECIAL-USE\b")),
        Say('ID ("name" "Outlook-iOS-Android" "version" "2.0")', (r"ID \(",)),
        Say('LIST "" "*" RETURN (SPECIAL-USE)', USES, why="folders twice"),
        Say('LIST (SPECIAL-USE) "" "*"', USES),
        Say('STATUS "INBOX" (MESSAGES UNSEEN UIDNEXT UIDVALIDITY)', (r"STATUS INBOX \(MESSAGES \d+ UNSEEN \d+ UIDNEXT \d+ UIDVALIDITY \d+\)",)),
        Say('SELECT "INBOX"', SELECTED),
        Say("UID SEARCH SINCE 1-Jan-2020", (r"SEARCH 1\b",)),
        Say(
            "UID FETCH 1 (UID FLAGS ENVELOPE INTERNALDATE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (References In-Reply-To Message-ID X-Priority Importance)])",
            (r"1 FETCH \(UID 1 FLAGS \(.*ENVELOPE \(.*BODYSTRUCTURE \(",),
            why="folders without a message",
        ),
        Say("UID FETCH 1 (BODY.PEEK[1])", (r"BODY\[1\]",)),
        Say(f'APPEND "Drafts" (\\Draft \\Seen) {{{len(DRAFT)}+}}', tagged=r"OK \[APPENDUID", literal=DRAFT, waits=False),
        Say('UID MOVE 1 "Archive"', (r"OK \[COPYUID", r"1 EXPUNGE")),
    ),
    "FairEmail": (
        Say("CAPABILITY", (r"CAPABILITY .*\bUTF8=ACCEPT\b", r"CAPABILITY .*\bMOVE\b", r"CAPABILITY .*\bQUOTA\b")),
        Say("ENABLE UTF8=ACCEPT", (r"ENABLED UTF8=ACCEPT",)),
        Say('ID ("name" "FairEmail" "version" "1.2200")', (r"ID \(",)),
        Say("NAMESPACE", (r"NAMESPACE \(\(\"\" \"/\"\)\)",)),
        Say('LIST "" "*"', USES, why="the account is refused without a drafts folder"),
        Say('LSUB "" "*"', (r"LSUB \(\) \"/\" INBOX",)),
        Say("SELECT INBOX", SELECTED),
        Say("GETQUOTAROOT INBOX", (r"QUOTAROOT INBOX",)),
        Say("UID SEARCH SINCE 1-Jan-2020", (r"SEARCH 1$",)),
        Say("SEARCH OR DELETED SEEN ALL", (r"SEARCH",)),
        Say("UID FETCH 1:* (UID)", (r"1 FETCH \(UID 1\)",)),
        Say("FETCH 1 (FLAGS)", (r"1 FETCH \(FLAGS \(",)),
        Say(
            "FETCH 1 (ENVELOPE INTERNALDATE RFC822.SIZE FLAGS BODYSTRUCTURE UID BODY.PEEK[HEADER])",
            (r"1 FETCH \(ENVELOPE \(.*INTERNALDATE .*RFC822\.SIZE \d+ FLAGS \(.*BODYSTRUCTURE \(.*UID 1 BODY\[HEADER\]",),
        ),
        Say("FETCH 1 (BODY.PEEK[1]<0.16384>)", (r"BODY\[1\]<0>",)),
        Say("FETCH 1 (BODY.PEEK[1]<16384.16384>)", (r"BODY\[1\]<16384> \"\"",), why="the end of a message is never found"),
        Say("STORE 1 +FLAGS (\\Seen $Forwarded)", (r"1 FETCH \(.*\\Seen.*\$Forwarded",)),
        Say(f"APPEND Drafts (\\Seen \\Draft) {{{len(DRAFT)}+}}", tagged=r"OK \[APPENDUID", literal=DRAFT, waits=False),
        Say("UID MOVE 1 Archive", (r"1 EXPUNGE",)),
        Say("NOOP"),
        Say("UNSELECT"),
    ),
    "Evolution": (
        Say("CAPABILITY", (r"CAPABILITY .*\bNOTIFY\b", r"CAPABILITY .*\bQRESYNC\b")),
        Say("ENABLE UTF8=ACCEPT", (r"ENABLED UTF8=ACCEPT",)),
        Say("NAMESPACE", (r"NAMESPACE \(\(\"\" \"/\"\)\)",)),
        Say("ENABLE CONDSTORE QRESYNC", (r"ENABLED CONDSTORE QRESYNC",)),
        Say(
            "NOTIFY SET (selected (MessageNew (UID RFC822.SIZE RFC822.HEADER FLAGS) MessageExpunge FlagChange)) "
            "(personal (MessageNew MessageExpunge MailboxName SubscriptionChange))",
            why="the connection is given up",
        ),
        Say('LIST "" * RETURN (CHILDREN SUBSCRIBED)', (r"LIST \([^)]*\\Subscribed[^)]*\\HasNoChildren[^)]*\) \"/\" INBOX",)),
        Say("SELECT INBOX (CONDSTORE)", (*SELECTED, r"OK \[HIGHESTMODSEQ \d+\]")),
        Say("UID FETCH 1:* (UID FLAGS)", (r"1 FETCH \(UID 1 FLAGS \(",)),
        Say("UID FETCH 1 (RFC822.SIZE RFC822.HEADER FLAGS)", (r"1 FETCH \(.*RFC822\.HEADER \{\d+\}",)),
        (
            Say("UID FETCH 1 (BODY.PEEK[]<0.20480>)", (r"BODY\[\]<0>",)),
            Say("UID FETCH 1 (BODY.PEEK[]<20480.20480>)", (r"BODY\[\]<20480> \"\"",)),
        ),
        Say("UID STORE 1 (UNCHANGEDSINCE 1000000000000) +FLAGS.SILENT (\\Seen $has_cal)", (r"1 FETCH \(UID 1 MODSEQ \(\d+\)\)",)),
        Say('STATUS "Junk" (MESSAGES UNSEEN UIDVALIDITY UIDNEXT HIGHESTMODSEQ)', (r"STATUS Junk \(MESSAGES 0 ",)),
        Say('CREATE "Fächer"', tagged=r"OK \[MAILBOXID"),
        Say('SUBSCRIBE "Fächer"'),
        Say('UID MOVE 1 "Fächer"', (r"VANISHED 1",)),
        Say("NOTIFY NONE"),
    ),
    "KMail": (
        Say("CAPABILITY", (r"CAPABILITY .*\bNAMESPACE\b", r"CAPABILITY .*\bCONDSTORE\b", r"CAPABILITY .*\bQUOTA\b")),
        Say("NAMESPACE", (r"NAMESPACE \(\(\"\" \"/\"\)\) NIL NIL",)),
        Say('ID ("name" "Akonadi IMAP Resource" "version" "24.02")', (r"ID \(",)),
        Say('LIST "" *', (r"LIST \([^)]*\\HasNoChildren[^)]*\) \"/\" INBOX",)),
        Say('LSUB "" *', (r"LSUB \(\) \"/\" INBOX",), why="folders that were not subscribed here vanish"),
        Say('GETQUOTAROOT "INBOX"', (r"QUOTAROOT INBOX",)),
        Say('SELECT "INBOX" (CONDSTORE)', (*SELECTED, r"OK \[HIGHESTMODSEQ \d+\]")),
        Say("EXPUNGE"),
        Say('SELECT "INBOX" (CONDSTORE)', (r"OK \[CLOSED\]", *SELECTED)),
        Say("UID SEARCH UID 1:*", (r"SEARCH 1$",)),
        Say(
            "UID FETCH 1 (RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER.FIELDS (TO FROM MESSAGE-ID REFERENCES IN-REPLY-TO SUBJECT DATE)] FLAGS UID)",
            (r"1 FETCH \(RFC822\.SIZE \d+ INTERNALDATE .*BODY\[HEADER\.FIELDS .*FLAGS \(.*UID 1\b",),
        ),
        Say("UID FETCH 1 (RFC822.SIZE INTERNALDATE BODY.PEEK[] FLAGS UID)", (r"BODY\[\] \{\d+\}",)),
        Say("FETCH 1:1 (FLAGS UID) (CHANGEDSINCE 1)", (r"1 FETCH \(.*MODSEQ",)),
        Say("UID STORE 1 FLAGS (\\Seen $SIGNED $TODO)", (r"1 FETCH \(.*\$TODO",)),
        Say(f'APPEND "Sent" (\\Seen) {{{len(DRAFT)}}}', tagged=r"OK \[APPENDUID", literal=DRAFT),
        Say('CREATE "INBOX/Foo"'),
        Say('SUBSCRIBE "INBOX/Foo"'),
        Say('RENAME "INBOX/Foo" "INBOX/Bar"'),
        Say('UNSUBSCRIBE "INBOX/Foo"'),
        Say('SUBSCRIBE "INBOX/Bar"'),
        Say('UID COPY 1 "INBOX/Bar"', tagged=r"OK \[COPYUID"),
        Say('DELETE "INBOX/Bar"'),
        Say("CLOSE"),
    ),
}
