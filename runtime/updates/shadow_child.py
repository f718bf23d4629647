"""Answer frames with one release, as a script that the interpreter of that release runs; it needs NumPy and an engine.

    PYTHONPATH=RELEASE PYTHON shadow_child.py MODEL

Each line of its input is a JSON object: {"bytes": N}, and N bytes of a frame follow, or {"seed": N} for an item of the
self-test. To each it answers {"us": 812.4, "label": "cat", "memory_bytes": 41000000}; "label" is null where the frame
is not accepted. The first line of its output says that the model is open. It belongs to the release in use, so it
takes nothing from the other release than `load`, `seeded_item` and errors.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main(file: str) -> None:
    """Answer until the input ends."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what engines print
        with contextlib.suppress(OSError):  # if memory runs out, this process ends and not the service
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        from edgepress.runtime import load

        model = load(file)
        print(json.dumps({"engine": model.engine}), file=out, flush=True)
        while line := sys.stdin.buffer.readline():
            print(json.dumps(_answer(model, json.loads(line))), file=out, flush=True)


def _answer(model: Any, asked: dict[str, int]) -> dict[str, Any]:
    """Latency in microseconds, the best label, and the largest memory of this process so far in bytes."""
    import numpy as np

    from edgepress.runtime.errors import InputError
    from edgepress.runtime.selftest import seeded_item

    label = None
    if "seed" in asked:
        item = seeded_item(model.contract.input, asked["seed"])[np.newaxis]
        began = time.perf_counter()
        model.answer(item)
    else:
        frame = sys.stdin.buffer.read(asked["bytes"])
        began = time.perf_counter()
        with contextlib.suppress(InputError):
            label = model.judge(frame, 1).classes[0].label
    us = (time.perf_counter() - began) * 1e6
    return {"us": us, "label": label, "memory_bytes": _memory_bytes()}


def _memory_bytes() -> int:
    """The largest memory of this process so far."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1])
