# SPDX-License-Identifier: Apache-2.0
"""What a door tells its IMAP engine: name, TLS, mechanisms, sizes, and what is announced.

Obeys RFC 3501 §6.1.1 and §7.2.1 (capabilities, LOGINDISABLED) and the RFCs of each announced name.
Must never know a socket or an account.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from moatmail.core.limits import imap as limits

# Announced in every state. A client that pipelines needs LITERAL+ (RFC 7888), SASL-IR (RFC 4959) and ID (RFC 2971) before login.
# RFC 7888 §5: LITERAL- is the same with a limit, so who keeps to it is served; the two are not announced together.
_ALWAYS: Final = (b"IMAP4rev1", b"IMAP4rev2", b"LITERAL+", b"SASL-IR", b"ID", b"ENABLE")
# Announced after login only: a stranger needs no list of what we can do.
EXTENSIONS: Final = (
    b"NAMESPACE",  # RFC 2342
    b"UIDPLUS",  # RFC 4315
    b"MOVE",  # RFC 6851
    b"IDLE",  # RFC 2177
    b"UNSELECT",  # RFC 3691
    b"CHILDREN",  # RFC 3348
    b"LIST-EXTENDED",  # RFC 5258
    b"LIST-STATUS",  # RFC 5819
    b"SPECIAL-USE",  # RFC 6154
    b"CREATE-SPECIAL-USE",  # RFC 6154 §3
    b"ESEARCH",  # RFC 4731
    b"CONDSTORE",  # RFC 7162
    b"STATUS=SIZE",  # RFC 8438
    b"WITHIN",  # RFC 5032
    b"SEARCHRES",  # RFC 5182
    b"PARTIAL",  # RFC 9394
    b"UIDONLY",  # RFC 9586
    b"PREVIEW",  # RFC 8970
    b"INPROGRESS",  # RFC 9585
    b"SORT",  # RFC 5256
    b"SORT=DISPLAY",  # RFC 5957
    b"ESORT",  # RFC 5267
    b"THREAD=ORDEREDSUBJECT",  # RFC 5256
    b"THREAD=REFERENCES",  # RFC 5256
    b"MULTIAPPEND",  # RFC 3502
    b"BINARY",  # RFC 3516
    b"NOTIFY",  # RFC 5465
    b"OBJECTID",  # RFC 8474
    b"QUOTA",  # RFC 9208
    b"QUOTA=RES-STORAGE",  # RFC 9208 §5.1
    b"UTF8=ACCEPT",  # RFC 9755
    b"SAVEDATE",  # RFC 8514
    b"REPLACE",  # RFC 8508
    b"QRESYNC",  # RFC 7162
)


class State(Enum):
    """The four states of a session (RFC 3501 §3)."""

    NOT_AUTHENTICATED = "not authenticated"
    AUTHENTICATED = "authenticated"
    SELECTED = "selected"
    LOGOUT = "logout"


@dataclass(frozen=True, slots=True)
class Profile:
    """The facts of a listener and a connection; `mechanisms` in capitals, offered inside TLS only unless `plain_allowed`.

    `uid_only`: the client gave up message numbers (RFC 9586); `rev2`: it enabled IMAP4rev2 (RFC 9051 §6.3.1); `qresync`: QRESYNC (RFC 7162 §3.2.3);
    `utf8_accept`: it enabled UTF8=ACCEPT (RFC 9755 §3).
    """

    hostname: bytes
    tls_available: bool = True
    tls_active: bool = False
    mechanisms: tuple[bytes, ...] = (b"PLAIN",)
    plain_allowed: bool = False
    extensions: tuple[bytes, ...] = EXTENSIONS
    append_limit: int = limits.APPEND_SIZE
    uid_only: bool = False
    rev2: bool = False
    qresync: bool = False
    utf8_accept: bool = False
    literals_before_login: int = limits.LITERALS_BEFORE_LOGIN
    literals: int = limits.LITERALS

    @property
    def login_allowed(self) -> bool:
        """Tell whether credentials may be sent now (RFC 3501 §7.2.1, RFC 8314 §4.1)."""
        return self.tls_active or self.plain_allowed

    @property
    def utf8(self) -> bool:
        """Tell whether the client reads UTF-8 in names, strings and headers: RFC 9755 is for IMAP4rev1, IMAP4rev2 contains it."""
        return self.rev2 or self.utf8_accept

    def with_tls(self) -> Profile:
        """Give the profile as it is after the handshake of STARTTLS."""
        return replace(self, tls_active=True)

    def capabilities(self, state: State) -> tuple[bytes, ...]:
        """List what is offered in `state`: it differs before TLS, after TLS and after login (RFC 3501 §6.2.1, §6.2.2)."""
        if state is not State.NOT_AUTHENTICATED:
            # RFC 7889 §3: one limit for every mailbox, so it is told here and nobody has to ask for it.
            return (*_ALWAYS, *self.extensions, b"APPENDLIMIT=%d" % self.append_limit)
        names = list(_ALWAYS)
        if self.tls_available and not self.tls_active:
            names.append(b"STARTTLS")
        if not self.login_allowed:
            return (*names, b"LOGINDISABLED")  # RFC 3501 §6.2.3: no password in clear
        return (*names, *(b"AUTH=" + mechanism for mechanism in self.mechanisms))
