# SPDX-License-Identifier: Apache-2.0
"""Stories of mailbox names, each told over a session: levels made and left, trees renamed, INBOX and its children, names that cannot be, subscriptions.

Obeys RFC 3501 §5.1 and §6.3.3-§6.3.10, RFC 9051 §5.1 and §6.3.4-§6.3.9, RFC 5258, RFC 5530.

A line of a story is the beginning of the tagged answer, then ``<`` and the command; the lines with an asterisk below are all that is told before
(of LIST, LSUB and STATUS; what others tell is looked at elsewhere).
"""

from __future__ import annotations

import re

from tests.unit.endpoints.imap.lab import Client

DECOMPOSED, COMPOSED = "e\N{COMBINING ACUTE ACCENT}", "\N{LATIN SMALL LETTER E WITH ACUTE}"
_TELLING = re.compile("(LIST|LSUB|STATUS) ")

STORIES = {
    "CREATE makes the levels above, and a trailing delimiter is no part of the name": """
        OK [MAILBOXID < CREATE a/b/c/
        OK < LIST "" a*
        * LIST (\\HasChildren) "/" a
        * LIST (\\HasChildren) "/" a/b
        * LIST (\\HasNoChildren) "/" a/b/c
        NO [ALREADYEXISTS] < CREATE a/
        NO [ALREADYEXISTS] < CREATE a/b
        OK < SELECT a/b
    """,
    "a level whose mailbox was deleted stays while others lie below, and can be made again": """
        OK < CREATE a/b
        OK < DELETE a
        OK < LIST "" a*
        * LIST (\\Noselect \\HasChildren) "/" a
        * LIST (\\HasNoChildren) "/" a/b
        OK < LIST "" (a*) RETURN (CHILDREN)
        * LIST (\\NonExistent \\HasChildren) "/" a
        * LIST (\\HasNoChildren) "/" a/b
        OK < LIST "" %
        * LIST (\\HasNoChildren) "/" INBOX
        * LIST (\\HasNoChildren \\Archive) "/" Archive
        * LIST (\\HasNoChildren \\Drafts) "/" Drafts
        * LIST (\\HasNoChildren \\Junk) "/" Junk
        * LIST (\\HasNoChildren \\Sent) "/" Sent
        * LIST (\\HasNoChildren \\Trash) "/" Trash
        * LIST (\\Noselect \\HasChildren) "/" a
        NO [NONEXISTENT] < SELECT a
        NO [NONEXISTENT] < STATUS a (MESSAGES)
        OK < SELECT INBOX
        NO [HASCHILDREN] < DELETE a
        OK < CREATE a
        OK < LIST "" a*
        * LIST (\\HasChildren) "/" a
        * LIST (\\HasNoChildren) "/" a/b
        OK < DELETE a
        OK < DELETE a/b
        OK < LIST "" a*
        NO [NONEXISTENT] < DELETE a
    """,
    "a level that never was a mailbox may be made by making one below it": """
        OK < CREATE a/b/c
        OK < DELETE a
        OK < DELETE a/b
        OK < LIST "" a/%
        * LIST (\\Noselect \\HasChildren) "/" a/b
        OK < CREATE a/b/d
        OK < LIST "" a/%
        * LIST (\\HasChildren) "/" a/b
        OK < LIST "" a/%/%
        * LIST (\\HasNoChildren) "/" a/b/c
        * LIST (\\HasNoChildren) "/" a/b/d
    """,
    "children are told as they come and go": """
        OK < CREATE a
        OK < LIST "" a RETURN (CHILDREN)
        * LIST (\\HasNoChildren) "/" a
        OK < CREATE a/b
        OK < LIST "" a RETURN (CHILDREN)
        * LIST (\\HasChildren) "/" a
        OK < RENAME a/b b
        OK < LIST "" (a b) RETURN (CHILDREN)
        * LIST (\\HasNoChildren) "/" a
        * LIST (\\HasNoChildren) "/" b
        OK < RENAME b a/c/d
        OK < LIST "" a* RETURN (CHILDREN)
        * LIST (\\HasChildren) "/" a
        * LIST (\\HasChildren) "/" a/c
        * LIST (\\HasNoChildren) "/" a/c/d
        OK < DELETE a/c/d
        OK < DELETE a/c
        OK < LIST "" a RETURN (CHILDREN)
        * LIST (\\HasNoChildren) "/" a
    """,
    "RENAME takes along what lies below, makes the levels above, and leaves the level it came from": """
        OK < CREATE x/a/b
        OK < CREATE x/a/b/c
        OK < RENAME x/a y/z
        OK < LIST "" (x* y*)
        * LIST () "/" x
        * LIST () "/" y
        * LIST () "/" y/z
        * LIST () "/" y/z/b
        * LIST () "/" y/z/b/c
    """,
    "a level without mailbox is renamed with what lies below": """
        OK < CREATE a/b
        OK < DELETE a
        OK < RENAME a c
        OK < LIST "" (a* c*)
        * LIST (\\NonExistent) "/" c
        * LIST () "/" c/b
    """,
    "a tree may move up into the level it leaves": """
        OK < CREATE a/b/b
        OK < DELETE a
        OK < RENAME a/b a
        OK < LIST "" a*
        * LIST (\\HasChildren) "/" a
        * LIST (\\HasNoChildren) "/" a/b
    """,
    "RENAME never joins trees": """
        OK < CREATE a/b
        OK < CREATE c/b
        NO [ALREADYEXISTS] < RENAME a c
        OK < DELETE c
        NO [ALREADYEXISTS] < RENAME a c
        NO [ALREADYEXISTS] < RENAME a a
        NO [ALREADYEXISTS] < RENAME a INBOX
        NO [ALREADYEXISTS] < RENAME a inbox
        NO [CANNOT] < RENAME a a/d
        NO [CANNOT] < RENAME a a/b/c/d
        NO [NONEXISTENT] < RENAME nowhere d
        NO [NONEXISTENT] < RENAME a/nowhere d
        NO [CANNOT] < RENAME a d/
        NO [CANNOT] < RENAME a d//e
        OK < LIST "" (a* c* d*)
        * LIST () "/" a
        * LIST () "/" a/b
        * LIST (\\NonExistent) "/" c
        * LIST () "/" c/b
    """,
    "INBOX in any case of letters is INBOX, and so is the level above its children": """
        OK < CREATE inbox/Work
        NO [ALREADYEXISTS] < CREATE InBoX/Work
        NO [ALREADYEXISTS] < CREATE inbox
        NO [ALREADYEXISTS] < CREATE inbox/
        OK < LIST "" inbox/%
        * LIST (\\HasNoChildren) "/" INBOX/Work
        OK < LIST "Inbox/" *
        * LIST (\\HasNoChildren) "/" INBOX/Work
        OK < LIST "" iNb*
        * LIST (\\HasChildren) "/" INBOX
        * LIST (\\HasNoChildren) "/" INBOX/Work
        OK < SELECT iNBOX/Work
        NO [NONEXISTENT] < SELECT INBOX/work
        OK < SUBSCRIBE inbox/Work
        OK < LSUB "" inbox*
        * LSUB () "/" INBOX
        * LSUB () "/" INBOX/Work
        OK < UNSUBSCRIBE Inbox/Work
        OK < LSUB "" inbox/*
        OK < RENAME inbox/Work Inbox/Play
        OK < STATUS inbox/Play (MESSAGES)
        * STATUS INBOX/Play (MESSAGES 0)
        OK < CREATE work/inbox
        OK < LIST "" work/*
        * LIST (\\HasNoChildren) "/" work/inbox
        OK < DELETE inbox/Play
        OK < LIST "" inb*
        * LIST (\\HasNoChildren) "/" INBOX
    """,
    "INBOX cannot be deleted": """
        NO [CANNOT] < DELETE INBOX
        OK < CREATE INBOX/a
        NO [CANNOT] < DELETE inbox
        OK < STATUS INBOX (MESSAGES)
        * STATUS INBOX (MESSAGES 0)
    """,
    "renaming INBOX leaves INBOX and its children": """
        OK < CREATE INBOX/a
        OK < RENAME inbox old/mail
        OK < LIST "" (INBOX* old*) RETURN (CHILDREN)
        * LIST (\\HasChildren) "/" INBOX
        * LIST (\\HasNoChildren) "/" INBOX/a
        * LIST (\\HasChildren) "/" old
        * LIST (\\HasNoChildren) "/" old/mail
        NO [ALREADYEXISTS] < RENAME INBOX old
        NO [ALREADYEXISTS] < RENAME INBOX INBOX
        OK < RENAME INBOX INBOX/older
        OK < LIST "" INBOX/*
        * LIST (\\HasNoChildren) "/" INBOX/a
        * LIST (\\HasNoChildren) "/" INBOX/older
    """,
    "names that cannot be": f"""
        NO [CANNOT] < CREATE a//b
        NO [CANNOT] < CREATE /a
        NO [CANNOT] < CREATE /
        NO [CANNOT] < CREATE a//
        NO [CANNOT] < CREATE ""
        NO [CANNOT] < CREATE "a\tb"
        NO [CANNOT] < CREATE "a\x7fb"
        NO [CANNOT] < CREATE {"a/" * 32 + "a"}
        OK < CREATE {"b/" * 31 + "b"}
        NO [CANNOT] < CREATE {"c" * 1001}
        OK < CREATE {"d" * 1000}
        NO [CANNOT] < RENAME Sent {"c" * 1001}
        NO [CANNOT] < SUBSCRIBE {"c" * 1001}
        NO [CANNOT] < SUBSCRIBE a//b
        NO [CANNOT] < RENAME Sent a//b
        NO [NONEXISTENT] < DELETE a//b
        OK < LIST "" a*
        OK < LIST "" c*
    """,
    "a child that would become too long or too deep keeps the whole tree where it is": f"""
        OK < CREATE {"a/" * 30 + "a"}
        NO [CANNOT] < RENAME a b/c/d
        OK < CREATE c/{"d" * 990}
        NO [CANNOT] < RENAME c {"c" * 20}
        OK < LIST "" (a b% ccc%)
        * LIST () "/" a
    """,
    "wildcards and other signs are letters of a name": """
        OK < CREATE "100%"
        OK < CREATE "a*b"
        OK < CREATE "axb"
        OK < CREATE "back\\\\slash"
        OK < CREATE "quo\\"te"
        OK < CREATE "(x) {1} ]"
        OK < CREATE "#news"
        OK < CREATE "~me"
        OK < SELECT "100%"
        OK < LIST "" a*b
        * LIST (\\HasNoChildren) "/" "a*b"
        * LIST (\\HasNoChildren) "/" axb
        OK < LIST "" "back*"
        * LIST (\\HasNoChildren) "/" "back\\\\slash"
        OK < LIST "" "quo\\"*"
        * LIST (\\HasNoChildren) "/" "quo\\"te"
        OK < LIST "" "(x)*"
        * LIST (\\HasNoChildren) "/" "(x) {1} ]"
        OK < LIST "" "#*"
        * LIST (\\HasNoChildren) "/" #news
        OK < LIST "" "~%"
        * LIST (\\HasNoChildren) "/" ~me
    """,
    "modified UTF-7 has one spelling": """
        NO [CANNOT] < CREATE "&AGE-"
        NO [CANNOT] < CREATE "&APw-&APw-"
        NO [CANNOT] < CREATE "&APw"
        NO [CANNOT] < CREATE "a&b"
        NO [CANNOT] < CREATE "&ANw/-"
        NO [CANNOT] < CREATE "&2D0-"
        NO [CANNOT] < CREATE "&AAk-"
        NO [CANNOT] < CREATE "&ICg-"
        NO [CANNOT] < CREATE "a &- b & c"
        OK < CREATE "&U,BTFw-"
        OK < CREATE "a &- b"
        NO [NONEXISTENT] < SELECT "&AGE-"
        OK < LIST "" "&AGE-"
        OK < LIST "" "&U*"
        OK < LIST "" "&U,BTFw-*"
        * LIST (\\HasNoChildren) "/" &U,BTFw-
    """,
    "without ENABLE octets beyond ASCII name nothing": f"""
        NO [CANNOT] < CREATE "{COMPOSED}"
        NO [NONEXISTENT] < SELECT "{COMPOSED}"
        OK < LIST "" "{COMPOSED}*"
        OK < LSUB "" "{COMPOSED}*"
        NO [CANNOT] < SUBSCRIBE "{COMPOSED}"
    """,
    "after ENABLE names are UTF-8, and what looks like UTF-7 is what it says": f"""
        OK < ENABLE UTF8=ACCEPT
        OK < CREATE "caf{COMPOSED}"
        OK < CREATE "caf&AOk-"
        OK < LIST "" caf*
        * LIST (\\HasNoChildren) "/" caf&AOk-
        * LIST (\\HasNoChildren) "/" "caf{COMPOSED}"
        OK < LIST "" "caf{COMPOSED}"
        * LIST (\\HasNoChildren) "/" "caf{COMPOSED}"
    """,
    "two forms of one name are one name, in IMAP4rev1 too": """
        OK < CREATE "cafe&AwE-"
        OK < LIST "" caf*
        * LIST (\\HasNoChildren) "/" caf&AOk-
        NO [ALREADYEXISTS] < CREATE caf&AOk-
        NO [ALREADYEXISTS] < CREATE cafe&AwE-
        OK < SELECT cafe&AwE-
        OK < STATUS cafe&AwE- (MESSAGES)
        * STATUS cafe&AwE- (MESSAGES 0)
        OK < LIST "" cafe&AwE-
        * LIST (\\HasNoChildren) "/" caf&AOk-
        OK < LIST "" cafe%
        OK < SUBSCRIBE cafe&AwE-
        OK < LIST (SUBSCRIBED) "" caf*
        * LIST (\\Subscribed) "/" caf&AOk-
        OK < UNSUBSCRIBE cafe&AwE-
        OK < LSUB "" caf*
        OK < CREATE cafe&AwE-/e&AwE-
        OK < LIST "" caf*
        * LIST (\\HasChildren) "/" caf&AOk-
        * LIST (\\HasNoChildren) "/" caf&AOk-/&AOk-
        OK < RENAME cafe&AwE- e&AwE-
        NO [ALREADYEXISTS] < RENAME Sent &AOk-
        NO [ALREADYEXISTS] < RENAME Sent e&AwE-
        OK < DELETE e&AwE-/&AOk-
        OK < DELETE e&AwE-
        OK < LIST "" &AOk-*
    """,
    "after ENABLE IMAP4rev2 the form that was made is told": f"""
        OK < ENABLE IMAP4rev2
        OK < CREATE "a{DECOMPOSED}"
        NO [ALREADYEXISTS] < CREATE "a{COMPOSED}"
        OK < RENAME "a{DECOMPOSED}" "b{DECOMPOSED}"
        OK < LIST "" "b{DECOMPOSED}"
        * LIST (\\HasNoChildren) "/" "b{COMPOSED}"
        OK < DELETE "b{DECOMPOSED}"
    """,
    "after ENABLE IMAP4rev2 a level without mailbox is told as one": """
        OK < ENABLE IMAP4rev2
        OK < CREATE a/b
        OK < DELETE a
        OK < LIST "" a%
        * LIST (\\NonExistent \\HasChildren) "/" a
    """,
    "the empty pattern asks for the delimiter, whatever the reference": """
        OK < LIST "" ""
        * LIST (\\Noselect) "/" ""
        OK < LIST a/b ""
        * LIST (\\Noselect) "/" ""
        OK < LSUB "" ""
        * LSUB (\\Noselect) "/" ""
        OK < LIST (SUBSCRIBED) "" ""
        OK < LIST "" ("")
    """,
    "reference and pattern are one": """
        OK < CREATE a/b/c
        OK < LIST a/ %
        * LIST (\\HasChildren) "/" a/b
        OK < LIST a %
        * LIST (\\HasChildren) "/" a
        OK < LIST a/b /c
        * LIST (\\HasNoChildren) "/" a/b/c
        OK < LIST "" a/b/c/*
        OK < LIST "" /a*
    """,
    "percent stops at a level, and a level that only holds others is told once": """
        OK < CREATE a/b/c
        OK < CREATE a/b/d
        OK < DELETE a/b
        OK < DELETE a
        OK < LIST "" a%
        * LIST (\\Noselect \\HasChildren) "/" a
        OK < LIST "" a/%
        * LIST (\\Noselect \\HasChildren) "/" a/b
        OK < LIST "" a/%/%
        * LIST (\\HasNoChildren) "/" a/b/c
        * LIST (\\HasNoChildren) "/" a/b/d
        OK < LIST "" %/%/c
        * LIST (\\HasNoChildren) "/" a/b/c
        OK < LIST "" (a/% a* %/b)
        * LIST (\\NonExistent) "/" a
        * LIST (\\NonExistent) "/" a/b
        * LIST () "/" a/b/c
        * LIST () "/" a/b/d
    """,
    "a name that does not exist may be subscribed, and is told as such": """
        OK < SUBSCRIBE w/x/y
        OK < SUBSCRIBE w/x/y
        OK < LSUB "" w*
        * LSUB () "/" w/x/y
        OK < LSUB "" w%
        * LSUB (\\Noselect) "/" w
        OK < LSUB "" w/%
        * LSUB (\\Noselect) "/" w/x
        OK < LIST "" w*
        OK < LIST (SUBSCRIBED) "" w*
        * LIST (\\NonExistent \\Subscribed) "/" w/x/y
        OK < LIST (SUBSCRIBED) "" w%
        OK < LIST (SUBSCRIBED RECURSIVEMATCH) "" w%
        * LIST (\\NonExistent) "/" w ("CHILDINFO" ("SUBSCRIBED"))
        NO [NONEXISTENT] < STATUS w/x/y (MESSAGES)
        OK < CREATE w/x/y
        OK < LIST (SUBSCRIBED) "" w*
        * LIST (\\Subscribed) "/" w/x/y
        OK < LIST "" w* RETURN (SUBSCRIBED)
        * LIST () "/" w
        * LIST () "/" w/x
        * LIST (\\Subscribed) "/" w/x/y
    """,
    "a subscription outlives DELETE and RENAME, and is dropped when its owner says so": """
        OK < CREATE a/b
        OK < SUBSCRIBE a
        OK < SUBSCRIBE a/b
        OK < RENAME a c
        OK < LSUB "" *
        * LSUB () "/" INBOX
        * LSUB () "/" Archive
        * LSUB () "/" Drafts
        * LSUB () "/" Junk
        * LSUB () "/" Sent
        * LSUB () "/" Trash
        * LSUB () "/" a
        * LSUB () "/" a/b
        OK < LIST (SUBSCRIBED) "" (a* c*)
        * LIST (\\NonExistent \\Subscribed) "/" a
        * LIST (\\NonExistent \\Subscribed) "/" a/b
        OK < SUBSCRIBE c
        OK < DELETE c/b
        OK < DELETE c
        OK < LIST (SUBSCRIBED) "" c
        * LIST (\\NonExistent \\Subscribed) "/" c
        OK < UNSUBSCRIBE c
        OK < UNSUBSCRIBE c
        OK < UNSUBSCRIBE a
        OK < UNSUBSCRIBE a/b
        OK < UNSUBSCRIBE nowhere
        OK < LSUB "" a*
        OK < LSUB "" c*
    """,
    "RECURSIVEMATCH tells of what the pattern does not show": """
        OK < CREATE a/b
        OK < CREATE c/d
        OK < CREATE e/f/g
        OK < SUBSCRIBE a/b
        OK < SUBSCRIBE c
        OK < SUBSCRIBE c/d
        OK < SUBSCRIBE e/f/g
        OK < DELETE e/f
        OK < DELETE e
        OK < LIST (SUBSCRIBED RECURSIVEMATCH) "" (a% c% e%) RETURN (CHILDREN)
        * LIST (\\HasChildren) "/" a ("CHILDINFO" ("SUBSCRIBED"))
        * LIST (\\Subscribed \\HasChildren) "/" c ("CHILDINFO" ("SUBSCRIBED"))
        * LIST (\\NonExistent \\HasChildren) "/" e ("CHILDINFO" ("SUBSCRIBED"))
        OK < LIST (SUBSCRIBED RECURSIVEMATCH) "" (a* c* e*)
        * LIST (\\Subscribed) "/" a/b
        * LIST (\\Subscribed) "/" c ("CHILDINFO" ("SUBSCRIBED"))
        * LIST (\\Subscribed) "/" c/d
        * LIST (\\Subscribed) "/" e/f/g
        BAD < LIST (RECURSIVEMATCH) "" *
        OK < LIST (SPECIAL-USE RECURSIVEMATCH) "" (a% Sent)
        * LIST (\\Sent) "/" Sent
        OK < RENAME Sent a/Sent
        OK < LIST (SPECIAL-USE RECURSIVEMATCH) "" a%
        * LIST () "/" a ("CHILDINFO" ("SPECIAL-USE"))
    """,
    "RECURSIVEMATCH tells a level that is subscribed itself of all below it, shown or not": """
        OK < CREATE one2/in1
        OK < CREATE one2/in2
        OK < CREATE two2/in2
        OK < CREATE six2/other
        OK < CREATE ten2/in2
        OK < DELETE ten2
        OK < SUBSCRIBE one2/in1
        OK < SUBSCRIBE one2/in2
        OK < SUBSCRIBE two2/in2
        OK < SUBSCRIBE six2
        OK < SUBSCRIBE six2/other
        OK < SUBSCRIBE ten2/in2
        OK < LIST (RECURSIVEMATCH SUBSCRIBED) "" *2
        * LIST () "/" one2 ("CHILDINFO" ("SUBSCRIBED"))
        * LIST (\\Subscribed) "/" one2/in2
        * LIST (\\Subscribed) "/" six2 ("CHILDINFO" ("SUBSCRIBED"))
        * LIST (\\Subscribed) "/" ten2/in2
        * LIST (\\Subscribed) "/" two2/in2
        OK < LIST (RECURSIVEMATCH SUBSCRIBED) "" six2*
        * LIST (\\Subscribed) "/" six2 ("CHILDINFO" ("SUBSCRIBED"))
        * LIST (\\Subscribed) "/" six2/other
    """,
    "COPY, MOVE and APPEND say that the mailbox could be made": """
        OK < SELECT INBOX
        NO [TRYCREATE] < COPY 1 nowhere
        NO [TRYCREATE] < UID MOVE 1 nowhere
        OK < CREATE a/b
        OK < DELETE a
        NO [TRYCREATE] < COPY 1 a
        OK < COPY 1 a/b
        OK < COPY 1 inbox
    """,
}


async def tell(client: Client, story: str) -> None:
    """Play a story; every line is kept."""
    steps: list[tuple[str, str, list[str]]] = []
    for line in story.splitlines():
        text = line.strip()
        if text.startswith("* "):
            steps[-1][2].append(text[2:])
        elif text:
            tagged, _, command = text.partition(" < ")
            steps.append((tagged, command, []))
    for tagged, command, told in steps:
        untagged = await client.command(command)
        assert client.tagged.startswith(tagged.encode()), (command, client.tagged)
        if _TELLING.match(command):
            assert [one.decode() for one in untagged] == told, command
