# SPDX-License-Identifier: Apache-2.0
"""Limits of the directory.

Obeys RFC 5321 §4.5.3.1 (sizes) where it names any; the others bound work.
Must never know settings.
"""

from __future__ import annotations

from typing import Final

ALIAS_DEPTH_MAX: Final = 10
"""How often an alias may lead to an alias; deeper is a ring or a mistake (hardening R15)."""

ALIAS_TARGETS_MAX: Final = 100
"""How many final recipients one address may expand to."""

LOGIN_MEMORY_SECONDS: Final = 600.0
"""How long a success is remembered at most, as a keyed hash (hardening: login storm after a restart)."""

LOGIN_MEMORY_WINDOW: Final = 30.0
"""Seconds of one moment as a mark knows it: a success is forgotten after 9.5 to 10 minutes."""

LOGIN_MEMORY_WAYS: Final = 8
"""Successes remembered in one place; who is looked for costs at most so many hashes (1 µs each)."""

LOGIN_MEMORY_BUCKETS: Final = 2048
"""Such places: 16,384 successes in 512 KiB."""

HASHING_MAX: Final = 2
"""How many Argon2id computations one process runs at once: each takes 19 MiB and a core."""

KNOWN_ADDRESSES: Final = 1_000
"""Looked-up addresses that a process of strangers keeps, each with the account's public half: 2 KiB."""

KNOWN_SECONDS: Final = 5.0
"""How long one serves: how much of a quota is used may be that old where mail is let in; the store's transaction decides in the end."""
