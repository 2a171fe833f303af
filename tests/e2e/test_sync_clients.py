# SPDX-License-Identifier: Apache-2.0
"""Clients that keep a copy on disk, two-way over two thousand messages: mbsync and offlineimap; flags, deletions, renamed mailboxes, and somebody else at work."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import sides
from tests.e2e.sides import SecondClient, Side, digest, letter, on_server, program, run, session, stamps, written
from tests.e2e.trial import Trial
from moatmail.wire.imap.utf7 import decode
