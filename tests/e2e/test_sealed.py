# SPDX-License-Identifier: Apache-2.0
"""What a person wrote is sealed: words that occur nowhere else are looked for in every file, every column of every table, every old page, and in the log."""

from __future__ import annotations

import base64
import contextlib
import smtplib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from moatmail.core.limits.mailbox import INDEX_MERGE
from moatmail.core.ports.sealer import Purpose
from moatmail.store.migrate import FILE as MAIL
from moatmail.store.soft import FILE as SOFT
from moatmail.wire.imap.utf7 import encode
from tests.e2e.damaged import DATABASES, change, columns, copy, opened, pages, rows, vault_of
from tests.e2e.traffic import moatmail, reader, report, settings
from tests.e2e.trial import Trial

EXCEPTED = ("try.json", "keys")

WORDS = {
    "body": "quokkabodyzwei",
    "long body": "narwhalbodydrei",
    "html": "ocelothtmlvier",
    "subject": "axolotlsubjfuenf",
    "encoded subject": "pängölinßubject",
    "header address": "tapirheaderaddr",
    "display name": "wombatdisplayname",
    "header field": "lemurxheaderfield",
    "message id": "gibbonmessageident",
    "attachment name": "kakapoattachment",
    "attachment": "dugonginattachment",
    "mailbox": "numbatmailboxname",
    "mailbox beyond ASCII": "échidnäboxñame",
    "subscription": "bilbysubscription",
    "draft": "okapidraftbody",
    "search": "civetsearchedfor",
    "submitted body": "jerboasubmitted",
    "onward body": "manateeonwardbody",
    "onward subject": "ibisonwardsubject",
    "answer of a server elsewhere": "marmotremoteanswer",
    "expunged": "serowexpungedbody",
    "refused": "gauralrefusedbody",
    "unfinished": "tenrecunfinished",
}


def forms(word: str) -> dict[str, bytes]:
    """Give the octets by which a word may lie somewhere."""
    plain = word.encode()
    found = {
        "raw": plain,
        "hex": plain.hex().encode(),
        "UTF-16LE": word.encode("utf-16-le"),
        "UTF-16BE": word.encode("utf-16-be"),
        "modified UTF-7": encode(word),
        "Latin-1": word.encode("latin-1"),
        "quoted-printable": "".join(chr(octet) if octet < 128 else f"={octet:02X}" for octet in plain).encode(),
        "reversed": plain[::-1],
    }
    for before in range(3):
        # The characters at the ends depend on what stands beside the word.
        coded = base64.b64encode(b"\0" * before + plain)
        found[f"base64 after {before}"] = coded[(4 if before else 0) : len(coded) - 4]
    return found


NEEDLES: dict[bytes, str] = {}
for _what, _word in WORDS.items():
    for _form, _octets in forms(_word).items():
        NEEDLES.setdefault(_octets.lower(), f"{_what} as {_form}")


def told(octets: bytes) -> list[str]:
    """Give which words lie in these octets, in whatever form and case."""
    lower = octets.lower()
    return [name for needle, name in NEEDLES.items() if needle in lower]


@dataclass
class Search:
    """What was searched, and what was found where."""

    files: int = 0
    cells: int = 0
    pages: int = 0
    secrets: dict[bytes, str] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)

    def note(self, where: str, octets: bytes) -> None:
        """Search octets."""
        self.found += [f"{where}: {name}" for name in told(octets)]
        self.found += [f"{where}: {name}" for secret, name in self.secrets.items() if secret in octets]


