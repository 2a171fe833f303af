# SPDX-License-Identifier: Apache-2.0
"""Authentication-Results beside authres: it reads back what we compose, whatever strangers put in; and what it takes for ours is removed.

Known differences: authres takes a quoted value only at the end of its statement, where RFC 8601 §2.2 lets it stand anywhere (we write it there), and no
authserv-id in quotes (tests/unit/mailauth has them).
"""

from __future__ import annotations

import re

import authres
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from moatmail.core.limits.mailauth import RESULTS_LINE_OCTETS, RESULTS_MAX
from moatmail.mailauth import results
from moatmail.mailauth.arc import ARCResult, Sealer
from moatmail.mailauth.arc_seal import own_results
from moatmail.mailauth.claimed_results import remove_foreign
from moatmail.mailauth.dkim import DKIMResult
from moatmail.mailauth.dmarc.check import DMARCResult
from moatmail.mailauth.dmarc.record import Policy, parse_record
from moatmail.mailauth.iprev import IprevResult
from moatmail.mailauth.result import Result
from moatmail.mailauth.results import Method
from moatmail.mailauth.signed import SignedMessage
from moatmail.mailauth.spf.check import SPFIdentity, SPFResult
from moatmail.message.header import Header
from tests.fuzz import fuzz_results

ID = "mx.moat.example"
SOUND = ["a.example", "news.a.example", "xn--bcher-kva.example", "_spf.my_host.example", "x" * 63 + ".example", ".".join(["y" * 60] * 4)]
WORDS = [
    "bücher.example",
    "[192.0.2.1]",
    "a.example; dmarc=pass",
    "v.example(.a.example",
    'a"b',
    "a\\",
    "\0",
    "\r\nX: y",
    "dmarc=pass",
    " header.from=v.example",
    "",
]
names = st.sampled_from(SOUND) | st.sampled_from(WORDS) | st.text("a.\0\"'();=\\ \r\né-", max_size=12) | st.text(max_size=8)
reasons = st.sampled_from(["", "body is not the one that was signed", "tag v is missing"]) | st.text(max_size=120)
verdicts = st.sampled_from(Result)
addresses = st.sampled_from(["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"]) | names
RECORDS = [None, parse_record(b"v=DMARC1; p=reject; sp=none"), parse_record(b"v=DMARC1; p=none; t=y; rua=mailto:a@b.example")]
SEALER = Sealer(1, "a.example", "s", "a.example", b"")

iprev = st.builds(lambda result, client: results.of_iprev(IprevResult(result, client)), verdicts, addresses)
spf = st.builds(lambda result, identity, name: results.of_spf(SPFResult(result, identity, name, name)), verdicts, st.sampled_from(SPFIdentity), names)
signatures = st.text("Aa/+", min_size=8, max_size=30) | names
algorithms = st.sampled_from(["rsa-sha256", "ed25519-sha256"]) | names
dkim = st.builds(
    lambda result, reason, domain, selector, identity, algorithm, signature: results.of_dkim(
        DKIMResult(result, reason, domain, selector, identity, algorithm, signature)
    ),
    verdicts,
    reasons,
    names,
    names,
    names.map("ann@{}".format),
    algorithms,
    signatures,
)
arc = st.builds(
    lambda result, reason, sealers, client: results.of_arc(ARCResult(result, reason, sealers), client),
    verdicts,
    reasons,
    st.sampled_from([(), (SEALER,)]),
    addresses,
)
dmarc = st.builds(
    lambda result, name, policy, record: results.of_dmarc(DMARCResult(result, name, policy=policy, record=record), "quarantine"),
    verdicts,
    st.none() | names,
    st.sampled_from(Policy),
    st.sampled_from(RECORDS),
)
methods = st.lists(iprev | spf | dkim | arc | dmarc, max_size=6)


def read_back(field: bytes) -> authres.AuthenticationResultsHeader:
    # RFC 5322 §2.2.3: unfolding takes the line ends alone.
    return authres.all_features().parse(field.decode("ascii").replace("\r\n", ""))


@settings(max_examples=300)
@given(methods)
def test_the_oracle_reads_back_what_we_compose(said: list[Method]) -> None:
    field = results.compose(ID, said)
    read = read_back(field)
    assert read.authserv_id == ID
    assert [(one.method, one.result) for one in read.results] == [(one.name, one.result.value) for one in said]
    for one, method in zip(read.results, said, strict=True):
        expected = [(kind, name, value) for kind, name, value in method.properties if (kind, name) != ("header", "b")]
        assert [(each.type, each.name, each.value) for each in one.properties if each.name != "b"] == expected
        for each in one.properties:
            assert re.fullmatch(r"[A-Za-z0-9._@:/+=\[\]-]+", each.value)
        assert one.reason is None or re.fullmatch(r"[A-Za-z0-9 .,'=_-]+", one.reason)


