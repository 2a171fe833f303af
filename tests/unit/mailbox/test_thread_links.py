# SPDX-License-Identifier: Apache-2.0
"""What ties messages together: tables of pairs, as headers of whole messages."""

from __future__ import annotations

import pytest

from moatmail.core.limits.store import THREAD_DIGEST, THREAD_LINKS
from moatmail.mailbox.thread_links import links
from moatmail.message.structure import StructureParser
from moatmail.message.summary import Summary, build


def summary(**fields: str) -> Summary:
    """Make the summary of a message with these header fields."""
    parser = StructureParser()
    parser.feed("".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()).encode() + b"\r\ntext\r\n")
    return build(parser.finish())


def digests(**fields: str) -> list[bytes]:
    octets = links(summary(**fields))
    return [octets[start : start + THREAD_DIGEST] for start in range(0, len(octets), THREAD_DIGEST)]


ONE = {"Message_ID": "<1@a>", "Subject": "lunch"}


@pytest.mark.parametrize(
    ("other", "tied"),
    [
        pytest.param({"References": "<1@a>", "Subject": "Re: lunch"}, True, id="an answer by References"),
        pytest.param({"In_Reply_To": "<1@a>", "Subject": "Re: lunch"}, True, id="an answer by In-Reply-To alone"),
        pytest.param({"References": "<0@a> <1@a> <2@b>", "Subject": "Re: lunch"}, True, id="an answer to an answer"),
        pytest.param({"Message_ID": "<1@a>", "Subject": "lunch"}, True, id="the same message again"),
        pytest.param({"References": "<1@a>", "Subject": "AW: lunch"}, False, id="a mark of another language is a part of the subject, as RFC 5256 has it"),
        pytest.param({"References": "<1@a>", "Subject": "[list] Re: LUNCH (fwd)"}, True, id="what is not of the base subject, and the case, count for nothing"),
        pytest.param({"References": "<1@a>", "Subject": "Re: lu  nch"}, True, id="nor do blanks"),
        pytest.param({"References": "<1@a>", "Subject": "=?utf-8?q?Re=3A_lun=C2=ADch?="}, True, id="nor do soft hyphens, decoded"),
        pytest.param({"References": "<1@a>", "Subject": "dinner"}, False, id="another subject is another thread"),
        pytest.param({"References": "<1@a>"}, False, id="none is another one, too"),
        pytest.param({"References": "<2@a>", "Subject": "lunch"}, False, id="the same subject alone ties nothing"),
        pytest.param({"References": "<1@A>", "Subject": "lunch"}, False, id="Message-IDs have a case"),
        pytest.param({"References": '<"1"@a>', "Subject": "lunch"}, True, id="quotes that need not be make no other Message-ID"),
        pytest.param({"References": "1@a", "Subject": "lunch"}, False, id="what is no Message-ID ties nothing"),
        pytest.param({"Subject": "lunch"}, False, id="who mentions nothing is tied to nothing"),
    ],
)
def test_which_messages_belong_together(other: dict[str, str], tied: bool) -> None:
    assert bool(set(digests(**ONE)) & set(digests(**other))) is tied


def test_the_nearest_comes_first_then_the_first_of_all_then_its_own() -> None:
    chain = [f"<{place}@a>" for place in range(20)]
    made = digests(Message_ID="<own@a>", References=" ".join(chain), In_Reply_To="<parent@a>", Subject="s")
    alone = {one: digests(Message_ID=one, Subject="s")[0] for one in (*chain, "<parent@a>", "<own@a>")}
    names = {digest: one for one, digest in alone.items()}
    assert [names[one] for one in made] == ["<parent@a>", "<19@a>", "<18@a>", "<17@a>", "<16@a>", "<15@a>", "<0@a>", "<own@a>"]
    assert len(made) == THREAD_LINKS


@pytest.mark.parametrize("count", range(12))
def test_what_is_mentioned_is_told_once_and_no_more_than_there_is_room_for(count: int) -> None:
    made = digests(Message_ID="<0@a>", References=" ".join(f"<{place}@a>" for place in range(count)), Subject="s")
    assert len(made) == len(set(made)) == min(max(count, 1), THREAD_LINKS - 1)


def test_a_message_without_any_message_id_is_tied_to_nothing() -> None:
    assert links(summary(Subject="lunch")) == b""


def test_no_two_pairs_of_message_id_and_subject_read_the_same() -> None:
    # What one gives away at its end the other might have at its beginning.
    assert not set(digests(Message_ID="<1@a>", Subject="5 b")) & set(digests(Message_ID="<1@a>5", Subject="b"))
    assert not set(digests(Message_ID="1", Subject="2")) & set(digests(Message_ID="12", Subject=""))


def test_octets_that_are_no_text_are_tied_all_the_same() -> None:
    parser = StructureParser()
    parser.feed(b"Message-ID: <1@a>\r\nSubject: =?utf-16?b?2AA=?= \xff\xfe\r\n\r\n")
    assert len(links(build(parser.finish()))) == THREAD_DIGEST
