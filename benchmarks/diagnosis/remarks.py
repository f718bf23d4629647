"""Which remarks trainings get that were made sick in one way, and healthy ones.

    python benchmarks/diagnosis/remarks.py                        # all cases of remark_sets.py, three seeds
    python benchmarks/diagnosis/remarks.py --seeds 10 --only healthy

The seed is that of the data and of the training. Prints a line for each case: in how many of its seeds the remark was
there that it was made for, and which others were. For healthy cases, that is none. Exits with 1 if a remark is missing
or a healthy case has one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from remark_sets import CASES

from edgepress.toolkit import train
from edgepress.toolkit.data import open_data


def main() -> int:
    """Train all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="first seed; constants were chosen on the digits' 0 to 4")
    parser.add_argument("--only", default="", help="cases whose name contains this text")
    parser.add_argument("--texts", action="store_true", help="also print the remarks")
    options = parser.parse_args()
    wrong = False
    print("| case | made for | found | other remarks |\n|---|---|--:|---|")
    for name, case in CASES.items():
        if options.only not in name:
            continue
        found: Counter[str] = Counter()
        for seed in range(options.first, options.first + options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                data = open_data(case.data(Path(folder), seed), size=case.size)
                run = train(data, case.arch, out=Path(folder) / "run", seed=seed, progress=False, **case.options)
            found.update(remark["kind"] for remark in run.metrics["remarks"])
            if options.texts:
                print(*(f"{r['text']} -> {r['command']}" for r in run.metrics["remarks"]), sep="\n", file=sys.stderr)
        hits = found.pop(case.remark, 0)
        others = ", ".join(f"{kind} ({n})" for kind, n in found.items())
        share = f"{hits} of {options.seeds}" if case.remark else ""
        print(f"| {name} | {case.remark or 'none'} | {share} | {others} |", flush=True)
        wrong |= hits < options.seeds if case.remark else bool(others)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
