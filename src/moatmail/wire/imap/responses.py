# SPDX-License-Identifier: Apache-2.0
"""Responses of the server, rendered: pure functions from values to octets.

Obeys RFC 3501 §7 and §9 and the RFCs of the extensions named at each function.
Must never know a session, nor where the values come from.

Functions named after a response give the text for `IMAPServer.untagged` (no ``* ``, no line end); those that render whole rows say so.
Functions under "codes" give response codes without brackets, for `finish` and `ok`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from moatmail.core.imap_string import nstring, quoted, string
from moatmail.core.mailbox_name import DELIMITER
from moatmail.wire.imap import flags as flag_bits
from moatmail.wire.imap.events import Search, Sort
from moatmail.wire.imap.mailbox_name import write_name
from moatmail.wire.imap.search import SearchReturn
from moatmail.wire.imap.sequence import compact

_FLAG_NAMES: Final = (
    (flag_bits.ANSWERED, "\\Answered"),
    (flag_bits.FLAGGED, "\\Flagged"),
    (flag_bits.DELETED, "\\Deleted"),
    (flag_bits.SEEN, "\\Seen"),
    (flag_bits.DRAFT, "\\Draft"),
    (flag_bits.RECENT, "\\Recent"),
)
# The text of every combination of bits, made once: rendering a row is a look-up.
_FLAG_TEXTS: Final = tuple(" ".join(name for bit, name in _FLAG_NAMES if bits & bit) for bits in range(64))
_FLAG_ITEMS: Final = tuple(f"FLAGS ({text})".encode() for text in _FLAG_TEXTS)
_SYSTEM: Final = _FLAG_TEXTS[31].encode()


# ---- codes (RFC 3501 §7.1) ----


def permanent_flags(keywords: Iterable[bytes], *, may_create: bool) -> bytes:
    r"""Write PERMANENTFLAGS: what a client may set for good; ``\*`` allows new keywords."""
    words = [_SYSTEM, *keywords, *([b"\\*"] if may_create else [])]
    return b"PERMANENTFLAGS (%b)" % b" ".join(words)


def uid_next(uid: int) -> bytes:
    """Write UIDNEXT (RFC 3501 §7.1)."""
    return b"UIDNEXT %d" % uid


def uid_validity(value: int) -> bytes:
    """Write UIDVALIDITY (RFC 3501 §7.1)."""
    return b"UIDVALIDITY %d" % value


def unseen(number: int) -> bytes:
    """Write UNSEEN: message number of the first unseen message (RFC 3501 §7.1)."""
    return b"UNSEEN %d" % number


def highest_modseq(value: int) -> bytes:
    """Write HIGHESTMODSEQ; never 0, also for an empty mailbox (RFC 7162 §3.1.2.1)."""
    return b"HIGHESTMODSEQ %d" % max(value, 1)


def append_uid(validity: int, uids: Iterable[int]) -> bytes:
    """Write APPENDUID: the UIDs given to the messages of one APPEND (RFC 4315 §3)."""
    return b"APPENDUID %d %b" % (validity, compact(uids))


def copy_uid(validity: int, source: bytes, target: bytes) -> bytes:
    """Write COPYUID: both sets, written as ranges, in the order of copying, of equal size and not empty (RFC 4315 §3)."""
    return b"COPYUID %d %b %b" % (validity, source, target)


def modified(numbers: Iterable[int]) -> bytes:
    """Write MODIFIED: what a conditional STORE left alone (RFC 7162 §3.1.3)."""
    return b"MODIFIED " + compact(numbers)


def mailbox_id(object_id: bytes) -> bytes:
    """Write MAILBOXID (RFC 8474 §4.1)."""
    return b"MAILBOXID (%b)" % object_id


def in_progress(tag: bytes, progress: int, goal: int) -> bytes:
    """Write INPROGRESS; `goal` 0 for unknown; a tag that the grammar cannot hold there is NIL (RFC 9585 §5)."""
    name = b"NIL" if b"]" in tag else quoted(tag)
    return b"INPROGRESS (%b %d %b)" % (name, progress, b"%d" % goal if goal else b"NIL")


def ok(code: bytes, text: bytes) -> bytes:
    """Write an untagged OK with a code."""
    return b"OK [%b] %b" % (code, text)


# ---- mailbox data (RFC 3501 §7.2, §7.3) ----


def capability(names: Iterable[bytes]) -> bytes:
    """Write CAPABILITY (RFC 3501 §7.2.1)."""
    return b"CAPABILITY " + b" ".join(names)


def enabled(names: Iterable[bytes]) -> bytes:
    """Write ENABLED; sent even if nothing was enabled (RFC 5161 §3.2)."""
    return b" ".join((b"ENABLED", *names))


def flags(keywords: Iterable[bytes]) -> bytes:
    """Write FLAGS: the flags in use in the mailbox (RFC 3501 §7.2.6)."""
    return b"FLAGS (%b)" % b" ".join((_SYSTEM, *keywords))


def exists(count: int) -> bytes:
    """Write EXISTS (RFC 3501 §7.3.1)."""
    return b"%d EXISTS" % count


def recent(count: int) -> bytes:
    """Write RECENT (RFC 3501 §7.3.2)."""
    return b"%d RECENT" % count


def expunge(number: int) -> bytes:
    """Write EXPUNGE of one message number (RFC 3501 §7.4.1)."""
    return b"%d EXPUNGE" % number


def vanished(spans: Iterable[tuple[int, int]], *, earlier: bool = False) -> bytes:
    """Write VANISHED; `spans` are ranges of UIDs, first and last, rising (RFC 7162 §3.2.10)."""
    return (b"VANISHED (EARLIER) " if earlier else b"VANISHED ") + b",".join([b"%d:%d" % span if span[0] < span[1] else b"%d" % span[0] for span in spans])


def mailbox(attributes: Iterable[bytes], name: str, *, response: bytes = b"LIST", selected_by: Iterable[bytes] = (), utf8: bool = False) -> bytes:
    r"""Write LIST or LSUB of one mailbox; `attributes` with backslash; `selected_by`: CHILDINFO of RECURSIVEMATCH (RFC 3501 §7.2.2, RFC 5258 §4)."""
    line = b'%b (%b) "%b" %b' % (response, b" ".join(attributes), DELIMITER.encode(), write_name(name, utf8=utf8))
    options = b" ".join(quoted(option) for option in selected_by)
    return line + (b' ("CHILDINFO" (%b))' % options if options else b"")


def renamed(name: str, old: str) -> bytes:
    """Write LIST of a mailbox that bears another name than the client gave it (RFC 9051 §6.3.9.7: OLDNAME)."""
    return mailbox((), name, utf8=True) + b' ("OLDNAME" (%b))' % write_name(old, utf8=True)


def changed_name(attributes: Iterable[bytes], name: str, old: str | None = None, *, utf8: bool = False) -> bytes:
    """Write LIST of a name that was made, deleted, (un)subscribed, or renamed from `old` (RFC 5465 §5.4, §5.5)."""
    line = mailbox(attributes, name, utf8=utf8)
    return line if old is None else line + b' ("OLDNAME" (%b))' % write_name(old, utf8=utf8)


def delimiter() -> bytes:
    """Write LIST of the root: the answer to a LIST with an empty pattern (RFC 3501 §6.3.8)."""
    return b'LIST (\\Noselect) "%b" ""' % DELIMITER.encode()


def namespace() -> bytes:
    """Write NAMESPACE: one personal namespace without prefix (RFC 2342 §5)."""
    return b'NAMESPACE (("" "%b")) NIL NIL' % DELIMITER.encode()


def status(name: str, values: Iterable[tuple[bytes, int | bytes]], *, utf8: bool = False) -> bytes:
    """Write STATUS of one mailbox (RFC 3501 §7.2.4); a value is a number, or octets as they are written."""
    words = [b"%b %b" % (item, value if isinstance(value, bytes) else b"%d" % value) for item, value in values]
    return b"STATUS %b (%b)" % (write_name(name, utf8=utf8), b" ".join(words))


def identity(pairs: Iterable[tuple[bytes, bytes | None]]) -> bytes:
    """Write ID of the server (RFC 2971 §3.2); NIL without pairs."""
    words = b" ".join(b"%b %b" % (string(field), nstring(value)) for field, value in pairs)
    return b"ID (%b)" % words if words else b"ID NIL"


# ---- SEARCH (RFC 3501 §7.2.5, RFC 4731 §3.1) ----


def numbers(values: Iterable[int]) -> bytes:
    """Write numbers of SEARCH or SORT, a blank before each."""
    text = " ".join(map(str, values))
    return b" " + text.encode("ascii") if text else b""


def extended_search(command: Search | Sort, numbers: Sequence[int], modseq: int | None = None, everything: bytes | None = None) -> bytes:
    """Write ESEARCH; `numbers` in the order of the result; MIN, MAX and ALL are left out when nothing was found (RFC 4731 §3.1).

    `everything` is what ALL tells where somebody wrote it already. An empty PARTIAL is NIL (RFC 9394 §3.1).
    """
    returns = command.returns or frozenset((SearchReturn.ALL,))
    words = [b"ESEARCH (TAG %b)" % quoted(command.tag)]
    if command.uid:
        words.append(b"UID")
    if numbers and SearchReturn.MIN in returns:
        words.append(b"MIN %d" % numbers[0])
    if numbers and SearchReturn.MAX in returns:
        words.append(b"MAX %d" % numbers[-1])
    if numbers and SearchReturn.ALL in returns:
        words.append(b"ALL " + (compact(numbers) if everything is None else everything))
    if command.partial is not None:
        part = compact(numbers[command.partial.places(len(numbers))])
        words.append(b"PARTIAL (%b %b)" % (bytes(command.partial), part or b"NIL"))
    if SearchReturn.COUNT in returns:
        words.append(b"COUNT %d" % len(numbers))
    if modseq is not None and numbers:
        words.append(b"MODSEQ %d" % modseq)
    return b" ".join(words)


# ---- FETCH (RFC 3501 §7.4.2): items ----


def flags_item(bits: int, keywords: Iterable[bytes] = ()) -> bytes:
    """Write FLAGS of a message."""
    if not keywords:
        return _FLAG_ITEMS[bits]
    words = (_FLAG_TEXTS[bits].encode(), *keywords) if bits else tuple(keywords)
    return b"FLAGS (%b)" % b" ".join(words)


def flags_items(uids: Sequence[int], bits: Iterable[int], keywords: Mapping[int, Sequence[bytes]]) -> list[bytes]:
    """Write FLAGS of many messages; `keywords` maps a UID to its keywords and may hold others'."""
    items = [_FLAG_ITEMS[one] for one in bits]
    if keywords:
        for place, uid in enumerate(uids):
            if words := keywords.get(uid):
                items[place] = b"FLAGS (%b)" % b" ".join((items[place][7:-1], *words)).lstrip()
    return items


