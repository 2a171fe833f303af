# SPDX-License-Identifier: Apache-2.0
"""Limits of SASL exchanges.

Obeys RFC 4954 §4 (a line of 12,288 octets must fit), RFC 5802, RFC 7677.
Must never know a mechanism's syntax.
"""

from __future__ import annotations

from typing import Final

# RFC 4954 §4 asks for 12,288 octets; base64 octets of one response.
RESPONSE_MAX: Final = 16_384
# RFC 4616 §2 bounds nothing; octets of an authentication or authorization identity.
IDENTITY_MAX: Final = 1024
# Octets of a password: a longer one is no password but an attack on the hash.
PASSWORD_MAX: Final = 4096
# RFC 5802 §5.1: octets of a nonce we take from the other side.
NONCE_MAX: Final = 512
# RFC 5802 §5: octets of one SCRAM message.
SCRAM_MESSAGE_MAX: Final = 4096
# RFC 7677 §4: rounds we accept from a server when we are the client: below is a weak verifier, above an attack.
CLIENT_ITERATIONS_MIN: Final = 4096
CLIENT_ITERATIONS_MAX: Final = 600_000
# Octets of our nonce before base64.
NONCE_SIZE: Final = 18
# RFC 5802 §5.1: octets of the salt shown for names that do not exist; the same as of real ones.
SALT_SIZE: Final = 16
