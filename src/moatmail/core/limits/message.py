# SPDX-License-Identifier: Apache-2.0
"""The limits of reading and writing messages.

Obeys RFC 5322 §2.1.1, RFC 2046 §5.1.1, RFC 2047 §2, RFC 2231 §3, RFC 3501 §4.3.
Must never know settings: these are the ceilings that no setting lifts.
"""

from __future__ import annotations

from typing import Final

HEADER_MAX: Final = 256 * 1024
"""Octets of one header block that are looked at; the SMTP door refuses more (house limit)."""

HEADER_FIELDS_MAX: Final = 4_000
"""Fields of one header block; the doors refuse more, for its readers look at each of them (a few milliseconds); no mail has a tenth (house limit)."""

DEPTH_MAX: Final = 50
"""Nesting of multiparts and embedded messages; deeper content stays octets of its part (MIME bombs)."""

PARTS_MAX: Final = 1_000
"""Parts of one message; what follows stays octets of the last part (MIME bombs)."""

DELIMITER_LINE_MAX: Final = 998
"""Octets of a line that may still be a delimiter (RFC 5322 §2.1.1: no line is longer)."""

FALSE_DELIMITERS_MAX: Final = 5_000
"""Lines that began like a delimiter and were none, after which an exact pattern looks for delimiters instead (hostile bodies)."""

EXACT_OCTETS_MAX: Final = 2_048
"""Octets of all open boundaries up to which that pattern is made: a longer one would cost more than it spares."""

BOUNDARY_MAX: Final = 256
"""Octets of a boundary that is obeyed (RFC 2046 §5.1.1 says 70; real mail goes beyond)."""

PARAMETERS_MAX: Final = 64
"""Parameters of one field that are read (RFC 2231 §3 puts no limit on continuations)."""

PARAMETER_OCTETS_MAX: Final = 4_096
"""Octets of one parameter value that are kept, continuations joined."""

FIELD_OCTETS_MAX: Final = 64 * 1024
"""Octets of one field value that go into ENVELOPE or BODYSTRUCTURE or are parsed for a search."""

PART_HEADERS_MAX: Final = 1024 * 1024
"""Octets of all header blocks together whose MIME facts are kept; of later parts only type and encoding are (bounds BODYSTRUCTURE)."""

ENVELOPE_OCTETS_MAX: Final = 256 * 1024
"""Octets of embedded messages' header fields kept for their ENVELOPEs, over the whole message."""

ADDRESSES_MAX: Final = 1_000
"""Mailboxes and groups of one address list that are read."""

ADDRESS_TOKENS_MAX: Final = 8_000
"""Tokens of one address list that are read one by one: plain mailboxes need none, and hostile lists must not stop the loop."""

COMMENT_DEPTH_MAX: Final = 50
"""Nesting of comments in a structured field (RFC 5322 §3.2.2 allows any)."""

ENCODED_WORDS_MAX: Final = 1_000
"""Encoded words of one field value that are decoded; the rest stays as written (RFC 2047 §2 limits one word only)."""

ENCODED_WORD_OCTETS_MAX: Final = 1_024
"""Octets of one encoded word that is decoded (RFC 2047 §2 says 75; real mail goes beyond)."""

MESSAGE_IDS_MAX: Final = 50
"""Message-IDs of one References field that are kept, the last ones (RFC 5322 §3.6.4)."""

MESSAGE_ID_OCTETS_MAX: Final = 998
"""Octets of one Message-ID that is kept (RFC 5322 §2.1.1: it stands on one line)."""

SUBJECT_CHARACTERS_MAX: Final = 998
"""Characters of a subject that the base subject is made of (RFC 5256 §2.1)."""

LANGUAGES_MAX: Final = 16
"""Tags of Content-Language that are kept (RFC 3282 §2)."""

LEAD_OCTETS_MAX: Final = 4_096
"""Octets of the first text part that the parser keeps for the preview."""

LISTED_OCTETS_MAX: Final = 4_096
"""Octets of the header fields that a summary keeps as they stand, for lists of messages; with more of them the header itself is opened."""

PREVIEW_CHARACTERS_MAX: Final = 200
"""Characters of a preview (RFC 8970 §3.1)."""

SEARCH_OCTETS_MAX: Final = 4 * 1024 * 1024
"""Decoded octets of text of one message that a scan looks at."""

QUOTED_MAX: Final = 1_000
"""Octets of an IMAP quoted string; longer ones travel as literals, because clients read lines of bounded length."""

FOLD_AT: Final = 78
"""Characters of a line after which generated headers are folded (RFC 5322 §2.1.1)."""

LINE_OCTETS_MAX: Final = 998
"""Octets of any line we write, without its CRLF (RFC 5322 §2.1.1)."""

RETURNED_HEADER_MAX: Final = 64 * 1024
"""Octets of the original header that a delivery report returns (RFC 6522 §4)."""

DIAGNOSTIC_LINES_MAX: Final = 100
"""Lines of a remote reply that a delivery report repeats (RFC 3464 §2.3.6)."""

HELO_NAME_MAX: Final = 255
"""Octets of a HELO name that are written into a Received field (RFC 5321 §4.5.3.1.2)."""
