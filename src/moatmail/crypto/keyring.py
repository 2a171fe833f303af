# SPDX-License-Identifier: Apache-2.0
"""The keys this process may use: account id to opened keys, held while a session needs them.

Obeys no RFC.
Must never know where keys come from, or write one anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from moatmail.core.errors import NotPermittedError
from moatmail.crypto.cover import AccountKeys


@dataclass(slots=True)
class _Held:
    keys: AccountKeys
    holders: int


class Keyring:
    """Opened keys by account id; one event loop uses it, so it takes no lock."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        """Begin with no key."""
        self._held: dict[int, _Held] = {}

    def __repr__(self) -> str:
        return f"Keyring({len(self._held)} accounts)"

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, account: int) -> bool:
        return account in self._held

    def hold(self, account: int, keys: AccountKeys) -> AccountKeys:
        """Keep an account's keys for one more session, and give the keys all of its sessions share; `release` once for each `hold`."""
        held = self._held.get(account)
        if held is None:
            held = self._held[account] = _Held(keys, 0)
        elif held.keys.mailbox_key != keys.mailbox_key:
            # The account's keys were made anew (password recovery, re-keying): newer keys win at once.
            held.keys = keys
        held.holders += 1
        return held.keys

    def find(self, account: int) -> AccountKeys | None:
        """Give an account's keys, or None where no session of this process holds them."""
        held = self._held.get(account)
        return None if held is None else held.keys

    def of(self, account: int) -> AccountKeys:
        """Give an account's keys; raise NotPermittedError where no session of this process holds them."""
        held = self._held.get(account)
        if held is None:
            raise NotPermittedError(f"this process holds no key of account {account}")
        return held.keys

    def release(self, account: int) -> None:
        """End one session's hold; the last one forgets the keys."""
        held = self._held.get(account)
        if held is None:
            return
        held.holders -= 1
        if held.holders <= 0:
            del self._held[account]

    def forget(self, account: int) -> None:
        """Drop an account's keys whoever holds them: it was removed, frozen or re-keyed."""
        self._held.pop(account, None)

    def forget_all(self) -> None:
        """Drop every key: the process is draining."""
        self._held.clear()