def private_octets(pem: bytes) -> list[bytes]:
    """Give what of a private key nobody may see, number by number: the rest of an RSA key stands in the DNS."""
    key = load_pem_private_key(pem, None)
    if isinstance(key, Ed25519PrivateKey):
        return [key.private_bytes_raw()]
    assert isinstance(key, RSAPrivateKey)
    numbers = key.private_numbers()
    return [number.to_bytes((number.bit_length() + 7) // 8, "big") for number in (numbers.d, numbers.p, numbers.q)]


def secrets_of(folder: Path) -> dict[bytes, str]:
    """Give the octets of every private half that signs mail, in the forms by which they may lie somewhere."""
    vault = vault_of(folder)
    found: dict[bytes, str] = {}
    for key_id, selector, wrapped in rows(folder, MAIL, "SELECT id, selector, wrapped FROM signing_key"):
        pem = vault.unwrap(Purpose.SIGNING_KEY, 0, key_id, wrapped)
        found |= {line: f"a line of key {selector}" for line in pem.splitlines()[-5:-1] if len(line) == 64}
        for octets in private_octets(pem):
            part = octets[:24]
            found |= {part: f"key {selector}", part.hex().encode(): f"key {selector} as hex", part[::-1]: f"key {selector} reversed"}
            found |= {base64.b64encode(b"\0" * n + part)[4 if n else 0 : -4]: f"key {selector} as base64 after {n}" for n in range(3)}
    return found


def search(folder: Path) -> Search:
    """Search everything under a trial's folder: files as they are, databases opened with their keys, column by column, and page by page."""
    done = Search(secrets=secrets_of(folder))
    for path in sorted(folder.rglob("*")):
        where = str(path.relative_to(folder))
        if where.partition("/")[0] in EXCEPTED or not path.is_file():
            continue
        done.files += 1
        done.note(where, where.encode() + path.read_bytes())
    for name, purpose in DATABASES.items():
        key = vault_of(folder).database_key(purpose)
        # Before it is opened: a copy without its server is moved from the log into the file when it is closed.
        for file in (folder / "mail" / name, folder / "mail" / f"{name}-wal"):
            for page in pages(file, key) if file.exists() else ():
                done.pages += 1
                done.note(f"a page of {file.name}", page)
        database = opened(folder, name)
        for table, column in columns(database):
            for (value,) in database.connection.execute(f'SELECT "{column}" FROM "{table}"').fetchall():  # noqa: S608 - names of the schema itself
                done.cells += 1
                done.note(f"{name} {table}.{column}", value if isinstance(value, bytes) else str(value).encode())
        database.close()
    return done


# ---------------------------------------------------------------- mail with these words


def letter(body: str, **fields: str) -> EmailMessage:
    """Make a message."""
    made = EmailMessage(SMTP)
    for name, value in {"From": "carol@friend.test", "Subject": "x", **{name.replace("_", "-"): value for name, value in fields.items()}}.items():
        del made[name]
        made[name] = value
    made.set_content(body)
    return made


def letters() -> Iterator[EmailMessage]:
    """Give the messages of strangers."""
    yield letter(
        WORDS["body"],
        Subject=WORDS["subject"],
        From=f'"{WORDS["display name"]}" <{WORDS["header address"]}@friend.test>',
        To=f"{WORDS['header address']}.other@example.test",
        X_Field=WORDS["header field"],
        Message_ID=f"<{WORDS['message id']}@friend.test>",
        References=f"<{WORDS['message id']}.before@friend.test>",
    )
    many = letter(f"{WORDS['long body']}\n" * 40_000, Subject=WORDS["encoded subject"])
    yield many
    rich = letter("see", Subject=WORDS["subject"])
    rich.add_alternative(f"<p>{WORDS['html']}</p>", subtype="html")
    rich.add_attachment(WORDS["attachment"].encode() * 30_000, maintype="application", subtype="octet-stream", filename=f"{WORDS['attachment name']}.bin")
    yield rich


class Rejecting(threading.Thread):
    """A mail host elsewhere that quotes the subject in its refusal."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.refused = threading.Event()

    def run(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            with contextlib.suppress(OSError), connection, connection.makefile("rwb", buffering=0) as file:
                file.write(b"220 peer.test\r\n")
                while line := file.readline():
                    verb = line[:4].upper()
                    if verb == b"DATA":
                        file.write(b"354 go on\r\n")
                        while file.readline() != b".\r\n":
                            pass
                        word = WORDS["answer of a server elsewhere"].encode()
                        file.write(b"550-5.7.1 refused for its subject\r\n550 5.7.1 '%b %b'\r\n" % (word, WORDS["onward subject"].encode()))
                        self.refused.set()
                    else:
                        file.write(b"250 ok\r\n")


def send_all(server: Trial) -> None:
    """Send, submit, append, name, search, flag, expunge: words of every kind come to where they are kept."""
    bob, alice = server.account(1)[0], server.account(0)[0]
    with smtplib.SMTP(*server.address("smtp"), timeout=20) as client:
        for one in letters():
            client.sendmail("carol@friend.test", [bob, alice], one.as_bytes())
        client.sendmail("carol@friend.test", [bob], letter(WORDS["expunged"], Subject="goes").as_bytes())
        with pytest.raises(smtplib.SMTPDataError):
            client.sendmail("carol@friend.test", [bob], letter(WORDS["refused"]).as_bytes() + b"a bare\rreturn")
    with smtplib.SMTP_SSL(*server.address("submissions"), timeout=20, context=server.tls()) as client:
        client.login(*server.account(0))
        client.sendmail(alice, [bob], letter(WORDS["submitted body"], From=f'"{WORDS["display name"]}" <{alice}>').as_bytes())
        client.sendmail(alice, ["dave@elsewhere.test"], letter(WORDS["onward body"], From=alice, Subject=WORDS["onward subject"]).as_bytes())
    with reader(server, 1) as client:
        client.create(WORDS["mailbox"])
        client.create(f'"{encode(WORDS["mailbox beyond ASCII"]).decode()}/{WORDS["mailbox"]}"')
        client.subscribe(WORDS["subscription"])
        client.append("Drafts", r"(\Draft \Seen)", "", letter(WORDS["draft"]).as_bytes())
        client.append(WORDS["mailbox"], "($Forwarded)", "", letter(WORDS["draft"] * 10_000).as_bytes())
        client.select("INBOX")
        client.search(None, "BODY", WORDS["search"])
        client.search(None, "HEADER", "Subject", WORDS["search"])
        client.rename(WORDS["mailbox"], f"{WORDS['mailbox']}2")
        _, (number,) = client.search(None, "SUBJECT", "goes")
        client.store(number.decode(), "+FLAGS", r"(\Deleted)")
        client.expunge()
        client.store("1:*", "+FLAGS", r"(\Flagged $Important)")
        client.copy("1:2", f"{WORDS['mailbox']}2")


def merge_all(server: Trial) -> None:
    """Have the words of Bob's mail merged into a segment: enough of it, and a session."""
    bob = server.account(1)[0]
    with smtplib.SMTP(*server.address("smtp"), timeout=20) as client:
        for _ in range(INDEX_MERGE):
            client.sendmail("carol@friend.test", [bob], letter(WORDS["body"], Subject=WORDS["subject"]).as_bytes())
    with reader(server, 1):
        end = time.monotonic() + 20
        while not rows(server.folder, MAIL, "SELECT count(*) FROM index_part")[0][0] and time.monotonic() < end:
            time.sleep(0.1)


@pytest.fixture(scope="module")
def full(server: Trial) -> Trial:
    peer = Rejecting()
    peer.start()
    settings(server, delivery__smart_host=f"127.0.0.1:{peer.socket.getsockname()[1]}", delivery__smart_host_tls="none")
    send_all(server)
    assert peer.refused.wait(20)
    end = time.monotonic() + 10
    while not any("failed from" in line for line in server.log) and time.monotonic() < end:
        time.sleep(0.05)
    merge_all(server)
    return server


def test_words_lie_nowhere_in_clear_while_the_server_runs(full: Trial) -> None:
    """A message is on its way while we look, so that temporary files are looked at too."""
    with smtplib.SMTP(*full.address("smtp"), timeout=20) as client:
        client.ehlo()
        client.docmd("MAIL", "FROM:<carol@friend.test>")
        client.docmd("RCPT", f"TO:<{full.account(1)[0]}>")
        assert client.docmd("DATA")[0] == 354
        client.send(f"Subject: {WORDS['unfinished']}\r\n\r\n".encode() + f"{WORDS['unfinished']}\r\n".encode() * 60_000)
        end = time.monotonic() + 5
        while not list((full.folder / "mail" / "content" / "tmp").glob("*")) and time.monotonic() < end:
            time.sleep(0.02)
        assert list((full.folder / "mail" / "content" / "tmp").glob("*")), "nothing is on its way"
        done = search(full.folder)
        client.close()
    report("sealed", words=len(WORDS), needles=len(NEEDLES), files=done.files, cells=done.cells, pages=done.pages, found=len(done.found))
    assert done.found == []
    assert done.cells > 500
    assert done.pages > 50
    assert len(done.secrets) > 20
    for what in ("message_words", "index_part", "index_segment", "thread_link"):
        assert rows(full.folder, MAIL, f"SELECT count(*) FROM {what}")[0][0], f"nothing in {what}"  # noqa: S608
    assert rows(full.folder, SOFT, "SELECT count(*) FROM decision WHERE length(sealed_evidence) > 100")[0][0] > 3


def test_words_lie_nowhere_in_clear_after_a_crash(full: Trial, tmp_path: Path) -> None:
    full.kill()
    assert search(copy(full.folder, tmp_path / "killed")).found == []
    full.start()
    assert search(full.folder).found == []


def test_the_log_has_no_word_of_any_letter(full: Trial) -> None:
    """Not even in the answers of servers elsewhere, which like to quote."""
    assert any("failed from" in line for line in full.log)
    assert [line for line in full.log if told(line.encode())] == []


def test_the_command_line_shows_no_word_of_any_letter(full: Trial) -> None:
    for command in (["account", "list", "--json"], ["account", "show", full.account(1)[0], "--json"], ["settings", "show"], ["domain", "list"]):
        assert told(moatmail(full, *command).encode()) == []


def test_the_words_are_there_for_their_owner(full: Trial) -> None:
    """The mail that was searched for is the mail that was sent."""
    with reader(full, 1) as client:
        client.select("INBOX")
        octets = repr(client.fetch("1:*", "(BODY.PEEK[])")[1]).encode() + repr(client.list()[1]).encode()
    found = {name.partition(" as ")[0] for name in told(octets)}
    assert {"body", "long body", "html", "subject", "header address", "display name", "attachment name", "mailbox"} <= found


# ---------------------------------------------------------------- the search itself


@pytest.mark.parametrize("form", ["raw", "UTF-16LE", "modified UTF-7", "base64 after 0", "base64 after 1", "base64 after 2"])
@pytest.mark.parametrize("what", ["body", "mailbox beyond ASCII"])
def test_one_planted_unsealed_column_is_found(full: Trial, form: str, what: str, tmp_path: Path) -> None:
    folder = copy(full.folder, tmp_path / "planted")
    octets = {**forms(WORDS[what]), **{f"base64 after {n}": base64.b64encode(b"x" * n + WORDS[what].encode() + b"yz") for n in range(3)}}[form]
    change(folder, MAIL, ("ALTER TABLE message ADD COLUMN preview BLOB", ()), ("UPDATE message SET preview = ? WHERE number = 2", (b"so " + octets + b" it",)))
    found = search(folder).found
    assert any(one.startswith(f"mail.sqlite message.preview: {what}") for one in found)


def test_a_word_that_a_careless_write_left_in_a_free_page_is_found(full: Trial, tmp_path: Path) -> None:
    folder = copy(full.folder, tmp_path / "planted")
    change(
        folder,
        MAIL,
        ("PRAGMA secure_delete = OFF", ()),
        ("CREATE TABLE careless (text)", ()),
        ("INSERT INTO careless VALUES (?)", (WORDS["body"] * 2000,)),
        ("DROP TABLE careless", ()),
    )
    assert any(one.startswith("a page of mail.sqlite") for one in search(folder).found)


def test_a_private_half_in_a_column_is_found(full: Trial, tmp_path: Path) -> None:
    folder = copy(full.folder, tmp_path / "planted")
    (key_id, selector, wrapped), *_ = rows(folder, MAIL, "SELECT id, selector, wrapped FROM signing_key ORDER BY algorithm DESC")
    pem = vault_of(folder).unwrap(Purpose.SIGNING_KEY, 0, key_id, wrapped)
    assert b"BEGIN PRIVATE KEY" in pem
    for planted in (pem, private_octets(pem)[-1], base64.b64encode(b"x" + private_octets(pem)[0])):
        change(folder, MAIL, ("UPDATE signing_key SET record = ? WHERE id = ?", (planted, key_id)))
        assert any(one.startswith("mail.sqlite signing_key.record: ") and selector in one for one in search(folder).found)


@pytest.mark.parametrize("place", ["mail/note", "run/note", "mail/content/tmp/note", "moatmail.toml"])
def test_a_word_in_a_file_is_found(full: Trial, place: str, tmp_path: Path) -> None:
    folder = copy(full.folder, tmp_path / "planted")
    with (folder / place).open("ab") as file:
        file.write(b"..." + WORDS["subject"].upper().encode())
    assert {one.partition(":")[0] for one in search(folder).found} == {place}
