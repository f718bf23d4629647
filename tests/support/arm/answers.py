"""Runs in the emulated Python: the self-test of each bundle, and its answers to the test items.

    PYTHONPATH=BUNDLE python answers.py ITEMS.npy OUT BUNDLE...

Writes OUT/NAME.npy (float32 scores, shape (N, labels)) for each bundle, and prints its name, engine and self-test as a
line of JSON.
"""

import dataclasses
import json
import platform
import sys
from pathlib import Path

import numpy as np

from edgepress.runtime import load
from edgepress.runtime.selftest import selftest

items, out, *bundles = map(Path, sys.argv[1:])
x = np.load(items)
for bundle in bundles:
    report = selftest(bundle)
    model = load(report.file, report.engine)
    np.save(out / f"{bundle.parent.name}.npy", model.scores(x))
    about = {"name": bundle.parent.name, "machine": platform.machine(), "python": platform.python_version()}
    print(json.dumps(about | dataclasses.asdict(report) | {"passed": report.passed}), flush=True)
