# SPDX-License-Identifier: Apache-2.0
"""The result words of sender authentication.

Obeys RFC 8601 §2.7 (words and what they mean).
Must never know which method gave a result or what follows from it.
"""

from __future__ import annotations

from enum import StrEnum


class Result(StrEnum):
    """What a method of authentication found; each value is the word of Authentication-Results (RFC 8601 §2.7)."""

    PASS = "pass"  # noqa: S105 - a result, no password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"
    POLICY = "policy"
