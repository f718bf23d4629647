"""What an onnx-int8 file answers through our runtime on x86 CPUs with and without VNNI, which qemu emulates.

    python benchmarks/accuracy/x86_answers.py MODEL.onnx [--items ITEMS.npz]
        [--cpus Haswell,Skylake-Server,...] [--count 8]

The file answers seeded items here and under `qemu-x86_64 -cpu CPU` (Debian's qemu-user), through `edgepress.runtime`
and, as "bare", through ONNX Runtime with its default options. Columns: the signal-to-noise ratio of the answers, dB,
against the truth ("truth" in ITEMS.npz, beside "proof", the items; without it, against the answers here), and the
largest difference from the answers here.

qemu has no emulation of AVX-512, so that Skylake-Server is AVX2 too; and a process sees the flags of the host in
/proc/cpuinfo, so a copy without VNNI is put in its place there. Times are not measured.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.proof.compare import seeded_items
from edgepress.runtime import load

ANSWER = """
import sys
import numpy as np
import onnxruntime
from pathlib import Path
model, items, text, out, bare = sys.argv[1:]
read = Path.read_text
Path.read_text = lambda self, **options: read(Path(text) if str(self) == "/proc/cpuinfo" else self, **options)
x = np.load(items)
if bare == "bare":
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    np.save(out, np.concatenate([session.run(None, {name: item[None]})[0] for item in x]))
else:
    from edgepress.runtime import load
    session = load(model)
    np.save(out, np.concatenate([session.scores(item[None]) for item in x]))
"""


def main() -> None:
    """Print a line for each CPU and way of opening the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--items", type=Path, help="an .npz file with items as the model takes them and its truth")
    parser.add_argument("--cpus", default="Haswell,EPYC,max")
    parser.add_argument("--count", type=int, default=8)
    args = parser.parse_args()
    model = load(args.model)
    if args.items:
        data = np.load(args.items)
        items, truth = data["proof"][: args.count], data["truth"][: args.count]
    else:
        items = seeded_items(model.contract.input, args.count, seed=0)
        truth = model.scores(items)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.save(folder / "items.npy", items)
        real = Path("/proc/cpuinfo").read_text()
        (folder / "here").write_text(real)
        (folder / "without").write_text(re.sub(r"\b(avx512_vnni|avx_vnni)\b", "", real))
        reference: dict[str, Any] = {}
        for cpu in ("here", *args.cpus.split(",")):
            for way in ("runtime", "bare"):
                found = _answers(args.model, folder, cpu, way)
                reference.setdefault(way, found)
                off = float(np.abs(found - reference["runtime"]).max())
                row = {"cpu": cpu, "opened by": way, "sqnr_db": _sqnr(found, truth), "largest_difference": off}
                print(json.dumps(row | {"bit_identical": bool((found == reference["runtime"]).all())}), flush=True)


def _answers(model: Path, folder: Path, cpu: str, way: str) -> npt.NDArray[np.float32]:
    out, flags = folder / "out.npy", folder / ("here" if cpu == "here" else "without")
    emulator = [] if cpu == "here" else ["qemu-x86_64", "-cpu", cpu]
    command = [*emulator, sys.executable, "-c", ANSWER, model, folder / "items.npy", flags, out, way]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{cpu}, {way}: {done.stderr[-400:]}")
    answers: npt.NDArray[np.float32] = np.load(out)
    return answers


def _sqnr(found: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    noise = float(np.square(found.astype(np.float64) - truth).sum())
    return round(10 * float(np.log10(np.square(truth - truth.mean(0), dtype=np.float64).sum() / (noise or 1e-30))), 2)


if __name__ == "__main__":
    main()
