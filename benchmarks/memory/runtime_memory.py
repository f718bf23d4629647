"""Resident memory of `classify` beside a bare script of the interpreter, and what it imports.

    python benchmarks/memory/runtime_memory.py [--rounds 5]

Both sides are fresh processes that answer one PNG with LeNet int8: `python -m edgepress.runtime classify` and the same
steps by hand with LiteRT, NumPy and Pillow. Peak resident memory is what the kernel says of the ended process
(`ru_maxrss`), the median over rounds. Limit: 10 MB more. Nothing but the standard library, NumPy, the engine and Pillow
may be imported.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "speed"))

from runtime_overhead import make_files
from serve_load import picture

LIMIT_BYTES = 10_000_000
ALLOWED = {"edgepress", "numpy", "ai_edge_litert", "PIL"}
BARE = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
pixels = np.asarray(Image.open(sys.argv[2]).convert("L").resize((28, 28)))
interpreter.set_tensor(source["index"], pixels[None, :, :, None])
interpreter.invoke()
scale, zero_point = sink["quantization"]
scores = (interpreter.get_tensor(sink["index"])[0].astype(np.float32) - zero_point) * np.float32(scale)
print(scores.argmax())
"""
IMPORTED = """
import json, sys
before = set(sys.modules)
from edgepress.runtime.__main__ import main
main(sys.argv[1:])
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def main() -> None:
    """Measure both sides in alternation and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder))
        model, image = str(next(Path(folder).glob("*int8.tflite"))), str(Path(folder) / "digit.png")
        Path(image).write_bytes(picture())
        sides = {
            "classify": [sys.executable, "-m", "edgepress.runtime", "classify", model, image],
            "bare": [sys.executable, "-c", BARE, model, image],
        }
        peaks: dict[str, list[int]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, command in sides.items():
                peaks[name].append(peak_bytes(command))
        done = subprocess.run(
            [sys.executable, "-c", IMPORTED, "classify", model, image], capture_output=True, text=True, check=True
        )
    imported = set(json.loads(done.stdout.splitlines()[-1])) - sys.stdlib_module_names
    median = {name: int(np.median(values)) for name, values in peaks.items()}
    added = median["classify"] - median["bare"]
    foreign = sorted(name for name in imported - ALLOWED if not name.startswith("_"))
    kept = added <= LIMIT_BYTES and not foreign
    report = {"peak_bytes": peaks, "median_bytes": median, "added_bytes": added, "limit_bytes": LIMIT_BYTES}
    print(json.dumps(report | {"imported": sorted(imported), "beyond": foreign, "kept": kept}, indent=2))
    sys.exit(not kept)


def peak_bytes(command: list[str]) -> int:
    """Peak resident memory of a process, from its start to its end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"exit code {process.returncode}"
    return usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
