# SPDX-License-Identifier: Apache-2.0
"""What ties a message to others of its account: Message-IDs that it mentions together with its subject, as digests.

Obeys RFC 8621 §3 (same thread: one Message-ID in common, and the same subject), RFC 5256 §2.1 (base subject), RFC 8474 §5.2.
Must never know which threads exist: the store does, which sees digests only.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from moatmail.core.limits.store import THREAD_DIGEST, THREAD_LINKS
from moatmail.mailbox.criteria import fold
from moatmail.message.summary import Summary

_NEAREST: Final = THREAD_LINKS - 2


def links(summary: Summary) -> bytes:
    """Give the digests of a message, one after another: the nearer of kin, the earlier.

    They are of the last references, the parent first, of the first reference, which began the thread, and of its own Message-ID: who writes
    more references than these ties no more by it.
    """
    known = summary.references
    ids = [*known[: -_NEAREST - 1 : -1], *known[:1]]
    if summary.message_id:
        ids.append(summary.message_id)
    # RFC 8621 §3: subjects are the same whatever the blanks; who answers with another subject begins another thread.
    subject = "".join(fold(summary.base_subject).split()).encode("utf-8", "surrogatepass")
    return b"".join([_digest(one, subject) for one in dict.fromkeys(ids)])


def _digest(message_id: bytes, subject: bytes) -> bytes:
    # RFC 5256 §3: quotes that need not be make no other Message-ID.
    plain = message_id.replace(b'"', b"")
    return blake2b(b"%d %b%b" % (len(plain), plain, subject), digest_size=THREAD_DIGEST).digest()