def uid_item(uid: int) -> bytes:
    """Write UID of a message."""
    return b"UID %d" % uid


def modseq_item(value: int) -> bytes:
    """Write MODSEQ of a message (RFC 7162 §3.1.4.2)."""
    return b"MODSEQ (%d)" % value


def size_item(octets: int) -> bytes:
    """Write RFC822.SIZE of a message."""
    return b"RFC822.SIZE %d" % octets


def rendered_item(name: bytes, value: bytes) -> bytes:
    """Write an item whose value is rendered already: ENVELOPE, BODY, BODYSTRUCTURE, INTERNALDATE (`moment.format_date_time`)."""
    return b"%b %b" % (name, value)


def section_item(label: bytes, octets: bytes | None, *, eight_bit: bool = False) -> bytes:
    """Write a section of the content as a literal, `eight_bit` as one that may hold NUL (RFC 3516 §4.2); NIL if there is no such part.

    An empty one is the empty string (RFC 3501 §7.4.2).
    """
    if octets is None:
        return label + b" NIL"
    if not octets:
        return label + b' ""'
    # One copy of what may be a large message.
    return b"%b %b{%d}\r\n%b" % (label, b"~" if eight_bit else b"", len(octets), octets if eight_bit else without_nul(octets))


def without_nul(octets: bytes) -> bytes:
    """Give octets of the content as an ordinary literal may carry them: as many as there were, so that sizes and partials agree."""
    # RFC 3501 §9, RFC 9051 §9: CHAR8 excludes NUL. Nothing takes one in; what lies in a store of old or was brought back is told all the same.
    return octets.replace(b"\0", b"\x80") if b"\0" in octets else octets


