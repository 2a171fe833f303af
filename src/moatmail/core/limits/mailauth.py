# SPDX-License-Identifier: Apache-2.0
"""The limits of sender authentication: lookups, records, texts.

Obeys RFC 7208 §4.6.4 (lookups of SPF), §7.3 (length of names) and RFC 8601 §3 (iprev).
Must never know how a check is made.
"""

from __future__ import annotations

from typing import Final

# ---- SPF ----
SPF_TERMS_MAX: Final = 10
"""Terms with lookups in one check (RFC 7208 §4.6.4)."""

SPF_VOID_MAX: Final = 2
"""Terms whose lookup finds nothing, in one check (RFC 7208 §4.6.4)."""

SPF_MX_MAX: Final = 10
"""Hosts of one `mx` mechanism; more are a permerror (RFC 7208 §4.6.4)."""

SPF_PTR_MAX: Final = 10
"""Names of one address that are looked at; more are ignored (RFC 7208 §4.6.4, §5.5)."""

SPF_RECORD_OCTETS: Final = 8 * 1024
"""A longer record is a permerror: the longest seen in use are under 4 KiB, RFC 7208 §3.4 wants 450 octets."""

SPF_CACHED_OCTETS: Final = 1024
"""A record up to this length stays parsed."""

SPF_CACHED_RECORDS: Final = 256
"""Records that stay parsed in one process: at worst 20 MiB, in use under 1."""

SPF_TEXT_OCTETS: Final = 16 * 1024
"""Octets that the expansion of macros may make of one text: a record of 8 KiB could otherwise make megabytes."""

SPF_EXPLANATION_MAX: Final = 500
"""Characters of an explanation that are kept: it goes into one reply line or two (RFC 5321 §4.5.3.1.5: 512 octets)."""

DNS_NAME_MAX: Final = 253
"""Characters of a name without its last dot (RFC 7208 §7.3); longer ones lose labels from the left."""

DNS_LABEL_MAX: Final = 63
"""Characters of one label (RFC 1035 §2.3.4)."""

# ---- iprev ----
IPREV_NAMES_MAX: Final = 10
"""Names of one address that are looked at, as in RFC 7208 §5.5; RFC 8601 §3 leaves the number open."""

# ---- DKIM and ARC ----
DKIM_SIGNATURES_MAX: Final = 16
"""Signatures of one message that are verified, from the top; RFC 6376 §6.1 leaves the bound to us, mailing lists and services add two or three."""

SIGNATURE_FIELD_OCTETS: Final = 16 * 1024
"""A longer DKIM or ARC field is not read: RSA with 8192 bits and 200 names take 5 KiB."""

TAGS_MAX: Final = 64
"""Tags of one list (RFC 6376 §3.2); the standards name 14."""

SIGNED_NAMES_MAX: Final = 512
"""Names in one `h=` (RFC 6376 §3.5)."""

IDENTITY_MAX: Final = 320
"""Characters of `i=`: the longest mailbox, 64 + 1 + 255 (RFC 5321 §4.5.3.1)."""

RSA_BITS_MIN: Final = 1024
"""Smaller keys do not count (RFC 8301 §3.2)."""

RSA_BITS_MAX: Final = 8192
"""Larger keys are not used: RFC 8301 §3.2 asks for 4096, and the time of a verification grows with the square."""

RSA_EXPONENT_BITS: Final = 64
"""Public exponents in use are 3 and 65537; one as long as the modulus makes a verification as dear as a signature."""

RSA_BITS_NEW: Final = 2048
"""New keys (RFC 8301 §3.2); 4096 would not fit one UDP answer with all resolvers."""

KEY_RECORD_OCTETS: Final = 4 * 1024
"""A longer key record is not read: a key of RSA_BITS_MAX takes 1.5 KiB."""

KEY_RECORDS_MAX: Final = 4
"""Records at one name that are tried; RFC 6376 §3.6.2.2 wants one and leaves the rest undefined."""

KEYS_CACHED: Final = 512
"""Key records that stay parsed in one process: at worst 4 MiB."""

SIGNED_AHEAD_SECONDS: Final = 14 * 3600
"""How far `t=` may lie in the future: the clock of a sender that takes local time (up to UTC+14) for UTC (RFC 6376 §3.5)."""

ARC_INSTANCES_MAX: Final = 50
"""Sets of one chain (RFC 8617 §4.2.1)."""

ARC_KEYS_AT_ONCE: Final = 8
"""Keys of one chain asked for side by side: a chain that breaks, or whose keys are silent, asks for no more, and takes no place of others' questions."""

# ---- DMARC ----
DMARC_QUESTIONS_MAX: Final = 8
"""Questions of one tree walk (RFC 9989 §4.10)."""

DMARC_RECORD_OCTETS: Final = 4 * 1024
"""Octets of a record that are read: the longest in use are under 1 KiB."""

DMARC_CACHED_OCTETS: Final = 1024
"""A record up to this length stays parsed."""

DMARC_CACHED_RECORDS: Final = 512
"""Records that stay parsed in one process: a busy receiver meets some hundred policies again and again; at worst 4 MiB."""

DMARC_TAGS_MAX: Final = 64
"""Tags of one record that are read; RFC 9989 §4.7 names a dozen, and nobody writes more."""

DMARC_URIS_MAX: Final = 10
"""Addresses of one `rua` or `ruf` that are used; RFC 9990 §3.5.1 lets a receiver bound them."""

DMARC_WALKS_MAX: Final = 8
"""Identifiers of one message below the author's organization that are walked; those beyond are not aligned."""

