# SPDX-License-Identifier: Apache-2.0
"""Authentication-Results as we write it: each method's statement, folding, and strangers' words that never get in."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from moatmail.core.limits.mailauth import RESULT_TEXT_MAX, RESULTS_LINE_OCTETS, RESULTS_MAX
from moatmail.mailauth import results
from moatmail.mailauth.arc import ARCResult, Sealer
from moatmail.mailauth.dkim import DKIMResult
from moatmail.mailauth.dmarc.check import DMARCResult
from moatmail.mailauth.dmarc.record import parse_record
from moatmail.mailauth.iprev import IprevResult
from moatmail.mailauth.result import Result
from moatmail.mailauth.results import Method, Property
from moatmail.mailauth.spf.check import SPFIdentity, SPFResult

ID = "mx.example.org"
SIGNATURE = DKIMResult(Result.PASS, "", "a.example", "s1", "@a.example", "rsa-sha256", "dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZVoG4ZHRNiYzR")
SEALER = Sealer(1, "list.example", "s1", "list.example", b"")
RECORD = parse_record(b"v=DMARC1; p=reject; sp=quarantine; np=none")


def composed(*methods: Method) -> str:
    """The field on one line."""
    field = results.compose(ID, methods).decode("ascii")
    assert field.startswith("Authentication-Results: mx.example.org;\r\n\t")
    assert field.endswith("\r\n")
    return field.removesuffix("\r\n").replace("\r\n\t", " ").partition("; ")[2]


STATEMENTS = [
    pytest.param(results.of_iprev(IprevResult(Result.PASS, "192.0.2.1", ("mx.a.example",))), "iprev=pass policy.iprev=192.0.2.1", id="iprev of IPv4"),
    pytest.param(results.of_iprev(IprevResult(Result.FAIL, "2001:DB8::1")), 'iprev=fail policy.iprev="2001:db8::1"', id="iprev of IPv6 is quoted"),
    pytest.param(results.of_spf(SPFResult(Result.PASS, SPFIdentity.MAIL_FROM, "a.example", "ann")), "spf=pass smtp.mailfrom=a.example", id="SPF of MAIL FROM"),
    pytest.param(results.of_spf(SPFResult(Result.SOFTFAIL, SPFIdentity.HELO, "MX.a.example.")), "spf=softfail smtp.helo=mx.a.example", id="SPF of HELO"),
    pytest.param(
        results.of_spf(SPFResult(Result.NONE, SPFIdentity.HELO, "my_host.local")), "spf=none smtp.helo=my_host.local", id="a HELO name with underscore"
    ),
    pytest.param(
        results.of_spf(SPFResult(Result.NONE, SPFIdentity.HELO, "[192.0.2.1]")), 'spf=none smtp.helo="[192.0.2.1]"', id="a HELO name that is an address"
    ),
    pytest.param(
        results.of_spf(SPFResult(Result.NONE, SPFIdentity.HELO, "[IPv6:2001:DB8:0::1]")), 'spf=none smtp.helo="[IPv6:2001:db8::1]"', id="an IPv6 address"
    ),
    pytest.param(results.of_spf(SPFResult(Result.NONE, SPFIdentity.HELO, "[x:dmarc=pass]")), "spf=none", id="a literal under a tag of its owner's"),
    pytest.param(
        results.of_spf(SPFResult(Result.FAIL, SPFIdentity.MAIL_FROM, "bücher.example")), "spf=fail smtp.mailfrom=xn--bcher-kva.example", id="U-labels"
    ),
    pytest.param(results.of_dkim(SIGNATURE), "dkim=pass header.d=a.example header.s=s1 header.a=rsa-sha256 header.b=dzdVyOfA", id="a signature that holds"),
    pytest.param(
        results.of_dkim(replace(SIGNATURE, result=Result.FAIL, reason="body is not the one that was signed", identity="ann@news.a.example")),
        'dkim=fail reason="body is not the one that was signed" header.d=a.example header.i=@news.a.example header.s=s1 header.a=rsa-sha256 header.b=dzdVyOfA',
        id="a signature that fails, for a name below its domain, without the local-part",
    ),
    pytest.param(
        results.of_dkim(replace(SIGNATURE, signature="dzdV/OfAKCdL")),
        'dkim=pass header.d=a.example header.s=s1 header.a=rsa-sha256 header.b="dzdV/OfA"',
        id="a signature whose beginning is no token",
    ),
    pytest.param(
        results.of_dkim(DKIMResult(Result.PERMERROR, "no tag list", "", "", "", "", "")),
        'dkim=permerror reason="no tag list"',
        id="a signature that cannot be read",
    ),
    pytest.param(
        results.of_dkim(DKIMResult(Result.PERMERROR, "tag dmarc_pass_for_bank stands twice", "a.example", "s1", "", "rsa-sha1", "short")),
        'dkim=permerror reason="a tag stands twice" header.d=a.example header.s=s1 header.a=rsa-sha1',
        id="a tag's name is the signer's, and what is no signature stays away",
    ),
    pytest.param(results.of_arc(ARCResult(Result.NONE)), "arc=none", id="no chain"),
    pytest.param(results.of_arc(ARCResult(Result.PASS, sealers=(SEALER,))), "arc=pass header.oldest-pass=0", id="a chain of one set that holds"),
    pytest.param(
        results.of_arc(ARCResult(Result.PASS, sealers=(SEALER, replace(SEALER, instance=2))), "192.0.2.1"),
        "arc=pass smtp.remote-ip=192.0.2.1",
        id="a longer chain: of the older message signatures we say nothing",
    ),
    pytest.param(
        results.of_arc(ARCResult(Result.FAIL, "sets are not complete", sealers=(SEALER,)), "2001:db8::1"),
        'arc=fail reason="sets are not complete" smtp.remote-ip="2001:db8::1"',
        id="a broken chain",
    ),
    pytest.param(
        results.of_dmarc(DMARCResult(Result.FAIL, "a.example", "a.example", policy=RECORD.p, record=RECORD), "none"),
        "dmarc=fail (p=reject sp=quarantine np=none dis=none) header.from=a.example policy.dmarc=reject",
        id="DMARC that fails while local policy lets it pass",
    ),
    pytest.param(
        results.of_dmarc(DMARCResult(Result.FAIL, "a.example", "a.example", policy=RECORD.p, testing=True, record=RECORD), "quarantine"),
        "dmarc=fail (p=reject sp=quarantine np=none dis=quarantine) header.from=a.example policy.dmarc=quarantine",
        id="a policy that is only tested is one step weaker",
    ),
    pytest.param(
        results.of_dmarc(DMARCResult(Result.NONE, "a.example"), "none"), "dmarc=none (dis=none) header.from=a.example", id="a domain without a policy"
    ),
    pytest.param(results.of_dmarc(DMARCResult(Result.NONE), "reject"), "dmarc=none (dis=reject)", id="no author domain"),
]


@pytest.mark.parametrize(("method", "statement"), STATEMENTS)
def test_a_method_says(method: Method, statement: str) -> None:
    assert composed(method) == statement


def test_no_method_is_none() -> None:
    assert results.compose(ID, []) == b"Authentication-Results: mx.example.org;\r\n\tnone\r\n"


def test_lines_are_folded_between_words() -> None:
    field = results.compose(ID, [results.of_dkim(replace(SIGNATURE, result=Result.FAIL, reason="body is not the one that was signed"))] * 3)
    lines = field.removesuffix(b"\r\n").split(b"\r\n")
    assert len(lines) > 3
    assert all(len(line) <= RESULTS_LINE_OCTETS for line in lines)
    assert all(line.startswith(b"\t") and line.strip() for line in lines[1:])


def test_the_longest_names_stay_far_below_the_hard_limit_of_a_line() -> None:
    label = "a" * 63
    longest = ".".join([label, label, label, "a" * 61])
    field = results.compose(
        longest, [results.of_dkim(replace(SIGNATURE, domain=longest, selector=longest, identity=f"@{longest}", reason="x" * 200)), *_each()]
    )
    assert max(map(len, field.split(b"\r\n"))) < 300


def test_the_longest_statement_fits_one_line_of_an_arc_set() -> None:
    # RFC 8617 §4.1.1: a sealer repeats our results, one a line; selector and domain stand in one question, so together they are no longer than a name.
    domain = ".".join(["a" * 63] * 3 + ["a" * 40])
    longest = DKIMResult(Result.PERMERROR, "x " * 200, domain, "s", f"@b.{domain}", "ed25519-sha256", "A/" * 200)
    twin = replace(longest, signature="A/" * 199 + "BB")
    assert len(composed(results.of_dkim(longest), results.of_dkim(twin)).partition("; ")[0]) < 900


def _each() -> list[Method]:
    return [method for (method, _) in (param.values for param in STATEMENTS) if isinstance(method, Method)]


def test_statements_are_parted_by_semicolons() -> None:
    methods = _each()
    said = composed(*methods)
    assert said.count(";") == len(methods) - 1
    assert not said.endswith(";")


def test_the_number_of_results_is_bounded() -> None:
    assert composed(*[Method("dkim", Result.FAIL)] * 1000).count("dkim=") == RESULTS_MAX


SHARED = "A" * 20
TWINS = [replace(SIGNATURE, signature=SHARED + ending + "B" * 40) for ending in "xyz"]


@pytest.mark.parametrize(
    ("signatures", "shown"),
    [
        pytest.param(TWINS[:1], [SHARED[:8]], id="alone: eight octets"),
        pytest.param(TWINS, [SHARED + "x", SHARED + "y", SHARED + "z"], id="with one beginning: until they differ"),
        pytest.param([TWINS[0], TWINS[0]], [SHARED[:8], SHARED[:8]], id="the same signature twice: nothing tells it apart"),
        pytest.param(
            [replace(SIGNATURE, signature="C" * 300 + end) for end in "xy"], ["C" * RESULT_TEXT_MAX] * 2, id="the same for hundreds of octets: bounded"
        ),
        pytest.param([replace(SIGNATURE, signature="D" * 8), replace(SIGNATURE, signature="D" * 12)], ["D" * 8, "D" * 9], id="one the beginning of the other"),
    ],
)
def test_header_b_tells_signatures_apart(signatures: list[DKIMResult], shown: list[str]) -> None:
    assert re.findall(r"header\.b=(\S+?)(?:;|$)", composed(*map(results.of_dkim, signatures))) == shown


# ---------------------------------------------------------------- strangers' words

# Espoofer A4 to A6 and their like: each was written into such a field by some server.
HOSTILE = [
    pytest.param("victim.example(.attack.example", id="a comment that swallows the rest"),
    pytest.param("victim.example\0.attack.example", id="NUL"),
    pytest.param("victim.example'.attack.example", id="a quote"),
    pytest.param('victim.example"a.attack.example', id="a double quote"),
    pytest.param("attack.example; dmarc=pass header.from=victim.example", id="a statement of its own"),
    pytest.param("attack.example\r\n\tdmarc=pass", id="a folded line"),
    pytest.param("attack.example\r\nX: y", id="a field of its own"),
    pytest.param("attack.example header.from=victim.example", id="a property of its own"),
    pytest.param("attack.example\\", id="an escape"),
    pytest.param("dmarc=pass", id="an equals sign"),
    pytest.param("v\u0456ctim .example", id="blanks and a letter of another script"),
    pytest.param("a..example", id="an empty label"),
    pytest.param("a" * 64 + ".example", id="a label too long"),
    pytest.param("a." * 127 + "example", id="a name too long"),
    pytest.param("-a.example", id="a hyphen in front"),
    pytest.param("xn--.exa\udcffmple", id="half an octet"),
    pytest.param("[x:dmarc=pass]", id="an address literal under a tag of its owner's"),
    pytest.param("[0::1%2:dmarc=pass]", id="an address literal that begins like an address"),
    pytest.param("[IPv6:::1%dmarc=pass]", id="an address literal with a zone"),
    pytest.param("[192.0.2.1", id="half an address literal"),
    pytest.param("", id="nothing"),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_is_none_is_not_said(name: str) -> None:
    hostile = replace(SIGNATURE, domain=name, selector=name, identity=f"{name}@{name}", algorithm=name, signature=name, result=Result.FAIL)
    said = composed(
        results.of_iprev(IprevResult(Result.FAIL, name)),
        results.of_spf(SPFResult(Result.FAIL, SPFIdentity.MAIL_FROM, name, name, problem=name, explanation=name)),
        results.of_spf(SPFResult(Result.FAIL, SPFIdentity.HELO, name)),
        results.of_dkim(hostile),
        results.of_arc(ARCResult(Result.FAIL), name),
        results.of_dmarc(DMARCResult(Result.FAIL, name), "none"),
    )
    assert said == "iprev=fail; spf=fail; spf=fail; dkim=fail; arc=fail; dmarc=fail (dis=none)"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_pass_of_nobody_is_no_pass(name: str) -> None:
    for signature in (replace(SIGNATURE, domain=name, identity=""), replace(SIGNATURE, selector=name)):
        assert composed(results.of_dkim(signature)).startswith('dkim=permerror reason="domain or selector is no name"')


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        pytest.param((("header", "d", "a.example"),), " header.d=a.example", id="a token"),
        pytest.param((("header", "i", "@a.example"),), " header.i=@a.example", id="a domain behind @"),
        pytest.param((("header", "x", "a/b=c"),), ' header.x="a/b=c"', id="what is no token is quoted"),
        pytest.param((("header", "x", 'a"b'), ("header", "y", "a\\b"), ("header", "z", "a;b"), ("header", "a", "(b)")), "", id="what would end something"),
        pytest.param((("header", "x", "é"), ("header", "y", "a\r\n"), ("header", "z", "a\0")), "", id="what is not printable ASCII"),
        pytest.param((("header", "x", "a/" * 100),), "", id="what is too long"),
        pytest.param((("hea der", "x", "a"), ("header", "x=y", "a"), ("", "x", "a"), ("header", "", "a")), "", id="types and names that are no keywords"),
    ],
)
def test_a_property_is_written_where_it_fits_the_grammar(properties: tuple[Property, ...], said: str) -> None:
    assert composed(Method("dkim", Result.NONE, properties=properties)) == f"dkim=none{said}"


def test_reasons_and_remarks_end_nothing() -> None:
    method = Method("spf", Result.FAIL, 'a"; dmarc=pass\r\nX: "' + "y" * 200, comment="a) dmarc=pass; (\\" + "z" * 200)
    said = composed(method)
    assert ";" not in said
    assert said.count('"') == 2
    assert said.count("(") == said.count(")") == 1
    assert len(said) < 2 * RESULT_TEXT_MAX + 40


@pytest.mark.parametrize("authserv_id", ["", "mx\r\nX: y", "mx;none", "bücher.example", 'm"x'])
def test_an_authserv_id_that_fits_no_field_is_an_error(authserv_id: str) -> None:
    with pytest.raises(ValueError, match="authserv-id"):
        results.compose(authserv_id, [])


def test_a_method_that_is_no_keyword_is_an_error() -> None:
    with pytest.raises(ValueError, match="method"):
        results.compose(ID, [Method("dmarc=pass;x", Result.NONE)])
