# SPDX-License-Identifier: Apache-2.0
"""The language of ImapTest's scripts: all published ones are read, and matching means what its description says.

Obeys nothing of its own.
Must never know a server.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.imaptest_language import Variables, _with_defaults, expand, match_reply, parse, read_mbox, tokenize

REPOSITORY = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("MOATMAIL_TEST_DATA", REPOSITORY / "../shared/data")) / "imaptest"
SCRIPTS = sorted(path for path in FOLDER.rglob("*") if path.is_file() and path.suffix != ".mbox" and path.name not in ("README.md", "COPYING.MIT"))
MATCHES: dict[str, tuple[str, str, Variables | None]] = {
    "without regard to case": ("0 exists", "0 EXISTS", {}),
    "another number": ("0 exists", "1 EXISTS", None),
    "a variable learns": ("1 fetch (uid $u)", "1 FETCH (UID 77)", {"u": "77"}),
    "fetch items in any order, extras allowed": ("1 fetch (uid $u flags (\\seen))", "1 FETCH (FLAGS (\\Seen) MODSEQ (4) UID 7)", {"u": "7"}),
    "flags in any order, \\Recent ignored": ("1 fetch (flags (a \\seen))", "1 FETCH (FLAGS (\\Seen \\Recent a))", {}),
    "a flag too many": ("1 fetch (flags (\\seen))", "1 FETCH (FLAGS (\\Seen \\Deleted))", None),
    "a flag too few": ("1 fetch (flags (\\seen a))", "1 FETCH (FLAGS (\\Seen))", None),
    "\\Recent demanded": ("1 fetch (flags (\\recent))", "1 FETCH (FLAGS ())", None),
    "what follows a NUL is not looked at": ('1 fetch (binary[1] "a\0b")', '1 FETCH (BINARY[1] "a\0c")', {}),
    "search is exact": ("search 1 2", "SEARCH 1 2 3", None),
    "conditions need only begin": ("ok [unseen 1]", "OK [UNSEEN 1] first unseen", {}),
    "a code is learnt": ("ok [uidnext $n]", "OK [UIDNEXT 9] next", {"n": "9"}),
    "list attributes may be more": ("list () $sep a", 'LIST (\\HasNoChildren) "/" a', {"sep": "/"}),
    "a banned attribute": ("list ($!unordered $!ban=\\noselect \\subscribed) $ a", 'LIST (\\Subscribed \\Noselect) "/" a', None),
    "status in any order": ("status a (messages 1 unseen 0)", "STATUS a (UNSEEN 0 MESSAGES 1)", {}),
    "two variables in one word": ("esearch all $a:$b", "ESEARCH ALL 3:9", {"a": "3", "b": "9"}),
    "a doubled dollar is one": ("1 fetch (flags ($$hello))", "1 FETCH (FLAGS ($hello))", {}),
    "a literal equals a quoted string": ('1 fetch (body[] "ab")', "1 FETCH (BODY[] {2}\r\nab)", {}),
    "anything, a list too": ("1 fetch (envelope $)", "1 FETCH (ENVELOPE (NIL NIL))", {}),
}


@pytest.mark.skipif(not SCRIPTS, reason="the published ImapTest scripts are not here")
def test_all_scripts_are_there() -> None:
    """The number of scripts that the folder's README tells."""
    assert len(SCRIPTS) == 73


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.name for path in SCRIPTS])
def test_script_is_read(path: Path) -> None:
    """Every script is read, each command with its result."""
    script = parse(path.name, path.read_bytes())
    assert script.groups
    assert all(step.result and step.text for group in script.groups for step in group.steps)


@pytest.mark.parametrize(("wanted", "got", "learnt"), MATCHES.values(), ids=MATCHES.keys())
def test_match(wanted: str, got: str, learnt: Variables | None) -> None:
    """A wanted reply against a given one."""
    assert match_reply(_with_defaults(tokenize(wanted)), tokenize(got), {}) == learnt


def test_known_variables_must_agree() -> None:
    """What was learnt is demanded later."""
    wanted = tokenize("1 fetch (uid $u)")
    assert match_reply(wanted, tokenize("1 FETCH (UID 7)"), {"u": "7"}) == {"u": "7"}
    assert match_reply(wanted, tokenize("1 FETCH (UID 8)"), {"u": "7"}) is None
    assert expand("uid fetch $u:${u}0 $$x", {"u": "7"}) == "uid fetch 7:70 $x"


@pytest.mark.skipif(not SCRIPTS, reason="the published ImapTest scripts are not here")
def test_blocks_and_messages() -> None:
    """A block is a literal with CRLF, a raw one is as it stands; an mbox keeps the line before the next message."""
    script = parse("fetch-body", (FOLDER / "fetch-body").read_bytes())
    replies = [reply for group in script.groups for reply in group.replies]
    assert any(isinstance(items := reply.args[2], list) and "body1\r\n\r\n" in items for reply in replies if len(reply.args) > 2)
    assert any(isinstance(items := reply.args[2], list) and "3\r" in items for reply in replies if len(reply.args) > 2)
    date, content = read_mbox(FOLDER / "default.mbox")[0]
    assert date == "22-Feb-2008 17:06:23 +0000"
    assert content.endswith(b"Subject: s1\r\n\r\nbody1\r\n\r\n")
