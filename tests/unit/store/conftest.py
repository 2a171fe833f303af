# SPDX-License-Identifier: Apache-2.0
"""The fresh data folder of the contract suite."""

from __future__ import annotations

from tests.store_contract.conftest import empty_folder, folder

__all__ = ["empty_folder", "folder"]