# ---- Authentication-Results ----
RESULTS_CACHED: Final = 1_000
"""Names, addresses and statements of our own results that are remembered, a hundred octets each: what is told of a client or a domain is told again."""

RESULTS_MAX: Final = 32
"""Results in one field of ours: more signatures than DKIM_SIGNATURES_MAX leaves never come."""

RESULTS_FIELDS_MAX: Final = 64
"""Such fields of others that are read; RFC 8601 §5 lets a receiver remove all of them, so those beyond go unread."""

AUTHSERV_OCTETS_MAX: Final = 1024
"""Octets of such a field in which its authserv-id is looked for; where it does not end there, the field is no honest one."""

RESULT_TEXT_MAX: Final = 100
"""Characters of a reason, a remark or a quoted value in it."""

RESULTS_LINE_OCTETS: Final = 78
"""Octets of one of its lines (RFC 5322 §2.1.1); a longer single property stands alone on its line and is below 300."""

# ---- received reports ----
REPORT_PACKED_OCTETS: Final = 4 * 1024 * 1024
"""Octets of a packed or plain report as it comes; the largest senders' reports pack to less than 1 MiB."""

REPORT_MAIL_OCTETS: Final = 6 * 1024 * 1024
"""Octets of a mail that is read as a report: REPORT_PACKED_OCTETS in base64, and what stands round them."""

REPORT_PARTS_MAX: Final = 32
"""Parts of one mail that are looked at for a report; real ones have two to five."""

REPORT_RATIO_MAX: Final = 300
"""Times its packed size that a report may have: the most repetitive real ones reach 100, a deflate bomb 1,000."""

REPORT_RATIO_FREE: Final = 256 * 1024
"""Octets up to which nobody asks for the ratio."""

REPORT_OCTETS: Final = 8 * 1024 * 1024
"""Octets of an unpacked report: 20,000 records of usual length."""

REPORT_LAYERS: Final = 2
"""Packings one within the other that are undone (gzip within gzip is met)."""

REPORT_ZIP_ENTRIES: Final = 16
"""Entries of a zip directory that are looked at for the first file (one is right)."""

REPORT_RECORDS_MAX: Final = 20_000
"""Records of one aggregate report that are kept."""

REPORT_ELEMENTS_MAX: Final = 500_000
"""XML elements of one report that are read: REPORT_RECORDS_MAX records have 15 to 25 each."""

REPORT_TAG_OCTETS: Final = 256 * 1024
"""Octets of one tag or comment; real tags have a hundred, and one is read in a piece, during which nothing else runs."""

REPORT_MENDS_MAX: Final = 10_000
"""Places of one report that are mended; more are no report with a fault but something else."""

REPORT_DEPTH_MAX: Final = 16
"""Nesting of XML elements (RFC 9990 appendix A needs six)."""

REPORT_TEXT_MAX: Final = 1_024
"""Characters of one text of a report that are kept."""

REPORT_RESULTS_MAX: Final = 100
"""DKIM results of one record, and its reasons (RFC 9990 §3.1.3: at most 100 signatures)."""

REPORT_NOTES_MAX: Final = 20
"""Remarks on one report: what was mended, dropped or is odd in it."""

REPORT_COUNT_MAX: Final = 10**12
"""Messages of one record; a larger number is no count of mail."""

REPORT_SECONDS_USUAL: Final = 26 * 3600
"""A span that needs no remark: one day, with the hours of a clock change and of late counting (RFC 9990 §3.5.3)."""

REPORT_CANDIDATES_MAX: Final = 4
"""Parts of one mail that are tried as a report."""

REPORT_ROWS_OCTETS: Final = 512 * 1024
"""Characters of a report as it is kept: what is kept by whoever mails us must stay small; 1,500 records of usual length."""

REPORT_KEY_MAX: Final = 255
"""Characters of a reporter's name and of a Report-ID."""

TLS_DOMAINS_MAX: Final = 20
"""Domains of one TLS report that get a row (RFC 8460 §4.4: a report is about one)."""

TLS_REPORT_OCTETS: Final = 2 * 1024 * 1024
"""Octets of an unpacked TLS report: RFC 8460 §4.4 makes a few hundred per policy."""

TLS_POLICIES_MAX: Final = 1_000
"""Policies of one TLS report, and details of one policy, that are kept."""

FEEDBACK_OCTETS: Final = 64 * 1024
"""Octets of the machine-readable part of a feedback report (RFC 5965 §3) and of a returned header that are read."""

FEEDBACK_VALUES_MAX: Final = 32
"""Values of a field of a feedback report that may stand several times (RFC 5965 §3.2)."""

# ---- reports of our own ----
REPORT_RECORDS_OWN: Final = 5_000
"""Records of a report that we send: packed and sealed it still fits a row of the queue; those of the fewest messages are left out."""

REPORT_HUMAN_MAX: Final = 200
"""Characters of our own remark on one result (RFC 9990 §3.1.1.12, human_result)."""

REPORT_RECEIVERS_MAX: Final = 20
"""Domains of ours that one message is reported for; more recipients' domains than that are nobody's everyday mail."""

# ---- what is read again and again ----
CLIENTS_CACHED: Final = 256
"""Addresses of clients that are kept as read: several checks of a message ask for them."""

AUTHORS_CACHED: Final = 256
"""From fields that are kept as read: two stages ask for the author."""

AUTHOR_CACHED_OCTETS: Final = 512
"""Octets of the longest From field that is kept; a longer one is read again."""
