"""`python -m tests.bench.fuzz`: many random requests for the reader, in this process; see `tests.unit.fuzzing`.

Prints what was read and refused, and whether memory stayed where it was. Ends with 1 at the first input that
breaks a rule, with the seed that makes it again.
"""

import argparse
import gc
import resource
import sys
import time
from random import Random

from tests.unit.fuzzing import check, made

WARM_UP = 0.1
"""Share of the inputs after which memory counts."""
MOST_GROWTH_MB = 5.0


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="[100000]")
    parser.add_argument("--seed", type=int, default=1, help="[1]")
    options = parser.parse_args()
    began = time.monotonic()
    accepted = refused = unfinished = 0
    warm = 0.0
    for number in range(options.inputs):
        if number == int(options.inputs * WARM_UP):
            gc.collect()
            warm = _peak_mb()
        rng = Random(options.seed * 1_000_003 + number)
        data = made(rng)
        try:
            found = check(data, rng)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            print(f"input {number} of seed {options.seed}: {data!r}\n{error!r}")
            return 1
        accepted += len(found.requests)
        refused += found.refused
        unfinished += not found.refused and not found.requests
    growth = _peak_mb() - warm
    print(
        f"{options.inputs:,} inputs in {time.monotonic() - began:.0f} s: {accepted:,} requests read, "
        f"{refused:,} inputs refused, {unfinished:,} unfinished; peak memory grew by {growth:.1f} MB after warm-up"
    )
    return 0 if growth < MOST_GROWTH_MB else 1


if __name__ == "__main__":
    sys.exit(main())
