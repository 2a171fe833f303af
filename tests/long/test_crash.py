# SPDX-License-Identifier: Apache-2.0
"""The crash, fault and sealing proofs again, with the numbers that are asked for before a release and chance that is new each time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEED = str(time.time_ns())

PROOFS = {
    "R1 over 200 rounds": ("test_r1_kill.py", {"MOATMAIL_R1_ROUNDS": "200", "MOATMAIL_R1_SEED": SEED}),
    "R3 up to the 50th call": ("test_r3_syscalls.py", {"MOATMAIL_R3_NUMBERS": "50"}),
    "R5 over 5,000 deliveries": ("test_r5_order.py", {"MOATMAIL_R5_DELIVERIES": "5000"}),
    "R12 with 20 clients over 10 minutes": ("test_r12_stress.py", {"MOATMAIL_STRESS_CLIENTS": "20", "MOATMAIL_STRESS_SECONDS": "600"}),
    "R11 at 10,000 places": ("test_r11_sealed.py", {"MOATMAIL_R11_PLACES": "10000", "MOATMAIL_R11_SEED": SEED}),
}


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("proof", PROOFS)
def test_a_proof_holds_for_long(proof: str) -> None:
    file, numbers = PROOFS[proof]
    command = [sys.executable, "-m", "pytest", "-q", "-s", "--timeout=10800", f"tests/e2e/{file}"]
    told = subprocess.run(command, cwd=ROOT, env={**os.environ, **numbers}, capture_output=True, text=True, check=False)
    assert told.returncode == 0, f"seed {SEED}\n{told.stdout[-8000:]}"
