# SPDX-License-Identifier: Apache-2.0
"""The case bank: troubles that users of other servers reported, each played on a live server by the bank's own runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.trial import Trial

FOLDER = Path(os.environ.get("MOATMAIL_TEST_CASES", Path(__file__).parents[2] / "../shared/cases")).resolve()
AREAS = ("smtp", "imap", "mime", "auth")
CASES = {
    str(case["id"]): str(case["title"])
    for case in (tomllib.loads(path.read_text(encoding="utf-8")) for area in AREAS for path in sorted((FOLDER / area).glob("*/case.toml")))
    if not case.get("holdout") and not (case["kind"] == "manual" and case["id"].startswith("auth"))  # those are in tests/vectors
}

pytestmark = pytest.mark.skipif(not CASES, reason="the case bank is not here")


@pytest.fixture(scope="module")
def results(server: Trial, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Play all cases in one run, as the bank tells."""
    out = tmp_path_factory.mktemp("cases") / "results.json"
    command = [sys.executable, str(FOLDER / "run.py"), "--facts", str(server.folder / "try.json"), "--only", ",".join(AREAS), "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert out.exists(), done.stdout + done.stderr
    return {case["id"]: case for case in json.loads(out.read_text())["cases"]}


@pytest.mark.parametrize("case", CASES)
def test_the_trouble_that_others_had_is_none_here(case: str, results: dict[str, dict[str, Any]]) -> None:
    result = results[case]
    if result["verdict"] in ("skip", "manual"):
        pytest.skip(f"{case} ({CASES[case]}): {result['evidence']}")
    assert result["verdict"] == "pass", f"{CASES[case]}: {result['evidence']}"
