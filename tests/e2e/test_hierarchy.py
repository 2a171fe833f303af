# SPDX-License-Identifier: Apache-2.0
"""The stories of mailbox names over the whole server: several processes, what one session makes another sees at once, and a restart forgets nothing."""

from __future__ import annotations

import socket

from tests.e2e.trial import Trial
from tests.unit.endpoints.imap.stories import STORIES

# Those that look at what is kept; the rest is the engine's and the session's alone.
TOLD = (
    "CREATE makes the levels above, and a trailing delimiter is no part of the name",
    "a level whose mailbox was deleted stays while others lie below, and can be made again",
    "children are told as they come and go",
    "RENAME takes along what lies below, makes the levels above, and leaves the level it came from",
    "a level without mailbox is renamed with what lies below",
    "a tree may move up into the level it leaves",
    "RENAME never joins trees",
    "INBOX in any case of letters is INBOX, and so is the level above its children",
    "INBOX cannot be deleted",
    "renaming INBOX leaves INBOX and its children",
    "two forms of one name are one name, in IMAP4rev1 too",
    "a subscription outlives DELETE and RENAME, and is dropped when its owner says so",
    "RECURSIVEMATCH tells of what the pattern does not show",
)
_AT_FIRST = frozenset(("INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"))


class Session:
    """Says a command and gives what was told before its tagged line."""

    def __init__(self, server: Trial) -> None:
        self._socket = server.tls().wrap_socket(socket.create_connection(server.address("imaps"), 20), server_hostname="localhost")
        self._file = self._socket.makefile("rb")
        self._file.readline()
        self.tagged = ""
        address, password = server.account(0)
        self.say(f'LOGIN {address} "{password}"')

    def say(self, command: str) -> list[str]:
        self._socket.sendall(b"t " + command.encode() + b"\r\n")
        told: list[str] = []
        while not (line := self._file.readline().decode()).startswith("t "):
            assert line, (command, told)
            told.append(line.removeprefix("* ").rstrip("\r\n"))
        self.tagged = line.removeprefix("t ")
        return told

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def play(sessions: tuple[Session, ...], story: str) -> None:
    """Play a story, each line over the next session in turn: none of them remembers what another changed."""
    turn = 0
    told: list[str] | None = None
    wanted: list[str] = []
    for line in [*map(str.strip, story.splitlines()), "OK < NOOP"]:
        if line.startswith("* "):
            wanted.append(line[2:])
        elif line:
            if told is not None:
                assert told == wanted, story
            tagged, _, command = line.partition(" < ")
            session = sessions[turn % len(sessions)]
            answer = session.say(command)
            assert session.tagged.startswith(tagged), (command, session.tagged)
            if command.startswith("SELECT "):
                session.say('SELECT ""')  # whoever has a mailbox open that another deletes is sent away (RFC 2180 §3.3)
            told, wanted = (answer if command.split()[0] in ("LIST", "LSUB", "STATUS") else None), []
            turn += 1


def tidy(server: Trial) -> None:
    """Leave the mailboxes of a new account, and their subscriptions."""
    session = Session(server)
    for line in session.say('LIST "" (*) RETURN (CHILDREN)'):
        name = line.rpartition('"/" ')[2]
        if "NonExistent" not in line and name not in _AT_FIRST:
            session.say(f"DELETE {name}")
    for name in sorted(_AT_FIRST):
        session.say(f"CREATE {name} (USE (\\{name}))")
        session.say(f"SUBSCRIBE {name}")
    for line in session.say('LSUB "" *'):
        name = line.rpartition('"/" ')[2]
        if name not in _AT_FIRST:
            session.say(f"UNSUBSCRIBE {name}")
    session.close()


def test_names_are_the_same_in_every_session_and_after_a_restart(own_server: Trial) -> None:
    sessions = tuple(Session(own_server) for _ in range(4))
    for name in TOLD:
        play(sessions, STORIES[name])
        tidy(own_server)
    sessions[0].say("CREATE inbox/Caf&AOk-/a/b")
    sessions[0].say("DELETE INBOX/Caf&AOk-/a")
    sessions[1].say("RENAME Sent Post/Gesendet")
    ask = 'LIST "" (*) RETURN (SUBSCRIBED CHILDREN SPECIAL-USE STATUS (UIDVALIDITY MAILBOXID))'
    before = sessions[2].say(ask)
    assert 'LIST (\\NonExistent \\HasChildren) "/" INBOX/Caf&AOk-/a' in before
    assert 'LIST (\\HasNoChildren \\Sent) "/" Post/Gesendet' in before
    assert 'LIST (\\NonExistent \\Subscribed) "/" Sent' in sessions[3].say('LIST (SUBSCRIBED) "" *')
    for session in sessions:
        session.close()
    own_server.stop()
    own_server.start()
    again = Session(own_server)
    assert again.say(ask) == before
    again.close()
