# SPDX-License-Identifier: Apache-2.0
"""Port Random as this machine has it; seeded anew in every process, so that siblings do not throw the same dice.

Obeys no RFC.
Must never be used for keys, nonces or passwords.
"""

from __future__ import annotations

from random import Random


def new_random() -> Random:
    """Make a generator seeded by the operating system."""
    return Random()  # noqa: S311 - chance, no secrets
