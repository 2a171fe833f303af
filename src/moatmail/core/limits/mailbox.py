# SPDX-License-Identifier: Apache-2.0
"""Limits of keeping mail.

Obeys docs/security.md: where content lies.
Must never know settings.
"""

from __future__ import annotations

from typing import Final

MEMORY_MAX: Final = 256 * 1024
"""Content up to this size stays in memory while it arrives; more goes, sealed, to a temporary file."""

INLINE_MAX: Final = 128 * 1024
"""Sealed content up to this size lies in a row; larger content is a file of its own."""

PAGE: Final = 500
"""Rows read at once on the loop (<= 0.5 ms)."""