@settings(max_examples=200)
@given(st.lists(iprev | spf | dkim | arc | dmarc, max_size=RESULTS_MAX))
def test_lines_are_short_and_plain(said: list[Method]) -> None:
    field = results.compose(ID, said)
    lines = field.split(b"\r\n")
    assert lines.pop() == b""
    assert field.isascii()
    for number, line in enumerate(lines):
        assert b"\r" not in line
        assert b"\n" not in line
        # A line beyond the usual length holds one word alone.
        assert len(line) <= RESULTS_LINE_OCTETS or (len(line) < 300 and b" " not in line)
        assert line.startswith(b"\t") == bool(number)
        assert line.strip()


@given(methods)
def test_what_we_composed_claims_to_be_ours_and_reads_as_ours(said: list[Method]) -> None:
    field = results.compose(ID, said)
    rest = b"From: a@b.example\r\nSubject: x\r\n\r\n"
    statements = " ".join(field.decode().split()).partition("; ")[2]
    assert own_results(SignedMessage(Header(field + rest)), ID.encode()) == statements.encode()
    assert remove_foreign(b"A: b\r\n" + field + rest, ID) == b"A: b\r\n" + rest


# ---------------------------------------------------------------- what others wrote

pieces = st.sampled_from(
    [
        *("mx.moat.example", "MX.Moat.Example", "mx.", "moat.example", "other.example", ".x", "x", "1", "example", ".", "-", "none", "spf=pass", "dmarc=fail"),
        *(
            " ",
            " ",
            "\t",
            "\r\n ",
            "\r\n\t",
            ";",
            ";",
            "; ",
            "(",
            ")",
            "(c)",
            '"',
            "\\",
            "=",
            "=?utf-8?q?mx.moat.example?=",
            "\0",
            "\x01",
            "é",
            "\u0301",
            "\u00ad",
        ),
    ]
)
values = st.lists(pieces, max_size=9).map("".join)
field_names = st.sampled_from(
    ["Authentication-Results:", "authentication-results :", "\x01Authentication-Results:", "ARC-Authentication-Results:", "Subject:", "Authentication-Results"]
)
fields = st.builds(lambda name, value: f"{name}{value}\r\n".encode(), field_names, values)


@settings(max_examples=500)
@given(st.lists(fields, max_size=4).map(b"".join))
def test_nothing_is_left_that_we_should_take_for_our_own(header: bytes) -> None:
    left = remove_foreign(header, ID)
    assert own_results(SignedMessage(Header(left)), ID.encode()) == b""
    assert remove_foreign(left, ID) is left
    assert left is header or len(left) < len(header)


@settings(max_examples=500)
@given(st.lists(fields, max_size=4))
def test_fields_go_whole_and_others_stay_as_they_are(several: list[bytes]) -> None:
    several = [b"X-First: y\r\n", *several]
    left = remove_foreign(b"".join(several), ID)
    # A field of another name, taken alone, tells what must be found again.
    for field in several:
        if re.match(rb"(?:X-First|ARC-Authentication-Results|Subject):", field):
            assert field in left


BLANKS = ["", " ", "\r\n\t"]
asides = st.lists(st.sampled_from([" ", "\t", "\r\n ", "(c)", "(mx.moat.example)", "((a;b) \\) x)", '(")', "(other.example; spf=pass)"]), max_size=3).map(
    "".join
)
ours = st.sampled_from(["mx.moat.example", "MX.Moat.eXample"])
others = st.sampled_from(["other.example", "moat.example", "evil.mx.moat.example", "mx.moat.examplex", "mx.moat.example-2", "amx.moat.example"])
endings = st.sampled_from(
    ["none", "spf=pass", "spf=pass smtp.helo=mx.moat.example", 'dkim=fail reason="mx.moat.example; x" header.d=other.example; spf=none', "dmarc=none (x)"]
)


@settings(max_examples=500)
@given(st.booleans(), st.data())
def test_the_oracle_and_we_agree_whose_a_field_is(claimed: bool, data: st.DataObject) -> None:
    draw = data.draw
    version = draw(st.sampled_from(["", " 1", "(c)1", " 1(c)"]))
    head = draw(asides) + draw(ours if claimed else others) + version + draw(asides)
    field = f"Authentication-Results:{head};{draw(st.sampled_from(BLANKS))}{draw(endings)}\r\n".encode()
    try:
        read = read_back(field)
    except authres.SyntaxError:
        assume(False)
        raise
    assert (read.authserv_id == ID) is claimed
    left = remove_foreign(field, ID)
    assert left == b"" if claimed else left is field


@pytest.mark.parametrize("seed", range(3))
def test_the_fuzz_target_holds_over_seeded_inputs(seed: int) -> None:
    fuzz_results.TARGET.plain(500, seed)