def section_head(label: bytes, size: int, *, eight_bit: bool = False) -> bytes:
    """Write what precedes the octets of a section that are written in pieces: exactly `size` octets have to follow."""
    return b"%b %b{%d}\r\n" % (label, b"~" if eight_bit else b"", size)


def binary_size_item(label: bytes, size: int) -> bytes:
    """Write BINARY.SIZE of a part (RFC 3516 §4.3)."""
    return b"%b %d" % (label, size)


def fetch_head(number: int, *, by_uid: bool = False) -> bytes:
    """Write what precedes the items: of FETCH with a message number, `by_uid` of UIDFETCH with a UID (RFC 9586 §3.3)."""
    return (b"%d UIDFETCH (" if by_uid else b"%d FETCH (") % number


def fetch(number: int, items: Iterable[bytes], *, by_uid: bool = False) -> bytes:
    """Write FETCH, or UIDFETCH, of one message."""
    return b"%b%b)" % (fetch_head(number, by_uid=by_uid), b" ".join(items))


# ---- FETCH: whole rows of many messages ----


def flag_rows(
    first_number: int | None,
    uids: array[int],
    bits: array[int],
    keywords: Mapping[int, Sequence[bytes]],
    *,
    with_uid: bool = False,
    modseqs: array[int] | None = None,
) -> bytes:
    """Render the rows of ``FETCH (FLAGS)`` for consecutive message numbers, for `IMAPServer.write`; without `first_number` those of UIDFETCH.

    `uids` (``array('I')``, rising), `bits` (``array('H')``) and `modseqs` (``array('Q')``) are slices of equal length that begin with the
    message `first_number`; `keywords` maps a UID to its keywords and may hold UIDs outside. About 0.25 µs a row: cut long mailboxes into
    slices of some thousands.
    """
    count = len(uids)
    if not count:
        return b""
    texts: list[str] = [_FLAG_TEXTS[value] for value in bits]
    for uid in keywords if len(keywords) < count else uids:
        place = bisect_left(uids, uid)
        if place < count and uids[place] == uid and (words := keywords.get(uid)):
            joined = b" ".join(words).decode("latin-1")
            texts[place] = f"{texts[place]} {joined}" if texts[place] else joined
    columns: list[Iterable[object]] = [uids if first_number is None else range(first_number, first_number + count), texts]
    form = "* %d UIDFETCH (FLAGS (%s)" if first_number is None else "* %d FETCH (FLAGS (%s)"
    if with_uid:
        columns.insert(1, uids)
        form = form.replace("FLAGS", "UID %d FLAGS")
    if modseqs is not None:
        columns.append(modseqs)
        form += " MODSEQ (%d)"
    # One format over all rows: the loop runs in C.
    cells: list[object] = [None] * (count * len(columns))
    for place, column in enumerate(columns):
        cells[place :: len(columns)] = column
    return ((form + ")\r\n") * count % tuple(cells)).encode("latin-1")
