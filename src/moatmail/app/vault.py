# SPDX-License-Identifier: Apache-2.0
"""The master key of this node: made once, read by the writer's process alone.

Obeys no RFC.
Must never be called by the supervisor or by a role other than `store`.
"""

from __future__ import annotations

from moatmail.app.serve import make_folder
from moatmail.core.errors import ConfigError
from moatmail.core.settings.start import Start
from moatmail.crypto.vault import Vault, create_master_key, read_master_key
from moatmail.store.migrate import FILE


def make_key(start: Start) -> None:
    """Make the master key for a folder that holds no mail yet; raises ConfigError when mail is there and its key is not."""
    path = start.keys.master
    if path.exists():
        return
    if (start.folders.data / FILE).exists():
        # A fresh key would open nothing: the old one has to come back.
        raise ConfigError(f"{path}: the master key of {start.folders.data} is missing; put it back (from where you keep its copy), or name it in keys.master")
    make_folder(path.parent)
    create_master_key(path)


def open_vault(start: Start) -> Vault:
    """Give the vault over the master key; raises ConfigError."""
    return Vault(read_master_key(start.keys.master))
