# SPDX-License-Identifier: Apache-2.0
"""Limits of the crypto room: sizes of sealed formats, work factors, caches.

Obeys RFC 7677 (rounds), RFC 9106 (Argon2).
Must never know a key.
"""

from __future__ import annotations

from typing import Final

KEY_SIZE: Final = 32
"""Octets of every symmetric key: AES-256."""

OBJECT_ID_SIZE: Final = 16
"""Octets of an id of message, content or spool entry: 6 of time, 10 random."""

CHUNK_SIZE: Final = 64 * 1024
"""Octets of plain body in one sealed chunk: what a partial FETCH opens at least."""

HEADER_BLOCK_MAX: Final = 256 * 1024
"""Octets of a header block (chunk 0), which stays in memory until the body is sealed."""

OBJECT_PLAIN_MAX: Final = 64 * 1024 * 1024
"""Octets a small sealed object may unpack to: a hostile sealer (a process taken over) must not fill the opener's memory."""

COMPRESS_MIN: Final = 256
"""Octets below which compression is not tried: what it saves is less than its frame costs."""

COMPRESSION_LEVEL: Final = 1
"""zstd level: 49 µs for 20 KB of text where level 3 takes 70 µs and saves 5 % more."""

COMPRESSION_LEVEL_THOROUGH: Final = 6
"""zstd level of what is sealed in the background and kept for long: 13 ms for a megabyte where level 1 takes 2, and a sixth smaller."""

PARSED_PUBLIC_KEYS: Final = 512
"""Parsed public halves kept by a process: parsing takes 28 µs of the 96 µs of a cover, and a parsed key is a few KB."""

DELIVERY_KEY_SECONDS: Final = 60.0
"""How long a delivery key serves and stays in memory: who takes over a process that delivers can read what it delivered so long before."""

DELIVERY_KEY_COVERS: Final = 256
"""Covers under one delivery key: far below what random nonces allow, and 1 µs of its making each."""

DELIVERY_KEYS: Final = 1_024
"""Delivery keys in memory; of more accounts in a minute each message has a cover of its own kind (0x01)."""

OPENED_DELIVERY_KEYS: Final = 64
"""Delivery keys that an open account remembers: messages of one minute lie side by side."""

PASSWORD_MAX: Final = 1024
"""Octets of a prepared password: more is refused before any work is done (RFC 8265 §4.2 sets no bound; NIST SP 800-63B asks for at least 64)."""

ARGON2_MEMORY_KIB: Final = 19 * 1024
"""KiB of memory of one Argon2id hash (OWASP's second profile)."""

ARGON2_PASSES: Final = 2
"""Passes of one Argon2id hash (OWASP)."""

ARGON2_LANES: Final = 1
"""Lanes of one Argon2id hash: logins run side by side, one hash should not."""

SCRAM_ROUNDS_HUMAN: Final = 65_536
"""PBKDF2 rounds of the SCRAM verifier of a password a person chose (RFC 7677 §4 asks for 4,096 at least).

Cyrus SASL, with which mbsync, KMail, Claws and mutt log in, computes no more than this and gives the login up.
"""

SCRAM_ROUNDS_GENERATED: Final = 4_096
"""PBKDF2 rounds for generated passwords of 128 bit and more, which no one can guess (RFC 7677 §4)."""

SCRAM_ROUNDS_MAX: Final = 1_000_000
"""PBKDF2 rounds of a stored verifier beyond which it is taken for damage."""

SALT_SIZE: Final = 16
"""Octets of a salt (RFC 9106 §3.1)."""
