# SPDX-License-Identifier: Apache-2.0
"""What an administrator's change is made of: domains with their signing keys, accounts, aliases, grants, settings.

Obeys RFC 5321 §2.3.5, §2.3.11 (domains, addresses), RFC 6376 §3.1 (selectors).
Must never know a password, or how a key is wrapped.
"""

from __future__ import annotations

from moatmail.store.record import Record


class NewSigningKey(Record, frozen=True):
    """A key for signing mail (RFC 6376): `record` is the text due at <selector>._domainkey.<domain>, `private` its PEM, wrapped before it is stored.

    `algorithm` "rsa-sha256" or "ed25519-sha256"; `state` "published" (in the DNS, not used yet), "active", "retired" (used no more, still in the DNS).
    """

    selector: str
    algorithm: str
    record: str
    private: bytes
    state: str = "active"


class AddDomain(Record, frozen=True, tag=True):
    """A domain we are responsible for, with its signing keys; `catch_all` is an address or None."""

    name: str
    catch_all: str | None = None
    keys: tuple[NewSigningKey, ...] = ()


class SetDomain(Record, frozen=True, tag=True):
    """Change a domain's catch-all."""

    name: str
    catch_all: str | None


class AddSigningKeys(Record, frozen=True, tag=True):
    """More signing keys for a domain; raises AlreadyExistsError for a selector that is taken."""

    domain: str
    keys: tuple[NewSigningKey, ...]


class SetSigningKey(Record, frozen=True, tag=True):
    """Change a signing key's state: "published", "active" or "retired"."""

    domain: str
    selector: str
    state: str


class RemoveSigningKey(Record, frozen=True, tag=True):
    """Remove a signing key for good."""

    domain: str
    selector: str


class RemoveDomain(Record, frozen=True, tag=True):
    """Remove a domain and its signing keys; refused (ConflictError) while accounts or aliases of it exist."""

    name: str


class Credential(Record, frozen=True):
    """A credential in clear form of a *verifier* (never a password): `kind` "argon2id", "scram-sha-256"; sealed by `apply` through the Vault."""

    kind: str
    label: str
    value: bytes


class AddAccount(Record, frozen=True, tag=True):
    """A new account with its primary address (localpart canonical, domain A-label); `apply` makes its keys and its six mailboxes."""

    localpart: str
    domain: str
    credentials: tuple[Credential, ...]
    quota_octets: int = 0


class SetCredentials(Record, frozen=True, tag=True):
    """Replace all credentials of one account (a new password)."""

    address: str
    credentials: tuple[Credential, ...]


class SetAccount(Record, frozen=True, tag=True):
    """Change an account's status ("active" or "frozen") and quota (0 = none)."""

    address: str
    status: str
    quota_octets: int


class RemoveAccount(Record, frozen=True, tag=True):
    """Remove an account, its mail, and its keys: its mail is unreadable everywhere once the key store's backup is renewed."""

    address: str


class AddAlias(Record, frozen=True, tag=True):
    """An alias: address to one or several targets."""

    localpart: str
    domain: str
    targets: tuple[str, ...]


class RemoveAlias(Record, frozen=True, tag=True):
    """Remove an alias."""

    address: str


class Grant(Record, frozen=True, tag=True):
    """Let an account author mail as `address` (or with `on` false no longer)."""

    account: str
    address: str
    on: bool


class SetSetting(Record, frozen=True, tag=True):
    """Set a setting to a JSON value; None goes back to the default."""

    key: str
    value: str | None


ChangeItem = (
    AddDomain
    | SetDomain
    | RemoveDomain
    | AddSigningKeys
    | SetSigningKey
    | RemoveSigningKey
    | AddAccount
    | SetCredentials
    | SetAccount
    | RemoveAccount
    | AddAlias
    | RemoveAlias
    | Grant
    | SetSetting
)
