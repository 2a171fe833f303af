# SPDX-License-Identifier: Apache-2.0
"""Types, parameters and RFC 2231."""

from __future__ import annotations

import json

import pytest

from moatmail.core.limits.message import PARAMETER_OCTETS_MAX, PARAMETERS_MAX
from moatmail.message.encoded_word import decode_words
from moatmail.message.header import unfold
from moatmail.message.parameters import is_attachment, parameter_octets, parameter_text, parse_parameters, parse_type, strip_comments
from tests.unit.message.reading import DATA

FIELDS = DATA / "mime" / "stalwart-mail-parser" / "fields"


@pytest.mark.parametrize(
    ("value", "parameters"),
    [
        pytest.param(b"a/b; N=v; m=w", ((b"n", b"v"), (b"m", b"w")), id="names in lower case"),
        pytest.param(b'a/b; n="v; \\"w\\"" ; m=x', ((b"n", b'v; "w"'), (b"m", b"x")), id="quoted with a semicolon"),
        pytest.param(b"a/b; n=a file.pdf ; m=x", ((b"n", b"a file.pdf"), (b"m", b"x")), id="blanks in a bare value (damage)"),
        pytest.param(b'a/b; n="open', ((b"n", b"open"),), id="a quote that never ends (damage)"),
        pytest.param(b"a/b;; ;n=v;", ((b"n", b"v"),), id="empty ones are skipped"),
        pytest.param(b'a/b n="v" m=w', ((b"n", b"v"), (b"m", b"w")), id="forgotten semicolons (damage)"),
        pytest.param(b"a/b; =v; n", (), id="no name, no value (damage)"),
    ],
)
def test_parameters(value: bytes, parameters: tuple[tuple[bytes, bytes], ...]) -> None:
    assert parse_parameters(value) == parameters


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(b"; filename=x.pdf", "x.pdf", id="plain"),
        pytest.param(b"; filename*=utf-8'de'pr%C3%BCf.pdf", "prüf.pdf", id="encoded"),
        pytest.param(b"; filename*=iso-8859-1''pr%FCf.pdf; filename=x.pdf", "prüf.pdf", id="the encoded form wins"),
        pytest.param(b'; filename*1="b"; filename*0=a', "ab", id="sections in any order"),
        pytest.param(b"; filename*0*=utf-8''%C3; filename*1*=%BC", "ü", id="a character cut between sections"),
        pytest.param(b"; filename*0*=''%61; filename*1=%62", "a%62", id="a plain section is taken as it is"),
        pytest.param(b"; filename*0=a; filename*2=c", "a", id="a gap ends the sections"),
        pytest.param(b"; filename*0=a; filename*0=b; filename*01=c", "a", id="a section counts once, and no number begins with zero"),
        pytest.param(b"; filename*=%41%zz", "A%zz", id="no charset, and what is no octet stays (damage)"),
        pytest.param(b"; filename*=bogus''%C3%BCx", "\ufffd\ufffdx", id="an unknown charset"),
        pytest.param("; filename=prüf.pdf".encode(), "prüf.pdf", id="raw UTF-8"),
        pytest.param(b"; name=x", "", id="none"),
    ],
)
def test_parameter_text(value: bytes, text: str) -> None:
    assert parameter_text(parse_parameters(value), b"filename") == text


def test_counts_and_lengths_are_capped() -> None:
    assert len(parse_parameters(b"".join(b";a%d=b" % number for number in range(PARAMETERS_MAX * 2)))) == PARAMETERS_MAX
    assert len(parse_parameters(b";a=" + b"x" * 2 * PARAMETER_OCTETS_MAX)[0][1]) == PARAMETER_OCTETS_MAX
    sections = b"".join(b";a*%d=%b" % (number, b"x" * 1_000) for number in range(20))
    assert len(parameter_octets(parse_parameters(sections), b"a")) == PARAMETER_OCTETS_MAX


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"Text/HTML; x=y", (b"text", b"html")),
        (b" message / rfc822", (b"message", b"rfc822")),
        (b"text", None),
        (b"text/", None),
        (b"/plain", None),
        (b'"text/plain"', None),
        (b"", None),
        ("á/é".encode(), None),
    ],
)
def test_types(value: bytes, kind: tuple[bytes, bytes] | None) -> None:
    assert parse_type(value) == kind


@pytest.mark.parametrize(
    ("value", "bare"),
    [
        (b"a (b (c) \\) d) e", b"a  e"),
        (b'"(no)" (yes)', b'"(no)" '),
        (b"name=a(1).pdf", b"name=a(1).pdf"),
        (b"a (open", b"a "),
        (b"a) b", b"a) b"),
    ],
)
def test_comments(value: bytes, bare: bytes) -> None:
    assert strip_comments(value) == bare


def test_an_unknown_disposition_is_an_attachment() -> None:
    assert [is_attachment(value) for value in (None, b"inline", b"attachment", b"x-new")] == [False, False, True, True]


@pytest.mark.skipif(not FIELDS.is_dir(), reason="the MIME samples (shared/data/mime) are not here")
def test_a_second_opinion_on_content_types() -> None:
    """Another parser's wanted attributes; it decodes encoded words in values, as do we when a name is shown."""
    same = 0
    for sample in json.loads((FIELDS / "content_type.json").read_text("utf-8")):
        value = strip_comments(unfold(sample["header"].encode()))
        wanted = {name: text for name, text in (sample["expected"] or {}).get("attributes") or () if not name.endswith("-language")}
        parameters = parse_parameters(value)
        ours = {name: decode_words(parameter_text(parameters, name.encode()).encode()) for name in wanted}
        if ours == wanted:
            same += 1
        else:
            assert sample["header"].lstrip()[:12] in ARGUED, (ours, wanted)
    assert same >= 55


ARGUED = {
    # Bare encoded words with blanks between: blanks inside a bare value belong to it; a second charset mark within sections is an octet like others;
    # a trailing blank is kept only in quotes; names outside ASCII are none; sections that do not start at 0 are none.
    "image/jpeg;\n",
    "application/",
    "á/é; á=é\n",
    "inva/lid; na",
    "test/encoded",
    # Names that begin like comments or end in asterisks.
    "malicious/at",
}
