# SPDX-License-Identifier: Apache-2.0
"""Address lists: by the grammar, by its obsolete forms, and damaged."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moatmail.core.limits.message import ADDRESS_TOKENS_MAX, ADDRESSES_MAX
from moatmail.message import addresses
from moatmail.message.addresses import Group, Mailbox, mailboxes, parse_addresses
from moatmail.message.header import unfold
from tests.unit.message.reading import DATA

FIELDS = DATA / "mime" / "stalwart-mail-parser" / "fields"


def told(value: bytes) -> list[object]:
    """Give (name, localpart, domain) of mailboxes, (name, [members]) of groups."""
    return [one(entry) for entry in parse_addresses(value)]


def one(entry: Mailbox | Group) -> object:
    if isinstance(entry, Group):
        return (entry.name, [one(member) for member in entry.members])
    return (entry.name, entry.localpart, entry.domain)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        pytest.param(b"a@b", [(None, b"a", b"b")], id="a bare addr-spec"),
        pytest.param(b"Ann B. C <a.x@b.c>", [(b"Ann B. C", b"a.x", b"b.c")], id="a phrase with a dot"),
        pytest.param(b'"B, A" <a@b>, c@d', [(b"B, A", b"a", b"b"), (None, b"c", b"d")], id="a comma in quotes"),
        pytest.param(b'"a \\"b\\" \\\\" <a@b>', [(b'a "b" \\', b"a", b"b")], id="escapes in quotes are undone"),
        pytest.param(b'"john doe"@b', [(None, b"john doe", b"b")], id="a quoted local part"),
        pytest.param(b'"a@b"@c', [(None, b"a@b", b"c")], id="an at-sign in quotes"),
        pytest.param(b"a@[192.0.2.1]", [(None, b"a", b"[192.0.2.1]")], id="a literal"),
        pytest.param(b"a@[IPv6:2001:db8::1], x@y", [(None, b"a", b"[IPv6:2001:db8::1]"), (None, b"x", b"y")], id="a literal with colons"),
        pytest.param(b"a@b (Ann (B.) \\) C)", [(b"Ann (B.) ) C", b"a", b"b")], id="a comment in the place of the name"),
        pytest.param(b"Ann (x) <a(y)@(z)b>", [(b"Ann", b"a", b"b")], id="comments anywhere"),
        pytest.param(b"a . x @ b . c", [(None, b"a.x", b"b.c")], id="blanks around dots (obsolete)"),
        pytest.param(b"<@x,@y:a@b>", [(None, b"a", b"b")], id="a source route (obsolete)"),
        pytest.param(b",, a@b , ,c@d,", [(None, b"a", b"b"), (None, b"c", b"d")], id="empty members (obsolete)"),
        pytest.param(b"g:;", [(b"g", [])], id="an empty group"),
        pytest.param(b"g: a@b, N <c@d>; , x@y", [(b"g", [(None, b"a", b"b"), (b"N", b"c", b"d")]), (None, b"x", b"y")], id="a group among mailboxes"),
        pytest.param(b"g: a@b", [(b"g", [(None, b"a", b"b")])], id="a group that never ends"),
        pytest.param(b"a@b; c@d", [(None, b"a", b"b"), (None, b"c", b"d")], id="semicolons as commas (damage)"),
        pytest.param(b"A <a@b> B <c@d>", [(b"A", b"a", b"b"), (b"B", b"c", b"d")], id="a forgotten comma (damage)"),
        pytest.param(b"A <a@b, c@d", [(b"A", b"a", b"b"), (None, b"c", b"d")], id="a forgotten bracket (damage)"),
        pytest.param(b"root", [(None, b"root", None)], id="no domain (damage)"),
        pytest.param(b"<>", [(None, b"", None)], id="the null address"),
        pytest.param(b"Ann <>", [(b"Ann", b"", None)], id="a name with the null address"),
        pytest.param(b"a@b@c", [(None, b"a@b", b"c")], id="two at-signs: the last one splits (damage)"),
        pytest.param(b"a b@c", [(None, b"a b", b"c")], id="two words before the at-sign (damage)"),
        pytest.param(b"joe@x <a@b>", [(b"joe@x", b"a", b"b")], id="an address as a name"),
        pytest.param(b'"open <a@b>', [(None, b"open <a@b>", None)], id="a quote that never ends (damage)"),
        pytest.param(b"(open a@b", [], id="a comment that never ends (damage)"),
        pytest.param("Jürg <jürg@bücher.example>".encode(), [("Jürg".encode(), "jürg".encode(), "bücher.example".encode())], id="UTF-8 (RFC 6532)"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_lists(value: bytes, wanted: list[object]) -> None:
    assert told(value) == wanted


def test_the_source_route_is_kept_for_envelope() -> None:
    (entry,) = mailboxes(b"<@x,@y:a@b>")
    assert (entry.route, entry.spec) == (b"@x,@y", b"a@b")


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (b"Ann <Ann@Example.ORG>", "Ann@example.org"),
        (b'"a b"@example.org', '"a b"@example.org'),
        (b"a . b @ example . org", "a.b@example.org"),
        (b"a@b@example.org", None),
        (b"a b@example.org", None),
        (b"a", None),
        (b"<>", None),
        (b"a@[192.0.2.1]", "a@[192.0.2.1]"),
        ("a@bücher.example".encode(), "a@xn--bcher-kva.example"),
    ],
)
def test_what_an_address_is_decides_the_one_parser(value: bytes, address: str | None) -> None:
    (entry,) = mailboxes(value)
    assert (entry.address and str(entry.address)) == address


def test_display_names_are_decoded() -> None:
    assert mailboxes(b"=?utf-8?Q?J=C3=BCrg?= <a@b>")[0].display_name == "Jürg"


def test_a_list_ends_at_the_limit() -> None:
    assert len(parse_addresses(b"a@b," * (ADDRESSES_MAX + 10))) == ADDRESSES_MAX
    assert len(parse_addresses(b"(c)" * ADDRESS_TOKENS_MAX + b"<a@b>")) == 0
    assert len(mailboxes(b"g:" + b"a@b," * (ADDRESSES_MAX + 10))) == ADDRESSES_MAX


@pytest.mark.skipif(not FIELDS.is_dir(), reason="the MIME samples (shared/data/mime) are not here")
def test_a_second_opinion_on_addresses() -> None:
    """Another parser's wanted results; where it keeps comments in names or blanks in addresses, or takes text without folding as the end, we differ."""
    argued = differing = same = 0
    for sample in json.loads((FIELDS / "address.json").read_text("utf-8")):
        header, expected = sample["header"], sample["expected"]
        entries = expected.get("List") or [member for group in expected["Group"] for member in group["addresses"]]
        if any(mark in header for mark in ("(", "\n\n", "://", "mailto:", "@node", "  . ", "\ninvalid")):
            argued += 1
            continue
        ours = [((entry.display_name or None), entry.spec.decode()) for entry in mailboxes(unfold(header.encode()))]
        theirs = [(entry["name"], entry["address"]) for entry in entries]
        if [(name and name.split(), address) for name, address in ours] == [(name and name.split(), address) for name, address in theirs]:
            same += 1
        else:
            differing += 1
            assert sample["header"] in ARGUED, (ours, theirs)
    assert same >= 30
    assert differing <= len(ARGUED)


