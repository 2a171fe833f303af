# SPDX-License-Identifier: Apache-2.0
"""NOTIFY as the wire reads it: event groups, and what is BAD, what is NO with which code (RFC 5465)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moatmail.core.limits import imap as limits
from moatmail.wire.imap import events, responses
from moatmail.wire.imap.fetch import Attribute, BodySection, Section
from moatmail.wire.imap.notify import ABOUT_SELECTED, EventGroup, NotifyEvent, Scope
from moatmail.wire.imap.profile import Profile, State
from moatmail.wire.imap.server import IMAPServer

MESSAGES = frozenset((NotifyEvent.MESSAGE_NEW, NotifyEvent.MESSAGE_EXPUNGE))
FLAGS = MESSAGES | {NotifyEvent.FLAG_CHANGE}
SUPPORTED = b"BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange)"


def engine() -> IMAPServer:
    server = IMAPServer(Profile(b"mx.example.test"))
    server.state = State.AUTHENTICATED
    return server


def parse(arguments: bytes) -> events.Notify:
    server = engine()
    server.receive(b"a NOTIFY " + arguments + b"\r\n")
    event = server.next_event()
    assert isinstance(event, events.Notify), (event, server.take_output())
    return event


def refused(arguments: bytes) -> bytes:
    server = engine()
    server.receive(b"a NOTIFY " + arguments + b"\r\n")
    assert server.next_event() is None
    return server.take_output()


GOOD = {
    "nothing at all": (b"NONE", (), False),
    "names of commands and events have no case": (b"set (sElected (messagenew MESSAGEEXPUNGE))", (EventGroup(Scope.SELECTED, MESSAGES),), False),
    "STATUS at once": (b"SET STATUS (inboxes (MessageNew MessageExpunge))", (EventGroup(Scope.INBOXES, MESSAGES),), True),
    "no events of some mailboxes": (b"SET (personal NONE)", (EventGroup(Scope.PERSONAL, frozenset()),), False),
    "expunges delayed": (b"SET (selected-delayed (MessageNew MessageExpunge FlagChange))", (EventGroup(Scope.SELECTED_DELAYED, FLAGS),), False),
    "one name": (b"SET (subtree Lists (MailboxName))", (EventGroup(Scope.SUBTREE, frozenset((NotifyEvent.MAILBOX_NAME,)), frozenset(("Lists",))),), False),
    "several names, wildcards are letters": (
        b'SET (mailboxes (inbox "a b" "%*") (SubscriptionChange))',
        (EventGroup(Scope.MAILBOXES, frozenset((NotifyEvent.SUBSCRIPTION_CHANGE,)), frozenset(("INBOX", "a b", "%*"))),),
        False,
    ),
    "a name that cannot be one is passed over": (
        b'SET (mailboxes ("&bad") (MailboxName))',
        (EventGroup(Scope.MAILBOXES, frozenset((NotifyEvent.MAILBOX_NAME,))),),
        False,
    ),
    "several groups": (
        b"SET (selected (MessageNew MessageExpunge)) (subscribed (MessageNew MessageExpunge FlagChange)) (personal (MailboxName))",
        (
            EventGroup(Scope.SELECTED, MESSAGES),
            EventGroup(Scope.SUBSCRIBED, FLAGS),
            EventGroup(Scope.PERSONAL, frozenset((NotifyEvent.MAILBOX_NAME,))),
        ),
        False,
    ),
    "what to tell of each new message": (
        b"SET (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (FROM)]) MessageExpunge))",
        (
            EventGroup(
                Scope.SELECTED,
                MESSAGES,
                items=(Attribute.UID, BodySection(b"BODY[HEADER.FIELDS (FROM)]", (), Section.HEADER_FIELDS, (b"FROM",), peek=True)),
            ),
        ),
        False,
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_is_wanted_is_read(case: str) -> None:
    arguments, groups, status = GOOD[case]
    event = parse(arguments)
    assert (event.groups, event.status) == (groups, status)


BAD = {
    "no form": b"",
    "an unknown form": b"ADD (selected NONE)",
    "no group": b"SET",
    "STATUS alone": b"SET STATUS",
    "STATUS as a list": b"SET (STATUS) (selected NONE)",
    "an unknown kind of mailboxes": b"SET (shared (MailboxName))",
    "no events": b"SET (selected)",
    "an empty list of events": b"SET (selected ())",
    "an event without parentheses": b"SET (selected MessageNew)",
    "both kinds of the selected mailbox": b"SET (selected NONE) (selected-delayed NONE)",
    "two groups of the selected mailbox": b"SET (selected NONE) (selected NONE)",
    "names of the selected mailbox": b"SET (selected (MailboxName))",
    "subscriptions of the selected mailbox": b"SET (selected-delayed (MessageNew MessageExpunge SubscriptionChange))",
    "new messages without expunges": b"SET (personal (MessageNew))",
    "expunges without new messages": b"SET (personal (MessageExpunge))",
    "flags alone": b"SET (selected (FlagChange))",
    "flags without expunges": b"SET (selected (MessageNew FlagChange))",
    "annotations alone, though we have none": b"SET (selected (AnnotationChange))",
    "items of other mailboxes' messages": b"SET (personal (MessageNew (UID) MessageExpunge))",
    "an empty list of items": b"SET (selected (MessageNew () MessageExpunge))",
    "a macro as item": b"SET (selected (MessageNew ALL MessageExpunge",
    "an unknown item": b"SET (selected (MessageNew (NONSENSE) MessageExpunge))",
    "an event twice": b"SET (personal (MailboxName MailboxName))",
    "a subtree of nothing": b"SET (subtree (MailboxName))",
    "text behind": b"SET (personal NONE) x",
    "text behind NONE": b"NONE x",
    "a broken group behind an unknown event": b"SET (personal (ServerMetadataChange)) (personal",
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_in_the_grammar_is_bad(case: str) -> None:
    assert refused(BAD[case]).startswith(b"a BAD ")


@pytest.mark.parametrize("event", ["AnnotationChange", "MailboxMetadataChange", "ServerMetadataChange", "Comet"])
def test_an_event_that_we_do_not_have_is_refused_with_those_we_have(event: str) -> None:
    wanted = f"MessageNew MessageExpunge {event}".encode()
    assert refused(b"SET (personal (" + wanted + b"))").startswith(b"a NO [" + SUPPORTED + b"] ")


def test_more_groups_than_we_keep_are_an_overflow() -> None:
    group = b" (personal (MailboxName))"
    assert len(parse(b"SET" + group * limits.NOTIFY_GROUPS).groups) == limits.NOTIFY_GROUPS
    assert refused(b"SET" + group * (limits.NOTIFY_GROUPS + 1)).startswith(b"a NO [NOTIFICATIONOVERFLOW] ")


def test_more_names_than_we_keep_are_an_overflow() -> None:
    def names(count: int) -> bytes:
        return b"SET (mailboxes (" + b" ".join(b"m%d" % number for number in range(count)) + b") (MailboxName))"

    assert len(parse(names(limits.NOTIFY_NAMES)).groups[0].names) == limits.NOTIFY_NAMES
    assert refused(names(limits.NOTIFY_NAMES + 1)).startswith(b"a NO [NOTIFICATIONOVERFLOW] ")


def test_a_name_may_be_a_literal() -> None:
    server = engine()
    server.receive(b"a NOTIFY SET (mailboxes {5+}\r\nINBOX (MailboxName))\r\n")
    event = server.next_event()
    assert isinstance(event, events.Notify)
    assert event.groups[0].names == {"INBOX"}


def test_it_is_for_those_who_logged_in() -> None:
    server = IMAPServer(Profile(b"mx.example.test"))
    server.receive(b"a NOTIFY NONE\r\n")
    assert server.next_event() is None
    assert server.take_output().startswith(b"a BAD ")


def test_a_renamed_mailbox_is_told_with_its_old_name() -> None:
    assert responses.changed_name((b"\\HasNoChildren",), "nèw", "old name") == b'LIST (\\HasNoChildren) "/" n&AOg-w ("OLDNAME" ("old name"))'
    assert responses.changed_name((), "nèw", utf8=True) == 'LIST () "/" "nèw"'.encode()


_SPACES = st.sampled_from([b" ", b" ", b" ", b" ", b"", b"  "])
_EVENT = st.sampled_from([b"MessageNew", b"MessageExpunge", b"FlagChange", b"MailboxName", b"SubscriptionChange", b"messagenew (UID FLAGS)", b"Comet", b"NONE"])
_SCOPE = st.sampled_from([b"selected", b"SELECTED-delayed", b"personal", b"inboxes", b"subscribed", b"subtree a", b"mailboxes (a/b INBOX)", b"mailboxes", b"x"])


@st.composite
def _groups(draw: st.DrawFn) -> bytes:
    words = [b"SET"]
    for _ in range(draw(st.integers(0, 4))):
        events = draw(_SPACES).join(draw(st.lists(_EVENT, max_size=4)))
        words.append(b"(%b%b(%b))" % (draw(_SCOPE), draw(_SPACES), events))
    return draw(_SPACES).join(words)


@given(_groups())
def test_whatever_is_wanted_is_taken_whole_or_refused_in_one_line(arguments: bytes) -> None:
    """What is taken obeys RFC 5465 §5 and §6.1, whatever way it was written."""
    server = engine()
    server.receive(b"a NOTIFY " + arguments + b"\r\n")
    event = server.next_event()
    if event is None:
        line = server.take_output()
        assert re.fullmatch(rb"a (BAD|NO \[BADEVENT [^]]*\]) [^\r\n]*\r\n", line), line
        return
    assert isinstance(event, events.Notify)
    about = [group for group in event.groups if group.scope in ABOUT_SELECTED]
    assert len(about) <= 1
    for group in event.groups:
        messages = group.events & FLAGS
        assert not messages or messages >= MESSAGES
        assert group in about or not group.items
        assert group not in about or group.events <= FLAGS
