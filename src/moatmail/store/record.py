# SPDX-License-Identifier: Apache-2.0
"""The form of everything that travels to the store and back.

Obeys no RFC.
Must never know what a row means.
"""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A plain row that travels inside an operation, a query or a result."""