ARGUED = {
    # A name after the brackets belongs to no grammar; we leave it out.
    "<a@b.com> =?utf-8?q?Doe?=\n",
    # An encoded word begun but not ended swallows up to its end.
    '"=?ISO-8859-1?Q =?ISO-8859-1?Q?a?= \\" =?ISO-8859-1?Q?b?=" <last@address.com>\n\nbody@content.com',
}


@given(
    st.lists(st.sampled_from([b"a", b"@", b"<", b">", b",", b":", b";", b'"', b"\\", b"(", b")", b"[", b"]", b" ", b".", b"b.c", b"\xc3\xa9", b"\0"])).map(
        b"".join
    )
)
def test_no_octets_are_too_damaged(value: bytes) -> None:
    for entry in mailboxes(value):
        assert entry.address is None or str(entry.address)
        assert b"(" not in entry.spec or b'"' in entry.spec or b"[" in entry.spec


PIECES = [b"a.b", b"@", b"<", b">", b",", b":", b";", b'"c d"', b'" "', b"\\", b"(x)", b"[1]", b" ", b"\t", b"=?u?Q?x?=", b"\xc3\xa9", b"A B <a@b>", b"c@d, "]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join))
def test_the_short_cut_for_plain_mailboxes_gives_what_the_tokens_give(value: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "_PLAIN", re.compile(rb"(?!)"))
        by_tokens = parse_addresses(value)
    assert parse_addresses(value) == by_tokens
