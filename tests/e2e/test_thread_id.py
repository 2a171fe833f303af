# SPDX-License-Identifier: Apache-2.0
"""Conversations on the whole server: one THREADID in whatever mailbox, over a crash, for mail of before; and nothing of what was erased (RFC 8474 §5.2)."""

from __future__ import annotations

import re
import smtplib
import time
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import make_msgid

from moatmail.store.migrate import FILE
from tests.e2e.damaged import change, rows
from tests.e2e.traffic import reader, settings
from tests.e2e.trial import Trial

_ID = re.compile(rb"^([0-9]+) \(THREADID (NIL|\(T[0-9a-f]{32}\))\)$")


def letter(subject: str, sender: str, *references: str) -> EmailMessage:
    """Make a message that answers the last of `references`."""
    made = EmailMessage(policy=SMTP)
    made["Message-ID"] = make_msgid(domain="friend.test")
    made["From"], made["To"], made["Subject"] = sender, "all@example.test", subject
    if references:
        made["References"] = " ".join(references)
    made.set_content("text\n")
    return made


def told(server: Trial, number: int, mailbox: str = "INBOX") -> list[bytes]:
    """Give the THREADIDs of a mailbox."""
    with reader(server, number) as client:
        client.select(mailbox, readonly=True)
        return [match[2] for line in client.fetch("1:*", "(THREADID)")[1] if isinstance(line, bytes) and (match := _ID.match(line))]


def shape(ids: list[bytes]) -> list[int]:
    return [ids.index(one) for one in ids]


def test_conversations_from_delivery_to_erasure(own_server: Trial) -> None:
    server = own_server
    (alice, secret), (bob, _) = server.account(0), server.account(1)
    settings(server, store__recoverable_days="0")
    root, other = letter("lunch", "carol@friend.test"), letter("lunch", "carol@friend.test")
    answer = letter("Re: lunch", alice, root["Message-ID"])
    changed = letter("dinner, was: lunch", "carol@friend.test", root["Message-ID"], answer["Message-ID"])
    last = letter("RE: lunch", "carol@friend.test", root["Message-ID"], answer["Message-ID"])
    with smtplib.SMTP(*server.address("smtp"), timeout=20) as client:
        for one in (root, other):
            client.sendmail("carol@friend.test", [alice, bob], one.as_bytes())
    with smtplib.SMTP_SSL(*server.address("submissions"), timeout=20, context=server.tls()) as client:
        client.login(alice, secret)
        client.sendmail(alice, [bob], answer.as_bytes())
    with reader(server, 0) as client:
        client.append("Sent", r"(\Seen)", "", answer.as_bytes())
    with smtplib.SMTP(*server.address("smtp"), timeout=20) as client:
        for one in (changed, last):
            client.sendmail("carol@friend.test", [alice, bob], one.as_bytes())

    before = told(server, 0), told(server, 0, "Sent"), told(server, 1)
    assert shape(before[2]) == [0, 1, 0, 3, 0]
    assert shape(before[0]) == [0, 1, 2, 0]
    assert before[1] == before[0][:1]
    assert not set(before[0]) & set(before[2])

    server.kill()
    server.start()
    assert (told(server, 0), told(server, 0, "Sent"), told(server, 1)) == before

    server.stop()
    change(server.folder, FILE, ("UPDATE message SET thread = NULL, links = NULL", ()), ("DELETE FROM thread_link", ()))
    server.start()
    with reader(server, 1):
        end = time.monotonic() + 20
        while b"NIL" in (anew := told(server, 1)) and time.monotonic() < end:
            time.sleep(0.05)
    assert shape(anew) == shape(before[2])
    assert b"NIL" not in anew

    with reader(server, 1) as client:
        client.select("INBOX")
        for numbers, left in (("2:5", 1), ("1", 0)):
            client.store(numbers, "+FLAGS", r"(\Deleted)")
            client.expunge()
            kept = rows(
                server.folder, FILE, "SELECT count(*) FROM thread_link WHERE account = (SELECT id FROM account WHERE localpart = ?)", bob.partition("@")[0]
            )
            assert kept == [(left,)]
