# SPDX-License-Identifier: Apache-2.0
"""What all fuzz targets share: seeded mutations, the plain loop, atheris.

Run by `make fuzz` (atheris), or plainly from the repository's root: `.venv/bin/python -m tests.fuzz.fuzz_header --plain ROUNDS [SEED]`.
Must never know what is fuzzed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory


@dataclass(frozen=True)
class Target:
    """One target: what raises where its invariant is broken, what makes an input, and inputs that the fuzzer begins with (none: it finds its own)."""

    check: Callable[[bytes], None]
    mutate: Callable[[Random], bytes]
    corpus: Sequence[bytes] = ()

    def plain(self, rounds: int, seed: int = 0) -> None:
        """Run the invariant over seeded mutations, without a fuzzer; an input that breaks it is printed."""
        random = Random(seed)
        for _ in range(rounds):
            data = self.mutate(random)
            try:
                self.check(data)
            except Exception:
                sys.stderr.write(f"input: {data!r}\n")
                raise

    def main(self) -> None:
        """Choose between atheris and the plain loop by the command line."""
        if sys.argv[1:2] == ["--plain"]:
            self.plain(int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
            return
        import atheris  # noqa: PLC0415 - the plain loop runs where there is no atheris

        with TemporaryDirectory() as folder:
            for number, data in enumerate(self.corpus):
                (Path(folder) / str(number)).write_bytes(data)
            atheris.instrument_all()
            atheris.Setup([*sys.argv, *([folder] if self.corpus else [])], self.check)
            atheris.Fuzz()


def joined(random: Random, seeds: Sequence[bytes], most: int) -> bytearray:
    """Give 1 to `most` seeds, one behind the other."""
    return bytearray(b"".join(random.choice(seeds) for _ in range(random.randint(1, most))))


def changed(random: Random, data: bytearray, tokens: Sequence[bytes], start: int = 0) -> bytes:
    """Overwrite, cut and grow `data` behind `start`, up to eight times."""
    for _ in range(random.randint(0, 8)):
        place = random.randint(start, max(start, len(data)))
        token = random.choice(tokens)
        match random.randrange(3):
            case 0:
                data[place : place + len(token)] = token
            case 1:
                del data[place : place + random.randint(1, 9)]
            case _:
                data[place:place] = token
    return bytes(data)
