# SPDX-License-Identifier: Apache-2.0
"""The arguments of GETQUOTA, GETQUOTAROOT and SETQUOTA, and their responses.

Obeys RFC 9208 §4 and §7.
Must never know which quotas there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from moatmail.core.imap_string import string
from moatmail.core.limits import imap as limits
from moatmail.wire.imap.events import GetQuota, GetQuotaRoot, SetQuota
from moatmail.wire.imap.grammar import Cursor, fail
from moatmail.wire.imap.mailbox_name import write_name

STORAGE: Final = b"STORAGE"
UNIT: Final = 1024  # RFC 9208 §5.1: octets of one unit of STORAGE


def get_quota(cursor: Cursor, tag: bytes) -> GetQuota:
    """Take the arguments of GETQUOTA."""
    return GetQuota(tag, cursor.astring(b"a quota root"))


def get_quota_root(cursor: Cursor, tag: bytes) -> GetQuotaRoot:
    """Take the arguments of GETQUOTAROOT."""
    return GetQuotaRoot(tag, cursor.mailbox())


def set_quota(cursor: Cursor, tag: bytes) -> SetQuota:
    """Take the arguments of SETQUOTA; an empty list takes every limit away."""
    root = cursor.astring(b"a quota root")
    cursor.space(b"resource limits")
    cursor.expect(b"(", b"before resource limits")
    resources: dict[bytes, int] = {}
    while not cursor.take(b")"):
        if resources:
            cursor.space(b"a resource")
        if len(resources) == limits.QUOTA_RESOURCES:
            fail(b"too many resources")
        name = cursor.word(b"a resource")
        cursor.space(b"its limit")
        if name in resources:
            fail(b"a resource is named twice")
        resources[name] = cursor.number(b"the limit")
    return SetQuota(tag, root, tuple(resources.items()))


def quota(root: bytes, resources: Iterable[tuple[bytes, int, int]]) -> bytes:
    """Write QUOTA: usage and limit of each resource of a root (RFC 9208 §4.2.1)."""
    return b"QUOTA %b (%b)" % (string(root), b" ".join(b"%b %d %d" % resource for resource in resources))


def quota_root(mailbox: str, roots: Iterable[bytes], *, utf8: bool = False) -> bytes:
    """Write QUOTAROOT: the roots of a mailbox, or none (RFC 9208 §4.2.2)."""
    return b" ".join((b"QUOTAROOT", write_name(mailbox, utf8=utf8), *map(string, roots)))
