# SPDX-License-Identifier: Apache-2.0
"""`moatmail try` as a stranger meets it: the printed lines, the same command again, what is in the way, the command line beside it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moatmail.app.cli.main import run
from moatmail.app.picture import WORDS
from tests.e2e.raw_smtp import Peer, until_kept
from tests.e2e.trial import Trial, descendants, trial

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def printed(server: Trial, begin: str) -> str:
    """Give the command of one of the printed lines, as a person copies it (the note behind the arrow is not part of it)."""
    text = "".join(server.log)
    found = re.search(rf"^  {re.escape(begin)} +(.*?)(?:   → .*)?$", text, re.MULTILINE)
    assert found, text
    return found[1]


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=folder, timeout=60, check=False)


def moatmail(*arguments: str, stdin: str = "", folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "moatmail.app.cli", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, cwd=folder, check=False)


def in_process(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the program in this process: the same, without waiting for an interpreter each time."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        patch.setattr("moatmail.app.confine.guard_memory", lambda: None)
        status = run(arguments)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def used(server: Trial, number: int) -> int:
    told = moatmail("account", "show", server.account(number)[0], "--json", "--dir", str(server.folder))
    return int(json.loads(told.stdout)["used"])


@needs_curl
def test_the_printed_lines_work_as_they_stand(server: Trial) -> None:
    here = server.folder.parent
    sent = shell(printed(server, "1 send"), here)
    assert (sent.returncode, sent.stdout, sent.stderr) == (0, "", "")
    read = shell(printed(server, "2 read"), here)
    assert (read.returncode, read.stderr) == (0, "")
    assert f"Subject: for your eyes only\n\n{WORDS}\n" in read.stdout
    sealed = shell(printed(server, "3 sealed?"), here)
    assert (sealed.returncode, sealed.stdout, sealed.stderr) == (1, "", "")
    assert any("accepted from alice@example.test for bob@example.test" in line and " because " in line for line in server.log)
    # The program is found as in a shell where its environment is active.
    why = shell(f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; {printed(server, '5 why?')}", here)
    assert (why.returncode, why.stderr) == (0, "")
    assert why.stdout.endswith("All three ended as promised.\n")


def test_the_same_command_again_has_the_same_mail_and_the_same_passwords(own_server: Trial) -> None:
    send(own_server)
    before = own_server.facts["accounts"], used(own_server, 1)
    assert before[1] > 0
    assert own_server.stop() == 0
    assert not (own_server.folder / "try.json").exists()
    own_server.start()
    assert (own_server.facts["accounts"], used(own_server, 1)) == before
    send(own_server)


def test_after_a_power_cut_everything_acknowledged_is_there(own_server: Trial) -> None:
    send(own_server)
    before = used(own_server, 1)
    own_server.kill()
    own_server.start()
    assert used(own_server, 1) == before
    send(own_server)
    assert used(own_server, 1) == 2 * before


def test_a_second_trial_in_the_same_folder_is_refused_and_does_no_harm(server: Trial) -> None:
    told = moatmail("try", "--dir", str(server.folder), "--base-port", "1000")
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1
    assert "in use by another Moatmail" in told.stderr
    assert json.loads((server.folder / "try.json").read_text()) == server.facts
    send(server)


def test_a_second_trial_on_the_same_ports_is_refused(server: Trial, tmp_path: Path) -> None:
    told = moatmail("try", "--dir", str(tmp_path / "other"), "--base-port", str(server.base))
    assert told.returncode == 2
    assert told.stderr == f"moatmail: port 127.0.0.1:{server.base + 25} is in use by another program; stop it, or choose other ports\n"


def test_a_folder_of_a_newer_version_is_refused(own_server: Trial) -> None:
    own_server.stop()
    code = (
        "import sys; from pathlib import Path; from moatmail.crypto.vault import Vault, read_master_key; from moatmail.store.sqlite import Use, open_database;"
        "folder = Path(sys.argv[1]); vault = Vault(read_master_key(folder / 'keys' / 'master.key'));"
        "open_database(folder / 'mail' / 'mail.sqlite', vault.database_key('mail'), Use.WRITE).script([\"UPDATE alembic_version SET version_num = '9999'\"])"
    )
    subprocess.run([sys.executable, "-c", code, str(own_server.folder)], check=True, timeout=30)
    told = moatmail("try", "--dir", str(own_server.folder), "--base-port", str(own_server.base))
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.count("\n") == 1
    assert "made by a newer Moatmail (schema 9999" in told.stderr
    assert "upgrade the program" in told.stderr


def ctrl_c(server: Trial) -> None:
    """Press Ctrl-C: a terminal tells every process of the foreground."""
    for pid in (server.pid, *descendants(server.pid)):
        os.kill(pid, signal.SIGINT)


def test_ctrl_c_lets_a_message_under_way_arrive(own_server: Trial) -> None:
    assert own_server.process is not None
    with Peer(own_server, "smtp") as idle, Peer(own_server, "submissions") as peer:
        assert idle.answer().code == 220
        peer.hello().data().send(peer.head("under way") + b"half")
        ctrl_c(own_server)
        assert idle.rest().startswith(b"421 4.3.2 ")
        peer.send(b" and half\r\n.\r\n")
        assert peer.answer().code == 250
        assert peer.rest().startswith(b"421 4.3.2 ")
    assert own_server.process.wait(20) == 0
    own_server.start()
    assert until_kept(own_server, "under way").endswith(b"half and half\r\n")


def test_ctrl_c_pressed_twice_waits_for_nobody(own_server: Trial) -> None:
    assert own_server.process is not None
    with Peer(own_server, "smtp") as peer:
        peer.hello().data().send(b"Subject: never")
        ctrl_c(own_server)
        time.sleep(0.3)
        assert own_server.process.poll() is None
        begun = time.monotonic()
        ctrl_c(own_server)
        assert own_server.process.wait(20) == 0
        assert time.monotonic() - begun < 5
    own_server.start()
    assert used(own_server, 1) == 0


def test_silence_leaves_the_picture_alone(tmp_path: Path) -> None:
    with trial(tmp_path / "moatmail-try", "-q") as server:
        send(server)
        server.stop()
        assert server.log[0].startswith("Moatmail is running")
        assert not any("accepted from" in line for line in server.log)


def test_serve_with_the_written_file_serves_the_same_mail(own_server: Trial) -> None:
    send(own_server)
    before = used(own_server, 1)
    own_server.stop()
    for extra in ([], ["--compact"]):
        command = [sys.executable, "-m", "moatmail.app.cli", "serve", "--config", str(own_server.folder / "moatmail.toml"), *extra]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            assert process.stdout is not None
            assert any("serving localhost: mx 127.0.0.1:" in line for line in process.stdout)
            assert used(own_server, 1) == before
            send(own_server)
            before = used(own_server, 1)
        finally:
            process.send_signal(signal.SIGTERM)
            rest = process.communicate(timeout=40)[0]
        assert process.returncode == 0, rest


def send(server: Trial) -> None:
    """Send one message from a stranger to the second account."""
    recipient = server.account(1)[0]
    with smtplib.SMTP(*server.address("smtp"), timeout=10) as client:
        client.starttls(context=server.tls())
        client.sendmail(server.facts["sender"], [recipient], f"From: {server.facts['sender']}\r\nTo: {recipient}\r\nSubject: x\r\n\r\nhello\r\n")


# ---------------------------------------------------------------- the command line, with the server running or not


def test_the_command_line_says_the_same_with_the_server_running_or_not(own_server: Trial) -> None:
    folder = str(own_server.folder)
    own_server.stop()
    for running in (False, True):
        if running:
            own_server.start()
        domain = f"{'on' if running else 'off'}.test"
        steps = [
            (["domain", "add", domain], 0, None, ""),
            (["domain", "add", domain], 1, "", None),
            (["account", "add", f"ann@{domain}", "--password-stdin"], 0, f"added ann@{domain}\n", ""),
            (["account", "add", f"ann@{domain}", "--password-stdin"], 1, "", None),
            (["account", "password", f"ann@{domain}", "--password-stdin"], 0, f"changed ann@{domain}\n", ""),
            (["account", "password", f"nobody@{domain}", "--password-stdin"], 1, "", None),
            (["alias", "add", f"all@{domain}", f"ann@{domain}"], 0, f"added all@{domain} → ann@{domain}\n", ""),
            (["alias", "list", "--domain", domain], 0, None, ""),
            (["domain", "remove", domain], 1, "", None),
            (["settings", "set", "smtp.max_recipients", "150"], 0, "smtp.max_recipients is now 150\n", ""),
            (["settings", "set", "smtp.max_recipients", "5"], 2, "", "moatmail: smtp.max_recipients: must be from 100 to 10000\n"),
            (["settings", "show", "nonsense"], 2, "", "moatmail: nonsense: unknown key; `moatmail settings show` lists all\n"),
            (["alias", "remove", f"all@{domain}"], 0, f"removed all@{domain}\n", ""),
            (["account", "remove", f"ann@{domain}", "--yes"], 0, f"removed ann@{domain}\n", ""),
            (["domain", "remove", domain], 0, f"removed {domain}\n", ""),
            (["domain", "show", domain], 1, "", f"moatmail: no domain {domain} here; `moatmail domain list` shows what there is\n"),
        ]
        for arguments, status, out, err in steps:
            told = in_process(*arguments, "--dir", folder, stdin="correct horse battery staple\n")
            assert told.returncode == status, (running, arguments, told)
            assert out is None or told.stdout == out, (running, arguments, told)
            assert told.stderr == err if err is not None else told.stderr.count("\n") == 1, (running, arguments, told)


def test_a_changed_setting_holds_at_once(own_server: Trial) -> None:
    assert moatmail("settings", "set", "smtp.max_message_octets", "1000000", "--dir", str(own_server.folder)).returncode == 0
    until = 50
    while until:
        with smtplib.SMTP(*own_server.address("smtp"), timeout=10) as client:
            client.ehlo()
            if client.esmtp_features["size"] == "1000000":
                return
        until -= 1
    pytest.fail("the old size is still announced")


def test_the_command_line_finds_the_trial_of_the_folder_it_is_started_in(server: Trial) -> None:
    told = moatmail("account", "list", folder=server.folder.parent)
    assert [line.split()[0] for line in told.stdout.splitlines()] == ["address", "alice@example.test", "bob@example.test"], told


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to be another user")
@pytest.mark.parametrize("name", ["store.sock", "bus.sock"])
def test_another_user_of_the_machine_cannot_even_knock(server: Trial, name: str) -> None:
    folder = os.open(server.folder / "run", os.O_PATH)  # past the folders above, which are ours alone too
    child = os.fork()
    if child == 0:
        kind = socket.SOCK_STREAM if name == "store.sock" else socket.SOCK_SEQPACKET
        os.setgroups([])
        os.setgid(65_534)
        os.setuid(65_534)
        try:
            socket.socket(socket.AF_UNIX, kind).connect(f"/proc/self/fd/{folder}/{name}")
        except PermissionError:
            os._exit(42)
        finally:
            os._exit(1)
    os.close(folder)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
