# SPDX-License-Identifier: Apache-2.0
"""The limits of connections: octets held for a peer, seconds given to it, descriptors kept back.

Obeys RFC 8446 §5.1 (record size), RFC 1035 §4.2.2 (DNS over TCP), RFC 2308 §5 and §7, RFC 9520 §3.2 (what is kept of no answer) and
RFC 7208 §4.6.4 (time for a check); the rest answers slow and greedy peers.
Must never know a protocol: an engine has limits of its own.
"""

from __future__ import annotations

from typing import Final

# ---- input ----
READ_BUFFER: Final = 64 * 1024  # one buffer per process into which every socket reads; also the most that one read brings
INPUT_HIGH: Final = 64 * 1024  # octets that wait unread for the session; above it we stop reading, and TCP tells the peer
INPUT_LOW: Final = 16 * 1024  # below it we read again
FEED: Final = 16 * 1024  # octets given to an engine at once: bounds the replies that pile up before the next flush

# ---- output ----
OUTPUT_HIGH: Final = 128 * 1024  # octets waiting in the transport above which a writer waits: what a slow reader costs
OUTPUT_LOW: Final = 32 * 1024

# ---- TLS ----
RECORD: Final = 16 * 1024  # RFC 8446 §5.1: plaintext of a record; larger steps only leave larger buffers behind
SEALED_FEED: Final = 8 * 1024  # octets given to the TLS layer at once: its buffer keeps the size of the largest (measured: 33 KiB a connection, not 44)
HANDSHAKE_SECONDS: Final = 30.0  # for all of a handshake: two or three round trips
HANDSHAKE_OCTETS: Final = 128 * 1024  # from the peer before it is done: no honest hello or client chain is longer

# ---- the end of a connection ----
LINGER_SECONDS: Final = 10.0  # after our last octet: a close with input unread is a reset, which may destroy the last reply
LINGER_OCTETS: Final = 1024 * 1024  # read and dropped meanwhile

# ---- listeners ----
BACKLOG: Final = 1024  # connections the kernel keeps for us
DESCRIPTORS_RESERVED: Final = 64  # for files, database and outgoing links: new connections are shed before they run out

# ---- DNS ----
DNS_SECONDS: Final = 10.0  # for one question with its retries over all servers
DNS_TRY_SECONDS: Final = 2.0  # for the first try at a server; later rounds wait twice as long
DNS_UDP_OCTETS: Final = 1232  # RFC 9715 §3: what passes everywhere without fragments, which can be forged
DNS_FORGED_MAX: Final = 16  # RFC 5452 §9.3: messages that answer no question of ours, after which a question goes over TCP
DNS_CHAIN_MAX: Final = 16  # RFC 1034 §3.6.2: aliases followed within an answer; a longer chain is a loop
DNS_SERVERS_MAX: Final = 8  # of the system's that are asked; its own library asks three
DNS_SYSTEM_SECONDS: Final = 5.0  # between two looks at whether the system's list changed
DNS_RECORDS: Final = 256  # of one answer that are looked at; TCP carries up to 65,535 octets (RFC 1035 §4.2.2)
DNS_IN_FLIGHT: Final = 512  # questions under way in one process, each with a socket; more wait, and their time runs
DNS_POLICIES_IN_FLIGHT: Final = 128  # besides, for DMARC policies alone: slow keys of strangers must not leave it open what an author asks for
DNS_CACHE_ENTRIES: Final = 50_000  # answers kept in one process; the longest unused goes first
DNS_CACHE_OCTETS: Final = 16 * 1024 * 1024  # of names and records in them, so that large answers do not fill the memory
DNS_TTL_MAX: Final = 86_400.0  # seconds an answer is kept whatever it says: a mistake in a zone heals within a day
DNS_NEGATIVE_TTL_MAX: Final = 3_600.0  # RFC 2308 §5: one to three hours work well for names that do not exist
DNS_FAILURE_TTL: Final = 5.0  # RFC 9520 §3.2: a failure is kept for a moment, so that a dead zone costs one wait and not one a message
# Different questions for one message. All checks at limits of their own fit (iprev 21, SPF twice 125, DKIM 16, ARC 51, DMARC 73): a stranger who spends
# what one may ask must not leave another without an answer, for an undecided DMARC refuses nobody.
MESSAGE_LOOKUPS_MAX: Final = 512
# Signing keys of one message asked for at once: the thirty sessions that one address may have hold less than half of the slots.
MESSAGE_KEYS_AT_ONCE: Final = 8
MESSAGE_LOOKUP_SECONDS: Final = 30.0  # for all of them; RFC 7208 §4.6.4 wants at least 20
